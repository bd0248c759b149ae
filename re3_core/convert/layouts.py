# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Layouts of the published checkpoints.

A plan maps each weight of a network to the tensors of the checkpoint that it is built from, with
their shapes. Shapes follow from the network, so that plans fit networks of any width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from re3_core.networks import TrackerNetwork
from re3_core.networks.goturn import GoturnNet, OPENCV, PYGOTURN
from re3_core.networks.re3 import Re3Net, SMALL
import torch
from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

PARTS = ('weight', 'bias')
CONVS = (1, 2, 3, 4, 5)
GATES = ('block_input', 'input_gate', 'forget_gate', 'output_gate')


class Entry(NamedTuple):
    """One weight: `sources`, pairs of name and shape, and the function of these tensors."""

    sources: tuple[tuple[str, Shape], ...]
    build: Callable[..., Tensor]


Plan = dict[str, Entry]


class Kind(NamedTuple):
    """
    One published layout.

    `build` constructs the network, `plan` maps the shapes of its weights to the plan, and a
    checkpoint with the tensor name `mark` is of this kind. A `partial` one has only some of the
    weights.
    """

    build: Callable[[], TrackerNetwork]
    plan: Callable[[Shapes], Plan]
    mark: str = ''
    partial: bool = False


def _same(name: str, shape: Shape) -> Entry:
    return Entry(((name, shape),), lambda tensor: tensor)


def _transposed(name: str, shape: Shape) -> Entry:
    return Entry(((name, shape[::-1]),), lambda tensor: tensor.T)


def _from_hwio(name: str, shape: Shape) -> Entry:
    """Convert a convolution from TensorFlow's axes (height, width, in, out)."""
    out, inputs, height, width = shape
    return Entry(((name, (height, width, inputs, out)),), lambda x: x.permute(3, 2, 0, 1))


def _from_bgr(name: str, shape: Shape) -> Entry:
    """Convert a first convolution from BGR, OpenCV's order of colors."""
    return Entry(((name, shape),), lambda tensor: tensor.flip(1))


def _full_lstm(layer: str, shapes: Shapes, names: Sequence[tuple[str, str]],
               transposed: bool) -> Plan:
    """
    Plan a layer with full peepholes from one matrix per gate over [inputs, hidden, cell].

    :param layer: prefix of our names.
    :param names: (name of the weight, name of the bias) of z, i, f and o.
    :param transposed: whether the matrices have their inputs in rows.
    """
    rows, inputs = shapes[f'{layer}.weight_input']
    hidden = rows // 4
    columns = [inputs + hidden] + 3 * [inputs + 2 * hidden]
    sources = tuple((weight, (width, hidden) if transposed else (hidden, width))
                    for (weight, _), width in zip(names, columns, strict=True))

    def part(gates: Sequence[int], start: int, stop: int) -> Entry:
        def build(*matrices: Tensor) -> Tensor:
            return torch.cat([(x.T if transposed else x)[:, start:stop] for x in matrices])
        return Entry(tuple(sources[gate] for gate in gates), build)

    cell = inputs + hidden
    return {
        f'{layer}.weight_input': part((0, 1, 2, 3), 0, inputs),
        f'{layer}.weight_hidden': part((0, 1, 2, 3), inputs, cell),
        f'{layer}.peephole_old': part((1, 2), cell, cell + hidden),
        f'{layer}.peephole_new': part((3,), cell, cell + hidden),
        f'{layer}.bias': Entry(tuple((bias, (hidden,)) for _, bias in names),
                               lambda *biases: torch.cat(biases)),
    }


def _diagonal_lstm(layer: str, shapes: Shapes, prefix: str) -> Plan:
    """
    Plan a layer from TensorFlow's LSTMCell, whose gates are i, z, f, o in one kernel.

    That cell adds 1 to the forget gate at run time; here the bias includes it.
    """
    rows, inputs = shapes[f'{layer}.weight_input']
    hidden = rows // 4
    kernel = (f'{prefix}/kernel', (inputs + hidden, rows))

    def matrix(start: int, stop: int) -> Entry:
        def build(kernel: Tensor) -> Tensor:
            i, z, f, o = kernel[start:stop].T.chunk(4)
            return torch.cat((z, i, f, o))
        return Entry((kernel,), build)

    def bias(values: Tensor) -> Tensor:
        i, z, f, o = values.chunk(4)
        return torch.cat((z, i, f + 1, o))

    peepholes = [(f'{prefix}/w_{gate}_diag', (hidden,)) for gate in 'ifo']
    return {
        f'{layer}.weight_input': matrix(0, inputs),
        f'{layer}.weight_hidden': matrix(inputs, inputs + hidden),
        f'{layer}.peephole_old': Entry(tuple(peepholes[:2]), lambda *w: torch.stack(w)),
        f'{layer}.peephole_new': _same(*peepholes[2]),
        f'{layer}.bias': Entry(((f'{prefix}/bias', (rows,)),), bias),
    }


def re3_pytorch(shapes: Shapes) -> Plan:
    """Plan a Re3Net from the state_dict of re3-pytorch's large network."""
    names = {f'backbone.conv{k}': f'conv.{k - 1}' for k in CONVS}
    names |= {f'skips.{k}.0': f'conv_skip.{k}' for k in range(3)}
    names |= {'fc6': 'fc6', 'output': 'fc_output_out'}
    plan = {f'{ours}.{part}': _same(f'{theirs}.{part}', shapes[f'{ours}.{part}'])
            for ours, theirs in names.items() for part in PARTS}
    for k in range(3):
        plan[f'skips.{k}.1.weight'] = _same(f'prelu_skip.{k}.weight',
                                            shapes[f'skips.{k}.1.weight'])
    for k in (1, 2):
        gates = [(f'lstm{k}.{gate}.weight', f'lstm{k}.{gate}.bias') for gate in GATES]
        plan |= _full_lstm(f'lstm.layer{k}', shapes, gates, transposed=False)
    return plan


def _re3_tensorflow_without_lstm(shapes: Shapes) -> Plan:
    """Plan the layers that both TensorFlow networks share."""
    convs = {f'backbone.conv{k}': f're3/conv{k}' for k in CONVS}
    skips = {f'skips.{k}': f're3/conv{conv}_skip' for k, conv in enumerate((1, 2, 5))}
    convs |= {f'{ours}.0': theirs for ours, theirs in skips.items()}
    linear = {'fc6': 're3/fc6', 'output': 're3/fc_output'}
    plan = {}
    for ours, theirs in convs.items():
        plan[f'{ours}.weight'] = _from_hwio(f'{theirs}/W_conv', shapes[f'{ours}.weight'])
        plan[f'{ours}.bias'] = _same(f'{theirs}/b_conv', shapes[f'{ours}.bias'])
    for ours, theirs in linear.items():
        plan[f'{ours}.weight'] = _transposed(f'{theirs}/W_fc', shapes[f'{ours}.weight'])
        plan[f'{ours}.bias'] = _same(f'{theirs}/b_fc', shapes[f'{ours}.bias'])
    for ours, theirs in skips.items():
        plan[f'{ours}.1.weight'] = _same(f'{theirs}/prelu', shapes[f'{ours}.1.weight'])
    return plan


def re3_tensorflow(shapes: Shapes) -> Plan:
    """Plan a Re3Net from the first public TensorFlow network, with full peepholes."""
    plan = _re3_tensorflow_without_lstm(shapes)
    for k in (1, 2):
        prefix = f're3/lstm{k}/rnn/LSTM'
        gates = [(f'{prefix}/{gate}/weights', f'{prefix}/{gate}/biases') for gate in GATES]
        plan |= _full_lstm(f'lstm.layer{k}', shapes, gates, transposed=True)
    return plan


def re3_tensorflow_small(shapes: Shapes) -> Plan:
    """Plan a Re3Net of the configuration SMALL from the later TensorFlow network."""
    plan = _re3_tensorflow_without_lstm(shapes)
    for k in (1, 2):
        plan |= _diagonal_lstm(f'lstm.layer{k}', shapes, f're3/lstm{k}/rnn/lstm_cell')
    return plan


def _renamed(shapes: Shapes, names: Mapping[str, str], bgr: Sequence[str] = ()) -> Plan:
    """Plan layers that only differ in name, and those in `bgr` in the order of colors."""
    return {f'{ours}.{part}': (_from_bgr if part == 'weight' and ours in bgr else _same)(
                f'{theirs}.{part}', shapes[f'{ours}.{part}'])
            for ours, theirs in names.items() for part in PARTS}


def goturn_held(shapes: Shapes) -> Plan:
    """Plan a GoturnNet from Held's layers; both towers must be equal, being frozen."""
    convs = {f'backbone.conv{k}': f'conv{k}' for k in CONVS}
    linear = {'fc.0': 'fc6-new', 'fc.3': 'fc7-new', 'fc.6': 'fc7-newb', 'output': 'fc8-shapes'}
    plan = _renamed(shapes, convs | linear, bgr=('backbone.conv1',))
    for ours, theirs in convs.items():
        for part in PARTS:
            plan[f'{ours}.{part}'] = _with_twin(
                plan[f'{ours}.{part}'], f'{theirs}_p.{part}')
    return plan


def _with_twin(entry: Entry, twin: str) -> Entry:
    """Add a tensor to an entry that must equal its only one."""
    (name, shape), = entry.sources

    def build(tensor: Tensor, other: Tensor) -> Tensor:
        if not torch.equal(tensor, other):
            raise ValueError(f'{name} and {twin} differ: the towers were trained apart, which '
                             f"Held's network does not do")
        return entry.build(tensor)
    return Entry(((name, shape), (twin, shape)), build)


def goturn_opencv(shapes: Shapes) -> Plan:
    """Plan a GoturnNet of the configuration OPENCV from OpenCV's layers."""
    convs = {f'previous_backbone.conv{k}': f'conv1{k}' for k in CONVS}
    convs |= {f'backbone.conv{k}': f'conv2{k}' for k in CONVS}
    linear = {'fc.0': 'fc6', 'fc.3': 'fc7', 'output': 'fc8'}
    return _renamed(shapes, convs | linear, bgr=('backbone.conv1', 'previous_backbone.conv1'))


def goturn_pygoturn(shapes: Shapes) -> Plan:
    """Plan a GoturnNet of the configuration PYGOTURN from pygoturn's state_dict."""
    convs = {f'backbone.conv{k}': f'convnet.0.{index}'
             for k, index in zip(CONVS, (0, 3, 6, 8, 10), strict=True)}
    linear = {f'fc.{k}': f'classifier.{k}' for k in (0, 3, 6)} | {'output': 'classifier.9'}
    return _renamed(shapes, convs | linear)


def caffenet(shapes: Shapes) -> Plan:
    """Plan the convolutions of a Re3Net or GoturnNet from Caffe's ImageNet CaffeNet."""
    return _renamed(shapes, {f'backbone.conv{k}': f'conv{k}' for k in CONVS},
                    bgr=('backbone.conv1',))


KINDS = {
    're3-pytorch': Kind(Re3Net, re3_pytorch, 'lstm1.block_input.weight'),
    're3-tensorflow': Kind(
        Re3Net, re3_tensorflow, 're3/lstm1/rnn/LSTM/block_input/weights'),
    're3-tensorflow-small': Kind(
        lambda: Re3Net(**SMALL), re3_tensorflow_small, 're3/lstm1/rnn/lstm_cell/kernel'),
    'goturn-held': Kind(GoturnNet, goturn_held, 'fc8-shapes.weight'),
    'goturn-opencv': Kind(lambda: GoturnNet(**OPENCV), goturn_opencv, 'conv21.weight'),
    'goturn-pygoturn': Kind(
        lambda: GoturnNet(**PYGOTURN), goturn_pygoturn, 'classifier.9.weight'),
    're3-from-caffenet': Kind(Re3Net, caffenet, partial=True),
    'goturn-from-caffenet': Kind(GoturnNet, caffenet, partial=True),
}
