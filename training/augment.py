# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Batches: clips, and everything random about them, drawn before the network is run.

Everything random about a clip comes from that clip's own generator, so that a batch is the same
whether one process draws it or several draw a part each. The box changes are GOTURN's motion
model, Re3's jitter, and Re3's pull to the target. Boxes are `xyxy` pixels, frame sizes (height,
width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from re3_core import boxes as box_ops
from re3_core.crops import CropSpec
import torch
from training.config import Augmentation, BoxJitter
from training.data.sources import Clip

# Each pull moves a box a tenth of the way (Re3 code). After this many a box that started 1000
# sizes away is within one size; a box that is still further away becomes the target itself.
PULL_RATE = 0.9
MAX_PULLS = 64
# How often a center outside its limits is drawn again.
TRIES = 10


class Batch(NamedTuple):
    """
    B rows of T frames, all on one device.

    :param frames: for each time the frames: a list of B arrays, or a tensor (N, H, W, 3) of which
        each serves B / N rows
    :param boxes: (T, B, 4) true boxes, nan where absent
    :param last_known_boxes: (T, B, 4) the same, with the last known box where absent
    :param visible: (T, B) visible fraction
    :param template_boxes: (T, B, 4) boxes of the previous crops, from the true boxes
    :param search_boxes: (T, B, 4) boxes of the current crops, from the true boxes
    :param free_running: (B,) bool, rows that follow the network's predictions from the third time
        step on
    :param mirrored: (B,) bool
    :param gain: (B, 3) factor of the colors
    :param grayscale: (G,) numbers of the rows without color
    :param any_free_running: whether there is such a row, known without asking the device
    """

    frames: list
    boxes: torch.Tensor
    last_known_boxes: torch.Tensor
    visible: torch.Tensor
    template_boxes: torch.Tensor
    search_boxes: torch.Tensor
    free_running: torch.Tensor
    mirrored: torch.Tensor
    gain: torch.Tensor
    grayscale: torch.Tensor
    any_free_running: bool

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, where frames become one tensor unless it is a CPU."""
        def move(value: Any) -> Any:
            if isinstance(value, list):
                return [move(item) for item in value]
            return value.to(device, non_blocking=True) if torch.is_tensor(value) else value
        return Batch(*(move(value) for value in self))


def make_batch(clips: Sequence[Clip], generators: Sequence[np.random.Generator],
               augment: Augmentation, crop: CropSpec, scheduled_sampling: float = 0.,
               copies: int = 1, as_tensor: bool = False) -> Batch:
    """
    Draw everything that is random about clips of equal length.

    :param clips: clips whose targets are visible in their first frames
    :param generators: a numpy Generator for each clip
    :param crop: the current crop
    :param scheduled_sampling: probability that a row follows the network's own predictions
    :param copies: rows made of each clip, each augmented differently
    :param as_tensor: make one tensor of the frames of each time, to be moved to a GPU
    :raises ValueError: if a clip begins without its target
    """
    rows = [_augmented_rows(clip, rng, augment, crop, scheduled_sampling, copies)
            for clip, rng in zip(clips, generators, strict=True)]
    drawn = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def per_row(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.as_tensor(drawn[name], dtype=dtype)

    def per_time(name: str) -> torch.Tensor:
        return per_row(name).transpose(0, 1).contiguous()       # (B, T, ...) -> (T, B, ...)
    frames: list = _stacked_frames(clips) if as_tensor else [
        [clip.frames[t] for clip in clips for _ in range(copies)] for t in range(len(clips[0]))]
    return Batch(
        frames=frames, gain=per_row('gain'), any_free_running=bool(drawn['free_running'].any()),
        # Row numbers, not a mask: a GPU would have to send the host how many there are.
        grayscale=torch.from_numpy(np.flatnonzero(drawn['grayscale'])),
        **{name: per_time(name) for name in ('boxes', 'last_known_boxes', 'visible',
                                             'template_boxes', 'search_boxes')},
        **{name: per_row(name, torch.bool) for name in ('free_running', 'mirrored')})


def _stacked_frames(clips: Sequence[Clip]) -> list[torch.Tensor]:
    """Return a tensor (N, H, W, 3) uint8 for each time."""
    # Frames of different size share a tensor; the black rest is what lies outside anyway.
    height, width = np.max([clip.frames[0].shape[:2] for clip in clips], 0)
    frames = torch.zeros((len(clips[0]), len(clips), height, width, 3), dtype=torch.uint8)
    for row, clip in enumerate(clips):
        for t, frame in enumerate(clip.frames):
            frames[t, row, :frame.shape[0], :frame.shape[1]] = torch.from_numpy(
                np.ascontiguousarray(frame))
    return list(frames)


def _augmented_rows(clip: Clip, rng: np.random.Generator, augment: Augmentation, crop: CropSpec,
                    scheduled_sampling: float, copies: int) -> dict[str, np.ndarray]:
    """Return the arrays of a Batch, (C, T, ...), for the C rows that are made of one clip."""
    known, size = last_known(clip.boxes), clip.frames[0].shape[:2]
    free_running = rng.random(copies) < scheduled_sampling
    # Spread evenly: of 11 copies with a probability of 10 / 11 exactly one is not a pair.
    pair = (np.arange(copies) + rng.random()) / copies >= 1 - augment.pair_prob
    template_boxes, search_boxes = _crop_boxes(
        np.tile(known.astype(np.float64), (copies, 1, 1)), size, rng, augment, crop,
        free_running, pair)
    visible = np.where(np.isfinite(clip.visible), clip.visible, 1)
    return {
        'boxes': np.tile(clip.boxes, (copies, 1, 1)),
        'last_known_boxes': np.tile(known, (copies, 1, 1)),
        'visible': np.tile(visible, (copies, 1)), 'template_boxes': template_boxes,
        'search_boxes': search_boxes, 'free_running': free_running,
        'mirrored': rng.random(copies) < augment.mirror_prob,
        'grayscale': rng.random(copies) < augment.grayscale_prob,
        'gain': np.exp(rng.normal(0, augment.color_jitter, (copies, 3)))}


def last_known(boxes: np.ndarray) -> np.ndarray:
    """
    Return `boxes` (T, 4) with each row of nan replaced by the last one before it.

    :raises ValueError: if the first row is nan
    """
    present = np.isfinite(boxes).all(-1)
    if not present[0]:
        raise ValueError('the target must be visible in the first frame of a clip, its box there '
                         f'is {boxes[0]}')
    return boxes[np.maximum.accumulate(np.where(present, np.arange(len(boxes)), 0))]


def _crop_boxes(truth: np.ndarray, frame_size: tuple, rng: np.random.Generator,
                augment: Augmentation, crop: CropSpec, free_running: np.ndarray,
                pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes for previous and current crops (C, T, 4) that follow from the truth."""
    def jitter(boxes: np.ndarray, settings: BoxJitter) -> np.ndarray:
        return jittered(boxes, frame_size, rng, augment, crop, settings)
    last, now = truth[:, :-1], truth[:, 1:]
    start = jitter(truth[:, :1], augment.start_jitter)
    template = np.where(free_running[:, None, None], start, jitter(last, augment.jitter))
    search = template
    if augment.target_from_next_frame:
        search = pull_boxes(template.reshape(-1, 4), now.reshape(-1, 4), augment.min_coverage,
                            crop).reshape(template.shape)
    pair = (pair & ~free_running)[:, None, None]
    if pair.any():
        template = np.where(pair, last, template)
        search = np.where(pair, jitter(now, augment.pair_jitter), search)
    return np.concatenate((start, template), 1), np.concatenate((start, search), 1)


# Random boxes ----------------------------------------------------------------------------------


def jittered(boxes: np.ndarray, frame_size: tuple, rng: np.random.Generator,
             augment: Augmentation, crop: CropSpec, jitter: BoxJitter) -> np.ndarray:
    """
    Move boxes as GOTURN does to make synthetic search crops, or as Re3 does to make noisy crops.

    With `augment.limits` goturn the new box lies inside the frame, and its center stays in the
    context window, within one box size of the old center (paper, section 4.2). With re3 the new
    center lies inside the old box and the frame, unless all tries fail; then the new box is
    pulled to the old one until the crop around it shows enough of it, see `pull_boxes`.

    :param boxes: (..., 4) that overlap the frame
    :return: (..., 4) float64
    """
    if not (jitter.shift or jitter.scale):
        return boxes
    old, extent = box_ops.xyxy_to_cxcywh(boxes.astype(np.float64)), np.array(frame_size[::-1])
    centers, sizes = old[..., :2], old[..., 2:]
    new_sizes = sizes * np.clip(
        rng.laplace(1, jitter.scale, sizes.shape), jitter.min_scale, jitter.max_scale)
    candidates = centers + sizes * rng.laplace(0, jitter.shift, (TRIES, *sizes.shape))
    if augment.limits == 'goturn':
        new_sizes = np.clip(new_sizes, 1, np.maximum(extent - 1, 1))
        candidates = np.clip(candidates, new_sizes / 2, extent - new_sizes / 2)
        accepted = abs(candidates - centers) <= sizes
    else:
        accepted = (abs(candidates - centers) <= sizes / 2) & (candidates >= 0) & (
            candidates <= extent)
    moved = box_ops.cxcywh_to_xyxy(np.concatenate((_first(candidates, accepted), new_sizes), -1))
    if augment.limits == 'goturn':
        return moved
    return pull_boxes(moved.reshape(-1, 4), boxes.reshape(-1, 4), augment.min_coverage,
                      crop).reshape(boxes.shape)


def covered_fraction(targets: Any, boxes: Any, crop: CropSpec) -> Any:
    """Return the fraction (...) of each target's area in the crop region around a box."""
    shown = box_ops.intersection(targets, crop.region(boxes))
    return shown / box_ops.area(targets).clip(1e-12)


def pull_boxes(boxes: Any, targets: Any, min_coverage: float, crop: CropSpec) -> Any:
    """
    Pull boxes towards targets until their crops show at least `min_coverage` of them.

    A pull moves a box a tenth of the way to its target; boxes that show enough stay, a box that
    is not finite becomes its target (Re3 training code). Works on numpy arrays and on torch
    tensors without leaving their device.

    :param boxes: (N, 4), for example a network's own predictions
    :param targets: (N, 4), the true boxes
    :param min_coverage: fraction of the target's area
    :param crop: the crop around each box
    :return: (N, 4), the type of `boxes`
    """
    library: Any = torch if torch.is_tensor(boxes) else np
    finite = library.isfinite(boxes).all(-1)[..., None]
    offsets = library.where(finite, boxes - targets, library.zeros_like(boxes))
    # Made on the tensors' device: copying them there would let the host wait for a GPU.
    place = {'dtype': boxes.dtype, 'device': boxes.device} if torch.is_tensor(boxes) else {}
    rates = PULL_RATE ** library.arange(MAX_PULLS + 1, **place)
    rates[-1] = 0
    pulled = targets + rates[:, None, None] * offsets           # (pulls, N, 4)
    enough = covered_fraction(targets, pulled, crop) >= min_coverage
    enough[-1] = True
    return _first(pulled, enough[..., None])


def _first(candidates: Any, accepted: Any) -> Any:
    """Return, element by element, the first accepted of the candidates, else the first."""
    if torch.is_tensor(candidates):
        index = accepted.to(torch.uint8).argmax(0, keepdim=True).expand_as(candidates[:1])
        return candidates.gather(0, index)[0]
    index = np.broadcast_to(accepted.argmax(0)[None], candidates[:1].shape)
    return np.take_along_axis(candidates, index, 0)[0]
