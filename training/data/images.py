# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Folders of images, with or without boxes.

Without boxes any tree of image files will do. Boxes are in `boxes.json` beside the images,
`{file: {"boxes": [[x, y, w, h], ...]}}` in pixels; `mask/<name>.png` may hold the objects' masks,
value k for the k-th box.
"""

from collections.abc import Mapping
import json
import os
from pathlib import Path

import numpy as np
from re3_core.boxes import xyxy_to_xywh
from re3_core.io.files import atomic_write, printable
from re3_core.io.images import is_image, SUFFIXES
from training.data.base import (
    DataError,
    LabeledImage,
    OnError,
    raise_error,
    read_text,
    visible_files,
)

BOXES_FILE = 'boxes.json'
MASK_FOLDER = 'mask'


def read_images(folder: os.PathLike | str, *,
                on_error: OnError = raise_error) -> list[LabeledImage]:
    """
    Read a tree of images with the boxes and masks that are there.

    :raises DataError: if there is no image, or a `boxes.json` is malformed or names an image
        that is missing
    """
    folder = Path(folder)
    files = [path for path in visible_files(folder, '**/*')
             if is_image(path) and MASK_FOLDER not in path.relative_to(folder).parts[:-1]]
    if not files:
        on_error(DataError(f'{printable(folder)}: no image files {SUFFIXES} in it'))
    annotations: dict[Path, dict[str, np.ndarray]] = {}
    for place in dict.fromkeys(path.parent for path in files):
        try:
            annotations[place] = read_boxes_file(place / BOXES_FILE)
        except DataError as error:
            on_error(error)
    images = []
    for path in files:
        boxes = annotations.get(path.parent, {}).pop(path.name, np.zeros((0, 4), np.float32))
        mask = path.parent / MASK_FOLDER / f'{path.stem}.png'
        images.append(LabeledImage(path, boxes, mask if len(boxes) and mask.is_file() else None))
    for place, unused in annotations.items():
        if unused:
            on_error(DataError(f'{printable(place / BOXES_FILE)}: boxes of images that are '
                               f'missing: {", ".join(sorted(unused)[:5])}'))
    return images


def read_boxes_file(path: Path) -> dict[str, np.ndarray]:
    """
    Read a `boxes.json`; nothing in it if there is no such file.

    :return: file name -> xyxy boxes (N, 4)
    :raises DataError: if it is not as described above
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_text(path))
        return {name: _entry(path, name, entry) for name, entry in content.items()}
    except (json.JSONDecodeError, AttributeError) as error:
        raise DataError(f'{printable(path)}: not a JSON object of files: {error}') from error


def write_boxes_file(folder: Path, boxes: Mapping[str, np.ndarray]) -> None:
    """Write the `boxes.json` of a folder of images: file name -> xyxy boxes (N, 4)."""
    entries = {name: {'boxes': xyxy_to_xywh(some).tolist()} for name, some in boxes.items()}
    with atomic_write(folder / BOXES_FILE) as part:
        part.write_text(json.dumps(entries))


def _entry(path: Path, name: str, entry: dict) -> np.ndarray:
    """Check and convert the boxes of one image."""
    where = f'{printable(path)}: {name}'
    try:
        boxes = np.array(entry['boxes'], np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{where}: "boxes" must be a list of [x, y, w, h]') from error
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise DataError(f'{where}: a box has no width or height, or no number')
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)
