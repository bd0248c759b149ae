# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The interface of engines: (crops, states) -> (boxes, confidences, states)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from re3_core.crops import Frame
from re3_core.model import Crops, State

PRECISIONS = ('float32', 'bfloat16', 'float16', 'int8')


class EngineError(ValueError):
    """An engine that cannot be used: the message names the reason and what to do."""


class EngineFailure(RuntimeError):
    """An engine that raised an error, or predicted values that are not finite, in use."""


class Output(NamedTuple):
    """
    Result of a network for N targets.

    `boxes` is float64 (N, 4), `xyxy` in coordinates of the current crop's region; `confidences`
    float32 (N,), 0..1, NaN if the network has none; `states` has N States of one row each.
    """

    boxes: np.ndarray
    confidences: np.ndarray
    states: list[State]

    @classmethod
    def join(cls, outputs: 'Sequence[Output]') -> 'Output':
        """Return the Output of all targets, from those of parts of them."""
        return cls(np.concatenate([output.boxes for output in outputs]),
                   np.concatenate([output.confidences for output in outputs]),
                   [state for output in outputs for state in output.states])


@dataclass(frozen=True)
class Device:
    """A device of an engine without torch: 'cpu', or 'cuda' with a number."""

    type: str   # noqa: A003 (the name in torch)
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f'{self.type}:{self.index}'


class Engine(ABC):
    """
    Runs one network on any number of targets.

    `network` has the properties of the network (`re3_core.model.ModelInfo`), `name`, `precision`
    and `device` those of the engine. Crops and states are arrays of a kind that the engine
    chooses; their first axis is the targets, and they can be joined by `arrays.concatenate`.
    """

    name: str
    precision: str
    device: Any
    network: Any

    @abstractmethod
    def load_frame(self, frame: np.ndarray) -> Frame:
        """Return an H x W x 3 uint8 frame as `crop` takes it."""

    @abstractmethod
    def crop(self, frames: Sequence[Frame], regions: np.ndarray, size: int) -> Any:
        """Return crops (N, 3, size, size) uint8 of N frames, see `re3_core.crops.crop_batch`."""

    @abstractmethod
    def start(self, crops: Crops) -> Output:
        """Run the first frame of N targets."""

    @abstractmethod
    def step(self, crops: Crops, states: Sequence[State]) -> Output:
        """
        Run a further frame of N targets.

        :raises EngineFailure: if that fails.
        """

    def describe(self) -> str:
        """Return name, precision and device in words."""
        return f'{self.name}, {self.precision}, on {self.device}'
