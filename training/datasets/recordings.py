# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Folders of recordings: OTB and VOT folders, plain folders of images or videos without boxes.

Below the given folder each of these is a recording: `<Name>/img/*.jpg`, `<Name>/color/*.jpg` or
`<Name>/video.mp4` with `groundtruth_rect.txt` (or any `groundtruth*.txt`: several are several
targets) beside them; a folder that holds at least two images; a video file. Without such a text
there are no tracks. The numbers of a text are separated by commas, tabs or spaces.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from training.datasets.records import (
    DataError,
    IMAGE_SUFFIXES,
    Recording,
    refuse,
    Report,
    Track,
    VIDEO_SUFFIXES,
)
from training.datasets.sequences import read_boxes

TRUTH_FILES = 'groundtruth*.txt'
IMAGE_FOLDERS = ('img', 'color')
# OTB sequences whose boxes belong to a part of the images: the first one, counted from 1.
OTB_FIRST_IMAGE = {'David': 300, 'Diving': 1, 'Football1': 1, 'Freeman3': 1, 'Freeman4': 1}


def frame_files(folder: Path) -> tuple[Path, ...]:
    """Return the image files of a folder in order."""
    return tuple(sorted(file for file in folder.iterdir()
                        if file.suffix.lower() in IMAGE_SUFFIXES))


def read_recordings(folder: os.PathLike | str, *, first_pixel: float = 0.0,
                    report: Report = refuse) -> list[Recording]:
    """
    Read all recordings below a folder, ordered by name.

    :param first_pixel: coordinate of the first pixel: 0, or 1 as in the original OTB files
    :raises DataError: if there are none, or one is malformed
    """
    folder = Path(folder)
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for path in _sources(Path(place), files):
            try:
                found.append(_recording(path, folder, first_pixel))
            except DataError as error:
                report(error)
    if not found:
        report(DataError(f'{folder}: no folder of images and no video in it'))
    return sorted(found, key=lambda recording: recording.name)


def _sources(place: Path, files: list[str]) -> list[Path]:
    """Return what is a recording in a folder: its videos, and itself if it holds images."""
    suffixes = [os.path.splitext(name)[1].lower() for name in files]
    videos = [place / name for name, suffix in zip(files, suffixes, strict=True)
              if suffix in VIDEO_SUFFIXES]
    images = sum(suffix in IMAGE_SUFFIXES for suffix in suffixes)
    return videos + [place] * (images > 1 or place.name in IMAGE_FOLDERS)


def _recording(path: Path, root: Path, first_pixel: float) -> Recording:
    """Read one recording, a video file or a folder of images."""
    if path.is_file():
        labelled = path.stem == 'video' and (path.parent != root or any(root.glob(TRUTH_FILES)))
        home = path.parent if labelled else path.with_suffix('')
        return Recording(_name(home, root), video=path,
                         tracks=_tracks(home, first_pixel) if labelled else ())
    frames = frame_files(path)
    home = path.parent if path.name in IMAGE_FOLDERS and path != root else path
    tracks = _tracks(home, first_pixel)
    if tracks and home.name in OTB_FIRST_IMAGE and len(tracks[0].boxes) < len(frames):
        first = OTB_FIRST_IMAGE[home.name] - 1
        frames = frames[first:first + len(tracks[0].boxes)]
    for track in tracks:
        if len(track.boxes) != len(frames):
            raise DataError(f'{home}: {len(frames)} images, but {len(track.boxes)} boxes in '
                            f'{track.name or "the text of boxes"}')
    return Recording(_name(home, root), frames, tracks=tracks)


def _name(path: Path, root: Path) -> str:
    """Name a recording by its place below the root."""
    return path.relative_to(root).as_posix() if path != root else path.name


def _tracks(folder: Path, first_pixel: float) -> tuple[Track, ...]:
    """Read the texts of boxes beside the pictures."""
    files = sorted(folder.glob(TRUTH_FILES))
    return tuple(Track('' if len(files) == 1 else file.stem, boxes_file(file, first_pixel))
                 for file in files)


def boxes_file(file: Path, first_pixel: float = 0.0) -> np.ndarray:
    """
    Read a text of boxes as xyxy (T, 4) float32, nan where absent.

    :param first_pixel: coordinate of the first pixel in the text
    :raises DataError: if the file is missing or malformed
    """
    try:
        boxes = read_boxes(file)
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    return boxes - np.float32(first_pixel)
