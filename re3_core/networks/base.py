# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What every tracker network is: crops and state in, boxes and state out."""

import copy
from typing import NamedTuple

import torch
from torch import nn, Tensor


class Crops(NamedTuple):
    """
    What a network sees of N targets: uint8 RGB, see `re3_core.crops.crop_batch`.

    `previous` (N, 3, Sp, Sp) is cut from the frame before, `current` (N, 3, Sc, Sc) from this
    frame, both around the target's last known box.
    """

    previous: Tensor
    current: Tensor


class Prediction(NamedTuple):
    """
    What a network says of N targets.

    `boxes` (N, 4) is `xyxy` in coordinates of the current crop's region (0 and 1 are its
    sides); `logits` (N,) are those of the overlap to expect, NaN if the network has none.
    """

    boxes: Tensor
    logits: Tensor


class State(NamedTuple):
    """
    What a network carries from frame to frame for N targets, as tensors with N first.

    `reference` is what it keeps of the first frame, `memory` what its recurrent layers hold;
    either may be empty.
    """

    reference: tuple
    memory: tuple


class TrackerNetwork(nn.Module):
    """
    Base of the networks.

    A network is three parts: `features`, the convolutions, which training may keep frozen;
    `encode`, the rest of what looks at one moment, which training runs over a whole unroll at
    once; and `recur`, which goes from moment to moment. Subclasses set `name`, `previous_crop`
    and `current_crop` (`re3_core.crops.CropSpec`), keep in `config` the keyword arguments that
    rebuild them, and implement the three and, where they have them, `reference` and
    `zero_memory`.

    `scale_lr` is the part of a size change that is applied per frame (`boxes.damp_scale`),
    `has_template_similarity` whether there is `template_similarity`, `area_logit_weight` and
    `area_logit_bias` correct the confidence by the box's area (`scale_refinement.recalibrate`),
    `size_std` are the errors of scale and aspect (`scale_refinement.shrink_size`).
    """

    name = ''
    feature_modules = ()    # beginnings of the parameter names that `features` uses
    previous_crop = None
    current_crop = None
    scale_lr = 1.
    has_template_similarity = False
    area_logit_weight = area_logit_bias = 0.
    size_std = 0., 0.

    def __init__(self, config):
        super().__init__()
        self.config = dict(config)

    def features(self, crops):
        """Return the tensors (N, ...) that the convolutions make of crops."""
        raise NotImplementedError

    def inference_copy(self, dtype=torch.float32):
        """
        Return a network that predicts the same without gradients, as fast as it can.

        It may share weights with this one, and is to be run under autocast unless `dtype`, the
        precision of its weights, is float32.
        """
        return self if dtype == torch.float32 else copy.deepcopy(self).to(dtype)

    def reference(self, features):
        """Return the tensors (N, ...) to be kept of the first frame's features."""
        return ()

    def encode(self, features, reference):
        """Return the encoding (N, F) of features, given the first frame's reference."""
        raise NotImplementedError

    def zero_memory(self, encoded):
        """Return the memory before the first frame, for what `encode` returned."""
        return ()

    def recur(self, encoded, memory):
        """Take one step in time; return (Prediction, new memory)."""
        raise NotImplementedError

    def template_similarity(self, crops, reference):
        """
        Compare crops with the first one.

        :param crops: (N, 3, Sp, Sp) uint8 RGB, cut as previous crops are.
        :param reference: of the State of N targets.
        :return: cosine (N,), -1..1: 1 for the first crop itself.
        """
        raise NotImplementedError

    def rescore(self, score, before, found, reference):
        """
        Judge by what was found, at once: a score judges in part by the crop of the last box.

        :param score: logits (N,) of a step whose previous crops were `before` (N, 3, Sp, Sp).
        :param found: crops around the boxes found, cut as previous crops are.
        :return: the logits, lowered where `found` is worse than `before`.
        """
        return score

    def start(self, crops):
        """
        See targets for the first time; return (Prediction, State).

        Both crops come from the same frame and the same box.
        """
        features = self.features(crops)
        reference = self.reference(features)
        encoded = self.encode(features, reference)
        prediction, memory = self.recur(encoded, self.zero_memory(encoded))
        return prediction, State(reference, memory)

    def step(self, crops, state):
        """Follow targets by one frame; return (Prediction, State)."""
        encoded = self.encode(self.features(crops), state.reference)
        prediction, memory = self.recur(encoded, state.memory)
        return prediction, State(state.reference, memory)
