# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""GOT-10k: `<part>/GOT-10k_*/` with frames, `groundtruth.txt`, `absence.label`, `cover.label`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from training.datasets.recordings import boxes_file, frame_files
from training.datasets.records import DataError, Recording, refuse, Report, Track

COVER_LEVELS = 8


def read_numbers(file: Path, count: int, lowest: float, highest: float) -> np.ndarray:
    """
    Read the numbers of a text, (count,) float64, separated by commas, spaces or lines.

    :raises DataError: if the file is missing, or has others than `count` numbers in the limits
    """
    try:
        numbers = np.array([float(part) for part in file.read_text().replace(',', ' ').split()])
    except (OSError, ValueError) as error:
        raise DataError(f'{file}: not a text of numbers: {error}') from error
    if len(numbers) != count:
        raise DataError(f'{file}: {len(numbers)} numbers for {count} frames')
    if not ((numbers >= lowest) & (numbers <= highest)).all():
        raise DataError(f'{file}: a number is not in {lowest:g}..{highest:g}')
    return numbers


def read_got10k(folder: os.PathLike | str, *, report: Report = refuse) -> list[Recording]:
    """
    Read GOT-10k or one of its parts; the test part, whose boxes are withheld, has no tracks.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    files = sorted({*folder.glob('*/groundtruth.txt'), *folder.glob('*/*/groundtruth.txt')})
    if not files:
        report(DataError(f'{folder}: no GOT-10k_*/groundtruth.txt in it'))
    found = []
    for file in files:
        try:
            found.append(_recording(file.parent, folder))
        except DataError as error:
            report(error)
    return found


def _recording(place: Path, folder: Path) -> Recording:
    frames = frame_files(place)
    boxes = boxes_file(place / 'groundtruth.txt')
    name = place.relative_to(folder).as_posix()
    if len(boxes) == 1 < len(frames):
        return Recording(name, frames)
    if len(boxes) != len(frames):
        raise DataError(f'{place}: {len(frames)} images, but {len(boxes)} boxes in '
                        'groundtruth.txt')
    absent = read_numbers(place / 'absence.label', len(frames), 0, 1) > 0
    visible = read_numbers(place / 'cover.label', len(frames), 0, COVER_LEVELS) / COVER_LEVELS
    boxes[absent] = np.nan
    visible[absent] = 0
    return Recording(name, frames, tracks=(Track('', boxes, visible.astype(np.float32)),))
