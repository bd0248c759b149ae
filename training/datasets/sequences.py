# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Annotated videos, frame by frame: what trackers are judged on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from re3_core.io.video import VideoFile
from training.frame_store import read_image


class ImageFrames:
    """Frames in image files: uint8 RGB (H, W, 3) by index or one after the other."""

    def __init__(self, paths):
        self.paths = tuple(Path(path) for path in paths)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return read_image(self.paths[index])

    def __iter__(self):
        return (read_image(path) for path in self.paths)


class VideoFrames:
    """Frames of a video file from number `begin` on: uint8 RGB (H, W, 3), one after the other."""

    def __init__(self, path, begin=0):
        self.path, self.begin = Path(path), begin

    def __iter__(self):
        source = VideoFile(self.path, self.begin)
        try:
            yield from source
        finally:
            source.release()


@dataclass(frozen=True)
class Sequence:
    """
    One target in one video, from the first frame that shows it.

    `frames` yields T frames, uint8 RGB (H, W, 3), and may be gone through any number of times;
    `boxes` (T, 4) is `xyxy` pixels, NaN where the target is absent; `visible` (T,) is its
    visible share, 1 where a data set does not tell.
    """

    name: str
    frames: object
    boxes: np.ndarray
    visible: np.ndarray

    def __len__(self):
        return len(self.boxes)


def frames_of(recording, begin=0):
    """Return the frames of a Recording from number `begin` on."""
    if recording.video is not None:
        return VideoFrames(recording.video, begin)
    return ImageFrames(recording.frames[begin:])


def sequences_of(recordings):
    """Return a Sequence for every track of the Recordings; tracks without any box have none."""
    return [sequence for recording in recordings for track in recording.tracks
            if (sequence := _sequence(recording, track)) is not None]


def _sequence(recording, track):
    present = np.flatnonzero(np.isfinite(track.boxes).all(1))
    if not len(present):
        return None
    begin = int(present[0])
    visible = np.ones(len(track.boxes)) if track.visible is None else track.visible
    return Sequence('/'.join(filter(None, (recording.name, track.name))),
                    frames_of(recording, begin), track.boxes[begin:],
                    np.nan_to_num(visible[begin:], nan=1.))


def read_boxes(path):
    """
    Return the boxes (T, 4) of a text file with `x, y, w, h` a line as `xyxy` float32.

    Numbers are separated by commas, tabs or spaces; eight of them are the corners of a
    quadrangle, as VOT has them, of which the upright box around it is returned. A box with `nan`
    or without area means that the target is absent and becomes NaN. A line that is no box raises
    ValueError naming it.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(part) for part in line.replace(',', ' ').split()]
        except ValueError:
            row = []
        if len(row) == 8:
            row = _around(row)
        if len(row) != 4:
            raise ValueError(f'{path}:{number}: expected "x,y,w,h", got {line.strip()!r}')
        rows.append(row)
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    boxes[~(boxes[:, 2:] > 0).all(1)] = np.nan
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _around(corners):
    """Return the upright x, y, w, h around four corners."""
    points = np.array(corners).reshape(4, 2)
    return [*points.min(0), *np.ptp(points, 0)]
