# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Labeled images, videos and sequences, and the reading of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from re3_core.io.files import natural_key, printable
from re3_core.io.images import read_image
from re3_core.io.video import VideoFile

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')


class DataError(ValueError):
    """A file of a data set is missing or malformed; the message names it and the reason."""


# Called with each malformed file; the reader goes on without it unless this raises.
OnError = Callable[[DataError], None]


def raise_error(error: DataError) -> None:
    """Raise the error: the default of all readers."""
    raise error


def read_each(read: Callable[[Any], Any], items: Iterable[Any], on_error: OnError) -> list:
    """Return the results of a reader for all items, without those that are malformed."""
    found = []
    for item in items:
        try:
            found.append(read(item))
        except DataError as error:
            on_error(error)
    return found


# Contents of data sets -------------------------------------------------------------------------


@dataclass(frozen=True)
class LabeledImage:
    """
    An image with the boxes of its objects.

    :param path: image file
    :param boxes: (N, 4) float32 xyxy in pixels, N may be 0
    :param mask: image file in which value k (1..N) marks the object of the k-th box, or None
    :param annotated_size: height and width of the image that the boxes belong to, where it may
        differ from the file's; None: the file's
    """

    path: Path
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    mask: Path | None = None
    annotated_size: tuple[int, int] | None = None

    def scaled_boxes(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the boxes (N, 4) in pixels of the file, whose image has the given shape."""
        if self.annotated_size is None:
            return self.boxes
        height, width = self.annotated_size
        return self.boxes * np.array((shape[1] / width, shape[0] / height) * 2, np.float32)


@dataclass(frozen=True)
class LabeledTrack:
    """
    One target of a video.

    :param boxes: (T, 4) float32 xyxy in pixels of the file, nan where absent
    :param visible: (T,) float32 visible fraction, nan where unknown; None: nowhere known
    """

    name: str
    boxes: np.ndarray
    visible: np.ndarray | None = None


@dataclass(frozen=True)
class LabeledVideo:
    """
    Consecutive frames, as image files or one video file, with any number of targets.

    :param frames: image files in order; with `video`: empty
    :param video: video file, or None
    """

    name: str
    frames: SequenceOf[Path] = ()
    video: Path | None = None
    tracks: tuple[LabeledTrack, ...] = ()

    @property
    def files(self) -> SequenceOf[Path]:
        """Return the files that hold the frames."""
        return (self.video,) if self.video is not None else self.frames


@dataclass(frozen=True)
class Sequence:
    """
    One target in one video, from the first frame that shows it: what evaluation runs on.

    :param frames: T frames, uint8 RGB (H, W, 3), iterable any number of times and by index
    :param boxes: (T, 4) xyxy in pixels, nan where the target is absent
    :param visible: (T,) visible fraction, 1 where the data set does not have it
    """

    name: str
    frames: Any
    boxes: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


def sequences_of(videos: Iterable[LabeledVideo]) -> list[Sequence]:
    """Return a Sequence for every track that has a box."""
    found = []
    for video in videos:
        for track in video.tracks:
            present = np.flatnonzero(np.isfinite(track.boxes).all(1))
            if not len(present):
                continue
            start = int(present[0])
            visible = np.ones(len(track.boxes)) if track.visible is None else track.visible
            found.append(Sequence(
                '/'.join(filter(None, (video.name, track.name))), frames_of(video, start),
                track.boxes[start:], np.nan_to_num(visible[start:], nan=1.)))
    return found


# Frames ----------------------------------------------------------------------------------------


class ImageFrames(SequenceOf[np.ndarray]):
    """Frames in image files: uint8 RGB (H, W, 3), by index or one after the other."""

    def __init__(self, paths: Iterable[Path]):
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return read_image(self.paths[index])


class VideoFrames:
    """Frames of a video file from number `start` on: uint8 RGB (H, W, 3)."""

    def __init__(self, path: Path, start: int = 0):
        self.path, self.start = path, start
        self._position, self._reader = -1, iter(self)

    def __reduce__(self) -> tuple:
        """Pickle the place, not the open file."""
        return VideoFrames, (self.path, self.start)

    def __iter__(self) -> Iterator[np.ndarray]:
        """
        Yield the frames; those that are missing at the end of a damaged file are logged.

        :raises ValueError: if no frame can be decoded
        """
        source = VideoFile(self.path, self.start)
        try:
            yield from source
        finally:
            source.release()

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a frame; going backwards decodes the file from its start again."""
        if index <= self._position:
            self._position, self._reader = -1, iter(self)
        for frame in self._reader:
            self._position += 1
            if self._position == index:
                return frame
        raise IndexError(f'{printable(self.path)} has no frame {self.start + index}')


def frames_of(video: LabeledVideo, start: int = 0) -> ImageFrames | VideoFrames:
    """Return the frames of a video from number `start` on."""
    if video.video is not None:
        return VideoFrames(video.video, start)
    return ImageFrames(video.frames[start:])


# Files -----------------------------------------------------------------------------------------


def path_key(path: Path | str) -> list:
    """Return a sort key by which `2/2.jpg` comes before `10/1.jpg`."""
    return [natural_key(part) for part in Path(path).parts]


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """
    Yield every folder from `root` on, with the names of its files.

    Hidden folders are left out; links to folders are followed, but not in circles.
    """
    for name, folders, files in os.walk(root, followlinks=True):
        place = Path(name)
        yield place, files
        above = {ancestor.resolve() for ancestor in (place, *place.parents)
                 if ancestor.is_relative_to(root)}
        folders[:] = [sub for sub in folders if not sub.startswith('.') and not (
            (place / sub).is_symlink() and (place / sub).resolve() in above)]


def visible_files(folder: Path, pattern: str = '*') -> list[Path]:
    """
    Return the files that match a pattern, in natural order, hidden ones left out.

    :param pattern: as for `Path.glob`; with `**/` at its start also behind links to folders
    """
    if pattern.startswith('**/'):
        paths = [place / name for place, names in walk(folder)
                 for name in names if (place / name).match(pattern[3:])]
    else:
        paths = list(folder.glob(pattern))
    return sorted((path for path in paths if path.is_file() and not any(
        part.startswith('.') for part in path.relative_to(folder).parts)), key=path_key)


def read_mask(path: Path, max_side: int | None = None) -> np.ndarray:
    """
    Read a mask file as (H, W) uint8.

    :raises OSError: if the file is missing
    :raises ValueError: if it is not an image of one channel
    """
    mask = read_image(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DataError(f'{printable(path)}: not a mask of one channel with 8 bits')
    return shrink(mask, max_side, cv2.INTER_NEAREST)


def shrink_factor(shape: tuple[int, ...], max_side: int | None) -> float:
    """Return the factor, at most 1, that brings the longer side of an image to `max_side`."""
    return 1.0 if max_side is None else min(1.0, max_side / max(shape[:2]))


def shrink(image: np.ndarray, max_side: int | None,
           interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """Scale an image down so that its longer side has at most `max_side` pixels."""
    factor = shrink_factor(image.shape, max_side)
    if factor == 1.0:
        return image
    size = tuple(max(1, round(side * factor)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=interpolation)


def read_text(path: Path) -> str:
    """
    Read a text file in UTF-8, or in UTF-16 with a byte order mark.

    :raises DataError: if the file is missing or of another encoding
    """
    try:
        content = path.read_bytes()
        utf16 = content.startswith((b'\xff\xfe', b'\xfe\xff'))
        text = content.decode('utf-16' if utf16 else 'utf-8-sig')
    except OSError as error:
        raise DataError(f'{printable(path)}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise DataError(f'{printable(path)}: not a text in UTF-8 or UTF-16: {error}') from error
    if '\0' in text:
        raise DataError(f'{printable(path)}: not a text in UTF-8, or in UTF-16 with a byte order '
                        'mark')
    return text


def _numbers(text: str) -> list[float]:
    """Return the numbers in a text, separated by semicolons, commas, tabs or spaces."""
    if ';' in text:     # then a comma is a decimal one
        return [float(part) for part in text.replace(',', '.').split(';') if part.strip()]
    return [float(part) for part in text.replace(',', ' ').split()]


def read_boxes(path: Path) -> np.ndarray:
    """
    Read a text file with `x, y, w, h` a line as xyxy (T, 4) float32, nan where absent.

    Numbers are separated by commas, semicolons, tabs or spaces; eight of them are the corners of
    a quadrangle, as VOT has them, of which the upright box around it is returned. A box with
    `nan` or without area means that the target is absent.

    :raises DataError: if the file is missing, or a line is not a box
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = _numbers(line)
        except ValueError:
            row = []
        if len(row) == 8:
            points = np.array(row).reshape(4, 2)
            row = [*points.min(0), *np.ptp(points, 0)]
        if len(row) != 4:
            raise DataError(f'{printable(path)}:{number}: expected "x,y,w,h", got '
                            f'{line.strip()!r}')
        rows.append(row)
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    boxes[~(boxes[:, 2:] > 0).all(1)] = np.nan
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def read_numbers(path: Path, count: int, lowest: float, highest: float) -> np.ndarray:
    """
    Read the numbers of a text file, (count,) float64.

    :raises DataError: if the file is missing, or has others than `count` numbers in the limits
    """
    text = read_text(path)
    try:
        numbers = np.array(_numbers(text))
    except ValueError as error:
        raise DataError(f'{printable(path)}: not a text of numbers: {error}') from error
    if len(numbers) != count:
        raise DataError(f'{printable(path)}: {len(numbers)} numbers for {count} frames')
    if not ((numbers >= lowest) & (numbers <= highest)).all():
        raise DataError(f'{printable(path)}: a number is not in {lowest:g}..{highest:g}')
    return numbers


def check_counts(place: Path, frames: int, boxes: int, file: str = 'the file of boxes') -> None:
    """
    Check that there is a box for every image.

    :raises DataError: naming both counts
    """
    if boxes != frames:
        raise DataError(f'{printable(place)}: {frames} images, but {boxes} boxes in {file}')
