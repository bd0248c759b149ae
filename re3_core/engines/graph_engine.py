# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
What the engines that run an exported graph on numpy arrays have in common.

A subclass loads a file and runs it; see `re3_core.engines.files` for the graph.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from re3_core.arrays import concatenate, is_tensor
from re3_core.crops import crop_arrays
from re3_core.engines.base import Engine, EngineError, EngineFailure, Output
from re3_core.engines.files import FORMAT, ModelFile
from re3_core.model import Crops, ModelInfo, State

Values = Mapping[str, np.ndarray]


class Graph(NamedTuple):
    """
    A loaded graph.

    `inputs` has the shape of one target (without the first axis) by name; `metadata` is the
    text under METADATA; `run` maps arrays by name to arrays by name.
    """

    inputs: dict[str, tuple[int, ...]]
    metadata: str | None
    run: Callable[[Values], Values]


class GraphEngine(Engine):
    """
    Base class of engines for an exported graph.

    Template and memory are numpy arrays, float32. The graph is loaded at once, so that no later
    frame waits for it.

    :param file: of the model.
    :raises EngineError: for a damaged file, or one of another format.
    """

    def __init__(self, file: ModelFile) -> None:
        self._graph = self._checked(file.path)
        self.network = _info(self._graph, file.path)
        self._reference, self._memory = (
            [name for name in self._graph.inputs if name.startswith(part)]
            for part in ('reference_', 'memory_'))

    @abstractmethod
    def _load(self, path: Path) -> Graph:
        """Load the graph in a file."""

    def _checked(self, path: Path) -> Graph:
        try:
            return self._load(path)
        except EngineError:
            raise
        except Exception as error:     # each library has its own, without a common base
            raise EngineError(f'{path} cannot be loaded by {self.name}: '
                              f'{_first_line(error)}') from error

    def load_frame(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame as it lies in memory without gaps."""
        return np.ascontiguousarray(frame)

    def crop(self, frames: Sequence[np.ndarray], regions: np.ndarray, size: int) -> np.ndarray:
        """Return crops, cut by OpenCV."""
        return crop_arrays(frames, regions, size)

    def start(self, crops: Crops) -> Output:
        """Run the first frame: once for the template, and again with it."""
        count = len(crops.current)
        zeros = {name: np.zeros((count, *self._graph.inputs[name]), np.float32)
                 for name in (*self._reference, *self._memory)}
        inputs = {**self._images(crops), **zeros}
        if self._reference:
            first = self._run(inputs)
            inputs.update((name, first[f'next_{name}']) for name in self._reference)
        return self._output(inputs, self._run(inputs))

    def step(self, crops: Crops, states: Sequence[State]) -> Output:
        """Run a further frame of N targets in one batch."""
        inputs = {**self._images(crops), **self._join(states)}
        return self._output(inputs, self._run(inputs))

    def _images(self, crops: Crops) -> dict[str, np.ndarray]:
        return {'previous': _image(crops.previous), 'current': _image(crops.current)}

    def _join(self, states: Sequence[State]) -> dict[str, np.ndarray]:
        """Return the inputs of N targets by name."""
        names = (*self._reference, *self._memory)
        rows = [(*state.reference, *state.memory) for state in states]
        return {name: _array(concatenate(arrays))
                for name, arrays in zip(names, zip(*rows, strict=True), strict=True)}

    def _output(self, inputs: Values, outputs: Values) -> Output:
        boxes = outputs['boxes'].astype(np.float64)
        memory = [outputs[f'next_{name}'] for name in self._memory]
        if not all(np.isfinite(array).all() for array in (boxes, *memory)):
            raise EngineFailure(f'{self.name} predicted values that are not finite')
        reference = [inputs[name] for name in self._reference]
        states = [State(*(tuple(array[row:row + 1] for array in part)
                          for part in (reference, memory))) for row in range(len(boxes))]
        return Output(boxes, outputs['confidences'], states)

    def _run(self, inputs: Values) -> Values:
        try:
            # Some networks have no previous crop, or do not use all of the template.
            return self._graph.run({name: values for name, values in inputs.items()
                                    if name in self._graph.inputs})
        except Exception as error:     # each library has its own, without a common base
            raise EngineFailure(f'{self.name} failed: {_first_line(error)}') from error


def _info(graph: Graph, path: Path) -> ModelInfo:
    """Return the properties of the model in the metadata of a file."""
    try:
        metadata = json.loads(graph.metadata or '')
        if metadata['format'] != FORMAT:
            raise EngineError(f'{path} has format {metadata["format"]}, this release reads '
                              f'{FORMAT}; export the model again')
        return ModelInfo.from_dict(metadata['model'])
    except EngineError:
        raise
    except (KeyError, TypeError, ValueError):
        raise EngineError(f'{path} was not made by re3_core.export') from None


def _array(values: Any) -> np.ndarray:
    """Return an array of any engine as numpy array."""
    return values.float().cpu().numpy() if is_tensor(values) else values


def _image(crops: Any) -> np.ndarray:
    """Return crops (N, 3, S, S) with the channels last, as the graphs take them."""
    crops = crops.cpu().numpy() if is_tensor(crops) else crops
    return np.ascontiguousarray(crops.transpose(0, 2, 3, 1))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
