# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What is changed in graphs for OpenVINO: smaller and less quantized, with the same output."""

import numpy as np
import pytest
from re3_core.model import DEFAULT_MODEL
from re3_core.networks import GoturnLiteNet
from re3_core.weights import weights_path
import torch

openvino = pytest.importorskip('openvino')

from re3_core.engines import openvino_passes  # noqa: E402 (needs OpenVINO)
from re3_core.engines.openvino_engine import core  # noqa: E402


def graph(precision='int8'):
    path = weights_path(DEFAULT_MODEL)
    return core().read_model(path.with_name(f'{DEFAULT_MODEL}.{precision}.onnx'))


def count(model, kind):
    return sum(node.get_type_name() == kind for node in model.get_ops())


def constant_bytes(model):
    return sum(node.get_byte_size() for node in model.get_ops()
               if node.get_type_name() == 'Constant')


def outputs_of(model, targets=2):
    """Return the outputs for the same input as for all models, in float32."""
    rng = np.random.default_rng(0)
    request = core().compile_model(
        model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}).create_infer_request()
    inputs = {}
    for port in model.inputs:
        shape = (targets, *(size.get_length() for size in list(port.get_partial_shape())[1:]))
        inputs[port.get_any_name()] = rng.integers(0, 256, shape, np.uint8) \
            if port.get_element_type() == openvino.Type.u8 \
            else rng.normal(0, .1, shape).astype(np.float32)
    request.infer(inputs)
    return {port.get_any_name(): request.get_tensor(port).data.copy() for port in model.outputs}


def assert_close(changed, original, boxes, rest):
    """Compare boxes, and confidence, memory and template by their mean difference."""
    assert changed.keys() == original.keys()
    np.testing.assert_allclose(changed['boxes'], original['boxes'], rtol=0, atol=boxes)
    for name in original:
        assert np.abs(changed[name] - original[name]).mean() < rest, name


def test_compressed_matrices_take_a_quarter_and_compute_nearly_the_same(tmp_path):
    pytest.importorskip('onnx')
    from re3_core.export import export_graph
    torch.manual_seed(0)
    network = GoturnLiteNet(width=.25, embedding=8, fc=(256,))     # most of it is one matrix
    path = export_graph(network, tmp_path).path
    original, compressed = core().read_model(path), core().read_model(path)
    openvino_passes.compress_matrices(compressed)
    assert count(compressed, 'MatMul') == count(original, 'MatMul')
    assert constant_bytes(compressed) < .3 * constant_bytes(original)
    assert_close(outputs_of(compressed), outputs_of(original), boxes=.01, rest=.04)


def test_quantization_is_removed_only_where_floating_point_operators_read():
    original, changed = graph(), graph()
    openvino_passes.remove_idle_quantization(changed)
    removed = count(original, 'FakeQuantize') - count(changed, 'FakeQuantize')
    # After two convolutions of the neck, those of the two skip connections, of the fused maps (2)
    # and of the memory's input, two convolutions of each LSTM layer (the peepholes have none), and
    # four of the head. The backbone keeps its own.
    assert removed == 2 + 2 + 2 + 1 + 2 * 2 + 4
    assert_close(outputs_of(changed), outputs_of(original), boxes=.01, rest=.04)


def test_graphs_without_quantization_are_left_as_they_are():
    original, changed = graph('float32'), graph('float32')
    openvino_passes.remove_idle_quantization(changed)
    assert len(changed.get_ops()) == len(original.get_ops())
