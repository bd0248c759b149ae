# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ONNX Runtime: on a CPU, and with TensorRT on an NVIDIA GPU.

TensorRT is used through ONNX Runtime's execution provider, which compiles the graph, keeps the
compiled one, and runs the operators on the GPU.
"""

from pathlib import Path

from onnxruntime import get_available_providers, InferenceSession, SessionOptions
from re3_core.engines.base import Device, EngineError
from re3_core.engines.files import cache_folder, METADATA, ModelFile
from re3_core.engines.graph_engine import Graph, GraphEngine, Values

# Targets per step that TensorRT optimizes for, and at most.
TENSORRT_BATCH, TENSORRT_MAX_BATCH = 8, 256


class OnnxRuntimeEngine(GraphEngine):
    """
    Run an exported graph with ONNX Runtime on the CPU.

    :param file: of the model; in int8 if `precision` is.
    :param precision: 'float32' or 'int8'.
    :param threads: CPU threads; 0: one per core.
    """

    name = 'onnxruntime'
    precisions: tuple[str, ...] = ('float32', 'int8')
    suffixes = ('.onnx',)

    def __init__(self, file: ModelFile, precision: str, threads: int = 0,
                 device: str = 'cpu') -> None:
        self.precision = precision
        self.device = self._device(device)
        self._threads = threads
        super().__init__(file)

    @staticmethod
    def automatic_precision() -> str:
        """Return the precision to use where the file is not in int8."""
        return 'float32'

    def _device(self, device: str) -> Device:
        if device not in ('auto', 'cpu'):
            raise EngineError(f'{self.name} runs on the CPU, not on {device}')
        return Device('cpu')

    def _providers(self, inputs: dict[str, tuple[int, ...]]) -> list:
        return ['CPUExecutionProvider']

    def _load(self, path: Path) -> Graph:
        options = SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the cores from other processes.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        probe = InferenceSession(path, options, providers=['CPUExecutionProvider'])
        inputs = {item.name: tuple(item.shape[1:]) for item in probe.get_inputs()}
        providers = self._providers(inputs)
        session = probe if providers == probe.get_providers() else InferenceSession(
            path, options, providers=providers)
        names = [item.name for item in session.get_outputs()]

        def run(values: Values) -> Values:
            return dict(zip(names, session.run(names, dict(values)), strict=True))
        metadata = session.get_modelmeta().custom_metadata_map.get(METADATA)
        return Graph(inputs, metadata, run)


class TensorRTEngine(OnnxRuntimeEngine):
    """
    Run an exported graph with TensorRT, by ONNX Runtime's execution provider.

    It is compiled once for a GPU and version, and kept in the cache.

    :param precision: 'float32', 'float16' or 'int8' (a file quantized symmetrically).
    """

    name = 'tensorrt'
    precisions = ('float32', 'float16', 'int8')

    @staticmethod
    def automatic_precision() -> str:
        """Return the precision to use where the file is not in int8."""
        return 'float16'

    def _device(self, device: str) -> Device:
        if 'TensorrtExecutionProvider' not in get_available_providers():
            raise EngineError('tensorrt needs a build of onnxruntime with TensorRT, such as '
                              'onnxruntime-gpu, and the libraries of TensorRT')
        kind, _, number = device.partition(':')
        if kind not in ('auto', 'cuda') or (number and not number.isdigit()):
            raise EngineError(f'tensorrt runs on cuda or cuda:N, not on {device}')
        return Device('cuda', int(number or 0))

    def _providers(self, inputs: dict[str, tuple[int, ...]]) -> list:
        def shapes(count: int) -> str:
            return ','.join(f'{name}:{"x".join(map(str, (count, *shape)))}'
                            for name, shape in inputs.items())
        folder = cache_folder() / 'tensorrt'
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(f'the cache folder {folder} cannot be written ({error.strerror}); '
                              'set RE3_CACHE to a folder that can') from None
        index = str(self.device.index)
        tensorrt = {
            'device_id': index, 'trt_engine_cache_enable': '1',
            'trt_engine_cache_path': str(folder), 'trt_timing_cache_enable': '1',
            'trt_timing_cache_path': str(folder),
            'trt_fp16_enable': str(int(self.precision != 'float32')),
            'trt_int8_enable': str(int(self.precision == 'int8')),
            'trt_profile_min_shapes': shapes(1), 'trt_profile_opt_shapes': shapes(TENSORRT_BATCH),
            'trt_profile_max_shapes': shapes(TENSORRT_MAX_BATCH)}
        return [('TensorrtExecutionProvider', tensorrt),
                ('CUDAExecutionProvider', {'device_id': index}), 'CPUExecutionProvider']


