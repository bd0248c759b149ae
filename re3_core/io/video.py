# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading frames from video files, folders of images and cameras, and writing video files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import logging
import os
from pathlib import Path

import cv2
import numpy as np
from re3_core.io.files import atomic_write, check_utf8, printable
from re3_core.io.images import is_image, list_images, read_image, SUFFIXES

CODECS = ('avc1', 'mp4v')
DEFAULT_RATE = 30.0

_log = logging.getLogger(__name__)


class FrameSource:
    """
    Frames `start` to `end` - 1 of a source in order, H x W x 3 uint8 RGB.

    `name` is the source's name in messages, `rate` its frames per second, `live` whether it is a
    camera, which never ends, and `index` the number of the frame that `read` returned last,
    counted from the start of the file (-1 before the first one).
    """

    live = False

    def __init__(self, name: str, start: int = 0, end: int | None = None) -> None:
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f'frames must be 0 <= start < end, got start {start}, end {end}')
        self.name = name
        self.rate = DEFAULT_RATE
        self._start = start
        self._end = end
        self.index = -1
        self._warned = False

    def read(self) -> np.ndarray | None:
        """
        Return the next frame, or None after the last one.

        A source that ends too early, before `end` or the number of frames in a video's header, is
        logged as a warning.

        :raises ValueError: if there is no frame from `start` on, or one cannot be decoded.
        """
        while self.index + 1 < self._start:
            if not self._skip():
                self._check_length()
                raise ValueError(f'{self.name}: has {self.index + 1} frames, none from number '
                                 f'{self._start} on')
            self.index += 1
        if self._end is not None and self.index + 1 >= self._end:
            return None
        frame = self._next()
        if frame is None:
            self._check_length()
        else:
            self.index += 1
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        """Iterate over the remaining frames."""
        while (frame := self.read()) is not None:
            yield frame

    def rewind(self) -> None:
        """Go back to the first frame."""
        self.index = -1

    def release(self) -> None:
        """Close the source."""

    def _next(self) -> np.ndarray | None:
        """Return the next frame as RGB, or None."""
        raise NotImplementedError

    def _skip(self) -> bool:
        """Pass over the next frame; return whether there was one."""
        return self._next() is not None

    def _check_length(self) -> None:
        """Warn, once, of a source that ends before `end`."""
        if self._end is not None:
            self._warn(f'ends after {self.index + 1} frames, before frame {self._end}')

    def _warn(self, problem: str) -> None:
        if not self._warned:
            _log.warning('%s: %s', self.name, problem)
        self._warned = True


class _CaptureSource(FrameSource):
    """Frames of a cv2.VideoCapture."""

    def __init__(self, target: str | int, name: str, start: int = 0,
                 end: int | None = None) -> None:
        super().__init__(name, start, end)
        self._target = target
        self._capture = cv2.VideoCapture(target)
        if not self._capture.isOpened():
            raise ValueError(f'cannot open {name}: OpenCV reads no video from it')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        # Some drivers report 0, and broken files absurd rates.
        self.rate = rate if 1 <= rate <= 500 else DEFAULT_RATE

    def _next(self) -> np.ndarray | None:
        ok, frame = self._capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame) if ok else None

    def _skip(self) -> bool:
        # Frames are counted rather than sought: seeking lands on key frames in some files.
        return self._capture.grab()

    def release(self) -> None:
        self._capture.release()


class VideoFile(_CaptureSource):
    """Frames of a video file."""

    def __init__(self, path: str | os.PathLike[str], start: int = 0,
                 end: int | None = None) -> None:
        """Open the video file `path`; ValueError if OpenCV cannot read it."""
        # Absolute, since FFmpeg takes a colon in a relative name for the end of a protocol.
        super().__init__(os.path.abspath(check_utf8(path)), f'video {path}', start, end)

    def properties(self) -> tuple[tuple[int, int], int]:
        """Return ((width, height) in pixels, number of frames) by the file's header."""
        width, height, frames = (int(self._capture.get(key)) for key in (
            cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT))
        return (width, height), frames

    def _check_length(self) -> None:
        """Compare the number of decoded frames with the header's; ValueError if there is none."""
        decoded, expected = self.index + 1, self.properties()[1]
        if not decoded:
            raise ValueError(f'{self.name}: OpenCV can decode no frame of it (an unsupported '
                             'codec or a damaged file); convert it, for example to H.264')
        # Some containers have no count; then it is estimated from the duration.
        if expected - decoded > max(1, .01 * expected):
            self._warn(f'only {decoded} of {expected} frames can be decoded, the file is damaged')
        super()._check_length()

    def rewind(self) -> None:
        super().rewind()
        self._capture.release()
        self._capture = cv2.VideoCapture(self._target)


class CameraDevice(_CaptureSource):
    """Frames of the camera with a number, until it is released."""

    live = True

    def __init__(self, number: int) -> None:
        """Open camera `number`; ValueError if there is none."""
        super().__init__(number, f'camera {number}')


class ImageFolder(FrameSource):
    """The images of a folder in natural order of their names (2.jpg before 10.jpg)."""

    def __init__(self, path: str | os.PathLike[str], start: int = 0,
                 end: int | None = None) -> None:
        """Take the images in the folder `path`, or one file; ValueError if there is none."""
        super().__init__(f'images {printable(path)}', start, end)
        self._files = list_images(path) if os.path.isdir(path) else [Path(path)]
        if not self._files:
            raise ValueError(f'no images in {printable(path)}: looked for {", ".join(SUFFIXES)}')

    def _next(self) -> np.ndarray | None:
        return read_image(self._files[self.index + 1]) if self._skip() else None

    def _skip(self) -> bool:
        return self.index + 1 < len(self._files)


def open_source(name: str | int | os.PathLike[str], start: int = 0,
                end: int | None = None) -> FrameSource:
    """
    Open a video file, a folder of images, an image, or a camera given by its number.

    :param name: path, or a number such as `0` for a camera (int or text; a file or folder of
        that name goes first).
    :param start: first frame, 0 is the first of the file; not for cameras.
    :param end: frame after the last one; None for all.
    :raises ValueError: or OSError with the reason, if it cannot be opened.
    """
    if isinstance(name, int):
        return CameraDevice(name)
    text = os.fspath(name)
    path = Path(text)
    if not text or not path.exists():
        if text.isascii() and text.isdigit():
            return CameraDevice(int(text))
        raise FileNotFoundError(f'no video at {printable(text) if text else repr(text)}: give a '
                                'file, a folder of images or a camera number')
    if path.is_dir() or is_image(path):
        return ImageFolder(path, start, end)
    return VideoFile(path, start, end)


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Discard what native libraries print, such as lines about missing codecs."""
    saved = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _open_writer(path: str, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    with _silence_stderr():
        for codec in CODECS:
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), rate, size)
            if writer.isOpened():
                return writer
    raise OSError(f'OpenCV can write none of the codecs {", ".join(CODECS)} to {path}')


@contextmanager
def video_writer(path: str | os.PathLike[str],
                 rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """
    Yield a function that appends a frame to an mp4 file, H.264 where OpenCV has it.

    The file exists only after a clean end with at least one frame. The function takes H x W x 3
    uint8 RGB, all of one size, and raises ValueError if one differs; OSError if OpenCV cannot
    write. Odd sides lose their last row or column, since the codecs need even ones.

    :param rate: frames per second.
    """
    with atomic_write(Path(path)) as part:
        name = os.path.abspath(check_utf8(part))
        writer: cv2.VideoWriter | None = None
        shape: tuple[int, ...] = ()

        def write(frame: np.ndarray) -> None:
            nonlocal writer, shape
            height, width = (side - side % 2 for side in frame.shape[:2])
            if writer is None:
                writer, shape = _open_writer(name, rate, (width, height)), frame.shape
            if frame.shape != shape:
                raise ValueError(f'the video has frames of {shape[1]} x {shape[0]}, got one of '
                                 f'{frame.shape[1]} x {frame.shape[0]}')
            writer.write(cv2.cvtColor(np.ascontiguousarray(frame[:height, :width]),
                                      cv2.COLOR_RGB2BGR))
        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        if not part.exists():
            raise ValueError(f'{path}: a video needs at least one frame')
