# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Photographs and videos decoded once into memory-mapped caches, so that training never decodes.

A cache lives in a sub-folder whose name holds a key made of the source files, their times and
the settings: another source or setting makes another cache, an interrupted build leaves none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
import hashlib
import json
import os
from pathlib import Path
import shutil
import sys

import cv2
import numpy as np
from tqdm import tqdm
from training.clips import Clip, reverse
from training.datasets.formats import FORMATS, read_dataset
from training.datasets.records import Recording, Still, Track
from training.datasets.sequences import frames_of
from training.frame_store import (
    FrameStore,
    read_image,
    replace_directory,
    shrink,
    shrink_factor,
    write_frame_store,
)
from training.segment import segment

CONTENT_FILE = 'content.json'
BOXES_FILE = 'boxes.npz'
MAX_SIDE = 480
DEFAULT_CACHE = Path.home() / '.cache' / 're3_ros'


def cache_key(files: Iterable[os.PathLike | str], settings: object) -> str:
    """Return a short key of files (path, size, time of change) and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for file in files:
        state = os.stat(file)
        digest.update(f'{os.fspath(file)} {state.st_size} {state.st_mtime_ns}\n'.encode())
    return digest.hexdigest()[:16]


def build_once(directory: Path, build: Callable[[Path], None]) -> Path:
    """Build a directory in a temporary place and rename it, unless it is there already."""
    if not directory.is_dir():
        temporary = directory.with_name(f'{directory.name}.{os.getpid()}.tmp')
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            build(temporary)
            replace_directory(temporary, directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return directory


class StillCache:
    """
    Decoded photographs with boxes and masks.

    :param directory: made by `cache_stills`
    """

    def __init__(self, directory: os.PathLike | str):
        self.directory = directory = Path(directory)
        content = json.loads((directory / CONTENT_FILE).read_text())
        self.names: list[str] = content['names']
        self._masks: list[int] = content['masks']
        self._store = FrameStore(directory)
        with np.load(directory / BOXES_FILE) as arrays:
            self._boxes, ends = arrays['boxes'], arrays['ends']
        self._starts = np.concatenate(((0,), ends))

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> np.ndarray:
        """Return a photograph, (H, W, 3) uint8 RGB, a read-only view."""
        return self._store[index]

    def boxes(self, index: int) -> np.ndarray:
        """Return the boxes of a photograph as (N, 4) xyxy, in pixels of `image`."""
        return self._boxes[self._starts[index]:self._starts[index + 1]]

    def mask(self, index: int) -> np.ndarray | None:
        """Return a (H, W) uint8 mask, value k in the k-th box's object, or None."""
        place = self._masks[index]
        return None if place < 0 else self._store[place][..., 0]


def cache_stills(stills: Sequence[Still], root: os.PathLike | str, max_side: int = MAX_SIDE,
                 find_objects: bool = False) -> StillCache:
    """
    Decode photographs into a cache below `root`, or open the one that is there.

    :param max_side: longer side at most, in pixels
    :param find_objects: look for masks, and boxes if there are none, where masks are missing,
        see `training.segment`
    :raises OSError: if an image or mask cannot be read
    """
    files = [path for still in stills for path in (still.path, still.mask) if path]
    key = cache_key(files, ['stills', max_side, find_objects,
                            [still.boxes.tolist() for still in stills]])
    return StillCache(build_once(
        Path(root) / f'stills-{key}',
        lambda folder: _write_stills(folder, stills, max_side, find_objects)))


def box_factor(still: Still, shape: tuple) -> np.ndarray:
    """Return what the boxes (N, 4) of a photograph are multiplied by to fit its file's pixels."""
    if still.annotated_size is None:
        return np.ones(4, np.float32)
    height, width = still.annotated_size
    return np.array((shape[1] / width, shape[0] / height) * 2, np.float32)


def _write_stills(directory: Path, stills: Sequence[Still], max_side: int,
                  find_objects: bool) -> None:
    boxes: list[np.ndarray] = []
    # Compressed, because all of them wait until the photographs are written.
    masks: dict[int, np.ndarray] = {}

    def images() -> Iterator[np.ndarray]:
        for index, still in enumerate(tqdm(stills, 'photographs', unit='', disable=None)):
            image = read_image(still.path)
            boxes.append(still.boxes * box_factor(still, image.shape)
                         * shrink_factor(image.shape, max_side))
            image = shrink(image, max_side)
            if still.mask is not None:
                masks[index] = _packed(_read_mask(still.mask, max_side))
            elif find_objects:
                boxes[-1], mask = segment(image, boxes[-1])
                if mask.any():
                    masks[index] = _packed(mask)
            yield image
        yield from (cv2.imdecode(mask, cv2.IMREAD_UNCHANGED)[..., None]
                    for mask in masks.values())

    write_frame_store(directory, images())
    places = {index: len(stills) + number for number, index in enumerate(masks)}
    np.savez(directory / BOXES_FILE, boxes=np.concatenate(boxes).astype(np.float32),
             ends=np.cumsum([len(part) for part in boxes]))
    content = {'names': [os.fspath(still.path) for still in stills],
               'masks': [places.get(index, -1) for index in range(len(stills))]}
    (directory / CONTENT_FILE).write_text(json.dumps(content))


def _packed(mask: np.ndarray) -> np.ndarray:
    return cv2.imencode('.png', mask)[1]


def _read_mask(path: Path, max_side: int) -> np.ndarray:
    mask = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        raise OSError(f'{path}: not a readable mask of one channel')
    return shrink(mask, max_side, cv2.INTER_NEAREST)


class VideoCache:
    """
    Decoded recordings; a clip source of their tracks, and a source of moving backgrounds.

    :param directory: made by `cache_recordings`
    :param strides: every how many frames a clip goes on, drawn per clip from these
    :param reversed_share: share of the clips that are played backwards
    """

    def __init__(self, directory: os.PathLike | str, strides: Sequence[int] = (1,),
                 reversed_share: float = 0.0):
        self.directory = directory = Path(directory)
        content = json.loads((directory / CONTENT_FILE).read_text())
        self.names: list[str] = content['names']
        self._first = np.concatenate(((0,), np.cumsum(content['counts']))).astype(int)
        self._tracks: list[tuple[int, str]] = [tuple(track) for track in content['tracks']]
        self._store = FrameStore(directory)
        with np.load(directory / BOXES_FILE) as arrays:
            self._boxes = [arrays[f'boxes{index}'] for index in range(len(self._tracks))]
            self._visible = [arrays[f'visible{index}'] for index in range(len(self._tracks))]
        self.strides = tuple(strides)
        self.reversed_share = reversed_share
        self._starts: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def recordings(self) -> int:
        """Return the number of recordings, those without tracks included."""
        return len(self.names)

    def count(self, recording: int) -> int:
        """Return the number of frames of a recording."""
        return int(self._first[recording + 1] - self._first[recording])

    def frame(self, recording: int, index: int) -> np.ndarray:
        """Return a frame of a recording, (H, W, 3) uint8 RGB, a read-only view."""
        if not 0 <= index < self.count(recording):
            raise IndexError(f'frame {index} of {self.count(recording)}')
        return self._store[int(self._first[recording]) + index]

    def track(self, index: int) -> Clip:
        """Return a whole track."""
        recording = self._tracks[index][0]
        frames = [self.frame(recording, place) for place in range(self.count(recording))]
        return Clip(frames, self._boxes[index], self._visible[index])

    def track_name(self, index: int) -> str:
        """Return the recording's and the track's name."""
        recording, name = self._tracks[index]
        return f'{self.names[recording]}/{name}' if name else self.names[recording]

    def _places(self, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the possible first frames of clips, (N,) tracks and (N,) frames.

        The target is there in the first frame and in at least half of the others.
        """
        if (length, stride) not in self._starts:
            tracks, starts = [], []
            for index, boxes in enumerate(self._boxes):
                present = np.isfinite(boxes).all(axis=1).astype(int)
                total = np.concatenate(((0,), np.cumsum(present)))
                span = (length - 1) * stride + 1
                first = np.arange(max(0, len(boxes) - span + 1))
                good = (present[first] == 1) & (2 * (total[first + span] - total[first]) >= span)
                tracks.append(np.full(good.sum(), index))
                starts.append(first[good])
            self._starts[length, stride] = np.concatenate(tracks), np.concatenate(starts)
        return self._starts[length, stride]

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """
        Draw a track and `length` frames of it; the target is there in the first one.

        Tracks are drawn by the logarithm of their length, so that long ones do not crowd out
        the others. Played backwards, the target is there in the last recorded frame instead.

        :raises ValueError: if no track is long enough
        """
        stride = int(rng.choice(self.strides))
        backwards = rng.random() < self.reversed_share
        tracks, starts = self._places(length, stride)
        if not len(tracks):
            stride = 1
            tracks, starts = self._places(length, stride)
        if not len(tracks):
            raise ValueError(f'no track has {length} frames with the target in half of them')
        usable, counts = np.unique(tracks, return_counts=True)
        shares = np.log1p(counts)
        chosen = rng.choice(usable, p=shares / shares.sum())
        start = int(rng.choice(starts[tracks == chosen]))
        clip = self._clip(int(chosen), start, length, stride)
        if backwards and clip.present[-1]:
            clip = reverse(clip)
        return clip

    def _clip(self, track: int, start: int, length: int, stride: int) -> Clip:
        rows = start + stride * np.arange(length)
        recording = self._tracks[track][0]
        return Clip([self.frame(recording, int(row)) for row in rows],
                    self._boxes[track][rows], self._visible[track][rows])


def cache_recordings(recordings: Sequence[Recording], root: os.PathLike | str,
                     max_side: int = MAX_SIDE, **options) -> VideoCache:
    """
    Decode recordings into a cache below `root`, or open the one that is there.

    :param max_side: longer side of the frames at most, in pixels; boxes are scaled along
    :param options: of `VideoCache`
    :raises OSError: if an image cannot be read
    :raises ValueError: if a video cannot be read, or a track has another number of boxes than
        there are frames
    """
    files = [path for recording in recordings for path in recording.files]
    boxes = [hashlib.sha256(track.boxes.tobytes()).hexdigest()
             for recording in recordings for track in recording.tracks]
    key = cache_key(files, ['recordings', max_side, boxes])
    return VideoCache(build_once(
        Path(root) / f'video-{key}',
        lambda folder: _write_recordings(folder, recordings, max_side)), **options)


def _write_recordings(directory: Path, recordings: Sequence[Recording], max_side: int) -> None:
    counts: list[int] = []
    factors: list[float] = []

    def frames() -> Iterator[np.ndarray]:
        for recording in tqdm(recordings, 'recordings', unit='', disable=None):
            counts.append(0)
            factors.append(1.0)
            for frame in frames_of(recording):
                factors[-1] = shrink_factor(frame.shape, max_side)
                counts[-1] += 1
                yield shrink(frame, max_side)

    write_frame_store(directory, frames())
    arrays, tracks = {}, []
    for index, recording in enumerate(recordings):
        for track in recording.tracks:
            boxes, visible = _checked_track(recording, track, counts[index])
            arrays[f'boxes{len(tracks)}'] = boxes * np.float32(factors[index])
            arrays[f'visible{len(tracks)}'] = visible
            tracks.append((index, track.name))
    np.savez(directory / BOXES_FILE, **arrays)
    content = {'names': [recording.name for recording in recordings], 'counts': counts,
               'tracks': tracks}
    (directory / CONTENT_FILE).write_text(json.dumps(content))


def _checked_track(recording: Recording, track: Track,
                   count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and visible fractions; boxes without width or height become nan."""
    if len(track.boxes) != count:
        raise ValueError(f'{recording.name}: {len(track.boxes)} boxes for {count} frames')
    boxes = np.array(track.boxes, np.float32)
    boxes[~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)] = np.nan
    visible = np.full(count, np.nan) if track.visible is None else track.visible
    return boxes, np.asarray(visible, np.float32)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.cache`: decode a data set once; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.cache', description=main.__doc__)
    parser.add_argument('path', type=Path, help='data set, see python -m training.datasets')
    parser.add_argument('--format', default='auto', choices=('auto', *FORMATS))
    parser.add_argument('--cache', type=Path, metavar='DIR', default=DEFAULT_CACHE,
                        help='where caches are kept (default: %(default)s)')
    parser.add_argument('--max-side', type=int, default=MAX_SIDE, metavar='N',
                        help='longer side of decoded frames at most (default: %(default)s)')
    parser.add_argument('--find-objects', action='store_true',
                        help='look for the objects of photographs without masks')
    options = parser.parse_args(arguments)
    try:
        items = read_dataset(options.path, options.format)
        if isinstance(items[0], Still):
            cache = cache_stills(items, options.cache, options.max_side, options.find_objects)
        else:
            cache = cache_recordings(items, options.cache, options.max_side)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f'{len(items)} items decoded: {cache.directory}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
