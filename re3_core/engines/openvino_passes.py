# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Changes of quantized graphs with which OpenVINO's CPU plugin is faster and takes less memory.

They are made when a graph is loaded, since other engines need it as it is in the file.
"""

from collections.abc import Iterator

import numpy as np
import openvino
from openvino import opset13 as opset

# Matrices of fewer elements are not compressed: that saves nothing.
MIN_MATRIX = 1 << 14
# Operators that compute in int8, or pass int8 on to one that does.
INT8_READERS = ('Convolution', 'MatMul', 'Concat', 'Interpolate')


def compress_matrices(model: openvino.Model) -> None:
    """
    Store the constant matrices of products in int8, with a scale for every output.

    For few targets most of the time of a product is that of reading its matrix; it is computed
    in floating point all the same.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != 'MatMul':
            continue
        attributes = node.get_attributes()
        matrix = _constant(node.input_value(1))
        if matrix is None or matrix.ndim != 2 or matrix.size < MIN_MATRIX:
            continue
        rows = matrix if attributes['transpose_b'] else matrix.T
        scales = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12) / 127
        weights = opset.multiply(
            opset.convert(opset.constant(np.round(rows / scales).astype(np.int8)), 'f32'),
            opset.constant(scales))
        product = opset.matmul(node.input_value(0), weights, attributes['transpose_a'], True)
        product.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(product.output(0))
    model.validate_nodes_and_infer_types()


def _constant(output: openvino.Output) -> np.ndarray | None:
    """Return the float32 value of an output that does not depend on inputs, else None."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind == 'Constant':
        return np.asarray(node.data, np.float32)
    if kind not in ('Convert', 'Transpose'):
        return None
    value = _constant(node.input_value(0))
    if value is None or kind == 'Convert':
        return value
    return value.transpose(node.input_value(1).get_node().data)


def remove_idle_quantization(model: openvino.Model) -> None:
    """
    Remove the quantization of values that only floating-point operators read.

    ONNX Runtime needs it to compute the convolution before in int8; OpenVINO does not, and fuses
    that with what follows.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != 'FakeQuantize' or _constant(node.input_value(0)) is not None:
            continue
        readers = list(_readers(node.output(0)))
        if not any(reader.get_node().get_type_name() in INT8_READERS for reader in readers):
            for reader in readers:
                reader.replace_source_output(node.input_value(0))
    model.validate_nodes_and_infer_types()


def _readers(output: openvino.Output) -> Iterator[openvino.Input]:
    """Return the inputs that read a quantized value, after its dequantization."""
    for reader in list(output.get_target_inputs()):
        node = reader.get_node()
        if node.get_type_name() in ('Convert', 'Subtract'):
            yield from _readers(node.output(0))
        elif node.get_type_name() == 'Multiply':        # the last step of dequantization
            yield from list(node.output(0).get_target_inputs())
        else:
            yield reader
