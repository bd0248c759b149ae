# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Folders of photographs, with or without boxes.

Without boxes any tree of image files will do. Boxes stand in `boxes.json` beside the images,
`{file: {"boxes": [[x, y, w, h], ...], "labels": [...]}}` in pixels; `mask/<name>.png` may hold
the objects' masks, value k for the k-th box.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from training.datasets.records import DataError, IMAGE_SUFFIXES, refuse, Report, Still

BOXES_FILE = 'boxes.json'
MASK_FOLDER = 'mask'


def image_files(folder: os.PathLike | str) -> list[Path]:
    """Return all image files below a folder in order, masks and hidden folders left out."""
    folder = Path(folder)
    return [path for path in sorted(folder.rglob('*'))
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
            and not _skipped(path.relative_to(folder).parts[:-1])]


def _skipped(parts: tuple[str, ...]) -> bool:
    return any(part == MASK_FOLDER or part.startswith('.') for part in parts)


def read_stills(folder: os.PathLike | str, *, report: Report = refuse) -> list[Still]:
    """
    Read a tree of photographs with the boxes and masks that are there.

    :raises DataError: if there is no image, or a `boxes.json` is malformed or names an image
        that is missing
    """
    files = image_files(folder)
    if not files:
        report(DataError(f'{folder}: no image files {IMAGE_SUFFIXES} in it'))
    annotations: dict[Path, dict] = {}
    for place in sorted({path.parent for path in files}):
        try:
            annotations[place] = read_boxes_file(place / BOXES_FILE)
        except DataError as error:
            report(error)
    stills = []
    for path in files:
        none = (np.zeros((0, 4), np.float32), ())
        boxes, labels = annotations.get(path.parent, {}).pop(path.name, none)
        mask = path.parent / MASK_FOLDER / f'{path.stem}.png'
        stills.append(Still(path, boxes, labels, mask if len(boxes) and mask.is_file() else None))
    for place, unused in annotations.items():
        if unused:
            report(DataError(f'{place / BOXES_FILE}: boxes of images that are missing: '
                             f'{", ".join(sorted(unused)[:5])}'))
    return stills


def read_boxes_file(path: Path) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """
    Read a `boxes.json`; nothing in it if there is no such file.

    :return: file name -> xyxy boxes (N, 4) and labels (N, or none)
    :raises DataError: if it is not as described above
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        return {name: _entry(path, name, entry) for name, entry in content.items()}
    except (json.JSONDecodeError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: not a JSON object of files: {error}') from error


def _entry(path: Path, name: str, entry: dict) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check and convert the boxes of one image."""
    try:
        boxes = np.array(entry['boxes'], np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{path}: {name}: "boxes" must be a list of [x, y, w, h]') from error
    labels = tuple(entry.get('labels', ()))
    if labels and len(labels) != len(boxes):
        raise DataError(f'{path}: {name}: {len(boxes)} boxes but {len(labels)} labels')
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise DataError(f'{path}: {name}: a box has no width or height, or no number')
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32), labels
