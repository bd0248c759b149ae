# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ALOV300++: folders of frames and rectangle annotations of every fifth frame or so.

`imagedata++/<category>/<video>/*.jpg` and
`alov300++_rectangleAnnotation_full/<category>/<video>.ann`, whose lines are the number of a
frame (from 1) and four corners (x, y from 1).
"""

import os
from pathlib import Path

import numpy as np
from re3_core.io.files import printable
from re3_core.io.images import list_images
from training.data.base import (
    DataError,
    LabeledTrack,
    LabeledVideo,
    OnError,
    raise_error,
    read_each,
    read_text,
    visible_files,
)

IMAGES = 'imagedata++'
ANNOTATIONS = 'alov300++_rectangleAnnotation_full'
# The videos that VOT2014 has as well; GOTURN was trained without them.
VOT_OVERLAP = ('01-Light_video00016', '01-Light_video00022', '01-Light_video00023',
               '02-SurfaceCover_video00012', '03-Specularity_video00003',
               '03-Specularity_video00012', '10-LowContrast_video00013')


def read_alov(folder: os.PathLike | str, *, excluded: tuple[str, ...] = VOT_OVERLAP,
              on_error: OnError = raise_error) -> list[LabeledVideo]:
    """
    Read the annotated frames of ALOV300++.

    :param excluded: names of videos to leave out
    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    files = visible_files(folder / ANNOTATIONS, '*/*.ann')
    if not files:
        on_error(DataError(f'{printable(folder / ANNOTATIONS)}: no <category>/<video>.ann in it'))
    return read_each(lambda file: _read_video(folder, file),
                     (file for file in files if file.stem not in excluded), on_error)


def _read_video(folder: Path, file: Path) -> LabeledVideo:
    images = folder / IMAGES / file.parent.name / file.stem
    if not images.is_dir():
        raise DataError(f'{printable(file)}: its folder of frames {printable(images)} is missing')
    frames = list_images(images)
    # By the numbers in their names, so that a missing image does not shift all later ones.
    numbered = dict(enumerate(frames, 1))
    if all(path.stem.isdecimal() for path in frames):
        numbered = {int(path.stem): path for path in frames}
    numbers, boxes = read_annotations(file)
    missing = [number for number in numbers if number not in numbered]
    if missing:
        raise DataError(f'{printable(file)}: frame {missing[0]} is annotated, but it is not among '
                        f'the {len(frames)} images in {printable(images)}')
    return LabeledVideo(file.stem, tuple(numbered[number] for number in numbers),
                        tracks=(LabeledTrack('', boxes.astype(np.float32)),))


def read_annotations(file: Path) -> tuple[list[int], np.ndarray]:
    """
    Read one `.ann` file.

    :return: N numbers of frames, from 1 and rising, and xyxy boxes (N, 4)
    :raises DataError: naming the line that is malformed
    """
    numbers: list[int] = []
    boxes = []
    for line_number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        where = f'{printable(file)}:{line_number}'
        try:
            frame, *corners = (float(part) for part in line.split())
            points = np.array(corners).reshape(4, 2) - 1
        except ValueError as error:
            raise DataError(f'{where}: expected a frame number and four corners, got '
                            f'{line.strip()!r}') from error
        if frame < 1 or frame != int(frame) or (numbers and frame <= numbers[-1]):
            raise DataError(f'{where}: frame numbers must be whole, from 1 and rising, got '
                            f'{frame:g}')
        numbers.append(int(frame))
        boxes.append(np.concatenate((points.min(axis=0), points.max(axis=0))))
    if not numbers:
        raise DataError(f'{printable(file)}: no annotation in it')
    return numbers, np.array(boxes)
