# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Batches: clips, and all that chance decides about them, drawn before the network sees anything.

Everything random about a clip comes from that clip's own generator, so that a batch is the same
whether one process draws it or several draw a part each.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from training.motion import jitter_boxes, MotionModel, pull_boxes, shift_boxes

# Where a disturbed box may lie: see `jitter_boxes` and `shift_boxes`.
LIMITS = ('re3', 'goturn')


@dataclass(frozen=True)
class Move:
    """
    Laplace scales of the centre's shift and of the size's relative change, in box sizes.

    A side changes at least by the factor `min_scale` and at most by `max_scale`.
    """

    shift: float = 0.
    scale: float = 0.
    min_scale: float = MotionModel().min_scale
    max_scale: float = MotionModel().max_scale

    def __post_init__(self):
        if min(self.shift, self.scale) < 0:
            raise ValueError(f'shift and scale must not be negative, got {self}')
        if not 0 < self.min_scale <= 1 <= self.max_scale:
            raise ValueError(f'1 must lie between min_scale and max_scale, got {self}')

    @property
    def model(self):
        """Return the MotionModel that moves so."""
        return MotionModel(self.shift, self.scale, self.min_scale, self.max_scale)


@dataclass(frozen=True)
class Noise:
    """
    How boxes given by the truth are disturbed, and what is done to the pictures.

    A tracker cuts both crops of a moment around the box of the frame before. Training does the
    same around the true box, moved by `both` (the first one by `start`); in the share `separate`
    of clips it cuts the previous crop around the true box of the frame before and the current
    crop around that of its own frame, moved by `current` (GOTURN's synthetic pairs, Re3's jitter
    of real video). `limits`, 're3' or 'goturn', tells whose rules say where a moved box may lie.

    Where the network is lost, its box is pulled to the truth until the crop shows at least
    `least_covered` of the target, and a side is at most `largest_change` times too large or too
    small. `foresee`: what counts is where the target is in the frame to be searched, and only
    the current crop is moved (Re3's code), instead of where it was in the frame before.

    A second look is what a tracker does when it goes back to the memory of the first frame: it
    sees both crops of the second frame, cut around where it believes the target to be. There
    that belief is the true box moved by `relapse`, so that a network learns to find back to what
    the first frame showed. Further frames of such a clip follow the network's predictions.

    `shake` makes fast targets of slow ones: in the share `shaken` of the moments at which a row
    follows its own predictions, the current crop is moved by so many box sizes (Laplace scale).

    `mirror`, `grey`: share of clips mirrored, and without colour; `gain`: spread of brightness
    and colour between clips.
    """

    start: Move = Move(.02, .03)
    both: Move = Move(.08, .06)
    current: Move = Move(1 / 5, 1 / 15)
    relapse: Move = Move(.1, .25, .4, 2.5)
    shake: float = .2
    shaken: float = 0.
    separate: float = 0.
    limits: str = 're3'
    foresee: bool = False
    least_covered: float = .5
    largest_change: float = 3.
    mirror: float = .5
    gain: float = .1
    grey: float = .1

    def __post_init__(self):
        for name in ('shaken', 'separate', 'least_covered', 'mirror', 'grey'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must be a share of 0..1, got {getattr(self, name)}')
        if self.limits not in LIMITS:
            raise ValueError(f'limits must be one of {LIMITS}, got {self.limits!r}')
        if self.largest_change < 1 or min(self.gain, self.shake) < 0:
            raise ValueError(f'largest_change must be at least 1, gain and shake at least 0, got '
                             f'{self.largest_change}, {self.gain} and {self.shake}')


class Batch(NamedTuple):
    """
    B rows of T frames, all on one device.

    `frames[t]` are the frames of time t: a list of B arrays, or a tensor (N, H, W, 3) of which
    each serves B / N rows. `boxes` (T, B, 4) is `xyxy` with NaN where absent, `held` the same
    with the last known box there, `visible` (T, B). `before` and `given` (T, B, 4) are the boxes
    for the previous and the current crop of each moment, as long as the truth decides; rows with
    `own` (B,) follow the network's predictions from the third moment on, `any_own` says whether
    there is one. `shake` (T, B, 2) is by how many box sizes their current crops are moved
    besides. Rows of `second_look` (B,) have both crops of moment 1 cut from its own frame.
    `mirrored` is (B,) bool, `gain` (B, 3) scales colours, `grey` (G,) are the rows
    without colour.
    """

    frames: list
    boxes: torch.Tensor
    held: torch.Tensor
    visible: torch.Tensor
    before: torch.Tensor
    given: torch.Tensor
    shake: torch.Tensor
    own: torch.Tensor
    second_look: torch.Tensor
    mirrored: torch.Tensor
    gain: torch.Tensor
    grey: torch.Tensor
    any_own: bool


def make_batch(clips, generators, noise, context, device, own=0., copies=1, second_looks=None):
    """
    Draw all that is random about clips of equal length; return a Batch.

    :param clips: sequence of training.clips.Clip that begin with their target in sight.
    :param generators: a numpy Generator for each clip.
    :param noise: Noise.
    :param context: size of the current crop in multiples of the box.
    :param device: torch.device.
    :param own: share of rows that follow the network's own predictions.
    :param copies: rows made of each clip, each with noise of its own.
    :param second_looks: for each clip whether it goes on with a second look; None: none does.
    :raises ValueError: if a clip begins without its target.
    """
    second_looks = second_looks or [False] * len(clips)
    rows = [_draw_rows(clip, rng, noise, context, own, copies, second_look)
            for clip, rng, second_look in zip(clips, generators, second_looks, strict=True)]
    drawn = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def per_row(name, dtype=torch.float32):
        return torch.as_tensor(drawn[name], dtype=dtype).to(device)

    def per_moment(name):
        return per_row(name).transpose(0, 1).contiguous()
    return Batch(
        _frames(clips, copies, device),
        *(per_moment(name) for name in ('boxes', 'held', 'visible', 'before', 'given', 'shake')),
        *(per_row(name, torch.bool) for name in ('own', 'second_look', 'mirrored')),
        per_row('gain'),
        # Row numbers, not a mask: a GPU would have to tell the host how many there are.
        torch.from_numpy(np.flatnonzero(drawn['grey'])).to(device), bool(drawn['own'].any()))


def _draw_rows(clip, rng, noise, context, own, copies, second_look):
    """Return the arrays of a Batch, rows first, for the rows that are made of one clip."""
    held = last_known(clip.boxes)
    own = (rng.random(copies) < own) | second_look
    # Spread evenly: of 11 copies with a share of 10 / 11 exactly one is not separate.
    separate = (np.arange(copies) + rng.random()) / copies >= 1 - noise.separate
    before, given = _given_boxes(np.tile(held.astype(np.float64), (copies, 1, 1)),
                                 clip.frames[0].shape[:2], rng, noise, context, own, separate)
    if second_look:
        believed = moved_boxes(np.tile(held[1].astype(np.float64), (copies, 1)),
                               clip.frames[0].shape[:2], rng, noise, context, noise.relapse)
        before[:, 1] = given[:, 1] = believed
    visible = np.where(np.isfinite(clip.visible), clip.visible, 1)
    return {
        'boxes': np.tile(clip.boxes, (copies, 1, 1)), 'held': np.tile(held, (copies, 1, 1)),
        'visible': np.tile(visible, (copies, 1)), 'before': before, 'given': given, 'own': own,
        'second_look': np.full(copies, second_look),
        'shake': _draw_shakes(len(clip), rng, noise, copies),
        'mirrored': rng.random(copies) < noise.mirror, 'grey': rng.random(copies) < noise.grey,
        'gain': np.exp(rng.normal(0, noise.gain, (copies, 3)))}


def _draw_shakes(length, rng, noise, copies):
    """Return by how much current crops are moved, in box sizes, (C, T, 2)."""
    if not noise.shaken:
        return np.zeros((copies, length, 2))
    shaken = rng.random((copies, length, 1)) < noise.shaken
    return shaken * rng.laplace(0, noise.shake, (copies, length, 2))


def last_known(boxes):
    """Return `boxes` (T, 4) with each row of NaN replaced by the last one before it."""
    present = np.isfinite(boxes).all(-1)
    if not present[0]:
        raise ValueError('a clip must begin with its target in sight, its first box is '
                         f'{boxes[0]}')
    return boxes[np.maximum.accumulate(np.where(present, np.arange(len(boxes)), 0))]


def _given_boxes(truth, frame_size, rng, noise, context, own, separate):
    """Return the boxes for previous and current crops (C, T, 4) that follow from the truth."""
    def moved(boxes, move):
        return moved_boxes(boxes, frame_size, rng, noise, context, move)
    last, now = truth[:, :-1], truth[:, 1:]
    start = moved(truth[:, :1], noise.start)
    before = np.where(own[:, None, None], start, moved(last, noise.both))
    given = pull_boxes(before.reshape(-1, 4), now.reshape(-1, 4), noise.least_covered,
                       context).reshape(before.shape) if noise.foresee else before
    apart = (separate & ~own)[:, None, None]
    if apart.any():
        before = np.where(apart, last, before)
        given = np.where(apart, moved(now, noise.current), given)
    return np.concatenate((start, before), 1), np.concatenate((start, given), 1)


def moved_boxes(boxes, frame_size, rng, noise, context, move):
    """Return boxes (..., 4), moved as `noise.limits` allows."""
    if not (move.shift or move.scale):
        return boxes
    flat, model = boxes.reshape(-1, 4), move.model
    if noise.limits == 'goturn':
        flat = shift_boxes(flat, frame_size, rng, model)
    else:
        flat = jitter_boxes(flat, frame_size, rng, model, noise.least_covered, context)
    return flat.reshape(boxes.shape)


def _frames(clips, copies, device):
    """Return the frames of each time: views on a CPU, one tensor on a GPU."""
    length = len(clips[0])
    if device.type == 'cpu':
        return [[clip.frames[t] for clip in clips for _ in range(copies)]
                for t in range(length)]
    # Frames of different size share a tensor; the black rest is what lies outside anyway.
    height, width = np.max([clip.frames[0].shape[:2] for clip in clips], 0)
    frames = torch.zeros((length, len(clips), height, width, 3), dtype=torch.uint8)
    for row, clip in enumerate(clips):
        for t, frame in enumerate(clip.frames):
            frames[t, row, :frame.shape[0], :frame.shape[1]] = torch.from_numpy(
                np.ascontiguousarray(frame))
    return list(frames.pin_memory().to(device, non_blocking=True))
