# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Data sets that trackers are trained on and evaluated with: all readers by name and by layout."""

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path

from re3_core.io.files import printable
from training.data.alov import ANNOTATIONS, read_alov
from training.data.base import (
    DataError,
    LabeledImage,
    LabeledVideo,
    OnError,
    raise_error,
    VIDEO_SUFFIXES,
    visible_files,
)
from training.data.got10k import read_got10k, read_lasot
from training.data.ilsvrc import det_folders, read_det, read_vid
from training.data.images import read_images
from training.data.otb import IMAGE_FOLDERS, read_videos, TRUTH_FILES


@dataclass(frozen=True)
class Format:
    """
    A layout of data sets.

    :param read: reader that takes the folder and `on_error=`
    :param matches: returns whether a folder has this layout
    :param layout: short description
    """

    read: Callable[..., list[LabeledVideo] | list[LabeledImage]]
    matches: Callable[[Path], bool]
    layout: str


def _has(folder: Path, *patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def _holds_videos(folder: Path) -> bool:
    if _has(folder, TRUTH_FILES, f'*/{TRUTH_FILES}', f'*/*/{TRUTH_FILES}',
            *(f'{depth}{name}' for depth in ('', '*/', '*/*/') for name in IMAGE_FOLDERS)):
        return True
    return any(path.suffix.lower() in VIDEO_SUFFIXES
               for pattern in ('*', '*/*') for path in visible_files(folder, pattern))


def _labels(form: str) -> Format:
    """Return a format of `training.labels`, which is imported on use: it needs this package."""
    def read(folder: os.PathLike | str, *, on_error: OnError = raise_error) -> list[LabeledVideo]:
        from training.labels import read_labels
        try:
            return [labels.as_labeled_video() for labels in read_labels(folder, form)]
        except DataError as error:
            on_error(error)
            return []

    def matches(folder: Path) -> bool:
        from training.labels import LABEL_FORMATS
        return LABEL_FORMATS[form].matches(folder)
    return Format(read, matches, f'labels in the format {form}, see docs/recordings.md')


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
    **{form: _labels(form) for form in ('project', 'cvat', 'coco', 'mot', 'yolo')},
    'videos': Format(read_videos, _holds_videos,
                     'OTB and VOT folders, folders of frames, videos: with or without boxes'),
    'images': Format(read_images, lambda folder: True,
                     'images, with boxes.json and masks or without'),
}


def detect_format(folder: os.PathLike | str) -> str:
    """
    Return the name of the format of a folder.

    :raises DataError: if there is no such folder
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f'{printable(folder)}: no such folder')
    return next(name for name, form in FORMATS.items() if form.matches(folder))


def read_dataset(folder: os.PathLike | str, form: str = 'auto', *,
                 on_error: OnError = raise_error) -> list[LabeledVideo] | list[LabeledImage]:
    """
    Read a data set of any format.

    :param form: a name of FORMATS, or 'auto' to detect it
    :raises DataError: if there is no such format or folder, or something is malformed
    """
    if form not in ('auto', *FORMATS):
        raise DataError(f'format of a data set must be auto or one of {", ".join(FORMATS)}, '
                        f'got {form!r}')
    if not Path(folder).is_dir():
        raise DataError(f'{printable(folder)}: no such folder')
    return FORMATS[detect_format(folder) if form == 'auto' else form].read(
        folder, on_error=on_error)
