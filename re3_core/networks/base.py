# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The interface of tracker networks: crops and state in, boxes and state out."""

import copy
from typing import Any, NamedTuple, TypeVar

from re3_core.crops import CropSpec
from re3_core.model import Crops, State
import torch
from torch import nn, Tensor

Tensors = tuple[Tensor, ...]
Network = TypeVar('Network', bound='TrackerNetwork')


class Prediction(NamedTuple):
    """
    Output of a network for N targets.

    `boxes` (N, 4) are `xyxy` in coordinates of the current crop's region (0 and 1 are its
    sides); `logits` (N,) those of the predicted IoU (as in ATOM, Danelljan et al. 2019), NaN if
    the network has no confidence.
    """

    boxes: Tensor
    logits: Tensor


class TrackerNetwork(nn.Module):
    """
    Base class of the networks.

    A network has three parts: `features`, the convolutions, which training may freeze;
    `encode`, the remaining layers without recurrence, which training runs on all time steps at
    once; and `recur`, one time step of the recurrent layers. Subclasses implement them and, where
    they have them, `reference` and `zero_memory`, and set these attributes:

    - `name`: key in the registry `re3_core.networks.NETWORKS`;
    - `config`: the keyword arguments that rebuild the network;
    - `feature_modules`: prefixes of the parameter names that `features` uses;
    - `float_modules`: parts of the parameter names that are not quantized in int8;
    - `previous_crop`, `current_crop`: size and context of both crops; a previous crop of size 0 is
      empty, for a network that remembers what it needs of the last frame;
    - `has_memory`: whether it is recurrent; then tracking starts with the first frame alone, else
      with the first pair of frames;
    - `scale_lr`: part of the size change applied per frame (`boxes.damp_scale`).
    """

    name = ''
    feature_modules: tuple[str, ...] = ()
    float_modules: tuple[str, ...] = ()
    previous_crop: CropSpec
    current_crop: CropSpec
    scale_lr = 1.
    has_memory = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)

    def features(self, crops: Crops) -> Tensors:
        """Return the feature maps (N, ...) of crops."""
        raise NotImplementedError

    def inference_copy(self: Network, dtype: torch.dtype = torch.float32) -> Network:
        """
        Return a network in evaluation mode that predicts the same, as fast as it can.

        It may share the memory of the weights with this network, but changes of its mode, device
        or precision do not affect this one. Unless `dtype`, the precision of its weights, is
        float32, it is meant to run under autocast.
        """
        weights: dict[int, Any] = {
            id(weight): nn.Parameter(weight.detach(), requires_grad=False)
            for weight in self.parameters()}
        weights.update((id(buffer), buffer) for buffer in self.buffers())
        return copy.deepcopy(self, weights).to(dtype).eval()

    def reference(self, features: Tensors) -> Tensors:
        """Return the tensors (N, ...) of the first frame that later steps need."""
        return ()

    def encode(self, features: Tensors, reference: Tensors) -> Any:
        """Return the embedding of features, one tensor (N, ...) or several as a tuple."""
        raise NotImplementedError

    def zero_memory(self, embedding: Any) -> Tensors:
        """Return the memory before the first frame, for what `encode` returned."""
        return ()

    def recur(self, embedding: Any, memory: Tensors) -> tuple[Prediction, Tensors]:
        """Advance one time step; return (Prediction, new memory)."""
        raise NotImplementedError

    def start(self, crops: Crops) -> tuple[Prediction, State]:
        """
        Run the first frame of N targets; return (Prediction, State).

        Both crops come from the same frame and the same box.
        """
        features = self.features(crops)
        reference = self.reference(features)
        embedding = self.encode(features, reference)
        prediction, memory = self.recur(embedding, self.zero_memory(embedding))
        return prediction, State(reference, memory)

    def step(self, crops: Crops, state: State) -> tuple[Prediction, State]:
        """Run one further frame of N targets; return (Prediction, State)."""
        embedding = self.encode(self.features(crops), state.reference)
        prediction, memory = self.recur(embedding, state.memory)
        return prediction, State(state.reference, memory)
