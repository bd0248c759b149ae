# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from re3_core import load_network, save_network, Tracker
from re3_core.networks import Crops, GoturnLiteNet, GoturnNet, Re3LiteNet
from re3_core.networks.compact import MAX_LOG_SCALE
from re3_core.networks.goturn import OPENCV, PYGOTURN
import torch

TINY = {'crop_size': 67, 'channels': [8, 8, 8, 8, 8], 'fc': [16, 16]}
TINY_LITE = {'width': .1, 'embedding': 8, 'fc': [16, 16]}
NETWORKS = [(GoturnNet, TINY), (GoturnNet, TINY | {'separate': True}),
            (GoturnNet, TINY | {'layout': 'torchvision'}), (GoturnLiteNet, TINY_LITE)]


def random_crops(network, count=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Crops(*(torch.randint(0, 256, (count, 3, spec.size, spec.size), dtype=torch.uint8,
                                 generator=rng)
                   for spec in (network.previous_crop, network.current_crop)))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize('config, parameters', [
    ({}, 111_414_660),                  # Held's 113,748,740 with the second tower's 2,334,080 ...
    (PYGOTURN, 111_550_276), (OPENCV, 96_967_428)])
def test_networks_have_the_published_numbers_of_parameters(config, parameters):
    with torch.device('meta'):
        network = GoturnNet(**config)
    assert count(network) == parameters
    assert network.fc[0].in_features == 18432
    if not config:
        assert count(network) + count(network.backbone) == 113_748_740


def test_units_of_the_published_networks():
    centered = torch.tensor([[.25, .25, .75, .75]])
    # A centered box of the same size: in Held's and pygoturn's units, and in OpenCV's, whose
    # scale layer makes pixels of the 227 crop of it.
    for config, output in (({}, centered * 10), (PYGOTURN, centered * 10),
                           (OPENCV, centered * 227 / 10)):
        network = GoturnNet(**config | TINY)
        torch.nn.init.zeros_(network.output.weight)
        network.output.bias.data = output[0]
        boxes = network.eval().start(random_crops(network))[0].boxes
        torch.testing.assert_close(boxes, centered.expand(2, 4))


def test_initial_weights_are_those_of_the_paper():
    network = GoturnNet(**TINY | {'fc': [256, 256]})
    for layer in (network.fc[0], network.fc[3]):
        assert layer.weight.std().item() == pytest.approx(.005, rel=.05)
        assert (layer.bias == 1).all()
    assert network.output.weight.std().item() == pytest.approx(.01, rel=.1)
    assert not network.output.bias.any()


def test_separate_towers_start_equal_and_are_two():
    network = GoturnNet(**TINY | {'separate': True}).eval()
    crops = random_crops(network)
    shared = GoturnNet(**TINY).eval()
    shared.load_state_dict({name: value for name, value in network.state_dict().items()
                            if not name.startswith('previous_backbone')})
    torch.testing.assert_close(network.start(crops)[0].boxes, shared.start(crops)[0].boxes)
    torch.nn.init.zeros_(network.previous_backbone.conv5.weight)
    torch.nn.init.zeros_(network.previous_backbone.conv5.bias)
    previous, current = network.features(crops)
    assert not previous.any() and current.any()


@pytest.mark.parametrize('kind, config', NETWORKS)
def test_there_is_no_memory(kind, config):
    network = kind(**config).eval()
    crops = random_crops(network)
    first, state = network.start(crops)
    assert state == ((), ())
    network.step(random_crops(network, seed=1), state)
    again, state = network.step(crops, state)
    assert state == ((), ()) and torch.equal(first.boxes, again.boxes)


@pytest.mark.parametrize('kind, config', NETWORKS)
def test_dropout_is_for_training_only(kind, config):
    network = kind(**config)
    crops = random_crops(network)
    encoded = [network.train().encode(network.features(crops)) for _ in range(2)]
    assert not torch.equal(*encoded)
    encoded = [network.eval().encode(network.features(crops)) for _ in range(2)]
    assert torch.equal(*encoded)


@pytest.mark.parametrize('kind, config', NETWORKS)
def test_frozen_features_leave_all_else_to_train(kind, config):
    network = kind(**config)
    crops = random_crops(network)
    prediction, _ = network.start(crops)
    score = prediction.logits.nan_to_num(0).sum()
    (prediction.boxes.sum() + score).backward()
    with_gradient = {name for name, parameter in network.named_parameters()
                     if parameter.grad is not None}
    in_features = {name for name, _ in network.named_parameters()
                   if name.startswith(network.feature_modules)}
    assert in_features and in_features < with_gradient
    for name, parameter in network.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name not in in_features)
    features = network.features(crops)
    assert not any(part.requires_grad for part in features)


@pytest.mark.parametrize('kind, config', NETWORKS)
def test_weights_file_gives_the_network_back(tmp_path, kind, config):
    network = kind(**config).eval()
    save_network(network, tmp_path / 'net.safetensors', dtype=torch.float32)
    again = load_network(kind.name, tmp_path / 'net.safetensors')
    assert again.config == network.config
    crops = random_crops(network)
    torch.testing.assert_close(again.start(crops)[0].boxes, network.start(crops)[0].boxes)


@pytest.mark.parametrize('kind, config', NETWORKS)
def test_many_targets_equal_one_by_one_beyond_a_reset(kind, config):
    torch.manual_seed(0)
    network = kind(**config)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 60, 80, 3), dtype=np.uint8)
    boxes = {'a': (5, 5, 25, 30), 'b': (40, 20, 70, 50), 'c': (-5, 30, 15, 70)}
    together = Tracker(network=network, device='cpu', reset_every=2)
    alone = {name: Tracker(network=network, device='cpu', reset_every=2) for name in boxes}
    for name, box in boxes.items():
        together.init(name, frames[0], box)
        alone[name].init(name, frames[0], box)
    for frame in frames[1:]:
        tracks = together.update(frame)
        for name, tracker in alone.items():
            track = tracker.update(frame)[name]
            np.testing.assert_allclose(tracks[name].box, track.box, rtol=1e-3, atol=1e-2)
            assert tracks[name].confidence == pytest.approx(track.confidence, abs=1e-3)


def test_lite_network_fits_in_its_file_and_shares_with_re3_lite():
    with torch.device('meta'):
        goturn, re3 = GoturnLiteNet(), Re3LiteNet()
    assert 2 * sum(value.numel() for value in goturn.state_dict().values()) < 40e6
    assert goturn.current_crop == re3.current_crop
    assert goturn.previous_crop.context == re3.previous_crop.context
    for part in ('backbone', 'neck'):
        theirs = dict(re3.get_submodule(part).named_parameters())
        ours = dict(goturn.get_submodule(part).named_parameters())
        assert {name: value.shape for name, value in ours.items()} == {
            name: value.shape for name, value in theirs.items()}


def test_lite_network_starts_from_the_last_box_and_limits_its_change():
    network = GoturnLiteNet(**TINY_LITE).eval()
    context = network.current_crop.context
    same = (1 - 1 / context) / 2
    crops = random_crops(network)
    boxes = network.start(crops)[0].boxes
    torch.testing.assert_close(boxes, torch.tensor([[same, same, 1 - same, 1 - same]] * 2),
                               atol=.02, rtol=0)
    network.head.box.bias.data[2:] = 100.
    boxes = network.start(crops)[0].boxes
    torch.testing.assert_close(boxes[:, 2] - boxes[:, 0],
                               torch.tensor([np.exp(MAX_LOG_SCALE) / context] * 2).float())
