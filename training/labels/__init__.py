# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Labels of targets in videos, and their formats: OTB, GOT-10k, MOT, COCO, YOLO and CVAT XML.

What a format cannot hold is lost on writing: see the table in docs/recordings.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path
import shutil

from re3_core.io.files import natural_key, printable
from re3_core.io.images import save_image
from training.data.base import DataError, frames_of, visible_files
from training.labels.coco import find_coco, read_coco, write_coco
from training.labels.cvat import FILE as CVAT_FILE
from training.labels.cvat import read_cvat, write_cvat
from training.labels.model import labels_of, link_boxes, TargetLabels, VideoLabels
from training.labels.project import is_project, LABELS_FILE, read_project
from training.labels.text_formats import (
    plain_name,
    read_got10k_labels,
    read_mot,
    read_otb,
    read_yolo,
    write_got10k,
    write_mot,
    write_otb,
    write_yolo,
)

__all__ = ['detect_label_format', 'LABEL_FORMATS', 'LabelFormat', 'labels_of', 'link_boxes',
           'plain_name', 'read_labels', 'TargetLabels', 'VideoLabels', 'write_labels', 'WRITTEN']


@dataclass(frozen=True)
class LabelFormat:
    """
    A format of labels.

    :param read: reads a folder or file
    :param write: writes the annotations of one video into a folder; returns where in it the
        images belong, in several places for GOT-10k
    :param matches: returns whether a path holds this format
    """

    read: Callable[[Path], list[VideoLabels]]
    write: Callable[[VideoLabels, Path], str | list[str]]
    matches: Callable[[Path], bool]


def _is_mot_file(path: Path) -> bool:
    if path.suffix != '.txt':
        return False
    with open(path, 'rb') as file:
        return file.readline(1000).count(b',') >= 5


def _nested(read: Callable[[Path], list[VideoLabels]], write: Callable,
            matches: Callable[[Path], bool]) -> LabelFormat:
    """Return a format of which a folder may also hold one folder for each video."""
    def folders(path: Path) -> list[Path]:
        if matches(path) or not path.is_dir():
            return [path]
        return sorted((sub for sub in path.iterdir() if not sub.name.startswith('.')
                       and sub.is_dir() and matches(sub)), key=natural_key)

    def read_all(path: Path) -> list[VideoLabels]:
        found = folders(path)
        return [labels for sub in found or [path] for labels in read(sub)]
    return LabelFormat(read_all, write,
                       lambda path: matches(path) or path.is_dir() and bool(folders(path)))


def _write_project(labels: VideoLabels, folder: Path) -> str:
    raise DataError('projects are made by training.label, which also imports labels')


# In the order in which they are tried.
LABEL_FORMATS = {
    'project': _nested(read_project, _write_project, lambda path: path.name == LABELS_FILE
                       or is_project(path)),
    'cvat': _nested(read_cvat, write_cvat, lambda path: path.suffix == '.xml'
                    or (path / CVAT_FILE).is_file()),
    'coco': _nested(read_coco, write_coco, lambda path: path.suffix == '.json'
                    or path.is_dir() and find_coco(path) is not None),
    'mot': LabelFormat(read_mot, write_mot, lambda path: path.is_file() and _is_mot_file(path)
                       or path.is_dir() and bool(visible_files(path, '**/gt/gt.txt'))),
    'yolo': _nested(read_yolo, write_yolo, lambda path: (path / 'labels').is_dir()
                    and bool(visible_files(path / 'labels', '*.txt'))),
    'got10k': LabelFormat(read_got10k_labels, write_got10k, lambda path: path.is_dir() and bool(
        visible_files(path, '*/absence.label') or visible_files(path, '*/*/absence.label'))),
    'otb': LabelFormat(read_otb, write_otb, lambda path: path.suffix == '.txt'
                       or bool(visible_files(path, '**/groundtruth*.txt'))),
}


# Formats that can be written.
WRITTEN = tuple(name for name in LABEL_FORMATS if name != 'project')


def detect_label_format(path: os.PathLike | str) -> str:
    """
    Return the name of the format of a file or folder.

    :raises DataError: if there is none, or it has no labels of a known format
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f'{printable(path)}: no such file or folder')
    for name, form in LABEL_FORMATS.items():
        if form.matches(path):
            return name
    raise DataError(f'{printable(path)}: no labels in one of the formats '
                    f'{", ".join(LABEL_FORMATS)}')


def _format(name: str) -> LabelFormat:
    if name not in LABEL_FORMATS:
        raise DataError(f'format of labels must be one of {", ".join(LABEL_FORMATS)}, got '
                        f'{name!r}')
    return LABEL_FORMATS[name]


def read_labels(path: os.PathLike | str, form: str = 'auto') -> list[VideoLabels]:
    """
    Read labels of any format.

    :param form: a name of LABEL_FORMATS, or 'auto' to detect it
    :raises DataError: if there is no such format or file, or something is malformed
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f'{printable(path)}: no such file or folder')
    try:
        return _format(detect_label_format(path) if form == 'auto' else form).read(path)
    except DataError:
        raise
    except ValueError as error:     # a box without area, from any reader
        raise DataError(f'{printable(path)}: {error}') from None


def write_labels(labels: VideoLabels, folder: os.PathLike | str, form: str,
                 images: bool = True) -> None:
    """
    Write the labels of one video into a new folder, all at once.

    :param form: a name of LABEL_FORMATS
    :param images: also write the frames, as far as the labels have them
    :raises DataError: for an unknown format, or if an image is missing
    :raises FileExistsError: if the folder exists and is not empty
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f'{printable(folder)}: there already; name another folder')
    write = _format(form).write
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f'.{folder.name}.{os.getpid()}.partial')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        places = write(labels, part)
        if images:
            for place in [places] if isinstance(places, str) else places:
                _write_images(labels, part / place)
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_images(labels: VideoLabels, folder: Path) -> None:
    if labels.folder is None and labels.video is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if labels.video is None:
        for path, name in zip(labels.image_paths(), labels.frames, strict=True):
            shutil.copyfile(path, folder / Path(name).name)
        return
    for name, frame in zip(labels.frames, frames_of(labels.as_labeled_video()), strict=False):
        save_image(folder / name, frame)
