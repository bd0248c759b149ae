# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The sources of clips that a configuration names.

Each is a mapping with `kind`, optionally `share` (how often clips are drawn from it), and what
its kind needs; what has to be decoded or rendered is, on first use, in the cache folder.

- simulated: sequences rendered beforehand: `stills` (folder of photographs; none: drawn
  pictures), `videos` (folder of recordings as moving backgrounds), `clips`, `length`, `size`
  (height, width), `seed`, `strides`, `parts` (how often a part of an object is the target),
  `processes` that render;
- recordings: `path` of a data set of recordings with boxes, `format` (see
  `training.datasets`), `strides`, `reversed_share`, `max_side`;
- stills: `path` of a data set of photographs with boxes, `format`, `largest` share of the
  picture that a box may take; each clip is one picture;
- pool, video: `path` of what `python -m training.pool` and `python -m training.cache` have
  made, `strides`, and `parts` for a pool, `reversed_share` for video.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import inspect
import os
from pathlib import Path

from training.cache import (
    cache_key,
    cache_recordings,
    cache_stills,
    DEFAULT_CACHE,
    MAX_SIDE,
    VideoCache,
)
from training.clips import ClipSource, MixedSource
from training.datasets.formats import read_dataset
from training.datasets.records import Still
from training.pool import build_pool, Pool
from training.simulator.simulator import Simulator, simulator_of, SIZE
from training.still_clips import StillClips

# What a run without data learns from and is validated on.
DRAWN = {'kind': 'simulated', 'clips': 200, 'length': 16, 'size': (180, 240), 'seed': 1}
DRAWN_VALIDATION = {**DRAWN, 'clips': 24, 'length': 24, 'seed': 2}


def make_source(descriptions: Sequence[dict], cache: os.PathLike | str = '') -> MixedSource:
    """
    Build the clip source that mappings describe.

    :param cache: folder of what is decoded and rendered; '': the user's cache folder
    :raises ValueError: naming an unknown kind or setting, and those that exist, or malformed data
    :raises OSError: if something cannot be read
    """
    sources, shares = [], []
    for description in descriptions:
        settings = dict(description)
        kind, share = settings.pop('kind', None), settings.pop('share', 1.)
        if kind not in KINDS:
            raise ValueError(f'kind of data must be one of {sorted(KINDS)}, got {kind!r}')
        _check_settings(kind, settings)
        sources.append(KINDS[kind](Path(cache or DEFAULT_CACHE), **settings))
        shares.append(share)
    return MixedSource(sources, shares)


def _check_settings(kind: str, settings: dict) -> None:
    signature = inspect.signature(KINDS[kind])
    try:
        signature.bind('', **settings)
    except TypeError as error:
        known = list(signature.parameters)[1:]
        raise ValueError(f'data of kind {kind!r}: {error}; it has the settings {known}') from None


def _simulated(cache: Path, stills: str | None = None, videos: str | None = None,
               clips: int = 1000, length: int = 32, size: Sequence[int] = SIZE, seed: int = 0,
               strides: Sequence[int] = (1,), parts: float = 0.,
               processes: int | None = None) -> ClipSource:
    make = functools.partial(simulator_of, stills, videos, cache, tuple(size))
    # Made here first: it decodes the pictures once, before several processes need them.
    content = _content(make())
    shape = {'clips': clips, 'length': length, 'size': tuple(size), 'seed': seed}
    directory = cache / f'pool-{cache_key([], [content, shape])}'
    build_pool(directory, make, **shape, processes=processes, settings=content)
    return Pool(directory, tuple(strides), parts)


def _content(simulator: Simulator) -> dict:
    """Return the names of the caches a simulator draws from, which tell their content."""
    caches = {'stills': getattr(simulator.material, 'stills', None),
              'videos': simulator.backgrounds and simulator.backgrounds.videos}
    return {name: cache.directory.name for name, cache in caches.items() if cache}


def _recordings(cache: Path, path: str, format: str = 'auto',  # noqa: A002
                strides: Sequence[int] = (1,), reversed_share: float = 0.,
                max_side: int = MAX_SIDE) -> ClipSource:
    items = read_dataset(path, format)
    if isinstance(items[0], Still):
        raise ValueError(f'{path}: photographs, not recordings; use them by kind: stills or '
                         'simulated')
    if not any(item.tracks for item in items):
        raise ValueError(f'{path}: these recordings have no boxes to learn from')
    return cache_recordings(items, cache, max_side, strides=strides,
                            reversed_share=reversed_share)


def _stills(cache: Path, path: str, format: str = 'auto',  # noqa: A002
            largest: float = .66) -> ClipSource:
    items = read_dataset(path, format)
    if not isinstance(items[0], Still):
        raise ValueError(f'{path}: recordings, not photographs; use them by kind: recordings')
    return StillClips(cache_stills(items, cache, find_objects=True), largest)


def _pool(cache: Path, path: str, strides: Sequence[int] = (1,),
          parts: float = 0.) -> ClipSource:
    return Pool(path, tuple(strides), parts)


def _video(cache: Path, path: str, strides: Sequence[int] = (1,),
           reversed_share: float = 0.) -> ClipSource:
    return VideoCache(path, strides, reversed_share)


KINDS = {'simulated': _simulated, 'recordings': _recordings, 'stills': _stills, 'pool': _pool,
         'video': _video}
