# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Engines that run a network: torch, ONNX Runtime, OpenVINO and TensorRT, and the choice of one.

Each needs only its own package; torch is imported for its engine alone, and to export a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
import logging
import os
from pathlib import Path
import platform
from typing import Any, TYPE_CHECKING

from re3_core.engines.base import Engine, EngineError, EngineFailure, Output, PRECISIONS
from re3_core.engines.files import cached_folder, find_file, ModelFile, packaged_file
from re3_core.io.files import printable
from re3_core.model import DEFAULT_MODEL

if TYPE_CHECKING:
    from re3_core.engines.graph_engine import GraphEngine
    from re3_core.networks import TrackerNetwork

ENGINES = ('auto', 'torch', 'onnxruntime', 'openvino', 'tensorrt')
# The package that an engine needs.
PACKAGES = {'torch': 'torch', 'onnxruntime': 'onnxruntime', 'openvino': 'openvino',
            'tensorrt': 'onnxruntime'}
PACKAGED = Path(__file__).parent.parent / 'weights'

logger = logging.getLogger('re3_core')

__all__ = ['Engine', 'EngineError', 'EngineFailure', 'ENGINES', 'make_engine', 'Output',
           'PRECISIONS', 'Source']


@dataclass(frozen=True)
class Source:
    """
    The network that an engine runs.

    `weights` is a weights file, or a folder of exported graphs; without, the packaged ones of
    `model` are used, or `network`, which excludes both.
    """

    model: str | None = None
    weights: str | os.PathLike[str] | None = None
    network: 'TrackerNetwork | None' = None

    @property
    def exported(self) -> Path | None:
        """Return the folder of exported graphs, if the source is one."""
        if self.network is None and self.weights and Path(self.weights).is_dir():
            return Path(self.weights)
        return None


def make_engine(engine: str, source: Source, device: str = 'auto', precision: str = 'auto',
                threads: int = 0, exclude: Sequence[str] = ()) -> tuple[Engine, str]:
    """
    Return an engine that runs a network, and the reason why it was chosen.

    'auto' takes the first that can be used of TensorRT (with an NVIDIA GPU), OpenVINO (on x86),
    ONNX Runtime and torch; for a `network` or a weights file always torch. Where the model has not
    been exported yet, that is done once, into the cache, if torch and onnx are installed.

    :param engine: one of ENGINES.
    :param precision: one of PRECISIONS; 'auto': int8 where exported graphs in int8 are there,
        else bfloat16 or float16 if the engine is fast in it, and float32 with torch.
    :param threads: CPU threads; 0: as the engine chooses.
    :param exclude: engines that 'auto' does not try.
    :raises EngineError: if the engine cannot be used, or with 'auto' none can; one line that
        names what is missing.
    """
    if engine not in ENGINES:
        raise EngineError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')
    if precision not in ('auto', *PRECISIONS):
        raise EngineError(
            f'precision must be one of auto, {", ".join(PRECISIONS)}, got {precision!r}')
    if engine != 'auto':
        return _make(engine, source, device, precision, threads), 'asked for'
    reasons: list[str] = []
    for name in _automatic_order(source, device):
        if name in exclude:
            continue
        try:
            made = _make(name, source, device, precision, threads)
        except EngineError as error:
            reasons.append(str(error))
            logger.info('engine %s is not used: %s', name, error)
        else:
            return made, '; '.join(reasons) or 'first choice here'
    raise EngineError(f'no engine can be used: {"; ".join(reasons)}. Install one: '
                      're3_ros[openvino], re3_ros[onnxruntime] or re3_ros[torch]')


def _automatic_order(source: Source, device: str) -> list[str]:
    """Return the engines that 'auto' tries, the fastest first."""
    if source.network is not None or (source.weights and not source.exported):
        return ['torch']    # others would have to export it first
    gpu = device.partition(':')[0] == 'cuda' or (device == 'auto' and _has_nvidia_gpu())
    if gpu:
        return ['tensorrt', 'torch'] + ['onnxruntime'] * (device == 'auto')
    x86 = platform.machine().lower() in ('x86_64', 'amd64')
    return ['openvino'] * x86 + ['onnxruntime', 'torch']


def _has_nvidia_gpu() -> bool:
    return Path('/proc/driver/nvidia/version').exists() or Path('/dev/nvhost-gpu').exists()


def _make(name: str, source: Source, device: str, precision: str, threads: int) -> Engine:
    if find_spec(PACKAGES[name]) is None:
        raise EngineError(f'{name} needs the package {PACKAGES[name]}, which is not installed')
    return _FACTORIES[name](source, device, precision, threads)


def _torch_engine(source: Source, device: str, precision: str, threads: int) -> Engine:
    from re3_core.engines.torch_engine import TorchEngine
    from re3_core.weights import load_network
    if source.exported:
        raise EngineError(f'{printable(source.exported)} holds exported graphs; torch needs a '
                          'weights file')
    network = source.network or load_network(source.model, source.weights)
    return TorchEngine(network, device, 'float32' if precision == 'auto' else precision, threads)


def _graph_engine(module: str, name: str) -> Callable[[Source, str, str, int], Engine]:
    """Return a function that makes the engine of exported graphs `name` in a module here."""
    def make(source: Source, device: str, precision: str, threads: int) -> Engine:
        engine_class: Any = _imported(module, name)
        if precision not in ('auto', *engine_class.precisions):
            raise EngineError(f'{engine_class.name} runs in '
                              f'{", ".join(engine_class.precisions)}, not in {precision}')
        file = _model_file(source, precision, engine_class)
        if precision == 'auto':
            precision = 'int8' if file.precision == 'int8' else engine_class.automatic_precision()
        return engine_class(file, precision, threads, device)
    return make


def _imported(module: str, name: str) -> 'type[GraphEngine]':
    from importlib import import_module
    try:
        return getattr(import_module(f're3_core.engines.{module}'), name)
    except (ImportError, OSError) as error:     # a build for another CPU or system
        raise EngineError(f'{module.partition("_")[0]} is installed but cannot be loaded: '
                          f'{error}') from error


_FACTORIES: dict[str, Callable[[Source, str, str, int], Engine]] = {
    'torch': _torch_engine,
    'onnxruntime': _graph_engine('onnxruntime_engine', 'OnnxRuntimeEngine'),
    'openvino': _graph_engine('openvino_engine', 'OpenVinoEngine'),
    'tensorrt': _graph_engine('onnxruntime_engine', 'TensorRTEngine')}


def _model_file(source: Source, precision: str, engine_class: Any) -> ModelFile:
    """Return an exported graph: of the folder given, of the package, or of the cache."""
    wanted = {'auto': ('int8', 'float32', 'float16'), 'int8': ('int8',)}.get(
        precision, ('float32', 'float16'))
    if 'int8' not in engine_class.precisions:
        wanted = tuple(name for name in wanted if name != 'int8')
    model = source.model or DEFAULT_MODEL
    if source.exported:
        file = find_file(source.exported, source.model, wanted, engine_class.suffixes)
        if file is None:
            raise EngineError(f'{printable(source.exported)} holds no graph of '
                              f'{source.model or "a model"} for {engine_class.name} in '
                              f'{" or ".join(wanted)}; make it with re3_core.export')
        return file
    if source.weights is None and source.network is None:
        if file := packaged_file(PACKAGED, model, wanted):
            return file
    if precision == 'int8':
        raise EngineError('no graph in int8 is there; make one with python -m re3_core.export '
                          '--precision int8, and give the folder as weights')
    return _cached_file(source)


def _cached_file(source: Source) -> ModelFile:
    """
    Return the graph of a network in float32, exported once into the cache.

    That takes some seconds.
    """
    missing = [package for package in ('torch', 'onnx') if find_spec(package) is None]
    if missing:
        raise EngineError(f'the model has to be exported, which needs {" and ".join(missing)}; '
                          'install that, or export it elsewhere with re3_core.export')
    from re3_core.export import export_graph, weights_key
    from re3_core.weights import load_network
    network = source.network or load_network(source.model, source.weights)
    name = f'{network.name}-{weights_key(network)}'

    def make(folder: Path) -> None:
        logger.info('exporting %s for other engines, once', network.name)
        export_graph(network, folder)
    file = find_file(cached_folder(name, make), network.name, ('float32',))
    assert file is not None
    return file
