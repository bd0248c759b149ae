# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What the readers of all data sets return: stills and recordings with their boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')


class DataError(ValueError):
    """A file of a data set is malformed; the message names the file and what is wrong."""


# What a reader does with a malformed file: it goes on without it unless this raises.
Report = Callable[[DataError], None]


def refuse(error: DataError) -> None:
    """Raise the error: the default of all readers."""
    raise error


@dataclass(frozen=True)
class Still:
    """
    A photograph.

    :param path: image file
    :param boxes: (N, 4) float32 xyxy in pixels, N may be 0
    :param labels: N class names, or none
    :param mask: image file in which value k (1..N) marks the object of the k-th box, or None
    :param annotated_size: height and width of the picture that the boxes belong to, where it
        may differ from the file's; None: the file's
    """

    path: Path
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: tuple[str, ...] = ()
    mask: Path | None = None
    annotated_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Track:
    """
    One target of a recording.

    :param boxes: (T, 4) float32 xyxy in pixels of the file, nan where absent
    :param visible: (T,) float32 visible fraction, nan where unknown; None: nowhere known
    """

    name: str
    boxes: np.ndarray
    visible: np.ndarray | None = None


@dataclass(frozen=True)
class Recording:
    """
    Consecutive frames, as image files or one video file, with any number of targets.

    :param frames: image files in order; with `video`: empty
    :param video: video file, or None
    """

    name: str
    frames: tuple[Path, ...] = ()
    video: Path | None = None
    tracks: tuple[Track, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that hold the pictures."""
        return (self.video,) if self.video is not None else self.frames
