# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading and writing image files."""

import os
from pathlib import Path

import cv2
import numpy as np
from re3_core.io.files import atomic_write, natural_key, printable

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image, and not of a hidden file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith('.')


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files of a folder in natural order (2.jpg before 10.jpg)."""
    return sorted((path for path in Path(folder).iterdir() if is_image(path)), key=natural_key)


def read_image(path: str | os.PathLike[str], flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """
    Return an image as stored: an EXIF orientation is ignored, as annotated boxes expect it.

    :param flags: cv2.IMREAD_COLOR, or IMREAD_UNCHANGED for masks.
    :return: with IMREAD_COLOR H x W x 3 uint8 RGB, else as cv2.imread returns it.
    :raises ValueError: naming the file, if OpenCV cannot decode it.
    """
    # Not cv2.imread: it cannot open every path that the file system allows.
    data = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f'{printable(path)}: OpenCV cannot decode this image')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image) if flags == cv2.IMREAD_COLOR \
        else image


def save_image(path: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """
    Write an H x W x 3 uint8 RGB image atomically; the suffix sets the format.

    :raises ValueError: if OpenCV cannot write such a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _, data = cv2.imencode(path.suffix, cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR))
    except cv2.error:
        raise ValueError(f'{printable(path)}: cannot be written; use a name such as sheet.jpg or '
                         'sheet.png') from None
    with atomic_write(path) as part:
        part.write_bytes(data.tobytes())
