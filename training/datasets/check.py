# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Check of a whole data set: counts, every unreadable or malformed file, samples to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import os
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm
from training.cache import box_factor
from training.contact_sheet import with_boxes
from training.datasets.formats import read_dataset, recognise
from training.datasets.records import Recording, Still
from training.datasets.sequences import frames_of
from training.frame_store import read_image


@dataclass
class Report:
    """
    What a check has found.

    :param form: name of the data set's format
    :param problems: one line for each unreadable or malformed file
    """

    form: str
    recordings: int = 0
    tracks: int = 0
    frames: int = 0
    stills: int = 0
    boxes: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ', '.join(f'{getattr(self, name)} {name}' for name in
                           ('recordings', 'tracks', 'frames', 'stills', 'boxes'))
        return f'format {self.form}: {counts}, {len(self.problems)} problems'


def check_dataset(folder: os.PathLike | str, form: str = 'auto', *, decode: bool = True,
                  progress: bool = True) -> tuple[Report, list[Recording] | list[Still]]:
    """
    Check a data set.

    :param decode: read every picture, which finds the unreadable ones and boxes outside of them
    :return: the report and what could be read
    :raises DataError: if there is no such folder or format
    """
    report = Report(recognise(folder) if form == 'auto' else form)
    items = read_dataset(folder, form, report=lambda error: report.problems.append(str(error)))
    for item in tqdm(items, 'checking', disable=None if progress else True):
        if isinstance(item, Still):
            _check_still(item, report, decode)
        else:
            _check_recording(item, report, decode)
    return report, items


def _check_still(still: Still, report: Report, decode: bool) -> None:
    report.stills += 1
    report.boxes += len(still.boxes)
    if not decode:
        return
    shape = _shape_of(still.path)
    if isinstance(shape, str):
        report.problems.append(shape)
        return
    _check_boxes(f'{still.path}: box', still.boxes * box_factor(still, shape), shape, report)
    if still.mask is not None:
        _check_mask(still, shape, report)


def _check_mask(still: Still, shape: tuple, report: Report) -> None:
    """Check that a mask fits its picture."""
    mask = cv2.imread(os.fspath(still.mask), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        report.problems.append(f'{still.mask}: not a readable mask of one channel')
    elif mask.shape != shape[:2]:
        report.problems.append(f'{still.mask}: is {mask.shape[1]}x{mask.shape[0]}, the picture '
                               f'{shape[1]}x{shape[0]}')
    elif mask.max() > len(still.boxes):
        report.problems.append(f'{still.mask}: value {mask.max()} for {len(still.boxes)} boxes')


def _check_recording(recording: Recording, report: Report, decode: bool) -> None:
    report.recordings += 1
    report.tracks += len(recording.tracks)
    report.boxes += sum(int(np.isfinite(track.boxes).all(axis=1).sum())
                        for track in recording.tracks)
    if not decode:
        report.frames += len(recording.frames)
        return
    shapes = _video_shapes(recording, report) if recording.video is not None else (
        _image_shapes(recording.frames, report))
    report.frames += len(shapes)
    if len(set(shapes)) > 1:
        report.problems.append(f'{recording.name}: frames of different sizes '
                               f'{sorted({shape[1::-1] for shape in shapes})}')
    for track in recording.tracks:
        if recording.video is not None and len(track.boxes) != len(shapes):
            report.problems.append(f'{recording.video}: {len(shapes)} frames, but '
                                   f'{len(track.boxes)} boxes')
        if shapes:
            name = f'{recording.name}{" " * bool(track.name)}{track.name}: box of frame'
            _check_boxes(name, track.boxes, shapes[0], report)


def _image_shapes(files: Iterable[Path], report: Report) -> list[tuple]:
    """Return the shapes of readable images, several read at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        found = list(executor.map(_shape_of, files))
    report.problems.extend(item for item in found if isinstance(item, str))
    return [item for item in found if not isinstance(item, str)]


def _video_shapes(recording: Recording, report: Report) -> list[tuple]:
    try:
        return [frame.shape for frame in frames_of(recording)]
    except ValueError as error:
        report.problems.append(str(error))
        return []


def _shape_of(path: Path) -> tuple | str:
    """Return the shape of an image, or what is wrong with the file."""
    try:
        return read_image(path).shape
    except OSError as error:
        return str(error)


def _check_boxes(name: str, boxes: np.ndarray, shape: tuple, report: Report) -> None:
    """Check that boxes (N, 4) have an area and lie at least partly in a picture."""
    limit = np.array(shape[1::-1])
    with np.errstate(invalid='ignore'):
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        outside = (boxes[:, :2] >= limit).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    for wrong, what in ((empty, 'has no area'), (outside & ~empty, 'lies outside the picture')):
        report.problems.extend(f'{name} {number} {what}: {boxes[number].tolist()}'
                               for number in np.flatnonzero(wrong))


def samples(items: list[Recording] | list[Still], count: int, seed: int = 0,
            ) -> Iterator[np.ndarray]:
    """Draw pictures (H, W, 3) with their boxes from different items, the unreadable left out."""
    rng = np.random.default_rng(seed)
    for index in rng.permutation(len(items))[:count]:
        item = items[index]
        try:
            if isinstance(item, Still):
                yield _still_sample(item)
            else:
                yield _recording_sample(rng, item)
        except (OSError, ValueError):
            continue


def _still_sample(still: Still) -> np.ndarray:
    image = read_image(still.path)
    return with_boxes(image, still.boxes * box_factor(still, image.shape), still.path.name)


def _recording_sample(rng: np.random.Generator, recording: Recording) -> np.ndarray:
    """Draw a frame, one with a box if there is one."""
    boxes = np.full((len(recording.frames), 0, 4), np.nan, np.float32)
    if recording.tracks:
        boxes = np.stack([track.boxes for track in recording.tracks], axis=1)
    shown = np.flatnonzero(np.isfinite(boxes).all(axis=2).any(axis=1))
    # A video without boxes does not tell its length without being decoded: take its start.
    place = int(rng.choice(shown)) if len(shown) else 0
    frame = next(iter(frames_of(recording, place)))
    return with_boxes(frame, boxes[place] if len(boxes) else boxes.reshape(0, 4),
                      f'{recording.name} {place}')
