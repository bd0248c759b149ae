# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Converted GOTURN checkpoints against a reference written from the published definitions.

The reference computes with the checkpoint's own tensors, under their published names, and the
inputs of the published trackers: BGR values less their mean, or RGB less ImageNet's.
"""

import numpy as np
import pytest
from re3_core.convert import convert_tensors, detect_kind
from re3_core.networks import Crops, GoturnNet, Re3Net
from re3_core.networks.goturn import OPENCV, PYGOTURN
import torch
from torch.nn import functional

CAFFE = (96, 256, 384, 384, 256)
TORCHVISION = (64, 192, 384, 256, 256)
HELD_TOWERS = [[f'conv{k}' for k in range(1, 6)], [f'conv{k}_p' for k in range(1, 6)]]
OPENCV_TOWERS = [[f'conv{n}{k}' for k in range(1, 6)] for n in (1, 2)]
PYGOTURN_TOWER = [f'convnet.0.{k}' for k in (0, 3, 6, 8, 10)]
LINEAR = {
    'goturn-held': ['fc6-new', 'fc7-new', 'fc7-newb', 'fc8-shapes'],
    'goturn-opencv': ['fc6', 'fc7', 'fc8'],
    'goturn-pygoturn': [f'classifier.{k}' for k in (0, 3, 6, 9)]}
TOWERS = {'goturn-held': HELD_TOWERS, 'goturn-opencv': OPENCV_TOWERS,
          'goturn-pygoturn': [PYGOTURN_TOWER]}
CONFIGS = {'goturn-held': {}, 'goturn-opencv': OPENCV, 'goturn-pygoturn': PYGOTURN}
PARAMETERS = {'goturn-held': 113_748_740, 'goturn-opencv': 96_967_428,
              'goturn-pygoturn': 111_550_276}
CROP, NARROW = 67, (8, 8, 6, 4, 10)


def published_shapes(kind, channels=None, cells=36, width=4096):
    """Return names and shapes of a published checkpoint; narrower ones on demand."""
    plain = kind == 'goturn-pygoturn'
    a, b, c, d, e = channels or (TORCHVISION if plain else CAFFE)
    groups = 1 if plain else 2
    convs = [(a, 3, 11, 11), (b, a // groups, 5, 5), (c, b, 3, 3), (d, c // groups, 3, 3),
             (e, d // groups, 3, 3)]
    shapes = {layer: shape for tower in TOWERS[kind]
              for layer, shape in zip(tower, convs, strict=True)}
    layers = LINEAR[kind]
    sides = [2 * e * cells] + [width] * (len(layers) - 1) + [4]
    shapes |= {layer: (sides[k + 1], sides[k]) for k, layer in enumerate(layers)}
    named = {f'{layer}.weight': shape for layer, shape in shapes.items()}
    return named | {f'{layer}.bias': shape[:1] for layer, shape in shapes.items()}


def narrow_checkpoint(kind, seed=0):
    rng = torch.Generator().manual_seed(seed)
    checkpoint = {name: torch.randn(shape, generator=rng) * shape[-1] ** -.5
                  for name, shape in published_shapes(kind, NARROW, 1, 12).items()}
    if kind == 'goturn-held':
        for ours, twin in zip(*HELD_TOWERS, strict=True):
            for part in ('weight', 'bias'):
                checkpoint[f'{twin}.{part}'] = checkpoint[f'{ours}.{part}'].clone()
    return checkpoint


def narrow_network(kind):
    width = len(LINEAR[kind]) - 1
    return GoturnNet(**CONFIGS[kind] | {'crop_size': CROP, 'channels': NARROW,
                                        'fc': width * [12]})


def reference_pool5(checkpoint, layers, images, plain):
    """Return pool5 of one tower; `plain` is torchvision's: padding 2, no groups, no LRN."""
    x = images.double()
    for k, layer in enumerate(layers):
        weight, bias = checkpoint[f'{layer}.weight'], checkpoint[f'{layer}.bias']
        stride, padding = (4, 2 * plain) if k == 0 else (1, 2 if k == 1 else 1)
        groups = x.shape[1] // weight.shape[1]
        x = functional.conv2d(x, weight.double(), bias.double(), stride, padding, 1, groups)
        x = x.clamp(min=0)
        if k in (0, 1, 4):
            x = functional.max_pool2d(x, 3, 2)
        if k in (0, 1) and not plain:
            padded = functional.pad(x ** 2, (0, 0, 0, 0, 2, 2))
            sums = sum(padded[:, i:i + x.shape[1]] for i in range(5))
            x = x / (1 + 1e-4 / 5 * sums) ** .75
    return x.flatten(1)


def reference_boxes(checkpoint, kind, crops):
    """Return the box of the published tracker: corners in 0..1 of the search crop."""
    def prepare(images):
        values = images.double()
        if kind == 'goturn-pygoturn':
            mean, std = torch.tensor([[.485, .456, .406], [.229, .224, .225]])
            return (values / 255 - mean[:, None, None]) / std[:, None, None]
        bgr = values.flip(1)
        mean = (104., 117., 123.) if kind == 'goturn-held' else (128., 128., 128.)
        return bgr - torch.tensor(mean, dtype=torch.float64)[:, None, None]
    towers = (2 * TOWERS[kind])[:2]
    x = torch.cat([reference_pool5(checkpoint, tower, prepare(images), kind.endswith('pygoturn'))
                   for tower, images in zip(towers, crops, strict=True)], 1)
    layers = LINEAR[kind]
    for layer in layers:
        x = x @ checkpoint[f'{layer}.weight'].double().T + checkpoint[f'{layer}.bias'].double()
        x = x if layer == layers[-1] else x.clamp(min=0)
    # OpenCV's last layer multiplies by 10 and is in pixels of 227; the others' target is x10.
    return x * 10 / 227 if kind == 'goturn-opencv' else x / 10


def random_crops(count, size=CROP):
    rng = torch.Generator().manual_seed(5)
    return Crops(*torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8,
                                generator=rng))


@pytest.mark.parametrize('kind', LINEAR)
def test_converted_network_equals_the_published_one(kind):
    checkpoint = narrow_checkpoint(kind)
    network = convert_tensors(checkpoint, kind, narrow_network(kind))
    crops = random_crops(3)
    with torch.inference_mode():
        prediction, _ = network.start(crops)
    expected = reference_boxes(checkpoint, kind, crops)
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(prediction.boxes.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', LINEAR)
def test_published_names_and_shapes_fill_the_network_of_full_size(kind):
    shapes = published_shapes(kind)
    assert sum(np.prod(shape) for shape in shapes.values()) == PARAMETERS[kind]
    # One zero, seen as a tensor of any shape: no memory is needed.
    checkpoint = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    assert detect_kind(checkpoint) == kind
    with torch.device('meta'):
        expected = GoturnNet(**CONFIGS[kind])
    shapes = {name: value.shape for name, value in expected.state_dict().items()}
    network = convert_tensors(checkpoint, kind, expected)
    assert {name: value.shape for name, value in network.state_dict().items()} == shapes


def test_shapes_of_the_published_networks():
    held, opencv, pygoturn = (published_shapes(kind) for kind in LINEAR)
    assert held['fc6-new.weight'] == opencv['fc6.weight'] == (4096, 18432)
    assert held['conv2_p.weight'] == opencv['conv22.weight'] == (256, 48, 5, 5)
    assert pygoturn['convnet.0.3.weight'] == (192, 64, 5, 5)
    assert pygoturn['classifier.9.weight'] == (4, 4096)


def test_towers_that_differ_are_refused():
    checkpoint = narrow_checkpoint('goturn-held')
    checkpoint['conv3_p.bias'][0] += 1
    with pytest.raises(ValueError, match='conv3.bias and conv3_p.bias differ'):
        convert_tensors(checkpoint, 'goturn-held', narrow_network('goturn-held'))


@pytest.mark.parametrize('kind', LINEAR)
def test_every_problem_is_named(kind):
    checkpoint = narrow_checkpoint(kind)
    missing, misshapen = list(checkpoint)[2], list(checkpoint)[-1]
    del checkpoint[missing]
    checkpoint[misshapen] = torch.zeros(7)
    checkpoint['fc9.weight'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        convert_tensors(checkpoint, kind, narrow_network(kind))
    text = str(error.value)
    assert f'{missing} (' in text and 'is missing' in text
    assert f'{misshapen} has shape (7,), not (' in text and 'fc9.weight is unknown' in text


@pytest.mark.parametrize('kind', ['goturn-from-caffenet', 're3-from-caffenet'])
def test_imagenet_convolutions_start_a_network(kind):
    # Caffe's ImageNet network has the convolutions and layers of its own, which are not used.
    held = narrow_checkpoint('goturn-held')
    imagenet = {name: value for name, value in held.items() if name.split('.')[0][-2:] != '_p'
                and not name.startswith('fc')} | {'fc8.weight': torch.zeros(1000, 4096)}
    if kind.startswith('goturn'):
        network = narrow_network('goturn-held')
    else:
        network = Re3Net(CROP, NARROW, (2, 3, 4), 12, 5)
    drawn = network.output.weight.clone()
    convert_tensors(imagenet, kind, network)
    torch.testing.assert_close(network.backbone.conv1.weight.data,
                               imagenet['conv1.weight'].flip(1))
    torch.testing.assert_close(network.backbone.conv5.weight.data, imagenet['conv5.weight'])
    torch.testing.assert_close(network.output.weight.data, drawn)
