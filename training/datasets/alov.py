# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ALOV300++: folders of frames and rectangle annotations of every fifth frame or so.

`imagedata++/<category>/<video>/*.jpg` and
`alov300++_rectangleAnnotation_full/<category>/<video>.ann`, whose lines are the number of a
frame (from 1) and four corners (x, y from 1).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from training.datasets.recordings import frame_files
from training.datasets.records import DataError, Recording, refuse, Report, Track

IMAGES = 'imagedata++'
ANNOTATIONS = 'alov300++_rectangleAnnotation_full'
# The videos that VOT2014 has as well; GOTURN was trained without them.
VOT_OVERLAP = ('01-Light_video00016', '01-Light_video00022', '01-Light_video00023',
               '02-SurfaceCover_video00012', '03-Specularity_video00003',
               '03-Specularity_video00012', '10-LowContrast_video00013')


def read_alov(folder: os.PathLike | str, *, excluded: tuple[str, ...] = VOT_OVERLAP,
              interpolate: bool = False, report: Report = refuse) -> list[Recording]:
    """
    Read ALOV300++.

    :param excluded: names of videos to leave out
    :param interpolate: take all frames between the first and the last annotated one, with boxes
        in between on straight lines; otherwise only the annotated frames, as GOTURN does
    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    files = sorted((folder / ANNOTATIONS).glob('*/*.ann'))
    if not files:
        report(DataError(f'{folder / ANNOTATIONS}: no <category>/<video>.ann in it'))
    found = []
    for file in files:
        if file.stem not in excluded:
            try:
                found.append(_recording(folder, file, interpolate))
            except DataError as error:
                report(error)
    return found


def _recording(folder: Path, file: Path, interpolate: bool) -> Recording:
    images = folder / IMAGES / file.parent.name / file.stem
    if not images.is_dir():
        raise DataError(f'{file}: its folder of frames {images} is missing')
    frames = frame_files(images)
    numbers, boxes = read_annotations(file)
    if numbers[-1] > len(frames):
        raise DataError(f'{file}: frame {numbers[-1]} is annotated, but {images} has '
                        f'{len(frames)}')
    if interpolate:
        every = np.arange(numbers[0], numbers[-1] + 1)
        boxes = np.stack([np.interp(every, numbers, side) for side in boxes.T], axis=1)
        numbers = every
    return Recording(file.stem, tuple(frames[number - 1] for number in numbers),
                     tracks=(Track('', boxes.astype(np.float32)),))


def read_annotations(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """
    Read one `.ann` file.

    :return: numbers (N,) of the frames, from 1 and rising, and xyxy boxes (N, 4)
    :raises DataError: naming the line that is malformed
    """
    numbers, boxes = [], []
    for line_number, line in enumerate(file.read_text(errors='replace').splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, *corners = (float(part) for part in line.split())
            points = np.array(corners).reshape(4, 2) - 1
        except ValueError as error:
            raise DataError(f'{file}:{line_number}: expected a frame number and four corners, '
                            f'got {line.strip()!r}') from error
        if frame < 1 or frame != int(frame) or (numbers and frame <= numbers[-1]):
            raise DataError(f'{file}:{line_number}: frame numbers must be whole, from 1 and '
                            f'rising, got {frame:g}')
        numbers.append(int(frame))
        boxes.append(np.concatenate((points.min(axis=0), points.max(axis=0))))
    if not numbers:
        raise DataError(f'{file}: no annotation in it')
    return np.array(numbers), np.array(boxes)
