# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Contact sheets: samples with their boxes in one picture, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from re3_core.io.drawing import draw_box, draw_text, TRACKED
from training.clips import Clip


def with_boxes(image: np.ndarray, boxes: np.ndarray, text: str = '',
               colour: tuple[int, int, int] = TRACKED) -> np.ndarray:
    """
    Return a copy of an image (H, W, 3) uint8 RGB with boxes and a text drawn on it.

    :param boxes: (N, 4) xyxy; those that are nan are left out
    """
    image = np.array(image)
    for box in boxes:
        draw_box(image, box, colour)
    draw_text(image, text, (3, 12))
    return image


def clip_frame(clip: Clip, index: int) -> np.ndarray:
    """Return a frame of a clip with its box, number and visible fraction."""
    text = str(index)
    if np.isfinite(clip.visible[index]):
        text += f' {clip.visible[index]:.2f}'
    return with_boxes(clip.frames[index], clip.boxes[index:index + 1], text)


def tile(images: Sequence[np.ndarray], columns: int, cell: tuple[int, int]) -> np.ndarray:
    """
    Arrange images in rows.

    :param cell: height and width that every image is fitted into
    :raises ValueError: if there are no images
    """
    if not images:
        raise ValueError('a contact sheet needs at least one image')
    height, width = cell
    sheet = np.zeros((-(-len(images) // columns) * height, columns * width, 3), np.uint8)
    for index, image in enumerate(images):
        factor = min(height / image.shape[0], width / image.shape[1])
        size = (max(1, int(image.shape[1] * factor)), max(1, int(image.shape[0] * factor)))
        y, x = index // columns * height, index % columns * width
        sheet[y:y + size[1], x:x + size[0]] = cv2.resize(image, size,
                                                         interpolation=cv2.INTER_AREA)
    return sheet


def clips_sheet(clips: Sequence[Clip], columns: int = 8,
                cell: tuple[int, int] = (180, 240)) -> np.ndarray:
    """Show every clip in a row of evenly spread frames."""
    frames = [clip_frame(clip, int(index)) for clip in clips
              for index in np.rint(np.linspace(0, len(clip) - 1, columns))]
    return tile(frames, columns, cell)
