# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw boxes and texts into images, for people to see."""

import os
from pathlib import Path

import cv2
import numpy as np
from re3_core.io.files import atomic_write

TRACKED, LOST, TRUTH = (60, 220, 80), (240, 64, 48), (255, 255, 255)
FAR = 30000     # beyond any image, but not beyond what OpenCV can draw to


def draw_box(rgb, box, colour, thickness=1):
    """
    Draw a box into an H x W x 3 uint8 RGB image, in place.

    :param box: (4,) `xyxy` pixels; may reach beyond the image; one with NaN is left out.
    """
    if np.isfinite(box).all():
        x1, y1, x2, y2 = np.rint(np.clip(box, -FAR, FAR)).astype(int).tolist()
        cv2.rectangle(rgb, (x1, y1), (x2, y2), colour, thickness)


def draw_text(rgb, text, place, colour=TRUTH, scale=.45, thickness=1):
    """
    Write a line with a black edge into an H x W x 3 uint8 RGB image, in place.

    :param text: in ASCII, OpenCV's font has nothing else; other characters become `?`.
    :param place: (x, y) of its lower left corner in pixels.
    """
    text = text.encode('ascii', 'replace').decode()
    # Not one thick black text below: from OpenCV 5 on a bolder one is longer too.
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):
        shade = (0, 0, 0) if x or y else colour
        cv2.putText(rgb, text, (place[0] + x, place[1] + y), cv2.FONT_HERSHEY_SIMPLEX, scale,
                    shade, thickness, cv2.LINE_AA)


def draw_track(rgb, box, text, lost=False):
    """
    Draw one track into an H x W x 3 uint8 RGB image, in place, sized to be seen.

    :param box: (4,) `xyxy` pixels, as in `draw_box`.
    :param text: written above the box, as by `draw_text`.
    """
    colour = LOST if lost else TRACKED
    thickness = max(1, round(min(rgb.shape[:2]) / 240))
    scale = max(.4, min(rgb.shape[:2]) / 720)
    draw_box(rgb, box, colour, thickness)
    if np.isfinite(box).all():
        (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        x, y = np.clip(box[:2], -FAR, FAR).astype(int).tolist()
        draw_text(rgb, text, (max(0, x), max(height + 2, y - 4)), colour, scale, thickness)


def save_image(path, rgb):
    """
    Write an H x W x 3 uint8 RGB image atomically; the suffix says how it is coded.

    :raises ValueError: if OpenCV cannot write such a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        try:
            written = cv2.imwrite(os.fspath(part), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        except cv2.error:
            written = False
        if not written:
            raise ValueError(f'{path}: cannot be written; use a name such as sheet.jpg or '
                             'sheet.png')
