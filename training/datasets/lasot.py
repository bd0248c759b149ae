# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
LaSOT: `<class>/<class>-<number>/` with `img/*.jpg` and `groundtruth.txt`.

`full_occlusion.txt` and `out_of_view.txt` tell the frames in which the target is not seen; its
box counts as absent there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from training.datasets.got10k import read_numbers
from training.datasets.recordings import boxes_file, frame_files
from training.datasets.records import DataError, Recording, refuse, Report, Track

HIDDEN_FILES = ('full_occlusion.txt', 'out_of_view.txt')


def read_lasot(folder: os.PathLike | str, *, report: Report = refuse) -> list[Recording]:
    """
    Read LaSOT or one of its classes.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    files = sorted({*folder.glob('*/groundtruth.txt'), *folder.glob('*/*/groundtruth.txt')})
    if not files:
        report(DataError(f'{folder}: no <class>/<class>-<number>/groundtruth.txt in it'))
    found = []
    for file in files:
        try:
            found.append(_recording(file.parent))
        except DataError as error:
            report(error)
    return found


def _recording(place: Path) -> Recording:
    if not (place / 'img').is_dir():
        raise DataError(f'{place}: its folder img is missing')
    frames = frame_files(place / 'img')
    boxes = boxes_file(place / 'groundtruth.txt')
    if len(boxes) != len(frames):
        raise DataError(f'{place}: {len(frames)} images, but {len(boxes)} boxes in '
                        'groundtruth.txt')
    hidden = np.any([read_numbers(place / name, len(frames), 0, 1) > 0
                     for name in HIDDEN_FILES], axis=0)
    boxes[hidden] = np.nan
    visible = np.where(hidden, 0, np.nan).astype(np.float32)
    return Recording(place.name, frames, tracks=(Track('', boxes, visible),))
