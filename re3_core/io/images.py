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
    """
    Return the image files of a folder in natural order (2.jpg before 10.jpg).

    A broken link is among them, so that it is reported when it is read, and not left out.
    """
    with os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in entries if entry.is_file() or entry.is_symlink()]
    return sorted(filter(is_image, paths), key=natural_key)


def read_image(path: str | os.PathLike[str], flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """
    Return an image as stored: an EXIF orientation is ignored, as annotated boxes expect it.

    :param flags: cv2.IMREAD_COLOR, or IMREAD_UNCHANGED for masks.
    :return: with IMREAD_COLOR H x W x 3 uint8 RGB, else as cv2.imread returns it.
    :raises ValueError: naming the file, if OpenCV cannot decode it, or with IMREAD_COLOR if it
        has more than 8 bits per channel, as depth images have.
    """
    # Not cv2.imread: it cannot open every path that the file system allows.
    data = np.fromfile(path, np.uint8)
    try:
        # In the file's own depth: OpenCV would make a nearly black image of a depth image.
        image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f'{printable(path)}: OpenCV cannot decode this image')
    if flags != cv2.IMREAD_COLOR:
        return image
    if image.dtype != np.uint8:
        raise ValueError(f'{printable(path)}: has {image.dtype} pixels; convert it to 8 bits per '
                         'channel')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


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
