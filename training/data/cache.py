# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
One memory-mapped cache for decoded videos, decoded images and rendered clips.

Training never decodes: it copies crops out of memory-mapped frames. A cache is a folder with
`frames.bin`, all frames one after the other, and `items.jsonl`, a line for each video with its
shape, boxes and visible fractions. An image is a video of one frame whose objects are its tracks.
Items are appended one by one, so a build that was killed continues with the next item.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
import fcntl
import functools
import hashlib
import itertools
import json
import os
from pathlib import Path
import shutil
from typing import Any, BinaryIO

import numpy as np
from re3_core.io.files import printable
from re3_core.io.images import read_image
from torch.utils.data import DataLoader
from tqdm import tqdm
from training.config import run_command
from training.data import read_dataset
from training.data.base import (
    DataError,
    frames_of,
    LabeledImage,
    LabeledTrack,
    LabeledVideo,
    read_mask,
    shrink,
    shrink_factor,
)
from training.executor import Executor, ExecutorOptions, InlineExecutor, use_one_thread
from training.storage import local_copy
import tyro

FRAMES_FILE, ITEMS_FILE, SETTINGS_FILE = 'frames.bin', 'items.jsonl', 'settings.json'
MAX_SIDE = 480


def default_cache() -> Path:
    """
    Return the user's cache folder.

    :raises OSError: if the environment has neither XDG_CACHE_HOME nor a home folder
    """
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 're3_ros'
    except RuntimeError:
        raise OSError('no home folder for decoded data: set HOME or name a cache folder') from None


@dataclass(frozen=True)
class CacheItem:
    """
    One video to be stored.

    :param frames: T >= 1 frames (H, W, 3) uint8 RGB of one size, iterated once
    :param tracks: its targets, with T boxes each
    :param mask: (H, W) uint8, value k in the k-th track's object; only for images
    """

    name: str
    frames: Iterable[np.ndarray]
    tracks: Sequence[LabeledTrack] = ()
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class CachedTrack:
    """A target of video number `video`: boxes (T, 4) xyxy, nan where absent, visible (T,)."""

    video: int
    name: str
    boxes: np.ndarray = field(repr=False)
    visible: np.ndarray = field(repr=False)


class FrameCache:
    """
    Read-only videos in a folder that `build_cache` has made.

    Frames are views into a memory-mapped file: nothing is read before it is used, and all
    processes share the pages.

    :raises OSError: if there is no finished cache
    """

    def __init__(self, directory: os.PathLike | str):
        self.directory = Path(directory)
        if not (self.directory / SETTINGS_FILE).is_file():
            raise OSError(f'{printable(self.directory)}: no finished cache of frames')
        items = [json.loads(line) for line in open(self.directory / ITEMS_FILE)]
        self.names: list[str] = [item['name'] for item in items]
        self.tracks = [
            CachedTrack(index, track['name'], np.array(track['boxes'], np.float32).reshape(-1, 4),
                        np.array(track['visible'], np.float32))
            for index, item in enumerate(items) for track in item['tracks']]
        self._shapes = [tuple(item['shape']) for item in items]      # T, H, W
        self._masked = [item['mask'] for item in items]
        self._first_tracks = np.cumsum([0, *(len(item['tracks']) for item in items)])
        self._starts = np.cumsum([0, *(_size(item) for item in items)]).tolist()

    def __reduce__(self) -> tuple:
        """Pickle the place, not the frames."""
        return FrameCache, (self.directory,)

    @functools.cached_property
    def _data(self) -> np.ndarray:
        return np.asarray(np.memmap(self.directory / FRAMES_FILE, np.uint8, 'r'))

    def __len__(self) -> int:
        """Return the number of videos, those without tracks included."""
        return len(self.names)

    def count(self, video: int) -> int:
        """Return the number of frames of a video."""
        return self._shapes[video][0]

    def frames(self, video: int) -> np.ndarray:
        """Return the frames of a video, (T, H, W, 3) uint8 RGB, as a read-only view."""
        shape = (*self._shapes[video], 3)
        start = self._starts[video]
        return self._data[start:start + int(np.prod(shape))].reshape(shape)

    def mask(self, video: int) -> np.ndarray | None:
        """Return a mask (H, W) uint8, value k in the k-th track's object, or None."""
        if not self._masked[video]:
            return None
        height, width = self._shapes[video][1:]
        end = self._starts[video + 1]
        return self._data[end - height * width:end].reshape(height, width)

    def boxes(self, video: int) -> np.ndarray:
        """Return the boxes (N, 4) in the first frame of a video: those of an image."""
        tracks = self.tracks[self._first_tracks[video]:self._first_tracks[video + 1]]
        return np.array([track.boxes[0] for track in tracks], np.float32).reshape(-1, 4)


def _size(item: dict) -> int:
    """Return the bytes that an item takes in the file of frames."""
    count, height, width = item['shape']
    return height * width * (3 * count + item['mask'])


# Building --------------------------------------------------------------------------------------


def build_cache(directory: Path, make_items: Callable[[int], Iterable[CacheItem]],
                settings: dict | None = None) -> FrameCache:
    """
    Build a cache, continue an interrupted build, or open the finished cache.

    Processes that ask for the same cache wait for the one that builds it. A failed build
    leaves nothing; a killed one leaves a folder with the suffix `.partial`, from which the next
    call continues.

    :param make_items: returns the items from a number on, always the same ones
    :param settings: what distinguishes this cache from others, anything for JSON
    :raises ValueError: if the folder holds a cache with other settings, or an item is malformed
    :raises OSError: if a file cannot be read or written
    """
    settings = json.loads(json.dumps(settings or {}))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.with_name(f'.{directory.name}.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / SETTINGS_FILE).is_file():
            partial = directory.with_name(directory.name + '.partial')
            try:
                _append_items(partial, make_items, settings)
            except Exception:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            os.replace(partial, directory)
    _check_settings(directory, settings)
    return FrameCache(directory)


def _check_settings(directory: Path, settings: dict) -> None:
    found = json.loads((directory / SETTINGS_FILE).read_text())
    if found != settings:
        raise ValueError(f'{printable(directory)} holds a cache with other settings: {found}; '
                         f'wanted: {settings}. Name another folder or remove it')


def _append_items(partial: Path, make_items: Callable[[int], Iterable[CacheItem]],
                  settings: dict) -> None:
    """Write all items that are missing in a partial cache."""
    partial.mkdir(exist_ok=True)
    if (partial / SETTINGS_FILE).is_file():
        _check_settings(partial, settings)
    (partial / SETTINGS_FILE).write_text(json.dumps(settings))
    for name in (FRAMES_FILE, ITEMS_FILE):
        (partial / name).touch()
    with open(partial / FRAMES_FILE, 'r+b') as frames, open(partial / ITEMS_FILE, 'r+b') as index:
        # A kill can leave an incomplete item at the end of both files.
        lines = [line for line in index if line.endswith(b'\n')]
        for file, size in ((index, sum(map(len, lines))),
                           (frames, sum(_size(json.loads(line)) for line in lines))):
            file.truncate(size)
            file.seek(size)
        for item in make_items(len(lines)):
            entry = _append_frames(frames, item)
            frames.flush()
            index.write(json.dumps(entry).encode() + b'\n')
            index.flush()
        if not index.tell():
            raise ValueError(f'{printable(partial)}: nothing to store')


def _append_frames(file: BinaryIO, item: CacheItem) -> dict:
    """Write the frames and the mask of an item; return its entry in the index."""
    shapes = []
    for frame in item.frames:
        shapes.append(frame.shape[:2])
        if shapes[-1] != shapes[0]:
            raise DataError(f'{printable(item.name)}: frame {len(shapes) - 1} has another size '
                            f'{shapes[-1]} than the first one {shapes[0]}')
        file.write(np.ascontiguousarray(frame).data)
    if item.mask is not None:
        if item.mask.shape != shapes[0]:
            raise DataError(f'{printable(item.name)}: the mask has another size than the image')
        file.write(np.ascontiguousarray(item.mask).data)
    return {'name': item.name, 'shape': [len(shapes), *shapes[0]], 'mask': item.mask is not None,
            'tracks': [_track_entry(item.name, track, len(shapes)) for track in item.tracks]}


def _track_entry(video: str, track: LabeledTrack, count: int) -> dict:
    """Return a track for the index; boxes without width or height become nan."""
    if len(track.boxes) != count:
        raise DataError(f'{printable(video)}: {len(track.boxes)} boxes for {count} frames')
    boxes = np.array(track.boxes, np.float32)
    boxes[~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)] = np.nan
    visible = np.full(count, np.nan) if track.visible is None else track.visible
    return {'name': track.name, 'boxes': boxes.tolist(),
            'visible': np.asarray(visible, np.float32).tolist()}


def cache_key(files: Iterable[Path], settings: object) -> str:
    """Return a short key of files (path, size, time of change) and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for file in files:
        state = os.stat(file)
        digest.update(os.fsencode(file) + f' {state.st_size} {state.st_mtime_ns}\n'.encode())
    return digest.hexdigest()[:16]


def _video_item(video: LabeledVideo, max_side: int) -> CacheItem:
    """Return a video as an item; its frames are decoded as they are iterated."""
    frames = iter(frames_of(video))
    first = next(frames, None)
    if first is None:
        raise DataError(f'{printable(video.name)}: no frames')
    factor = np.float32(shrink_factor(first.shape, max_side))
    return CacheItem(
        video.name, (shrink(frame, max_side) for frame in itertools.chain([first], frames)),
        [LabeledTrack(track.name, track.boxes * factor, track.visible) for track in video.tracks])


def _decoded_item(task: tuple[LabeledVideo, int]) -> CacheItem:
    """Return a video as an item with decoded frames, which can be sent to another process."""
    item = _video_item(*task)
    return replace(item, frames=list(item.frames))


def cache_videos(videos: Sequence[LabeledVideo], root: Path, max_side: int = MAX_SIDE,
                 executor: Executor | None = None, retries: int = 0) -> FrameCache:
    """
    Decode videos into a cache below `root`, or open the one that is there.

    :param max_side: longer side of the frames at most, in pixels; boxes are scaled along
    :param executor: decodes whole videos; None: this process, frame by frame
    :param retries: how often the executor tries a video again that failed
    :raises DataError: if a video cannot be read, or a track has another number of boxes than
        there are frames
    :raises OSError: if an image cannot be read
    """
    def items(start: int) -> Iterator[CacheItem]:
        left = videos[start:]
        if executor is None:
            for video in tqdm(left, 'videos', unit='', disable=None):
                yield _video_item(video, max_side)
            return
        tasks = [(video, max_side) for video in left]
        for outcome in tqdm(executor.map(_decoded_item, tasks, retries), 'videos', len(tasks),
                            unit='', disable=None):
            if outcome.error:
                raise DataError(f'{printable(left[outcome.number].name)}: {outcome.error} '
                                f'({outcome.tries} tries)')
            yield outcome.result

    key = cache_key([path for video in videos for path in video.files],
                    ['videos', max_side, [hashlib.sha256(track.boxes.tobytes()).hexdigest()
                                          for video in videos for track in video.tracks]])
    return build_cache(root / f'videos-{key}', items)


def cache_images(images: Sequence[LabeledImage], root: Path,
                 max_side: int = MAX_SIDE) -> FrameCache:
    """
    Decode images into a cache below `root`, or open the one that is there.

    :param max_side: longer side at most, in pixels; boxes and masks are scaled along
    :raises OSError: if an image or mask cannot be read
    """
    def items(start: int) -> Iterator[CacheItem]:
        for image in tqdm(images[start:], 'images', unit='', disable=None):
            pixels = read_image(image.path)
            boxes = image.scaled_boxes(pixels.shape) * shrink_factor(pixels.shape, max_side)
            yield CacheItem(
                printable(image.path), [shrink(pixels, max_side)],
                [LabeledTrack('', box[None]) for box in boxes],
                None if image.mask is None else read_mask(image.mask, max_side))

    files = [path for image in images for path in (image.path, image.mask) if path]
    key = cache_key(files, ['images', max_side, [image.boxes.tolist() for image in images]])
    return build_cache(root / f'images-{key}', items)


# Rendered clips --------------------------------------------------------------------------------


def numbered_loader(items: Any, numbers: range, workers: int, **options: Any) -> DataLoader:
    """
    Return a DataLoader of `items[number]` for some numbers, in their order.

    :param workers: processes that make them; 0: none
    :param options: further ones of DataLoader
    """
    return DataLoader(
        items, batch_size=None, sampler=numbers, collate_fn=_unchanged,
        # Fresh processes: forking one in which torch has started threads can hang.
        num_workers=workers, multiprocessing_context='spawn' if workers else None, **options)


def _unchanged(item: Any) -> Any:
    """Return a batch as it is, instead of collating it."""
    return item


class _RenderedClips:
    """Clip k of a clip source, drawn with the seed (seed, k), whichever process draws it."""

    def __init__(self, make_source: Callable, length: int, seed: int):
        self.make_source, self.length, self.seed = make_source, length, seed

    @functools.cached_property
    def source(self) -> Any:
        return self.make_source()

    def __getitem__(self, index: int) -> CacheItem:
        clip = self.source.sample(np.random.default_rng((self.seed, index)), self.length)
        return CacheItem(str(index), np.asarray(clip.frames),
                         [LabeledTrack('', clip.boxes, clip.visible)])


def cache_clips(directory: Path, make_source: Callable, clips: int, length: int, seed: int = 0,
                processes: int | None = None, settings: dict | None = None) -> FrameCache:
    """
    Render clips in several processes, continue an interrupted build, or open the finished cache.

    :param make_source: makes the clip source, called once in every process, so it can be pickled
    :param processes: rendering processes; None: one per core
    :param settings: what else distinguishes these clips from others
    :raises ValueError: if the folder holds a cache with other settings
    """
    workers = processes or os.cpu_count() or 1

    def items(start: int) -> Iterable[CacheItem]:
        return tqdm(numbered_loader(
            _RenderedClips(make_source, length, seed), range(start, clips),
            0 if workers == 1 else workers, worker_init_fn=use_one_thread),
            'rendering', clips, initial=start, unit='clip', disable=None)

    return build_cache(directory, items, {**(settings or {}), 'clips': clips, 'length': length,
                                          'seed': seed})


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CacheOptions(ExecutorOptions):
    """
    Decode a data set once, before training does.

    :param path: data set, see python -m training.data.check; path or URL such as s3://...
    :param format: auto or one of the formats
    :param cache: folder of the caches; empty: the user's cache folder
    :param max_side: longer side of decoded frames at most, in pixels
    :param retries: how often a video that failed is tried again
    """

    path: tyro.conf.Positional[str]
    format: str = 'auto'  # noqa: A003
    cache: str = ''
    max_side: int = MAX_SIDE
    retries: int = 1


def decode(options: CacheOptions) -> None:
    """Run the command."""
    root = Path(options.cache or default_cache())
    items = read_dataset(local_copy(options.path, root), options.format)
    if isinstance(items[0], LabeledImage):
        cache = cache_images(items, root, options.max_side)     # type: ignore[arg-type]
    else:
        with options.make_executor(use_one_thread) as executor:
            parallel = None if isinstance(executor, InlineExecutor) else executor
            cache = cache_videos(items, root, options.max_side, parallel,  # type: ignore[arg-type]
                                 options.retries)
    print(f'{len(items)} items decoded: {cache.directory}')


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.data.cache PATH`; return the exit status."""
    return run_command(CacheOptions, decode, arguments)


if __name__ == '__main__':
    raise SystemExit(main())
