# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Figures of a demo run: annotated frames, a montage of some, a plot over time."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from re3_core.io import drawing
from re3_core.io.files import atomic_write
from re3_core.io.images import save_image
from re3_ros.demo.report import Row

COLORS = {'tracked': drawing.TRACKED, 'lost': drawing.LOST, 'absent': drawing.LOST,
          'skipped': (240, 180, 40)}
SMALLEST_WIDTH = 480
TILE_WIDTH = 560
STRIP = 22


def enlargement(width: int) -> int:
    """Return the integer factor that enlarges frames of `width` pixels to SMALLEST_WIDTH."""
    return max(1, -(-SMALLEST_WIDTH // width))


def _write_line(image: np.ndarray, text: str) -> None:
    """Write one line of white text on a dark strip at the bottom."""
    image[-STRIP:] //= 4
    drawing.draw_text(image, text, (8, image.shape[0] - 7))


def _label(row: Row) -> str:
    parts = [f'frame {row.frame}', row.state]
    if row.confidence is not None:
        parts.append(f'confidence {row.confidence:.2f}')
    if row.iou is not None:
        parts.append(f'IoU {row.iou:.2f}')
    return '  '.join(parts)


def draw_row(frame: np.ndarray, row: Row, truth: np.ndarray | None = None,
             width: int | None = None) -> np.ndarray:
    """
    Return a copy of `frame` with the box, state and confidence of `row`.

    :param frame: H x W x 3 uint8 RGB.
    :param truth: annotated `xyxy` box, drawn in white, or None.
    :param width: of the copy in pixels; None enlarges small frames and keeps others.
    """
    scale = enlargement(frame.shape[1]) if width is None else width / frame.shape[1]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=method)
    if truth is not None:
        drawing.draw_box(image, np.multiply(truth, scale), drawing.TRUTH)
    if row.box is not None:
        drawing.draw_box(image, np.multiply(row.box, scale), COLORS[row.state], 2)
    _write_line(image, _label(row))
    return image


def choose_frames(rows: Sequence[Row], count: int = 6) -> list[int]:
    """Return up to `count` row positions, evenly spread, of annotated frames if they suffice."""
    annotated = [place for place, row in enumerate(rows) if row.iou is not None]
    places = annotated if len(annotated) >= count else list(range(len(rows)))
    picks = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return [places[pick] for pick in picks]


def write_montage(path: Path, images: Sequence[np.ndarray], credit: str = '',
                  columns: int = 3) -> None:
    """
    Write images of one size side by side into one file, with the credit below.

    :param images: list of H x W x 3 uint8 RGB, at least one.
    """
    columns = min(columns, len(images))
    blank = np.zeros_like(images[0])
    tiles = [*images, *repeat(blank, -len(images) % columns)]
    sheet = np.vstack([np.hstack(tiles[i:i + columns]) for i in range(0, len(tiles), columns)])
    if credit:
        strip = np.zeros((STRIP, sheet.shape[1], 3), np.uint8)
        _write_line(strip, credit)
        sheet = np.vstack([sheet, strip])
    save_image(path, sheet)


def _columns(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return frame numbers (N,) and cx, cy, w, h, confidence (5, N), nan where missing."""
    frames = np.array([row.frame for row in rows])
    values = np.full((5, len(rows)), np.nan)
    for place, row in enumerate(rows):
        if row.box is not None:
            x1, y1, x2, y2 = row.box
            values[:4, place] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        if row.confidence is not None:
            values[4, place] = row.confidence
    return frames, values


def _plot_truth(axes: Any, boxes: Mapping[int, np.ndarray]) -> None:
    frames = list(boxes)
    x1, y1, x2, y2 = np.array([boxes[frame] for frame in frames]).T
    pairs = ((axes[0], ((x1 + x2) / 2, (y1 + y2) / 2)), (axes[1], (x2 - x1, y2 - y1)))
    for axis, values in pairs:
        for value, color in zip(values, ('tab:blue', 'tab:orange'), strict=True):
            axis.plot(frames, value, 'o', color=color, markersize=4, fillstyle='none')


def write_plot(path: Path, rows: Sequence[Row], boxes: Mapping[int, np.ndarray]) -> None:
    """
    Plot box center, size and confidence over the frames; annotated boxes as circles.

    :param boxes: {frame number: annotated `xyxy` box}, may be empty.
    """
    # Imported here so that the player and the tests of the rest do without matplotlib.
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    frames, (cx, cy, width, height, confidence) = _columns(rows)
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7), constrained_layout=True)
    for axis, title, lines in ((axes[0], 'center [pixels]', (('x', cx), ('y', cy))),
                               (axes[1], 'size [pixels]', (('width', width), ('height', height))),
                               (axes[2], 'confidence', (('confidence', confidence),))):
        for name, values in lines:
            axis.plot(frames, values, '.-', markersize=3, label=name)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        axis.legend(loc='upper right')
    if boxes:
        _plot_truth(axes, boxes)
    axes[2].set_ylim(-0.02, 1.02)
    axes[2].set_xlabel('frame')
    with atomic_write(Path(path)) as part:
        figure.savefig(part, dpi=110)
    pyplot.close(figure)
