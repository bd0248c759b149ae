# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Converted Re3 checkpoints against a reference written from the published equations.

The reference computes with the checkpoint's own tensors, under their published names, in
float64 numpy (convolutions: torch). Shapes are those of the published networks;
the tests that calculate use the same layouts with narrower layers.
"""

from typing import NamedTuple

import numpy as np
import pytest
from re3_core.convert import convert_tensors, detect_kind
from re3_core.networks import Crops, Re3Net
from re3_core.networks.re3 import SMALL
import torch
from torch.nn import functional


class Widths(NamedTuple):
    channels: tuple = (96, 256, 384, 384, 256)
    skips: tuple = (16, 32, 64)
    features: int = 37104
    fc: int = 2048
    hidden: int = 1024


PAPER = Widths()
PAPER_SMALL = Widths(fc=1024, hidden=512)
# 67 pixels give maps of 7, 3, 3 and 1.
NARROW = Widths((8, 8, 6, 4, 10), (2, 3, 4), 2 * 49 + 3 * 9 + 4 * 9 + 10 * 1, 12, 5)
CROP = 67
MEAN = (123.151630838, 115.902882574, 103.062623801)
GATES = ('input_gate', 'forget_gate', 'output_gate')


def conv_shapes(w):
    """Return the convolutions' shapes by layer: (out, in per group, height, width)."""
    c, s = w.channels, w.skips
    return {
        'conv1': (c[0], 3, 11, 11), 'conv2': (c[1], c[0] // 2, 5, 5),
        'conv3': (c[2], c[1], 3, 3), 'conv4': (c[3], c[2] // 2, 3, 3),
        'conv5': (c[4], c[3] // 2, 3, 3), 'conv1_skip': (s[0], c[0], 1, 1),
        'conv2_skip': (s[1], c[1], 1, 1), 'conv5_skip': (s[2], c[4], 1, 1)}


def pytorch_shapes(w):
    """Names and shapes in the state_dict of re3-pytorch's large network."""
    convs = list(conv_shapes(w).values())
    shapes = {f'conv.{k}': convs[k] for k in range(5)}
    shapes |= {f'conv_skip.{k}': convs[5 + k] for k in range(3)}
    shapes |= {'fc6': (w.fc, 2 * w.features), 'fc_output_out': (4, w.hidden)}
    for name, inputs in (('lstm1', w.fc), ('lstm2', w.fc + w.hidden)):
        shapes[f'{name}.block_input'] = (w.hidden, inputs + w.hidden)
        shapes |= {f'{name}.{gate}': (w.hidden, inputs + 2 * w.hidden) for gate in GATES}
    named = {f'{name}.weight': shape for name, shape in shapes.items()}
    named |= {f'{name}.bias': shape[:1] for name, shape in shapes.items()}
    return named | {f'prelu_skip.{k}.weight': (w.skips[k],) for k in range(3)}


def tensorflow_shapes(w, small):
    """Names and shapes of the variables of the TensorFlow networks."""
    shapes = {}
    for layer, (out, inputs, height, width) in conv_shapes(w).items():
        shapes[f're3/{layer}/W_conv'] = (height, width, inputs, out)
        shapes[f're3/{layer}/b_conv'] = (out,)
        if layer.endswith('skip'):
            shapes[f're3/{layer}/prelu'] = (out,)
    shapes |= {'re3/fc6/W_fc': (2 * w.features, w.fc), 're3/fc6/b_fc': (w.fc,),
               're3/fc_output/W_fc': (w.hidden, 4), 're3/fc_output/b_fc': (4,)}
    for name, inputs in (('lstm1', w.fc), ('lstm2', w.fc + w.hidden)):
        lstm = small_lstm_shapes if small else large_lstm_shapes
        shapes |= {f're3/{name}/rnn/{key}': shape
                   for key, shape in lstm(inputs, w.hidden).items()}
    return shapes


def small_lstm_shapes(inputs, hidden):
    peepholes = {f'lstm_cell/w_{gate}_diag': (hidden,) for gate in 'ifo'}
    return peepholes | {'lstm_cell/kernel': (inputs + hidden, 4 * hidden),
                        'lstm_cell/bias': (4 * hidden,)}


def large_lstm_shapes(inputs, hidden):
    rows = {'block_input': inputs + hidden} | dict.fromkeys(GATES, inputs + 2 * hidden)
    return {f'LSTM/{gate}/weights': (count, hidden) for gate, count in rows.items()} | {
        f'LSTM/{gate}/biases': (hidden,) for gate in rows}


CASES = {
    're3-pytorch': (pytorch_shapes, PAPER),
    're3-tensorflow': (lambda w: tensorflow_shapes(w, small=False), PAPER),
    're3-tensorflow-small': (lambda w: tensorflow_shapes(w, small=True), PAPER_SMALL)}


def narrow_checkpoint(kind, seed=0):
    rng = np.random.default_rng(seed)
    shapes = CASES[kind][0](NARROW)
    spread = {name: (shape[-1] / np.prod(shape)) ** .5 for name, shape in shapes.items()}
    return {name: torch.from_numpy(rng.normal(0, spread[name], shape)).float()
            for name, shape in shapes.items()}


def narrow_network(kind):
    peephole = 'diagonal' if kind == 're3-tensorflow-small' else 'full'
    return Re3Net(crop_size=CROP, channels=NARROW.channels, skips=NARROW.skips, fc=NARROW.fc,
                  hidden=NARROW.hidden, peephole=peephole)


# The reference.

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_of(checkpoint, kind, layer):
    """Return a convolution's weight (O, I, H, W) and bias, and PReLU slopes of a skip."""
    index = list(conv_shapes(PAPER)).index(layer)
    if kind == 're3-pytorch':
        name = f'conv.{index}' if index < 5 else f'conv_skip.{index - 5}'
        slope = checkpoint.get(f'prelu_skip.{index - 5}.weight')
        return checkpoint[f'{name}.weight'], checkpoint[f'{name}.bias'], slope
    kernel = checkpoint[f're3/{layer}/W_conv']
    return (torch.einsum('hwio->oihw', kernel), checkpoint[f're3/{layer}/b_conv'],
            checkpoint.get(f're3/{layer}/prelu'))


def convolve(x, weight, bias, stride=1, padding=0):
    """Convolve in as many groups as the weight's shape implies, one after the other."""
    groups = x.shape[1] // weight.shape[1]
    outputs = [functional.conv2d(part, kernel, None, stride, padding) for part, kernel
               in zip(x.chunk(groups, 1), weight.double().chunk(groups), strict=True)]
    return torch.cat(outputs, 1) + bias.double()[:, None, None]


def pool_and_norm(x):
    x = functional.max_pool2d(x, 3, 2)
    result = torch.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - 2):c + 3]
        result[:, c] = x[:, c] / (1 + 2e-5 * (near ** 2).sum(1)) ** .75
    return result


def reference_features(checkpoint, kind, images):
    """Return [skip1, skip2, skip5, pool5] (N, features) of uint8 RGB images."""
    def conv(layer, x, **options):
        weight, bias, slope = layer_of(checkpoint, kind, layer)
        x = convolve(x, weight, bias, **options)
        if slope is None:
            return x.clamp(min=0)
        return torch.where(x > 0, x, slope.double()[:, None, None] * x)
    x = images.double() - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]
    norm1 = pool_and_norm(conv('conv1', x, stride=4))
    norm2 = pool_and_norm(conv('conv2', norm1, padding=2))
    conv5 = conv('conv5', conv('conv4', conv('conv3', norm2, padding=1), padding=1), padding=1)
    parts = (conv('conv1_skip', norm1), conv('conv2_skip', norm2), conv('conv5_skip', conv5),
             functional.max_pool2d(conv5, 3, 2))
    return torch.cat([part.reshape(len(images), -1) for part in parts], 1).numpy()


def numbers(checkpoint, name):
    return checkpoint[name].double().numpy()


def linear_of(checkpoint, kind, layer):
    """Return matrix (in, out) and bias."""
    if kind == 're3-pytorch':
        name = {'fc_output': 'fc_output_out'}.get(layer, layer)
        return numbers(checkpoint, f'{name}.weight').T, numbers(checkpoint, f'{name}.bias')
    return numbers(checkpoint, f're3/{layer}/W_fc'), numbers(checkpoint, f're3/{layer}/b_fc')


def full_step(checkpoint, kind, name, x, h, c):
    """Gates from [x, h, cell], the output gate from the new cell, the block from [x, h]."""
    def gate(which, *parts):
        if kind == 're3-pytorch':
            weight = numbers(checkpoint, f'{name}.{which}.weight').T
            bias = numbers(checkpoint, f'{name}.{which}.bias')
        else:
            weight = numbers(checkpoint, f're3/{name}/rnn/LSTM/{which}/weights')
            bias = numbers(checkpoint, f're3/{name}/rnn/LSTM/{which}/biases')
        return np.concatenate(parts, 1) @ weight + bias
    z = np.tanh(gate('block_input', x, h))
    c_new = (sigmoid(gate('input_gate', x, h, c)) * z
             + sigmoid(gate('forget_gate', x, h, c)) * c)
    return sigmoid(gate('output_gate', x, h, c_new)) * np.tanh(c_new), c_new


def diagonal_step(checkpoint, kind, name, x, h, c):
    """Step as TensorFlow does: i, j, f, o in one kernel, peephole vectors, forget gate + 1."""
    prefix = f're3/{name}/rnn/lstm_cell'
    kernel, bias = numbers(checkpoint, f'{prefix}/kernel'), numbers(checkpoint, f'{prefix}/bias')
    i, j, f, o = np.split(np.concatenate((x, h), 1) @ kernel + bias, 4, 1)
    w_i, w_f, w_o = (numbers(checkpoint, f'{prefix}/w_{gate}_diag') for gate in 'ifo')
    c_new = sigmoid(f + 1 + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(j)
    return sigmoid(o + w_o * c_new) * np.tanh(c_new), c_new


def reference_boxes(checkpoint, kind, sequence):
    """Return the outputs (N, 4) of every step of a sequence of Crops, divided by 10."""
    step = diagonal_step if kind == 're3-tensorflow-small' else full_step
    h1 = c1 = h2 = c2 = np.zeros((len(sequence[0].current), NARROW.hidden))
    outputs = []
    for crops in sequence:
        pair = np.concatenate([reference_features(checkpoint, kind, images)
                               for images in crops], 1)
        weight, bias = linear_of(checkpoint, kind, 'fc6')
        visual = np.maximum(pair @ weight + bias, 0)
        h1, c1 = step(checkpoint, kind, 'lstm1', visual, h1, c1)
        h2, c2 = step(checkpoint, kind, 'lstm2', np.concatenate((visual, h1), 1), h2, c2)
        weight, bias = linear_of(checkpoint, kind, 'fc_output')
        outputs.append((h2 @ weight + bias) / 10)
    return outputs


# The tests.

@pytest.mark.parametrize('kind', CASES)
def test_converted_network_equals_the_published_one(kind):
    checkpoint = narrow_checkpoint(kind)
    network = convert_tensors(checkpoint, kind, narrow_network(kind))
    rng = torch.Generator().manual_seed(3)
    sequence = [Crops(*torch.randint(0, 256, (2, 2, 3, CROP, CROP), dtype=torch.uint8,
                                     generator=rng)) for _ in range(4)]
    with torch.inference_mode():
        prediction, state = network.start(sequence[0])
        boxes = [prediction.boxes]
        for crops in sequence[1:]:
            prediction, state = network.step(crops, state)
            boxes.append(prediction.boxes)
    expected = reference_boxes(checkpoint, kind, sequence)
    assert np.std(expected, 0).min() > 1e-4         # the steps differ: the memory is at work
    np.testing.assert_allclose(torch.stack(boxes), expected, atol=2e-5)


@pytest.mark.parametrize('kind, parameters', [
    ('re3-pytorch', 190_004_324), ('re3-tensorflow', 190_004_324),
    ('re3-tensorflow-small', 85_699_684)])
def test_published_names_and_shapes_fill_the_network_of_full_size(kind, parameters):
    make_shapes, widths = CASES[kind]
    shapes = make_shapes(widths)
    assert sum(np.prod(shape) for shape in shapes.values()) == parameters
    checkpoint = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    assert detect_kind(checkpoint) == kind
    with torch.device('meta'):
        expected = Re3Net(**SMALL) if kind.endswith('small') else Re3Net()
    shapes = {name: value.shape for name, value in expected.state_dict().items()}
    network = convert_tensors(checkpoint, kind, expected)
    assert {name: value.shape for name, value in network.state_dict().items()} == shapes


def test_shapes_of_the_published_networks():
    # As published.
    large, small = tensorflow_shapes(PAPER, small=False), tensorflow_shapes(PAPER_SMALL, True)
    assert large['re3/conv2/W_conv'] == (5, 5, 48, 256)
    assert large['re3/conv5_skip/W_conv'] == (1, 1, 256, 64)
    assert large['re3/fc6/W_fc'] == (74208, 2048) and small['re3/fc6/W_fc'] == (74208, 1024)
    assert large['re3/lstm1/rnn/LSTM/block_input/weights'] == (3072, 1024)
    assert large['re3/lstm2/rnn/LSTM/output_gate/weights'] == (5120, 1024)
    assert small['re3/lstm1/rnn/lstm_cell/kernel'] == (1536, 2048)
    assert small['re3/lstm2/rnn/lstm_cell/kernel'] == (2048, 2048)
    torch_large = pytorch_shapes(PAPER)
    assert torch_large['lstm1.input_gate.weight'] == (1024, 4096)
    assert torch_large['lstm2.block_input.weight'] == (1024, 4096)
    assert torch_large['fc_output_out.weight'] == (4, 1024)


def test_forget_bias_of_the_small_network_is_raised_by_one():
    checkpoint = narrow_checkpoint('re3-tensorflow-small')
    checkpoint['re3/lstm2/rnn/lstm_cell/bias'] = torch.arange(4. * NARROW.hidden)
    network = convert_tensors(checkpoint, 're3-tensorflow-small',
                              narrow_network('re3-tensorflow-small'))
    i, z, f, o = torch.arange(4. * NARROW.hidden).chunk(4)
    torch.testing.assert_close(network.lstm.layer2.bias.data, torch.cat((z, i, f + 1, o)))


@pytest.mark.parametrize('kind', CASES)
def test_every_problem_is_named(kind):
    checkpoint = narrow_checkpoint(kind)
    missing, misshapen = list(checkpoint)[3], list(checkpoint)[-1]
    del checkpoint[missing]
    checkpoint[misshapen] = torch.zeros(7, 7)
    checkpoint['re3/extra/weights'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        convert_tensors(checkpoint, kind, narrow_network(kind))
    text = str(error.value)
    assert f'{missing} ' in text and 'is missing' in text
    assert f'{misshapen} has shape (7, 7), not (' in text
    assert 're3/extra/weights is unknown' in text


def test_large_checkpoint_does_not_fit_the_small_network():
    with pytest.raises(ValueError, match='does not fit re3-tensorflow-small'):
        convert_tensors(narrow_checkpoint('re3-tensorflow'), 're3-tensorflow-small',
                        narrow_network('re3-tensorflow-small'))


def test_float16_checkpoint_becomes_a_float32_network():
    checkpoint = {name: value.half() for name, value in narrow_checkpoint('re3-pytorch').items()}
    network = convert_tensors(checkpoint, 're3-pytorch', narrow_network('re3-pytorch'))
    assert {value.dtype for value in network.parameters()} == {torch.float32}
