# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Export a model for other engines: `python -m re3_core.export --engine onnx --output DIR`.

The folder holds what `re3_core.engines.files` describes, and is used as `Tracker(weights=DIR)`,
also where torch is not installed. Needs the extras `torch` and `export`. With `--packaged` the
graphs of packaged weights are made again, beside them.
"""

import argparse
from collections.abc import Sequence
import hashlib
from io import BytesIO
import json
from pathlib import Path
import shutil
import sys
import tempfile
from typing import Any, cast
import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
from re3_core.engines.base import EngineError
from re3_core.engines.files import (
    file_name,
    FORMAT,
    manifest_path,
    METADATA,
    ModelFile,
    write_manifest,
)
from re3_core.io.files import atomic_write
from re3_core.model import available_models, Crops, DEFAULT_MODEL, ModelInfo, State
from re3_core.networks import TrackerNetwork
from re3_core.weights import load_network, weights_path
import torch
from torch import nn, Tensor

# Read by TensorRT 8.6 and onnxruntime 1.16; the file format (IR) goes with it.
OPSET, IR_VERSION = 17, 8
EXPORT_VERSION = 2      # to be raised when the graphs change: cached ones are exported again
# Precisions by engine.
EXPORTS = {'onnx': ('float32', 'float16', 'int8'), 'openvino': ('float32',),
           'tensorrt': ('float32', 'float16', 'int8')}
# Initializers of fewer values are not stored in float16: that saves nothing.
MIN_COMPRESSED = 256
# Types of tensors in weights files that graphs refer to.
DTYPES = {'F16': np.float16, 'F32': np.float32}
# The operators of the graphs that TensorRT 8.6 supports (onnx-tensorrt, docs/operators.md).
TENSORRT_OPERATORS = frozenset((
    'Add', 'AveragePool', 'BatchNormalization', 'Cast', 'Clip', 'Concat', 'Constant',
    'ConstantOfShape', 'Conv', 'DequantizeLinear', 'Div', 'Equal', 'Exp', 'Expand', 'Flatten',
    'Floor', 'Gather', 'Gemm', 'Greater', 'GridSample', 'Identity', 'If', 'LRN', 'Less', 'Log',
    'MatMul', 'Max', 'MaxPool', 'Min', 'Mul', 'Neg', 'PRelu', 'Pad', 'Pow', 'QuantizeLinear',
    'Range', 'Reciprocal', 'ReduceL2', 'ReduceMax', 'ReduceMean', 'ReduceSum', 'Relu', 'Reshape',
    'Resize', 'Shape', 'Sigmoid', 'Slice', 'Softmax', 'Split', 'Sqrt', 'Squeeze', 'Sub', 'Tanh',
    'Transpose', 'Unsqueeze', 'Where', 'DepthToSpace'))


class _Step(nn.Module):
    """One time step, which also returns the template of its previous crops."""

    def __init__(self, network: TrackerNetwork, crops: int, references: int) -> None:
        super().__init__()
        self.network, self.crops, self.references = network, crops, references

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        crops, state = [_planes(crop) for crop in inputs[:self.crops]], inputs[self.crops:]
        features = self.network.features(Crops(crops[0], crops[-1]))
        embedding = self.network.encode(features, state[:self.references])
        prediction, memory = self.network.recur(embedding, state[self.references:])
        return (prediction.boxes, torch.sigmoid(prediction.logits),
                *self.network.reference(features), *memory)


def _planes(crops: Tensor) -> Tensor:
    """Return uint8 crops (N, S, S, 3) as float (N, 3, S, S), as networks take them."""
    return crops.float().permute(0, 3, 1, 2)    # in this order for TensorRT


def weights_key(network: TrackerNetwork) -> str:
    """Return a hash of a network's weights and configuration, and of the version of exports."""
    digest = hashlib.sha256(json.dumps(
        [EXPORT_VERSION, FORMAT, network.name, network.config, ModelInfo.of(network).to_dict()],
        sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def export_graph(network: TrackerNetwork, folder: Path, precision: str = 'float32') -> ModelFile:
    """
    Write the graph of a network's time step as an ONNX file.

    :param precision: 'float32': the weights keep their values (and are stored in float16 where
        that loses nothing, as with packaged weights); 'float16': they are rounded to it. The
        arithmetic is chosen when an engine loads the file.
    """
    network = network.float().eval()
    crop_inputs = _crop_inputs(network)
    crops = list(crop_inputs.values())
    state = _example_state(network, Crops(crops[0], crops[-1]))
    references = [f'reference_{index}' for index in range(len(state.reference))]
    memories = [f'memory_{index}' for index in range(len(state.memory))]
    model = _to_onnx(
        _Step(network, len(crops), len(references)), (*crops, *state.reference, *state.memory),
        [*crop_inputs, *references, *memories],
        ['boxes', 'confidences', *(f'next_{name}' for name in (*references, *memories))])
    compress_weights(model, lossless=precision == 'float32')
    path = folder / file_name(network.name, precision)
    save_model(model, path, json.dumps({
        'format': FORMAT, 'model': ModelInfo.of(network).to_dict(),
        'weights': weights_key(network), 'config': network.config, 'precision': precision}))
    return ModelFile(network.name, precision, path)


def _crop_inputs(network: TrackerNetwork) -> dict[str, Tensor]:
    """Return examples of the step's crops by input name; an empty previous crop is none."""
    specs = {'previous': network.previous_crop, 'current': network.current_crop}
    return {name: torch.zeros(2, spec.size, spec.size, 3, dtype=torch.uint8)
            for name, spec in specs.items() if spec.size}


@torch.no_grad()
def _example_state(network: TrackerNetwork, crops: Crops) -> State:
    features = network.features(Crops(*(crop.permute(0, 3, 1, 2) for crop in crops)))
    reference = network.reference(features)
    return State(reference, network.zero_memory(network.encode(features, reference)))


def _to_onnx(module: nn.Module, inputs: tuple, input_names: list[str],
             output_names: list[str]) -> onnx.ModelProto:
    buffer = BytesIO()
    axes = {name: {0: 'targets'} for name in (*input_names, *output_names)}
    with warnings.catch_warnings():
        # The exporter that uses no further packages; constants in shapes are meant.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module.eval(), inputs, cast(Any, buffer), input_names=input_names,
            output_names=output_names, dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            # PRESERVE, in evaluation mode: normalizations are not fused into the weights, whose
            # values float16 would no longer hold; engines fuse them when they load the file.
            training=torch.onnx.TrainingMode.PRESERVE)
    return onnx.load_from_string(buffer.getvalue())


def compress_weights(model: onnx.ModelProto, lossless: bool) -> None:
    """Store float32 weights as float16 with a Cast: those that keep their values, or all."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_COMPRESSED:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over='ignore'):
            half = values.astype(np.float16)
        if not np.isfinite(half).all() or (lossless and (half != values).any()):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f'{name}_float16'))
        casts.append(helper.make_node('Cast', [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def save_model(model: onnx.ModelProto, path: Path, metadata: str) -> None:
    """Check a model and write it with its metadata, atomically."""
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METADATA: metadata})
    onnx.checker.check_model(model)
    with atomic_write(path) as part:
        onnx.save(model, part)


def refer_to_weights(model: onnx.ModelProto, weights: Path) -> None:
    """
    Replace the values of initializers by references into a weights file (ONNX external data).

    Those remain that the file does not have, in this order or transposed.

    :param weights: a safetensors file, in the folder where the model will be.
    """
    places = _tensor_places(weights)
    transposes = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size < MIN_COMPRESSED:
            continue
        if place := places.get(_content_key(values)):
            _refer(tensor, weights.name, place)
        elif values.ndim == 2 and (place := places.get(_content_key(values.T))):
            name, tensor.name = tensor.name, f'{tensor.name}_transposed'
            tensor.dims[:] = values.T.shape
            _refer(tensor, weights.name, place)
            transposes.append(helper.make_node('Transpose', [tensor.name], [name], perm=[1, 0]))
    nodes = [*transposes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _tensor_places(weights: Path) -> dict[bytes, tuple[int, int]]:
    """Return offset and length of the tensors in a safetensors file, by `_content_key`."""
    content = weights.read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    places = {}
    for name, tensor in json.loads(content[8:start]).items():
        if name != '__metadata__' and tensor['dtype'] in DTYPES:
            first, last = tensor['data_offsets']
            values = np.frombuffer(content[start + first:start + last], DTYPES[tensor['dtype']])
            places[_content_key(values.reshape(tensor['shape']))] = start + first, last - first
    return places


def _content_key(values: np.ndarray) -> bytes:
    return hashlib.sha256(
        f'{values.dtype}{values.shape}'.encode() + values.tobytes()).digest()


def _refer(tensor: TensorProto, file: str, place: tuple[int, int]) -> None:
    offset, length = place
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (('location', file), ('offset', offset), ('length', length)):
        tensor.external_data.add(key=key, value=str(value))


def export_packaged(model: str | None, videos: Sequence[str]) -> list[Path]:
    """
    Write the graphs of packaged weights in float32 and int8 beside them, with a manifest.

    :param videos: to calibrate int8 with.
    :return: the paths of the graphs.
    """
    weights = weights_path(model or DEFAULT_MODEL)
    network = load_network(weights=weights)
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_graph(network, Path(temporary))
        paths = []
        for source in (
                exported.path,
                export_int8(exported, Path(temporary), videos, network.float_modules)):
            graph = onnx.load(source)
            refer_to_weights(graph, weights)
            paths.append(weights.with_name(source.name))
            with atomic_write(paths[-1]) as part:
                onnx.save(graph, part)
            onnx.checker.check_model(paths[-1])
    write_manifest(manifest_path(weights.parent, network.name), [weights, *paths])
    return paths


def unsupported_by_tensorrt(path: Path) -> list[str]:
    """Return the operators of an ONNX file that are not in TENSORRT_OPERATORS."""
    model = onnx.load(path)
    return sorted({node.op_type for node in model.graph.node} - TENSORRT_OPERATORS)


def export_int8(source: ModelFile, folder: Path, videos: Sequence[str],
                exclude: Sequence[str] = (), symmetric: bool = False) -> Path:
    """
    Write the graph of a model in int8; return its path.

    :param source: the graph in float32.
    :param videos: to calibrate with: files, or folders of images.
    :param exclude: parts of the names of weights that remain float32.
    :param symmetric: as TensorRT needs.
    """
    from re3_core.io.video import open_source
    from re3_core.quantize import calibration_inputs, quantize_graph
    inputs = calibration_inputs(source, (open_source(video) for video in videos))
    return quantize_graph(source, folder, inputs, exclude, symmetric)


def export(network: TrackerNetwork, engine: str, precision: str, folder: Path,
           videos: Sequence[str] = (), exclude: Sequence[str] = ()) -> Path:
    """
    Write the graph of a network for an engine; return its path.

    :param engine: a key of EXPORTS.
    :param precision: one of EXPORTS[engine].
    :param videos: for int8, see `export_int8`.
    :raises EngineError: for a precision that there is not, or without what it needs.
    """
    if precision not in EXPORTS[engine]:
        raise EngineError(f'{engine} is exported in {", ".join(EXPORTS[engine])}, '
                          f'not in {precision}')
    if precision == 'int8' and not videos:
        raise EngineError('int8 is calibrated on videos; name some with --calibration')
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        target = folder if engine == 'onnx' else Path(temporary)
        if precision == 'int8':
            path = export_int8(export_graph(network, Path(temporary)), target, videos,
                               (*network.float_modules, *exclude), engine == 'tensorrt')
        else:
            rounded = (engine, precision) == ('onnx', 'float16')
            path = export_graph(network, target, 'float16' if rounded else 'float32').path
        if engine == 'openvino':
            from re3_core.engines.openvino_engine import convert
            return convert(path, folder)
        if engine == 'tensorrt':
            path = Path(shutil.copy(path, folder))
            compile_with_tensorrt(network.name, precision, folder)
    return path


def compile_with_tensorrt(model: str, precision: str, folder: Path) -> None:
    """Compile the graph in a folder with TensorRT on this machine, into the cache."""
    from re3_core.tracker import Tracker
    tracker = Tracker(model, weights=folder, engine='tensorrt', precision=precision)
    frame = np.zeros((240, 320, 3), np.uint8)
    tracker.init('target', frame, (100, 100, 160, 160))
    tracker.update(frame)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m re3_core.export', description='Export a model for other engines.')
    parser.add_argument('--model', choices=available_models(),
                        help='default: that of the weights file, or the packaged one')
    parser.add_argument('--weights', help='weights file; default: the packaged one')
    parser.add_argument('--engine', default='onnx', choices=tuple(EXPORTS),
                        help='onnx serves all engines (default: %(default)s)')
    parser.add_argument('--precision', default='float32', help='default: %(default)s')
    parser.add_argument('--calibration', nargs='+', default=[], metavar='VIDEO',
                        help='videos or folders of images that int8 is calibrated on')
    parser.add_argument('--exclude', nargs='+', default=[], metavar='NAME',
                        help='further parts of the names of weights that remain float32 in int8')
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument('--output', type=Path, metavar='DIR')
    place.add_argument('--packaged', action='store_true',
                       help='make the graphs of packaged weights again, in float32 and int8')
    options = parser.parse_args(arguments)
    try:
        if options.packaged:
            paths = export_packaged(options.model, options.calibration)
        else:
            network = load_network(options.model, options.weights)
            paths = [export(network, options.engine, options.precision, options.output,
                            options.calibration, options.exclude)]
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for path in paths:
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
