# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What a source of images and tracks offers the page: frames, states, and requests to it."""

from dataclasses import dataclass, field
from threading import Lock
import time
from typing import Callable, Protocol

import cv2
import numpy as np

OK, WARN, ERROR, STALE = 0, 1, 2, 3    # as in diagnostic_msgs/DiagnosticStatus
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ShownTrack:
    """A target in one image: `box` is `xyxy` in pixels, `confidence` lies in 0..1."""

    id: str  # noqa: A003
    box: Box
    confidence: float
    class_id: str = ''


class Frame:
    """
    One image with its tracks; either may be missing.

    :param stamp: time of the image in nanoseconds.
    :param tracks: the tracks of this image.
    :param size: (width, height) of the image in pixels; (0, 0) without an image.
    :param rgb: returns the pixels, H x W x 3 uint8 RGB; called at most once per encoding, in a
        worker thread, and only if a viewer gets the image. It may raise ValueError.
    :param number: number of the frame in a video file.
    :param age: seconds since the image was taken, when the Frame is made; None if unknown.
    """

    def __init__(self, stamp: int, tracks: tuple[ShownTrack, ...], size: tuple[int, int] = (0, 0),
                 rgb: Callable[[], np.ndarray] | None = None, number: int | None = None,
                 age: float | None = None) -> None:
        self.stamp, self.tracks, self.size, self.number = stamp, tracks, size, number
        self.sequence = 0    # set by the hub
        self._rgb = rgb
        self._age, self._made = age, time.monotonic()
        self._lock = Lock()
        self._encoded: dict[tuple[int, int], bytes] = {}

    @property
    def has_image(self) -> bool:
        """Whether there is an image."""
        return self._rgb is not None

    def age(self) -> float | None:
        """Return the seconds since the image was taken, or None if unknown."""
        return None if self._age is None else self._age + time.monotonic() - self._made

    def jpeg(self, side: int, quality: int) -> bytes:
        """
        Return the image as JPEG; viewers that want the same one share it.

        :param side: longest side in pixels; a smaller image keeps its size.
        :param quality: JPEG quality, 1..100.
        :raises ValueError: there is no image, or it cannot be read.
        """
        if self._rgb is None:
            raise ValueError('frame without an image')
        scale = min(1., side / max(self.size))
        key = (round(scale * max(self.size)), quality)
        with self._lock:
            if key not in self._encoded:
                self._encoded[key] = _encode(self._rgb(), scale, quality)
            return self._encoded[key]


def _encode(rgb: np.ndarray, scale: float, quality: int) -> bytes:
    if scale < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


@dataclass
class CameraState:
    """
    What the page shows of a camera besides its images.

    `problems` are sentences for the operator, such as a camera that sends no images; `level`,
    `message` and `values` are the tracker's diagnostics of this camera; `states` maps the ids of
    targets to `tracked` or `lost`.
    """

    name: str
    title: str = ''
    problems: list[str] = field(default_factory=list)
    level: int = OK
    message: str = ''
    values: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


@dataclass
class SourceState:
    """All that the page shows besides images; `enabled` is None while it is unknown."""

    cameras: list[CameraState]
    enabled: bool | None = None
    problems: list[str] = field(default_factory=list)


class Receiver(Protocol):
    """Where a source delivers frames and messages; both methods may be called in any thread."""

    def offer(self, camera: str, frame: Frame) -> None:
        """Take the newest frame of a camera; it replaces the one before."""

    def notice(self, level: int, text: str) -> None:
        """Show a message to all viewers."""


class Source(Protocol):
    """
    A source of images and tracks; `call` is called in a worker thread, all else in the server's.

    `title` names it, and the images of the last `buffer_seconds` are kept for late boxes.
    """

    title: str
    buffer_seconds: float

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver."""

    def stop(self) -> None:
        """Stop delivering and free everything."""

    def state(self) -> SourceState:
        """Return the present state; asked for a few times per second."""

    def watch(self, cameras: frozenset[str]) -> None:
        """Deliver images of these cameras only; the others have no viewers."""

    def init(self, camera: str, target_id: str, box: Box, stamp: int) -> None:
        """
        Start or restart a target.

        :param target_id: empty: the target that the box overlaps, else a new one with a number.
        :param box: `xyxy` pixels in the image with this stamp (nanoseconds; 0: the newest).
        """

    def remove(self, camera: str, target_id: str) -> None:
        """Remove a target."""

    def call(self, service: str) -> tuple[bool, str]:
        """Do `enable`, `disable` or `reset`; return whether it succeeded and a message."""
