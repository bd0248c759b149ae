# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Images of any size, decoded once into one memory-mapped file."""

from __future__ import annotations

from collections.abc import Iterable
import os
from pathlib import Path
import shutil

import cv2
import numpy as np

FRAMES_FILE = 'frames.bin'
INDEX_FILE = 'index.npz'


def read_image(path: os.PathLike | str, max_side: int | None = None) -> np.ndarray:
    """
    Read an image file as (H, W, 3) uint8 RGB.

    :param max_side: shrink it so that its longer side has at most so many pixels
    :raises OSError: if the file is missing or no image
    """
    image = cv2.imread(os.fspath(path), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError(f'{path}: missing or not a readable image')
    return shrink(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), max_side)


def shrink_factor(shape: tuple, max_side: int | None) -> float:
    """Return the factor, at most 1, that brings the longer side of an image to `max_side`."""
    return 1.0 if max_side is None else min(1.0, max_side / max(shape[:2]))


def shrink(image: np.ndarray, max_side: int | None,
           interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """Scale an image down so that its longer side has at most `max_side` pixels."""
    factor = shrink_factor(image.shape, max_side)
    if factor == 1.0:
        return image
    size = tuple(max(1, round(side * factor)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=interpolation)


def replace_directory(temporary: Path, final: Path) -> None:
    """Put a finished temporary directory in the place of the final one."""
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)


class FrameStore:
    """
    Read-only list of uint8 images in a directory that `write_frame_store` has made.

    Images are views into a memory-mapped file: nothing is read before it is used, and all
    processes share the pages.
    """

    def __init__(self, directory: os.PathLike | str):
        directory = Path(directory)
        with np.load(directory / INDEX_FILE) as index:
            self.offsets, self.shapes = index['offsets'], index['shapes']
        self._data = np.memmap(directory / FRAMES_FILE, np.uint8, 'r')

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        shape = tuple(int(side) for side in self.shapes[index])
        start = int(self.offsets[index])
        return np.asarray(self._data[start:start + int(np.prod(shape))]).reshape(shape)


def write_frame_store(directory: os.PathLike | str, images: Iterable[np.ndarray]) -> None:
    """
    Write images, each (H, W, C) uint8, into a directory.

    Not atomic: write a temporary one and use `replace_directory`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    shapes, offsets, position = [], [], 0
    with open(directory / FRAMES_FILE, 'wb') as file:
        for image in images:
            file.write(np.ascontiguousarray(image))
            shapes.append(image.shape)
            offsets.append(position)
            position += image.size
        if not shapes:
            raise ValueError(f'{directory}: no images to store')
    np.savez(directory / INDEX_FILE, offsets=np.array(offsets, np.int64),
             shapes=np.array(shapes, np.int32))
