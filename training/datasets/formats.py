# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""All readers by name, and how to recognise a data set by its layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path

from training.datasets.alov import ANNOTATIONS, read_alov
from training.datasets.got10k import read_got10k
from training.datasets.ilsvrc import det_folders, read_det, read_vid
from training.datasets.lasot import read_lasot
from training.datasets.recordings import IMAGE_FOLDERS, read_recordings, TRUTH_FILES
from training.datasets.records import DataError, Recording, refuse, Report, Still, VIDEO_SUFFIXES
from training.datasets.stills import read_stills


@dataclass(frozen=True)
class Format:
    """
    A layout of data sets.

    :param read: reader that takes the folder and `report=`
    :param recognise: says whether a folder looks like it
    :param layout: what it looks like, in a few words
    """

    read: Callable[..., list[Recording] | list[Still]]
    recognise: Callable[[Path], bool]
    layout: str


def _has(folder: Path, *patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def _is_recordings(folder: Path) -> bool:
    if _has(folder, TRUTH_FILES, f'*/{TRUTH_FILES}', f'*/*/{TRUTH_FILES}',
            *(f'{depth}{name}' for depth in ('', '*/', '*/*/') for name in IMAGE_FOLDERS)):
        return True
    return any(path.suffix.lower() in VIDEO_SUFFIXES
               for pattern in ('*', '*/*') for path in folder.glob(pattern))


# In the order in which they are tried: the special ones first.
FORMATS = {
    'alov': Format(read_alov, lambda folder: (folder / ANNOTATIONS).is_dir(),
                   'ALOV300++: imagedata++ and alov300++_rectangleAnnotation_full'),
    'vid': Format(read_vid, lambda folder: (folder / 'Annotations' / 'VID').is_dir(),
                  'ILSVRC VID: Data/VID and Annotations/VID'),
    'det': Format(read_det, lambda folder: det_folders(folder) is not None,
                  'ILSVRC DET: Data/DET and Annotations/DET, or ILSVRC2014_DET_train and '
                  'ILSVRC2014_DET_bbox_train'),
    'got10k': Format(read_got10k, lambda folder: _has(
        folder, '*/absence.label', '*/*/absence.label', 'GOT-10k_*/groundtruth.txt'),
        'GOT-10k: [<part>/]GOT-10k_*/ with frames, groundtruth.txt and labels'),
    'lasot': Format(read_lasot, lambda folder: _has(
        folder, '*/full_occlusion.txt', '*/*/full_occlusion.txt'),
        'LaSOT: [<class>/]<class>-<number>/ with img, groundtruth.txt and labels'),
    'recordings': Format(read_recordings, _is_recordings,
                         'OTB and VOT folders, folders of frames, videos: with or without boxes'),
    'stills': Format(read_stills, lambda folder: True,
                     'photographs, with boxes.json and masks or without'),
}


def recognise(folder: os.PathLike | str) -> str:
    """
    Return the name of the format of a folder.

    :raises DataError: if there is no such folder
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder')
    return next(name for name, form in FORMATS.items() if form.recognise(folder))


def read_dataset(folder: os.PathLike | str, form: str = 'auto', *,
                 report: Report = refuse) -> list[Recording] | list[Still]:
    """
    Read a data set of any format.

    :param form: a name of FORMATS, or 'auto' to recognise it
    :raises DataError: if there is no such format or folder, or something is malformed
    """
    if form == 'auto':
        form = recognise(folder)
    if form not in FORMATS:
        raise DataError(f'format of a data set must be auto or one of {", ".join(FORMATS)}, '
                        f'got {form!r}')
    if not Path(folder).is_dir():
        raise DataError(f'{folder}: no such folder')
    return FORMATS[form].read(folder, report=report)
