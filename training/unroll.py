# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
Unrolling: run a network along clips as the tracker would, then learn from what it saw.

First the network follows the targets without gradients, its own predictions deciding where the
next crops are cut (Re3 paper, section III-D: learning to fix mistakes). Where crops are cut is
not differentiated through, so the second pass, with gradients, can put all frames through the
non-recurrent part at once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from re3_core import boxes as box_ops
from re3_core.crops import crop_batch, decode, encode, region_of
from re3_core.networks import Crops, Prediction
import torch
from torch import nn
from training.motion import pull_boxes

# Predictions wilder than this, in regions, would only teach what guards prevent.
WILD = 4.


@dataclass(frozen=True)
class Noise:
    """
    How given boxes are disturbed, and what is done to the pictures.

    `shift` and `scale` are Laplace scales of the centre's move and the size's logarithm, in box
    sizes, `start_*` those for the first box; `separate`: cut the current crop around a
    disturbed true box of the *same* frame and the previous crop around the undisturbed one
    before (the paper's way), instead of both around a disturbed box of the frame before (what
    tracking does); `least_covered`: the share of the target that a crop must show, or the box
    is pulled back to it; `largest_change`: the factor by which a followed box may be too large
    or too small; `mirror`, `grey`: share of clips mirrored, and without colour; `gain`: spread
    of brightness and colour between clips.
    """

    shift: float = .08
    scale: float = .06
    start_shift: float = .02
    start_scale: float = .03
    separate: bool = False
    least_covered: float = .5
    largest_change: float = 3.
    mirror: float = .5
    gain: float = .1
    grey: float = .1


class Batch(NamedTuple):
    """
    B clips of T frames, with what chance decides about them, all on one device.

    `frames[t]` holds B frames (list of arrays, or a tensor (B, H, W, 3)); `boxes` (T, B, 4) is
    `xyxy` with NaN where absent; `visible` (T, B); `noise` (T, B, 4) moves and scales boxes;
    `own`, `mirrored`, `grey` (B,) are bool; `gain` (B, 3) scales the colours of a clip.
    """

    frames: list
    boxes: torch.Tensor
    visible: torch.Tensor
    noise: torch.Tensor
    own: torch.Tensor
    mirrored: torch.Tensor
    grey: torch.Tensor
    gain: torch.Tensor


class Seen(NamedTuple):
    """What a rollout saw: crops and features of T x B moments (T first), and their regions."""

    crops: Crops
    features: tuple
    regions: torch.Tensor     # (T, B, 4), xyxy pixels, of the current crops


def make_batch(clips, own_probability, noise, rng, device):
    """
    Draw all that is random about a batch of clips of equal length; return a Batch.

    :param clips: sequence of training.clips.Clip.
    :param own_probability: share of clips that are followed by the network's own predictions.
    :param noise: Noise.
    :param rng: numpy Generator.
    """
    count, length = len(clips), len(clips[0])
    scales = np.array([noise.shift] * 2 + [noise.scale] * 2)
    moves = rng.laplace(0, 1, (length, count, 4)) * scales
    moves[0] = rng.laplace(0, 1, (count, 4)) * (
        [noise.start_shift] * 2 + [noise.start_scale] * 2)
    visible = np.stack([clip.visible for clip in clips], 1)

    def tensor(values, dtype=torch.float32):
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype).to(device)
    return Batch(
        frames=_frames(clips, length, device),
        boxes=tensor(np.stack([clip.boxes for clip in clips], 1)),
        visible=tensor(np.where(np.isfinite(visible), visible, 1)),
        noise=tensor(moves.clip(-1, 1)),
        own=tensor(rng.random(count) < own_probability, torch.bool),
        mirrored=tensor(rng.random(count) < noise.mirror, torch.bool),
        grey=tensor(rng.random(count) < noise.grey, torch.bool),
        gain=tensor(np.exp(rng.normal(0, noise.gain, (count, 3)))))


def _frames(clips, length, device):
    """Return per time step the frames of all clips: views on a CPU, one tensor on a GPU."""
    if device.type == 'cpu':
        return [[clip.frames[t] for clip in clips] for t in range(length)]
    # Frames of different size share a tensor; the black rest is what lies outside anyway.
    height, width = np.max([clip.frames[0].shape[:2] for clip in clips], 0)
    frames = torch.zeros((length, len(clips), height, width, 3), dtype=torch.uint8)
    for row, clip in enumerate(clips):
        for t, frame in enumerate(clip.frames):
            frames[t, row, :frame.shape[0], :frame.shape[1]] = torch.from_numpy(
                np.ascontiguousarray(frame))
    return list(frames.pin_memory().to(device, non_blocking=True))


def disturb(boxes, noise):
    """Move `xyxy` boxes (..., 4) by noise (..., 4): shifts in box sizes, logarithms of scales."""
    centre, size = box_ops.xyxy_to_cxcywh(boxes).split(2, -1)
    moved = torch.cat((centre + noise[..., :2] * size, size * noise[..., 2:].exp()), -1)
    return box_ops.cxcywh_to_xyxy(moved)


def mirror_coordinates(boxes, mirrored):
    """Mirror `xyxy` boxes (..., B, 4) in region coordinates where `mirrored` (B,) says so."""
    flipped = torch.stack(
        (1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]), -1)
    return torch.where(mirrored[:, None], flipped, boxes)


def _cut(network, batch, t, previous_boxes, boxes):
    """Cut both crops of time t, mirrored and coloured as drawn."""
    spec_before, spec_now = network.previous_crop, network.current_crop
    return Crops(
        _colour(batch, crop_batch(batch.frames[max(t - 1, 0)], region_of(
            previous_boxes, spec_before.context), spec_before.size)),
        _colour(batch, crop_batch(batch.frames[t], region_of(
            boxes, spec_now.context), spec_now.size)))


def _colour(batch, crops):
    """Mirror and colour crops; half precision holds a byte's values and is faster."""
    crops = torch.where(batch.mirrored[:, None, None, None], crops.flip(-1), crops)
    values = crops.to(torch.bfloat16)
    if batch.grey.any():
        values = torch.where(batch.grey[:, None, None, None], values.mean(1, True), values)
    values = (values * batch.gain.to(values.dtype)[:, :, None, None]).clamp_(0, 255)
    return values.to(torch.uint8).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def rollout(network, batch, noise, features_of=None):
    """
    Follow the clips of a batch with the network as it is; return what it Seen.

    Clips with `own` continue from the network's predictions, pulled towards the target where
    they have lost it; the others from disturbed true boxes.
    """
    before = box = disturb(batch.boxes[0], batch.noise[0])
    alone = bool(batch.own.any())
    crops, features, regions = [], [], []
    reference = memory = None
    for t in range(len(batch.boxes)):
        crops.append(_cut(network, batch, t, before, box))
        features.append(features_of(crops[-1]))
        regions.append(region_of(box, network.current_crop.context))
        given_before, given = _given(batch, t, noise)
        if not alone:
            before, box = given_before, given
            continue
        if t == 0:
            reference = network.reference(features[0])
        encoded = network.encode(features[-1], reference)
        if t == 0:
            memory = network.zero_memory(encoded)
        prediction, memory = network.recur(encoded, memory)
        if t > 0:    # the first frame's box is given, whatever the network thinks
            predicted = _predicted(prediction, regions[-1], batch, t, noise, network)
            kept = torch.isfinite(given + given_before).all(-1) & ~batch.own
            box = torch.where(kept[:, None], given, predicted)
            before = torch.where(kept[:, None], given_before, predicted)
        else:
            before = torch.where(batch.own[:, None], before, given_before)
            box = torch.where(batch.own[:, None], box, given)
    joined = Crops(*(torch.cat(parts) for parts in zip(*crops)))
    return Seen(joined, tuple(torch.cat(parts) for parts in zip(*features)),
                torch.stack(regions))


def _given(batch, t, noise):
    """Return the boxes for the crops of time t + 1 where the truth decides them."""
    following = min(t + 1, len(batch.boxes) - 1)
    if noise.separate:
        return batch.boxes[t], disturb(batch.boxes[following], batch.noise[following])
    disturbed = disturb(batch.boxes[t], batch.noise[following])
    return disturbed, disturbed


def _predicted(prediction, regions, batch, t, noise, network):
    """Return the predicted boxes in pixels, pulled to the target where it was lost."""
    coordinates = mirror_coordinates(prediction.boxes.clamp(-WILD, WILD), batch.mirrored)
    boxes = decode(coordinates, regions)
    truth = batch.boxes[t]
    present = torch.isfinite(truth).all(-1, keepdim=True)
    truth = torch.where(present, truth, boxes)
    boxes = _limit_size(boxes, truth, noise.largest_change)
    return pull_boxes(boxes, truth, noise.least_covered, network.current_crop.context)


def _limit_size(boxes, truth, factor):
    """Keep each side of `boxes` (B, 4) within a factor of the true side."""
    centre, size = box_ops.xyxy_to_cxcywh(boxes).split(2, -1)
    true_size = box_ops.xyxy_to_cxcywh(truth)[..., 2:].clamp(min=1)
    size = torch.minimum(torch.maximum(size, true_size / factor), true_size * factor)
    return box_ops.cxcywh_to_xyxy(torch.cat((centre, size), -1))


class Unroll(nn.Module):
    """The differentiated pass over what a rollout saw."""

    def __init__(self, network, frozen_features):
        super().__init__()
        self.network, self.frozen_features = network, frozen_features

    def forward(self, seen):
        """Return the Prediction of all moments: boxes (T, B, 4), score (T, B)."""
        network, (length, count) = self.network, seen.regions.shape[:2]
        features = seen.features if self.frozen_features else network.features(seen.crops)
        reference = network.reference(tuple(part[:count] for part in features))
        repeated = tuple(part.repeat(length, *[1] * (part.dim() - 1)) for part in reference)
        encoded = network.encode(features, repeated).view(length, count, -1)
        memory, predictions = network.zero_memory(encoded[0]), []
        for moment in encoded:
            prediction, memory = network.recur(moment, memory)
            predictions.append(prediction)
        return Prediction(*(torch.stack(parts) for parts in zip(*predictions)))


def targets_of(batch, seen):
    """Return the true boxes (T, B, 4) in coordinates of the regions seen, NaN where absent."""
    return mirror_coordinates(encode(batch.boxes, seen.regions), batch.mirrored)
