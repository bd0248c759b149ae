# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading frames from video files, folders of pictures and cameras, and writing video files."""

from contextlib import contextmanager
import os
from pathlib import Path

import cv2
import numpy as np
from re3_core.io.files import atomic_write

CODECS = ('avc1', 'mp4v')
DEFAULT_RATE = 30.0
PICTURES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')


class FrameSource:
    """
    Give the frames `start` to `end` - 1 of a source in order, H x W x 3 uint8 RGB.

    A source knows its `rate` in Hz, whether it is `live` (a camera, which never ends), and the
    `index` of the frame that `read` gave last, counted from the start of the file.
    """

    live = False

    def __init__(self, start=0, end=None):
        """Take the frames from `start` up to `end`, or up to the last one if it is None."""
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f'frames must be 0 <= start < end, got start {start}, end {end}')
        self.rate = DEFAULT_RATE
        self._start = start
        self._end = end
        self.index = -1

    def read(self):
        """Return the next frame, or None after the last one."""
        while self.index + 1 < self._start:
            if not self._skip():
                return None
            self.index += 1
        if self._end is not None and self.index + 1 >= self._end:
            return None
        frame = self._next()
        if frame is None:
            return None
        self.index += 1
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame)

    def __iter__(self):
        """Give the remaining frames."""
        while (frame := self.read()) is not None:
            yield frame

    def rewind(self):
        """Go back to the first frame."""
        self.index = -1

    def release(self):
        """Close the source."""

    def _next(self):
        """Return the next frame as BGR, which the caller may overwrite, or None."""
        raise NotImplementedError

    def _skip(self):
        """Pass over the next frame; return whether there was one."""
        return self._next() is not None


class _CaptureSource(FrameSource):
    """Frames of a cv2.VideoCapture."""

    def __init__(self, target, name, start=0, end=None):
        super().__init__(start, end)
        self._target = target
        self._capture = cv2.VideoCapture(target)
        if not self._capture.isOpened():
            raise ValueError(f'cannot open {name}: OpenCV reads no video from it')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        # Some drivers report 0, and broken files absurd rates.
        self.rate = rate if 1 <= rate <= 500 else DEFAULT_RATE

    def _next(self):
        ok, frame = self._capture.read()
        return frame if ok else None

    def _skip(self):
        # Frames are counted rather than sought: seeking lands on key frames in some files.
        return self._capture.grab()

    def release(self):
        self._capture.release()


class VideoFile(_CaptureSource):
    """Frames of a video file."""

    def __init__(self, path, start=0, end=None):
        """Open the video file `path`; raises ValueError if OpenCV cannot read it."""
        super().__init__(str(path), f'video {path}', start, end)

    def properties(self):
        """Return ((width, height) in pixels, number of frames) as the file's header says."""
        width, height, frames = (int(self._capture.get(key)) for key in (
            cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT))
        return (width, height), frames

    def rewind(self):
        super().rewind()
        self._capture.release()
        self._capture = cv2.VideoCapture(self._target)


class CameraDevice(_CaptureSource):
    """Frames of the camera with a number, until it is released."""

    live = True

    def __init__(self, number):
        """Open camera `number`; raises ValueError if there is none."""
        super().__init__(number, f'camera {number}')


class PictureFolder(FrameSource):
    """The pictures of a folder, in the order of their names."""

    def __init__(self, path, start=0, end=None):
        """Take the pictures in `path`; raises ValueError if there are none."""
        super().__init__(start, end)
        self._files = sorted(f for f in Path(path).iterdir() if f.suffix.lower() in PICTURES)
        if not self._files:
            raise ValueError(f'no pictures in {path}: looked for {", ".join(PICTURES)}')

    def _next(self):
        if self.index + 1 >= len(self._files):
            return None
        path = self._files[self.index + 1]
        frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if frame is None:
            raise ValueError(f'cannot read the picture {path}')
        return frame

    def _skip(self):
        return self.index + 1 < len(self._files)


def open_source(name, start=0, end=None):
    """
    Open a video file, a folder of pictures, or a camera given by its number.

    :param name: path, or a number such as `0` for a camera (int or text).
    :param start: first frame to give, 0 is the first of the file; not for cameras.
    :param end: frame after the last one to give; None for all.
    Raises ValueError or FileNotFoundError with the reason if it cannot be opened.
    """
    text = str(name)
    if text.isdigit():
        return CameraDevice(int(text))
    path = Path(text)
    if path.is_dir():
        return PictureFolder(path, start, end)
    if not path.exists():
        raise FileNotFoundError(f'no video at {path}: give a file, a folder of pictures or a '
                                'camera number')
    return VideoFile(path, start, end)


@contextmanager
def _quiet_stderr():
    """Keep what libraries print about missing codecs from the terminal."""
    saved = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _open_writer(path, rate, size):
    with _quiet_stderr():
        for codec in CODECS:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
            if writer.isOpened():
                return writer
    raise OSError(f'OpenCV can write none of the codecs {", ".join(CODECS)} to {path}')


class _VideoPart:
    """A video file that is opened with the size of its first frame."""

    def __init__(self, path, rate):
        self._path, self._rate = path, rate
        self._writer = self._shape = None

    def write(self, frame):
        """Append a frame."""
        height, width = (side - side % 2 for side in frame.shape[:2])
        if self._writer is None:
            self._writer = _open_writer(self._path, self._rate, (width, height))
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ValueError(f'the video has frames of {self._shape[1]} x {self._shape[0]}, got '
                             f'one of {frame.shape[1]} x {frame.shape[0]}')
        self._writer.write(cv2.cvtColor(np.ascontiguousarray(frame[:height, :width]),
                                        cv2.COLOR_RGB2BGR))

    def close(self):
        """Write out what is left."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def video_writer(path, rate):
    """
    Give a function that appends a frame to an mp4 file, H.264 where OpenCV has it.

    The file is there only after a clean end with a frame at least. The function takes H x W x 3
    uint8 RGB, all of one size, and raises ValueError if one differs; OSError if OpenCV cannot
    write. Sides are made even, as the codecs want, by leaving out the last row or column.

    :param rate: frames per second.
    """
    with atomic_write(Path(path)) as part:
        video = _VideoPart(part, rate)
        try:
            yield video.write
        finally:
            video.close()
        if not part.exists():
            raise ValueError(f'{path}: a video needs a frame at least')
