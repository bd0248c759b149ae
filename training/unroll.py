# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Unrolling: run a network along clips as the tracker would, then learn from what it saw.

First the network follows the targets without gradients, its own predictions deciding where the
next crops are cut (Re3 paper, section III-D: learning to fix mistakes). Where crops are cut is
not differentiated through, so the second pass, with gradients, can put all frames through the
non-recurrent part at once.

A moment is a pair of crops, of the frame before and of this frame. A memory starts at the first
frame alone, both crops cut from it; networks without memory start at the second.
"""

from typing import NamedTuple

from re3_core import boxes as box_ops
from re3_core.crops import crop_batch, decode, encode, region_of
from re3_core.networks import Crops, Prediction
import torch
from torch import nn
from training.losses import unroll_loss
from training.motion import pull_boxes

# Predictions wilder than this, in regions, would only teach what guards prevent.
WILD = 4.


class Seen(NamedTuple):
    """
    What a rollout saw of B rows at T moments.

    `crops` and `features` hold T x B of them, T first; features are () unless they were needed.
    `regions` (T, B, 4) are those of the current crops, `xyxy` pixels; `targets` (T, B, 4) the
    true boxes in coordinates of these regions, NaN where absent; `visible` (T, B).
    """

    crops: Crops
    features: tuple
    regions: torch.Tensor
    targets: torch.Tensor
    visible: torch.Tensor


def mirror_coordinates(boxes, mirrored):
    """Mirror `xyxy` boxes (..., B, 4) in region coordinates where `mirrored` (B,) says so."""
    flipped = torch.stack(
        (1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]), -1)
    return torch.where(mirrored[:, None], flipped, boxes)


def first_moment(network):
    """Return 0 for a network with a memory, which starts from the first frame alone, else 1."""
    return 0 if network.zero_memory(torch.zeros(1, 1)) else 1


@torch.no_grad()
def rollout(network, batch, noise, features_of=None):
    """
    Follow the clips of a batch with the network as it is; return what it Seen.

    :param batch: training.batches.Batch.
    :param noise: training.batches.Noise.
    :param features_of: computes what `network.features` does; given, the features are kept.
    """
    first, length = first_moment(network), len(batch.boxes)
    crops, features, boxes = [], [], []
    state = predicted = None
    for t in range(first, length):
        before, box = batch.before[t], batch.given[t]
        # The first frame's box is given, whatever the network thinks of it.
        if predicted is not None and t > 1:
            own = batch.own[:, None]
            shaken = _shake(predicted[1], batch, t, noise, network.current_crop.context)
            before = torch.where(own, predicted[0], before)
            box = torch.where(own, shaken, box)
        crops.append(_cut(network, batch, t, before, box))
        boxes.append(box)
        if features_of:
            features.append(features_of(crops[-1]))
        if batch.any_own and t + 1 < length:
            seen = features[-1] if features_of else network.features(crops[-1])
            prediction, state = _step(network, seen, state)
            predicted = _next_boxes(network, prediction, batch, t, box, noise)
    regions = region_of(torch.stack(boxes), network.current_crop.context)
    targets = mirror_coordinates(encode(batch.boxes[first:], regions), batch.mirrored)
    return Seen(_join(crops), _join(features) if features_of else (), regions, targets,
                batch.visible[first:])


def _shake(boxes, batch, t, noise, context):
    """Move boxes (B, 4) as drawn for time t, as far as their crops still show the target."""
    if not noise.shaken:
        return boxes
    size = box_ops.xyxy_to_cxcywh(boxes)[..., 2:]
    moved = pull_boxes(boxes + (batch.shake[t] * size).repeat(1, 2), batch.held[t],
                       noise.least_covered, context)
    return torch.where(batch.shake[t].any(-1, keepdim=True), moved, boxes)


def _join(parts):
    """Join the tensors of several moments, keeping the kind of tuple."""
    joined = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
    return Crops(*joined) if isinstance(parts[0], Crops) else tuple(joined)


def _step(network, features, state):
    """Take one step from features and (reference, memory), None at the start."""
    reference = network.reference(features) if state is None else state[0]
    encoded = network.encode(features, reference)
    memory = network.zero_memory(encoded) if state is None else state[1]
    prediction, memory = network.recur(encoded, memory)
    return prediction, (reference, memory)


def _cut(network, batch, t, before, box):
    """Cut both crops of time t, mirrored and coloured as drawn."""
    frames = (_frames_before(batch, t), batch.frames[t])
    specs = (network.previous_crop, network.current_crop)
    crops = []
    for some, boxes, spec in zip(frames, (before, box), specs, strict=True):
        regions = region_of(boxes, spec.context)
        x1, y1, x2, y2 = regions.unbind(-1)
        mirrored = torch.stack((x2, y1, x1, y2), -1)
        regions = torch.where(batch.mirrored[:, None], mirrored, regions)
        crops.append(_colour(batch, crop_batch(some, regions, spec.size)))
    return Crops(*crops)


def _frames_before(batch, t):
    """Return the frames that the previous crops of time t are cut from."""
    before, now = batch.frames[max(t - 1, 0)], batch.frames[t]
    if t != 1:
        return before
    if torch.is_tensor(before):
        look = batch.second_look.view(len(before), -1)[:, 0]
        return torch.where(look[:, None, None, None], now, before)
    return [later if look else earlier
            for earlier, later, look in zip(before, now, batch.second_look, strict=True)]


def _colour(batch, crops):
    """Colour crops (B, 3, S, S) as drawn; rows of pixels are one long axis, which is fast."""
    count, _, size, _ = crops.shape
    pixels = crops.permute(0, 2, 3, 1).contiguous().float()
    if len(batch.grey):
        pixels[batch.grey] = pixels[batch.grey].mean(-1, keepdim=True)
    gain = batch.gain.repeat(1, size)[:, None]
    pixels = pixels.view(count, size, 3 * size).mul_(gain).clamp_(0, 255).to(torch.uint8)
    return pixels.view(count, size, size, 3).permute(0, 3, 1, 2)


def _next_boxes(network, prediction, batch, t, box, noise):
    """Return the boxes (B, 4) for both crops of time t + 1 that follow from a prediction."""
    context = network.current_crop.context
    coordinates = mirror_coordinates(prediction.boxes.clamp(-WILD, WILD), batch.mirrored)
    predicted = box_ops.damp_scale(decode(coordinates, region_of(box, context)), box,
                                    network.scale_lr)
    truth = batch.held[t + 1 if noise.foresee else t]
    predicted = _limit_size(predicted, truth, noise.largest_change)
    pulled = pull_boxes(predicted, truth, noise.least_covered, context)
    # Where there is no number to go by, there is no place to cut the previous crop either.
    known = torch.isfinite(predicted).all(-1, keepdim=True)
    return torch.where(known, predicted, pulled) if noise.foresee else pulled, pulled


def _limit_size(boxes, truth, factor):
    """Keep each side of `boxes` (B, 4) within a factor of the true side."""
    centre, size = box_ops.xyxy_to_cxcywh(boxes).split(2, -1)
    true_size = box_ops.xyxy_to_cxcywh(truth)[..., 2:].clamp(min=1)
    size = torch.minimum(torch.maximum(size, true_size / factor), true_size * factor)
    return box_ops.cxcywh_to_xyxy(torch.cat((centre, size), -1))


class Unroll(nn.Module):
    """The differentiated pass over what a rollout saw."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, seen):
        """Return the Prediction of all moments: boxes (T, B, 4), score (T, B)."""
        network, (length, count) = self.network, seen.regions.shape[:2]
        features = seen.features or network.features(seen.crops)
        reference = network.reference(tuple(part[:count] for part in features))
        repeated = tuple(part.repeat(length, *[1] * (part.dim() - 1)) for part in reference)
        encoded = network.encode(features, repeated).view(length, count, -1)
        memory, predictions = network.zero_memory(encoded[0]), []
        for moment in encoded:
            prediction, memory = network.recur(moment, memory)
            predictions.append(prediction)
        return Prediction(*(torch.stack(parts) for parts in zip(*predictions, strict=True)))


class Learner(nn.Module):
    """The differentiated pass and its loss: what several processes share gradients of."""

    def __init__(self, network, weights):
        super().__init__()
        self.unroll, self.weights = Unroll(network), weights

    def forward(self, seen):
        """Return the loss and its parts, see `unroll_loss`."""
        prediction, network = self.unroll(seen), self.unroll.network
        reached = box_ops.damp_scale(
            prediction.boxes.detach(), _last_box(prediction.boxes, network.current_crop.context),
            network.scale_lr)
        return unroll_loss(prediction, seen.targets, seen.visible, self.weights, reached)


def _last_box(boxes, context):
    """Return the box (4,), like `boxes`, that a region of `context` was cut around, in it."""
    half = .5 / context
    return boxes.new_tensor((.5 - half, .5 - half, .5 + half, .5 + half))
