# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""OpenVINO on a CPU; it compiles a graph in about a second, each time it is loaded."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import ctypes
import functools
import os
from pathlib import Path
from queue import SimpleQueue
import sys
from typing import Any, TypeVar

import numpy as np
import openvino
from re3_core.crops import crop_arrays
from re3_core.engines.base import Device, EngineError, Output
from re3_core.engines.files import METADATA, ModelFile
from re3_core.engines.graph_engine import Graph, GraphEngine, Values
from re3_core.engines.openvino_passes import compress_matrices, remove_idle_quantization
from re3_core.model import Crops, State

Result = TypeVar('Result')
HINTS = {'float32': 'f32', 'bfloat16': 'bf16'}


class OpenVinoEngine(GraphEngine):
    """
    Run an exported graph with OpenVINO on the CPU.

    :param file: of the model, ONNX or OpenVINO's own; in int8 if `precision` is.
    :param precision: 'float32', 'bfloat16' on CPUs that have it, or 'int8'. With int8 the rest of
        the network is computed in bfloat16, if the CPU has it, and several targets in two
        halves at a time, whose threads do not wait for each other.
    :param threads: CPU threads; 0: as many as OpenVINO chooses.
    """

    name = 'openvino'
    precisions = ('float32', 'bfloat16', 'int8')
    suffixes = ('.xml', '.onnx')

    def __init__(self, file: ModelFile, precision: str, threads: int = 0,
                 device: str = 'cpu') -> None:
        if device not in ('auto', 'cpu'):
            raise EngineError(f'openvino runs on the CPU here, not on {device}')
        if precision == 'bfloat16' and not has_bfloat16():
            raise EngineError('this CPU has no bfloat16; use float32')
        self.precision = precision
        self.device = Device('cpu')
        hint = HINTS[self.automatic_precision() if precision == 'int8' else precision]
        self._config: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': hint, 'PERFORMANCE_HINT': 'LATENCY',
            # Pinned threads wait for their core while another process has it.
            'ENABLE_CPU_PINNING': False}
        if threads:
            self._config['INFERENCE_NUM_THREADS'] = threads
        halves = precision == 'int8' and (threads or os.cpu_count() or 1) > 1
        self._second_half = ThreadPoolExecutor(1) if halves else None
        super().__init__(file)
        _return_memory()

    @staticmethod
    def automatic_precision() -> str:
        """Return the precision to use where the file is not in int8."""
        return 'bfloat16' if has_bfloat16() else 'float32'

    def _load(self, path: Path) -> Graph:
        model = core().read_model(path)
        if self.precision == 'int8':
            remove_idle_quantization(model)
            compress_matrices(model)
        graph = self._compile(model, streams=2 if self._second_half else 1)
        if self.precision != 'int8':
            return graph
        # For the step of one target, the most frequent, a graph of fixed shape, which takes a
        # fifth less. In int8 there is memory for a second one.
        model.reshape({name: [1, *shape] for name, shape in graph.inputs.items()})
        single = self._compile(model)

        def run(values: Values) -> Values:
            return (single if len(values['current']) == 1 else graph).run(values)
        return graph._replace(run=run)

    def crop(self, frames: Sequence[np.ndarray], regions: np.ndarray, size: int) -> np.ndarray:
        """Return crops, cut by OpenCV."""
        crops = np.empty((len(frames), size, size, 3), np.uint8)
        self._in_halves(len(frames), lambda part: crop_arrays(
            frames[part], regions[part], size, crops[part]))
        return crops.transpose(0, 3, 1, 2)

    def step(self, crops: Crops, states: Sequence[State]) -> Output:
        """Run a further frame of N targets."""
        step = super().step
        return Output.join(self._in_halves(len(states), lambda part: step(
            Crops(crops.previous[part], crops.current[part]), states[part])))

    def _in_halves(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """Call `work` with parts of `count` targets, in two threads if that is faster."""
        if count < 2 or self._second_half is None:
            return [work(slice(count))]
        second = self._second_half.submit(work, slice(count // 2, count))
        return [work(slice(count // 2)), second.result()]

    def _compile(self, model: openvino.Model, streams: int = 1) -> Graph:
        compiled = core().compile_model(
            model, 'CPU', {**self._config, 'NUM_STREAMS': str(streams)})
        requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            requests.put(compiled.create_infer_request())
        # A port may have several names, among them that of the graph.
        inputs = {name: tuple(size.get_length() for size in list(port.get_partial_shape())[1:])
                  for port in compiled.inputs for name in port.get_names()}
        outputs = [(name, index) for index, port in enumerate(compiled.outputs)
                   for name in port.get_names()]

        def run(values: Values) -> Values:
            request = requests.get()
            try:
                # Inputs without a copy; outputs are copied: the request uses them again.
                results = request.infer(dict(values), share_inputs=True)
            finally:
                requests.put(request)
            return {name: results[index] for name, index in outputs}
        return Graph(inputs, _metadata(model), run)


@functools.cache
def core() -> openvino.Core:
    """
    Return OpenVINO's Core, the only one of the process, which is never released.

    Its CPU plugin gives the thread that loads it an alternate signal stack, and frees that when
    the plugin is released, in any thread. The next signal with a handler in
    Python, such as Ctrl-C, would then end the process with a segmentation fault.
    """
    return openvino.Core()


def _return_memory() -> None:
    """Return to the system what compilation took and freed: tens of MB, which glibc keeps."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform == 'linux' else None
    if trim:
        trim(0)


def has_bfloat16() -> bool:
    """Return whether the CPU computes in bfloat16."""
    return 'BF16' in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def convert(source: Path, folder: Path) -> Path:
    """Write an ONNX graph as OpenVINO's `.xml` and `.bin`; return the former's path."""
    model = core().read_model(source)
    model.set_rt_info(_metadata(model) or '', [METADATA])
    path = folder / f'{source.stem}.xml'
    openvino.save_model(model, path)
    return path


def _metadata(model: openvino.Model) -> str | None:
    """Return the text under METADATA of a model read from ONNX or from OpenVINO's files."""
    for keys in (['framework', METADATA], [METADATA]):
        if model.has_rt_info(keys):
            return str(model.get_rt_info(keys).astype(str))
    return None
