# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
What the engines that run exported graphs on numpy arrays have in common.

A subclass loads one file and runs it; see `re3_core.engines.files` for the graphs.
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
from re3_core.engines.files import FORMAT, ModelFiles
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
    Base class of engines for exported graphs.

    Template and memory are numpy arrays, float32. Everything is loaded at once, so that no
    later frame waits for it.

    :param files: of the model.
    :raises EngineError: for damaged files, or those of another format.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._graphs = {graph: self._checked(path) for graph, path in files.paths.items()}
        self._step = self._graphs['step']
        self.network = _info(self._step, files.paths['step'])
        needed = {'similarity', 'rescore'} if self.network.has_template_similarity else set()
        if missing := needed - set(self._graphs):
            raise EngineError(f'{files.paths["step"]} needs {" and ".join(sorted(missing))} '
                              'beside it; export the model again')
        self._reference, self._memory = (
            [name for name in self._step.inputs if name.startswith(part)]
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
        zeros = {name: np.zeros((count, *self._step.inputs[name]), np.float32)
                 for name in (*self._reference, *self._memory)}
        inputs = {**self._images(crops), **zeros}
        if self._reference:
            first = self._run('step', inputs)
            inputs.update((name, first[f'next_{name}']) for name in self._reference)
        return self._output(inputs, self._run('step', inputs))

    def step(self, crops: Crops, states: Sequence[State]) -> Output:
        """Run a further frame of N targets in one batch."""
        inputs = {**self._images(crops), **self._join(states)}
        return self._output(inputs, self._run('step', inputs))

    def template_similarity(self, crops: Any, states: Sequence[State]) -> np.ndarray:
        """Return the similarities (N, M) of M crops for each of N targets to the templates."""
        count = len(crops) // len(states)
        reference = {name: np.repeat(rows, count, 0)
                     for name, rows in self._join(states).items() if name in self._reference}
        outputs = self._run('similarity', {'crops': _image(crops), **reference})
        return outputs['similarities'].reshape(-1, count)

    def rescore(self, confidence: float, before: Any, found: Any, state: State) -> float:
        """Return the confidence of one target by the crop at its predicted box."""
        if 'rescore' not in self._graphs:
            return confidence
        inputs = self._join([state])
        outputs = self._run('rescore', {
            'confidences': np.array([confidence], np.float32), 'before': _image(before),
            'found': _image(found), **{name: inputs[name] for name in self._reference}})
        return float(outputs['rescored'][0])

    def _images(self, crops: Crops) -> dict[str, np.ndarray]:
        return {'previous': _image(crops.previous), 'current': _image(crops.current)}

    def _join(self, states: Sequence[State]) -> dict[str, np.ndarray]:
        """Return the inputs of N targets by name."""
        names = (*self._reference, *self._memory)
        rows = [[_array(array) for part in state for array in part] for state in states]
        return {name: concatenate(arrays)
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

    def _run(self, graph: str, inputs: Values) -> Values:
        try:
            loaded = self._graphs[graph]
            # Some graphs do not use all of the template.
            return loaded.run({name: inputs[name] for name in inputs if name in loaded.inputs})
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
