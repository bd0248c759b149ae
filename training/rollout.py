# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The rollout of a network along clips, and the differentiable pass over its crops.

First the network tracks the targets without gradients, its own predictions deciding where the
next crops are cut (Re3 paper, section III-D: learning to fix mistakes). Where crops are cut is
not differentiated through, so the second pass, with gradients, can put all frames through the
non-recurrent part at once.

A time step is a pair of crops, of the frame before and of this frame. A memory starts at the
first frame alone, both crops cut from it; networks without memory start at the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from re3_core import boxes as box_ops
from re3_core.crops import crop_batch, decode, encode
from re3_core.networks import Crops, Prediction, TrackerNetwork
import torch
from torch import nn, Tensor
from training.augment import Batch, pull_boxes
from training.config import Augmentation, LossWeights
from training.losses import unroll_loss

# Predictions are clamped to this many region sizes; beyond that they would only train guards.
MAX_COORDINATE = 4.
Features = Callable[[Crops], tuple]


class Rollout(NamedTuple):
    """
    Crops and targets of B rows at T time steps.

    :param crops: T x B crops, T first
    :param features: of these, if they were computed and can be kept, else ()
    :param regions: (T, B, 4) regions of the current crops, xyxy pixels
    :param last_boxes: (T, B, 4) boxes around which they lie, in coordinates of the regions
    :param targets: (T, B, 4) true boxes in coordinates of these regions, nan where absent
    :param visible: (T, B) visible fraction
    """

    crops: Crops
    features: tuple
    regions: Tensor
    last_boxes: Tensor
    targets: Tensor
    visible: Tensor


def first_step(network: TrackerNetwork) -> int:
    """Return 0 for a network with a memory, which starts from the first frame alone, else 1."""
    return 0 if network.has_memory else 1


@torch.no_grad()
def roll_out(network: TrackerNetwork, batch: Batch, augment: Augmentation,
             features_of: Features | None = None) -> Rollout:
    """
    Track the clips of a batch with the present weights.

    :param features_of: faster version of `network.features`; if given, the features are kept
    """
    first, length = first_step(network), len(batch.boxes)
    free_running = batch.free_running[:, None]                          # (B, 1)
    crops: list[Crops] = []
    features: list[tuple] = []
    boxes: list[Tensor] = []
    state = predicted = None
    for t in range(first, length):
        template_box, search_box = batch.template_boxes[t], batch.search_boxes[t]   # (B, 4)
        # The first frame's box is given, whatever the network predicts for it.
        if predicted is not None and t > 1:
            template_box = torch.where(free_running, predicted[0], template_box)
            search_box = torch.where(free_running, predicted[1], search_box)
        crops.append(_cut(network, batch, t, template_box, search_box))
        boxes.append(search_box)
        if features_of:
            features.append(features_of(crops[-1]))
        if batch.any_free_running and t + 1 < length:
            seen = features[-1] if features_of else network.features(crops[-1])
            prediction, state = _step(network, seen, state)
            predicted = _next_boxes(network, prediction, batch, t, search_box, augment)
    last_boxes = torch.stack(boxes)                                     # (T, B, 4)
    regions = network.current_crop.region(last_boxes)
    targets = mirror_coordinates(encode(batch.boxes[first:], regions), batch.mirrored)
    return Rollout(Crops(*_joined(crops)), _joined(features) if features_of else (), regions,
                   encode(last_boxes, regions), targets, batch.visible[first:])


def mirror_coordinates(boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror `xyxy` boxes (..., B, 4) in region coordinates where `mirrored` (B,) is true."""
    flipped = torch.stack(
        (1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]), -1)
    return torch.where(mirrored[:, None], flipped, boxes)


def _joined(parts: Sequence[tuple]) -> tuple:
    """Concatenate the tensors of several time steps."""
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def _step(network: TrackerNetwork, features: tuple,
          state: tuple | None) -> tuple[Prediction, tuple]:
    """Take one step from features and (reference, memory), None at the start."""
    reference = network.reference(features) if state is None else state[0]
    encoded = network.encode(features, reference)
    memory = network.zero_memory(encoded) if state is None else state[1]
    prediction, memory = network.recur(encoded, memory)
    return prediction, (reference, memory)


def _cut(network: TrackerNetwork, batch: Batch, t: int, template_box: Tensor,
         search_box: Tensor) -> Crops:
    """Cut both crops of time t, mirrored and colored as drawn."""
    crops = []
    for frames, boxes, spec in (
            (batch.frames[max(t - 1, 0)], template_box, network.previous_crop),
            (batch.frames[t], search_box, network.current_crop)):
        regions = spec.region(boxes)
        x1, y1, x2, y2 = regions.unbind(-1)
        mirrored = torch.stack((x2, y1, x1, y2), -1)
        regions = torch.where(batch.mirrored[:, None], mirrored, regions)
        crops.append(_recolor(batch, crop_batch(frames, regions, spec.size)))
    return Crops(*crops)


def _recolor(batch: Batch, crops: Tensor) -> Tensor:
    """Color crops (B, 3, S, S) as drawn; rows of pixels are one long axis, which is fast."""
    count, _, size, _ = crops.shape
    pixels = crops.permute(0, 2, 3, 1).contiguous().float()             # (B, S, S, 3)
    if len(batch.grayscale):
        pixels[batch.grayscale] = pixels[batch.grayscale].mean(-1, keepdim=True)
    gain = batch.gain.repeat(1, size)[:, None]                          # (B, 1, 3 S)
    pixels = pixels.view(count, size, 3 * size).mul_(gain).clamp_(0, 255).to(torch.uint8)
    return pixels.view(count, size, size, 3).permute(0, 3, 1, 2)


def _next_boxes(network: TrackerNetwork, prediction: Prediction, batch: Batch, t: int,
                box: Tensor, augment: Augmentation) -> tuple[Tensor, Tensor]:
    """Return the boxes (B, 4) for both crops of time t + 1 that follow from a prediction."""
    crop = network.current_crop
    coordinates = mirror_coordinates(
        prediction.boxes.clamp(-MAX_COORDINATE, MAX_COORDINATE), batch.mirrored)
    predicted = box_ops.damp_scale(decode(coordinates, crop.region(box)), box,
                                   network.scale_lr)
    truth = batch.last_known_boxes[t + 1 if augment.target_from_next_frame else t]
    predicted = _limit_size(predicted, truth, augment.max_size_ratio)
    pulled = pull_boxes(predicted, truth, augment.min_coverage, crop)
    if not augment.target_from_next_frame:
        return pulled, pulled
    # A prediction that is not a number gives no place for the previous crop either.
    known = torch.isfinite(predicted).all(-1, keepdim=True)
    return torch.where(known, predicted, pulled), pulled


def _limit_size(boxes: Tensor, truth: Tensor, factor: float) -> Tensor:
    """Keep each side of `boxes` (B, 4) within a factor of the true side."""
    center, size = box_ops.xyxy_to_cxcywh(boxes).split(2, -1)
    true_size = box_ops.xyxy_to_cxcywh(truth)[..., 2:].clamp(min=1)
    size = torch.minimum(torch.maximum(size, true_size / factor), true_size * factor)
    return box_ops.cxcywh_to_xyxy(torch.cat((center, size), -1))


class Unroll(nn.Module):
    """The differentiable pass over a rollout."""

    def __init__(self, network: TrackerNetwork):
        super().__init__()
        self.network = network

    def forward(self, rollout: Rollout) -> Prediction:
        """Return the Prediction of all time steps, (T, B, ...)."""
        network, (length, count) = self.network, rollout.regions.shape[:2]
        features = rollout.features or network.features(rollout.crops)          # (T B, ...)
        reference = network.reference(tuple(part[:count] for part in features))     # (B, ...)
        repeated = tuple(part.repeat(length, *[1] * (part.dim() - 1)) for part in reference)
        steps = _steps(network.encode(features, repeated), length, count)
        memory, predictions = network.zero_memory(steps[0]), []
        for step in steps:
            prediction, memory = network.recur(step, memory)
            predictions.append(prediction)
        return Prediction(torch.stack([prediction.boxes for prediction in predictions]),
                          torch.stack([prediction.logits for prediction in predictions]))


def _steps(embedding: Any, length: int, count: int) -> list[Any]:
    """Split an embedding, a tensor (T B, ...) or a tuple of them, into T time steps (B, ...)."""
    if isinstance(embedding, tuple):
        return list(zip(*(_steps(part, length, count) for part in embedding), strict=True))
    return list(embedding.view(length, count, *embedding.shape[1:]))


class Objective(nn.Module):
    """The differentiable pass and its loss: the module that several processes share."""

    def __init__(self, network: TrackerNetwork, weights: LossWeights):
        super().__init__()
        self.unroll, self.weights = Unroll(network), weights

    def forward(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts, see `unroll_loss`."""
        prediction, network = self.unroll(rollout), self.unroll.network
        tracked = box_ops.damp_scale(
            prediction.boxes.detach(), rollout.last_boxes, network.scale_lr)
        return unroll_loss(prediction, rollout.targets, rollout.visible, self.weights, tracked)
