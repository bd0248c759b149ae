# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Drawing boxes and text into images."""

import cv2
import numpy as np
from numpy.typing import ArrayLike

Color = tuple[int, int, int]

TRACKED, LOST, TRUTH = (60, 220, 80), (240, 64, 48), (255, 255, 255)
# Beyond any image, and within what OpenCV can draw to.
MAX_DRAW_COORDINATE = 30000


def draw_box(rgb: np.ndarray, box: ArrayLike, color: Color, thickness: int = 1) -> None:
    """
    Draw a box into an H x W x 3 uint8 RGB image, in place.

    :param box: (4,) `xyxy` pixels; may reach beyond the image; one with NaN is not drawn.
    """
    if (corners := _drawable(box)) is not None:
        x1, y1, x2, y2 = np.rint(corners).astype(int).tolist()
        cv2.rectangle(rgb, (x1, y1), (x2, y2), color, thickness)


def draw_text(rgb: np.ndarray, text: str, position: tuple[int, int], color: Color = TRUTH,
              scale: float = .45, thickness: int = 1) -> None:
    """
    Write a line with a black outline into an H x W x 3 uint8 RGB image, in place.

    :param text: ASCII, all that OpenCV's font has; other characters become `?`.
    :param position: (x, y) of the lower left corner in pixels.
    """
    text = text.encode('ascii', 'replace').decode()
    # Not one thick black text below: from OpenCV 5 on a bolder text is also longer.
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):
        shade = (0, 0, 0) if x or y else color
        cv2.putText(rgb, text, (position[0] + x, position[1] + y), cv2.FONT_HERSHEY_SIMPLEX,
                    scale, shade, thickness, cv2.LINE_AA)


def draw_track(rgb: np.ndarray, box: ArrayLike, text: str, lost: bool = False) -> None:
    """
    Draw one track into an H x W x 3 uint8 RGB image, in place, scaled with the image's size.

    :param box: (4,) `xyxy` pixels, as in `draw_box`.
    :param text: written above the box, as by `draw_text`.
    """
    color = LOST if lost else TRACKED
    thickness = max(1, round(min(rgb.shape[:2]) / 240))
    scale = max(.4, min(rgb.shape[:2]) / 720)
    draw_box(rgb, box, color, thickness)
    if (corners := _drawable(box)) is not None:
        (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        x, y = corners[:2].astype(int).tolist()
        draw_text(rgb, text, (max(0, x), max(height + 2, y - 4)), color, scale, thickness)


def _drawable(box: ArrayLike) -> np.ndarray | None:
    """Return a box with coordinates that OpenCV can draw to, or None if one is not finite."""
    box = np.asarray(box, np.float64)
    if not np.isfinite(box).all():
        return None
    return np.clip(box, -MAX_DRAW_COORDINATE, MAX_DRAW_COORDINATE)
