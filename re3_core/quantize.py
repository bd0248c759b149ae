# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Exported graphs in int8: post-training quantization, calibrated by tracking in videos.

Weights and activations of convolutions are quantized by ONNX Runtime's quantizer; a graph keeps
QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime, OpenVINO and TensorRT read. Matrix
products remain in floating point. Videos need no annotation: the ranges of activations are
calibrated on the crops of a tracker on any target.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
import logging
from pathlib import Path
import tempfile
from typing import Any

import cv2
import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    quantize_static,
    QuantType,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from re3_core.engines.files import file_name, METADATA, ModelFile
from re3_core.engines.onnxruntime_engine import OnnxRuntimeEngine
from re3_core.tracker import Tracker

# Targets per video, frames after which they are chosen anew, frames in all.
TARGETS, SHOT, MAX_FRAMES = 6, 32, 320
# Batches that are kept, evenly spread over the tracked frames, and their rows.
BATCHES, ROWS = 128, 4
# Sides of the tracked boxes as parts of the frame's smaller side.
SIDES = (.1, .4)
# With Relu, the range of a convolution before one begins at zero, and nothing lies in between.
QUANTIZED = ['Conv', 'Relu']
IMAGE_CHANNELS = 3

Values = dict[str, np.ndarray]


class _Reader(CalibrationDataReader):
    """Batches of inputs, one after the other."""

    def __init__(self, batches: Sequence[Values]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Values | None:
        return next(self._batches, None)


class _RecordingEngine(OnnxRuntimeEngine):
    """Keeps the inputs of the graph."""

    def __init__(self, file: ModelFile) -> None:
        super().__init__(file, 'float32')
        self.recorded: list[Values] = []

    def _run(self, inputs: Any) -> Any:
        self.recorded.append({name: inputs[name] for name in self._graph.inputs})
        return super()._run(inputs)


def calibration_inputs(file: ModelFile, videos: Iterable[Iterable[np.ndarray]]) -> list[Values]:
    """
    Track textured places in videos; return the inputs of the graph.

    :param file: the model's graph in float32.
    :param videos: frames, each H x W x 3 uint8 RGB.
    """
    engine = _RecordingEngine(file)
    rng = np.random.default_rng(0)
    for frames in videos:
        tracker = Tracker(engine=engine)
        for index, frame in enumerate(frames):
            if index == MAX_FRAMES:
                break
            if index % SHOT:
                tracker.update(frame)
                continue
            tracker.reset()
            for target, box in enumerate(textured_boxes(frame, TARGETS, rng)):
                tracker.init(str(target), frame, box)
    return _equal_batches(_spread(engine.recorded, BATCHES), ROWS)


def textured_boxes(frame: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `count` boxes (N, 4) `xyxy` around corners in a frame."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    side = min(gray.shape)
    corners = cv2.goodFeaturesToTrack(gray, count, .01, side / 6)
    centers = np.zeros((0, 2)) if corners is None else corners.reshape(-1, 2)
    low, high = np.log(SIDES)
    sizes = side * np.exp(rng.uniform(low, high, (len(centers), 2)))
    return np.concatenate((centers - sizes / 2, centers + sizes / 2), 1)


def _spread(batches: list[Values], count: int) -> list[Values]:
    rows = np.linspace(0, len(batches) - 1, min(count, len(batches))).astype(int)
    return [batches[row] for row in rows]


def _equal_batches(batches: list[Values], size: int) -> list[Values]:
    """Return the same rows in batches of `size`, without the remainder, if there is any batch."""
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    count = len(next(iter(joined.values())))
    return [{name: values[first:first + size] for name, values in joined.items()}
            for first in range(0, max(count - size, 0) + 1, size)]


def quantize_graph(source: ModelFile, folder: Path, inputs: list[Values],
                   exclude: Sequence[str] = (), symmetric: bool = False) -> Path:
    """
    Write the graph of a model in int8; return its path.

    :param source: the graph in float32.
    :param inputs: of `calibration_inputs`.
    :param exclude: parts of the names of weights; operators with such a weight remain float32.
        So do convolutions of images, which OpenVINO computes otherwise than the graph says.
    :param symmetric: activations around zero, which TensorRT needs; else finer, uint8.
    """
    from re3_core.export import compress_weights, save_model
    metadata = {item.key: item.value for item in onnx.load(source.path).metadata_props}[METADATA]
    with tempfile.TemporaryDirectory() as temporary:
        prepared, quantized = Path(temporary, 'prepared.onnx'), Path(temporary, 'int8.onnx')
        # Folds the casts of compressed weights, and fuses normalizations.
        with _errors_only():
            quant_pre_process(source.path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared, quantized, _Reader(inputs), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTIZED, per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=_excluded_nodes(onnx.load(prepared), exclude),
                extra_options={'ActivationSymmetric': symmetric, 'WeightSymmetric': True,
                               'QuantizeBias': not symmetric})
        model = onnx.load(quantized)
    compress_weights(model, lossless=False)
    path = folder / file_name(source.model, 'int8')
    save_model(model, path, metadata.replace('"precision": "float32"', '"precision": "int8"'))
    return path


@contextmanager
def _errors_only() -> Iterator[None]:
    """Leave out the warnings and hints that the quantizer logs with the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        root.setLevel(level)


def _excluded_nodes(model: onnx.ModelProto, parts: Sequence[str]) -> list[str]:
    """Return the nodes that remain float32: convolutions of images, and those named by `parts`."""
    image_weights = {weight.name for weight in model.graph.initializer
                     if len(weight.dims) == 4 and weight.dims[1] == IMAGE_CHANNELS}
    return [node.name for node in model.graph.node
            if image_weights & set(node.input)
            or any(part in name for part in parts for name in (*node.input, node.name))]
