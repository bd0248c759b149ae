# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""CUDA graphs: the kernels of one time step as a single launch, for the torch engine."""

from collections.abc import Callable
import logging
from typing import NamedTuple

from re3_core.networks import Crops, Prediction, State
import torch
from torch import Tensor

# Larger batches are run as they are: the time of launches no longer counts there.
MAX_BATCH = 128
WARM_UP = 3     # runs before a capture, in which torch chooses kernels and allocates

Step = Callable[[Crops, State], tuple[Prediction, State]]

logger = logging.getLogger('re3_core')


class Captured(NamedTuple):
    """A captured step: `replay` computes `outputs` from the values in `inputs`, in place."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    replay: Callable[[], None]


class CudaGraphs:
    """
    Run a network's step by CUDA graphs, one for each batch size that is a power of two.

    A batch is padded to the next of these sizes; its graph is captured at its first use. Call it
    with gradients disabled. Where a capture fails, steps are run as they are from then on.

    :param step: `TrackerNetwork.step` of a network on a GPU.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._captured: dict[int, Captured] = {}
        self._usable = True

    def __call__(self, crops: Crops, state: State) -> tuple[Prediction, State]:
        """Run one time step of N targets; as `TrackerNetwork.step`."""
        count, references = len(crops.current), len(state.reference)
        inputs = [*crops, *state.reference, *state.memory]
        size = 1 << (count - 1).bit_length()
        if not self._usable or size > MAX_BATCH:
            return self._step(crops, state)
        if size not in self._captured:
            buffers = [torch.cat((tensor, tensor[:1].expand(size - count, *tensor.shape[1:])))
                       for tensor in inputs]
            try:
                self._captured[size] = self.capture(buffers, references)
            except RuntimeError as error:
                logger.warning('CUDA graphs are not used: %s', error)
                self._usable = False
                return self._step(crops, state)
        captured = self._captured[size]
        for buffer, tensor in zip(captured.inputs, inputs, strict=True):
            buffer[:count].copy_(tensor)
        captured.replay()
        # The next replay overwrites the outputs.
        boxes, logits, *memory = (tensor[:count].clone() for tensor in captured.outputs)
        return Prediction(boxes, logits), State(state.reference, tuple(memory))

    def capture(self, inputs: list[Tensor], references: int) -> Captured:
        """
        Capture a step.

        :param inputs: previous and current crops, template and memory.
        :param references: how many of them are the template's.
        """
        with torch.cuda.device(inputs[0].device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self.run(inputs, references)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = self.run(inputs, references)
        return Captured(inputs, outputs, graph.replay)

    def run(self, inputs: list[Tensor], references: int) -> list[Tensor]:
        """Return the boxes, logits and memory of a step on `inputs`, see `capture`."""
        prediction, state = self._step(Crops(*inputs[:2]), State(
            tuple(inputs[2:2 + references]), tuple(inputs[2 + references:])))
        return [*prediction, *state.memory]
