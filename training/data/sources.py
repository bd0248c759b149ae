# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips, the unit of training data, and the sources that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import functools
from pathlib import Path
from typing import Protocol

import numpy as np
from training.config import Source
from training.data import read_dataset
from training.data.base import LabeledImage
from training.data.cache import (
    cache_clips,
    cache_images,
    cache_key,
    cache_videos,
    CachedTrack,
    default_cache,
    FrameCache,
)

# A clip starts where at least this fraction of its target is visible.
MIN_VISIBLE_AT_START = 0.5
# Sides of a part of a target, in sides of the target.
PART_SIDES = (0.5, 0.9)


@dataclass(frozen=True)
class Clip:
    """
    Consecutive frames of one target.

    :param frames: T frames, each (H, W, 3) uint8 RGB; a list or an array (T, H, W, 3)
    :param boxes: (T, 4) float32 xyxy in pixels; a row of nan where the target is absent
    :param visible: (T,) float32 visible fraction of the target, 0..1; nan where unknown
    """

    frames: Sequence[np.ndarray] | np.ndarray
    boxes: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def present(self) -> np.ndarray:
        """Return per frame, (T,) bool, whether the box is known."""
        return np.isfinite(self.boxes).all(axis=1)

    def take(self, rows: np.ndarray | slice) -> Clip:
        """Return some frames: views for a slice."""
        frames = self.frames[rows] if isinstance(rows, slice) else [
            self.frames[row] for row in rows]
        return Clip(frames, self.boxes[rows], self.visible[rows])


class ClipSource(Protocol):
    """Anything that clips can be drawn from."""

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a clip of `length` frames; the same state of `rng` gives the same clip."""


class TrackClips:
    """
    Clip source of the tracks in a cache of videos.

    :param strides: frame steps; one is drawn for each clip
    :param vary_stride_prob: probability that the step is drawn anew for every frame of a clip
    :param reverse_prob: probability that a clip is played backwards
    :param part_prob: probability that a part of the target is the target, so that boxes are
        learned that are not those of whole objects
    :raises ValueError: if the cache has no tracks
    """

    def __init__(self, cache: FrameCache, strides: Sequence[int] = (1,),
                 reverse_prob: float = 0., part_prob: float = 0.,
                 vary_stride_prob: float = 0.):
        if not cache.tracks:
            raise ValueError(f'{cache.directory}: these videos have no boxes to learn from')
        self.cache, self.strides = cache, tuple(strides)
        self.reverse_prob, self.part_prob = reverse_prob, part_prob
        self.vary_stride_prob = vary_stride_prob
        self._starts: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def _possible_starts(self, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the possible first frames of clips, (N,) tracks in order and (N,) frames.

        The target is visible in the first frame and present in at least half of the others.
        """
        if (length, stride) not in self._starts:
            span = (length - 1) * stride + 1
            tracks, starts = [], []
            for index, track in enumerate(self.cache.tracks):
                present = np.isfinite(track.boxes).all(axis=1).astype(int)
                total = np.concatenate(((0,), np.cumsum(present)))
                first = np.arange(max(0, len(present) - span + 1))
                good = (present[first] == 1) & (2 * (total[first + span] - total[first]) >= span) \
                    & ~(track.visible[first] < MIN_VISIBLE_AT_START)
                tracks.append(np.full(good.sum(), index))
                starts.append(first[good])
            self._starts[length, stride] = np.concatenate(tracks), np.concatenate(starts)
        return self._starts[length, stride]

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """
        Draw a track and `length` frames of it.

        Tracks are drawn by the logarithm of their length, so that long ones do not crowd out
        the others. A clip is only played backwards if its target is present in its last frame.

        :raises ValueError: if no track is long enough
        """
        stride = int(rng.choice(self.strides))
        backwards = rng.random() < self.reverse_prob
        tracks, starts = self._possible_starts(length, stride)
        if not len(tracks):
            stride = 1
            tracks, starts = self._possible_starts(length, stride)
        if not len(tracks):
            raise ValueError(f'no track has {length} frames with the target in half of them')
        usable, first, counts = np.unique(tracks, return_index=True, return_counts=True)
        weights = np.log1p(counts)
        chosen = rng.choice(len(usable), p=weights / weights.sum())
        start = int(starts[first[chosen] + rng.integers(counts[chosen])])
        track = self.cache.tracks[usable[chosen]]
        whole = Clip(self.cache.frames(track.video), track.boxes, track.visible)
        if rng.random() < self.vary_stride_prob:
            clip = whole.take(start + self._varying_rows(rng, length, len(whole) - start))
        else:
            clip = whole.take(slice(start, start + (length - 1) * stride + 1, stride))
        if backwards and clip.present[-1]:
            clip = clip.take(slice(None, None, -1))
        return part_of(clip, rng) if rng.random() < self.part_prob else clip


    def _varying_rows(self, rng: np.random.Generator, length: int, available: int) -> np.ndarray:
        """Return `length` rows below `available`, from 0 on with a step drawn for each."""
        steps = rng.choice(self.strides, length - 1)
        while steps.sum() >= available:
            steps[rng.choice(np.flatnonzero(steps > 1))] = 1
        return np.concatenate(([0], np.cumsum(steps)))


def part_of(clip: Clip, rng: np.random.Generator) -> Clip:
    """Make the target a part of what it is, the same in all frames: half of each side or more."""
    sides = rng.uniform(*PART_SIDES, 2)
    corner = rng.uniform(0, 1, 2) * (1 - sides)
    inner = np.concatenate((corner, corner + sides))
    origin = np.tile(clip.boxes[:, :2], 2)
    size = np.tile(clip.boxes[:, 2:] - clip.boxes[:, :2], 2)
    return replace(clip, boxes=(origin + inner * size).astype(np.float32))


class ImageClips:
    """
    Clip source of annotated images: all frames of a clip are the same image.

    GOTURN learns from such pairs, whose second crop is moved (paper, section 4.2).

    :param cache: cache of images
    :param max_box_ratio: boxes wider or higher than this fraction of the image are left out
    :raises ValueError: if no box is left
    """

    def __init__(self, cache: FrameCache, max_box_ratio: float = 0.66):
        self.cache = cache
        self.tracks = usable_tracks(cache, max_box_ratio)

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw an annotated object."""
        track = self.tracks[int(rng.integers(len(self.tracks)))]
        return Clip([self.cache.frames(track.video)[0]] * length,
                    np.tile(track.boxes[0], (length, 1)), np.full(length, np.nan, np.float32))


def usable_tracks(cache: FrameCache, max_box_ratio: float) -> list[CachedTrack]:
    """
    Return the objects of images whose boxes are of use, see `ImageClips`.

    :raises ValueError: if there is none
    """
    tracks = [track for track in cache.tracks if _usable(
        track.boxes[0], cache.frames(track.video).shape[1:3], max_box_ratio)]
    if not tracks:
        raise ValueError(f'{cache.directory}: no image has a box of at most {max_box_ratio} '
                         'of its sides')
    return tracks


def _usable(box: np.ndarray, shape: tuple, max_box_ratio: float) -> bool:
    """Return whether a box lies in the image, has an area and is not nearly all of it."""
    sides, extent = box[2:] - box[:2], np.array(shape[::-1])
    center = (box[:2] + box[2:]) / 2
    return bool((sides >= 1).all() and (sides <= max_box_ratio * extent).all()
                and (center >= 0).all() and (center <= extent).all())


class MixedSource:
    """
    A clip source that draws every clip from one of several sources.

    :param weights: how often each is drawn, on any scale
    :raises ValueError: if none is ever drawn
    """

    def __init__(self, sources: Sequence[ClipSource], weights: Sequence[float]):
        if not sum(weights):
            raise ValueError(f'the weights of the {len(sources)} sources must not all be 0')
        self.sources, self.probabilities = tuple(sources), np.array(weights) / sum(weights)

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a source by its weight, then a clip from it."""
        chosen = rng.choice(len(self.sources), p=self.probabilities)
        return self.sources[chosen].sample(rng, length)


# Sources of a configuration --------------------------------------------------------------------


def make_source(sources: Sequence[Source], cache: str = '') -> MixedSource:
    """
    Build the clip source that a configuration describes.

    :param cache: folder of decoded and rendered frames; '': the user's cache folder
    :raises ValueError: for malformed data
    :raises OSError: if something cannot be read
    """
    root = Path(cache) if cache else default_cache()
    return MixedSource([MAKERS[source.kind](source, root) for source in sources],
                       [source.weight for source in sources])


def _track_clips(source: Source, cache: FrameCache) -> TrackClips:
    return TrackClips(cache, source.strides, source.reverse_prob, source.part_prob,
                      source.vary_stride_prob)


def _simulated(source: Source, root: Path) -> ClipSource:
    from training.simulator import make_simulator  # draws from the caches here
    make = functools.partial(make_simulator, source.images, source.videos, root, source.size,
                             source.scene)
    # Made here first: it decodes the images once, before several processes need them.
    settings = make().properties()
    shape = {'clips': source.clips, 'length': source.length, 'seed': source.seed}
    return _track_clips(source, cache_clips(
        root / f'clips-{cache_key([], [settings, shape])}', make, **shape,
        processes=source.processes or None, settings=settings))


def _videos(source: Source, root: Path) -> ClipSource:
    items = read_dataset(source.path, source.format)
    if isinstance(items[0], LabeledImage):
        raise ValueError(f'{source.path}: images, not videos; use them by kind: images or '
                         'simulated')
    if not any(item.tracks for item in items):
        raise ValueError(f'{source.path}: these videos have no boxes to learn from')
    return _track_clips(source, cache_videos(items, root, source.max_side))


def _labeled_images(source: Source) -> Sequence[LabeledImage]:
    items = read_dataset(source.path, source.format)
    if not isinstance(items[0], LabeledImage):
        raise ValueError(f'{source.path}: videos, not images; use them by kind: videos')
    return items


def _images(source: Source, root: Path) -> ClipSource:
    return ImageClips(cache_images(_labeled_images(source), root, source.max_side),
                      source.max_box_ratio)


def _panned(source: Source, root: Path) -> ClipSource:
    from training.simulator.panning import PannedImages  # draws from the caches here
    images = cache_images(_labeled_images(source), root, source.max_side)
    return PannedImages(images, source.size, source.max_box_ratio, source.patch_prob,
                        source.scene)


def _cache(source: Source, root: Path) -> ClipSource:
    return _track_clips(source, FrameCache(source.path))


MAKERS = {'simulated': _simulated, 'videos': _videos, 'images': _images,
          'panned': _panned, 'cache': _cache}
