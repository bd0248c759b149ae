# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips: consecutive frames of one target, the unit of training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Clip:
    """
    Consecutive frames of one target.

    :param frames: T frames, each (H, W, 3) uint8 RGB; a list or an array (T, H, W, 3)
    :param boxes: (T, 4) float32 xyxy in pixels; a row of nan where the target is absent
    :param visible: (T,) float32 visible fraction of the target, 0..1; nan where unknown
    """

    frames: Sequence[np.ndarray]
    boxes: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def present(self) -> np.ndarray:
        """Say per frame, (T,) bool, whether the box is known."""
        return np.isfinite(self.boxes).all(axis=1)


class ClipSource(Protocol):
    """Anything that clips can be drawn from: a simulator, a pool, a cache of real video."""

    def __len__(self) -> int:
        """Return the number of different things that clips are drawn from."""

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a clip of `length` frames; the same state of `rng` gives the same clip."""


def check_clip(clip: Clip) -> Clip:
    """Return the clip, or raise ValueError that names what is wrong with it."""
    count = len(clip.frames)
    if clip.boxes.shape != (count, 4) or clip.visible.shape != (count,):
        raise ValueError(f'a clip of {count} frames has boxes {clip.boxes.shape} and visible '
                         f'{clip.visible.shape}, needed are ({count}, 4) and ({count},)')
    for index, frame in enumerate(clip.frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f'frame {index} is {frame.dtype} {frame.shape}, '
                             'needed is uint8 (height, width, 3)')
    known = clip.boxes[clip.present]
    if (known[:, 2:] <= known[:, :2]).any():
        raise ValueError('a box has no width or no height')
    seen = clip.visible[np.isfinite(clip.visible)]
    if ((seen < 0) | (seen > 1)).any():
        raise ValueError('visible fractions must lie in 0..1')
    return clip


def mirror_boxes(boxes: np.ndarray, width: float) -> np.ndarray:
    """Mirror xyxy boxes (..., 4) of a frame of the given width left to right."""
    return np.stack((width - boxes[..., 2], boxes[..., 1],
                     width - boxes[..., 0], boxes[..., 3]), axis=-1)


def mirror(clip: Clip) -> Clip:
    """Mirror frames (as views) and boxes left to right."""
    width = clip.frames[0].shape[1]
    return replace(clip, frames=[frame[:, ::-1] for frame in clip.frames],
                   boxes=mirror_boxes(clip.boxes, width))


def reverse(clip: Clip) -> Clip:
    """Play the clip backwards."""
    return Clip(clip.frames[::-1], clip.boxes[::-1], clip.visible[::-1])


def cut(clip: Clip, start: int, length: int, stride: int = 1) -> Clip:
    """
    Take `length` frames from `start` on, every `stride`-th one.

    :raises ValueError: if the clip is too short for that
    """
    last = start + (length - 1) * stride
    if start < 0 or length < 1 or stride < 1 or last >= len(clip):
        raise ValueError(f'frames {start}..{last} asked of a clip of {len(clip)}')
    rows = slice(start, last + 1, stride)
    return Clip(clip.frames[rows], clip.boxes[rows], clip.visible[rows])


def without(clip: Clip, rows: slice) -> Clip:
    """Leave out some frames of a clip."""
    kept = np.delete(np.arange(len(clip)), rows)
    return Clip([clip.frames[row] for row in kept], clip.boxes[kept], clip.visible[kept])


class MixedSource:
    """
    A clip source that draws every clip from one of several sources.

    :param sources: clip sources
    :param weights: how often each is drawn, any positive scale; None: all alike
    """

    def __init__(self, sources: Sequence[ClipSource], weights: Sequence[float] | None = None):
        shares = np.ones(len(sources)) if weights is None else np.asarray(weights, np.float64)
        if not len(sources) or shares.shape != (len(sources),) or (shares < 0).any() \
                or shares.sum() <= 0:
            raise ValueError(f'{len(sources)} sources with weights {weights}: needed is one '
                             'weight >= 0 for each source, not all 0')
        self.sources = tuple(sources)
        self.shares = shares / shares.sum()

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a source by its weight, then a clip from it."""
        return self.sources[rng.choice(len(self.sources), p=self.shares)].sample(rng, length)
