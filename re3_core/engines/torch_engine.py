# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The engine that runs a network in torch, on a CPU or with CUDA."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from re3_core.crops import crop_arrays, crop_batch, Frame
from re3_core.engines.base import Engine, EngineError, Output
from re3_core.engines.cuda_graphs import CudaGraphs
from re3_core.networks import Crops, Prediction, State, TrackerNetwork
import torch
from torch import Tensor

# Larger batches are not faster on a CPU and fragment memory.
MAX_CPU_BATCH = 16
PRECISIONS = {
    'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class TorchEngine(Engine):
    """
    Run a network on a device in a precision.

    Results do not depend on torch's global settings (default dtype and device, grad mode,
    autocast), and these are not changed.

    :param network: it is not changed; its weights may be shared.
    :param device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.
    :param precision: a key of PRECISIONS.
    :param threads: CPU threads, set for the whole process; 0: as many as torch chooses.
    :raises EngineError: for a precision that torch does not have here.
    """

    name = 'torch'

    def __init__(self, network: TrackerNetwork, device: str = 'auto',
                 precision: str = 'float32', threads: int = 0) -> None:
        if precision not in PRECISIONS:
            raise EngineError(f'torch runs in {", ".join(PRECISIONS)}, not in {precision}')
        if threads:
            torch.set_num_threads(threads)
        self.device = choose_device(device)
        self.precision = precision
        self.network = network.inference_copy(PRECISIONS[precision]).to(self.device)
        self._graphs = CudaGraphs(self.network.step) if self.device.type == 'cuda' else None

    def load_frame(self, frame: np.ndarray) -> Frame:
        """Return the frame itself, or on a GPU a tensor there."""
        frame = np.ascontiguousarray(frame)
        if self.device.type == 'cpu':
            return frame
        return torch.from_numpy(frame if frame.flags.writeable else frame.copy()).to(self.device)

    def crop(self, frames: Sequence[Frame], regions: np.ndarray, size: int) -> Any:
        """Return crops, cut by OpenCV on a CPU, else by torch on the device."""
        if self.device.type == 'cpu':
            return crop_arrays(frames, regions, size)
        return crop_batch(frames, regions, size)

    def start(self, crops: Crops) -> Output:
        """Run the first frame of N targets."""
        with self._inference():
            return _output(*self.network.start(self._tensors(crops)))

    def step(self, crops: Crops, states: Sequence[State]) -> Output:
        """Run a further frame of N targets, on a CPU in batches of at most MAX_CPU_BATCH."""
        crops, outputs = self._tensors(crops), []
        step = self._graphs or self.network.step
        for rows in self._batches(len(states)):
            with self._inference():
                outputs.append(_output(*step(
                    Crops(*(crop[rows] for crop in crops)), self._join(states[rows]))))
        return Output.join(outputs)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        dtype = PRECISIONS[self.precision]
        with torch.inference_mode(), torch.autocast(
                self.device.type, dtype if dtype != torch.float32 else torch.bfloat16,
                # Cached casts of weights would be freed while a CUDA graph reads them.
                enabled=dtype != torch.float32, cache_enabled=self.device.type == 'cpu'):
            yield

    def _tensor(self, values: Any) -> Tensor:
        """Return arrays of any engine as a tensor on the device."""
        return torch.as_tensor(values, device=self.device)

    def _tensors(self, crops: Crops) -> Crops:
        return Crops(*map(self._tensor, crops))

    def _join(self, states: Sequence[State]) -> State:
        """Stack states of one row each, of any engine, into one of N rows."""
        return State(*(tuple(torch.cat([self._tensor(row) for row in rows])
                             for rows in zip(*parts, strict=True))
                       for parts in zip(*states, strict=True)))

    def _batches(self, count: int) -> list[slice]:
        """Return `count` rows in parts, as equal as possible, that each are one batch."""
        parts = -(-count // MAX_CPU_BATCH) if self.device.type == 'cpu' else 1
        size = -(-count // parts)
        return [slice(first, first + size) for first in range(0, count, size)]


def choose_device(device: str | torch.device) -> torch.device:
    """
    Return the torch.device for 'auto', 'cpu', 'cuda' or 'cuda:N'.

    :raises ValueError: for other names, or where CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if device == 'auto':
        return torch.device('cuda' if cuda else 'cpu')
    name, _, number = str(device).partition(':')
    if name not in ('cpu', 'cuda') or (number and not number.isdigit()):
        raise ValueError(f'device must be auto, cpu, cuda or cuda:N, got {device!r}')
    if name == 'cuda' and not cuda:
        raise ValueError(f'device {device!r} asked for, but torch finds no CUDA device; '
                         'use auto or cpu')
    return torch.device(device)


def _output(prediction: Prediction, states: State) -> Output:
    return Output(prediction.boxes.double().cpu().numpy(),
                  torch.sigmoid(prediction.logits.float()).cpu().numpy(),
                  _split(states, len(prediction.boxes)))


def _split(state: State, count: int) -> list[State]:
    """Split a state of `count` rows into as many states of one row."""
    return [State(*(tuple(tensor[row:row + 1] for tensor in part) for part in state))
            for row in range(count)]
