# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Drawing of simulated objects: sprites with soft edges, placed, blurred and blended.

Points follow OpenCV inside (the center of the first pixel is 0, 0) and the project outside
(boxes span pixel edges, the first pixel covers 0..1): see `Sprite.box`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

HALF = 127
GRID = 5


class Window(NamedTuple):
    """A rectangle of whole pixels, the ends not included."""

    x1: int
    y1: int
    x2: int
    y2: int

    def meet(self, other: Window) -> Window:
        """Return the common part, which may be empty (x2 <= x1 or y2 <= y1)."""
        return Window(max(self.x1, other.x1), max(self.y1, other.y1),
                      min(self.x2, other.x2), min(self.y2, other.y2))

    @property
    def empty(self) -> bool:
        """Return whether it holds no pixel."""
        return self.x2 <= self.x1 or self.y2 <= self.y1

    def of(self, image: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
        """Return this part of an image whose first pixel is at x, y."""
        return image[self.y1 - y:self.y2 - y, self.x1 - x:self.x2 - x]


class Layer(NamedTuple):
    """A drawn object: premultiplied RGBA (h, w, 4) uint8 whose first pixel is at `x`, `y`."""

    image: np.ndarray
    x: int
    y: int

    @property
    def window(self) -> Window:
        """Return the rectangle that it covers."""
        return Window(self.x, self.y, self.x + self.image.shape[1], self.y + self.image.shape[0])


class Sprite:
    """
    An object that can be drawn at any place, size and angle.

    :param image: (h, w, 3) uint8 RGB
    :param mask: (h, w) uint8, more than 127 inside the object
    :param bend: (2, GRID, GRID, 2) two displacement fields in object sides for non-rigid
        deformation, or None
    :raises ValueError: if the mask is empty
    """

    def __init__(self, image: np.ndarray, mask: np.ndarray, bend: np.ndarray | None = None):
        image, mask = _framed(image, mask, 4 if bend is None else 12)
        inside = (mask > HALF).astype(np.uint8)
        if not inside.any():
            raise ValueError('the mask of a sprite is empty')
        self.outline = _outline(inside, bend is not None)
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        self.center, self.size = (low + high) / 2, high - low
        self.levels = [_premultiply(image, cv2.GaussianBlur(mask, (3, 3), 0))]
        while min(self.levels[-1].shape[:2]) > 16:
            self.levels.append(_halve(self.levels[-1]))
        self._bend: Any = bend
        self._fields: dict[int, np.ndarray] = {}

    def recolor(self, table: np.ndarray) -> None:
        """Map the colors by a table (1, 256, 3) or (256, 1, 3) uint8."""
        for index, level in enumerate(self.levels):
            alpha = level[..., 3]
            color = cv2.LUT(np.ascontiguousarray(level[..., :3]), table.reshape(256, 1, 3))
            # A premultiplied color cannot exceed its alpha.
            self.levels[index] = np.dstack((np.minimum(color, alpha[..., None]), alpha))

    def _field(self, level: int) -> np.ndarray:
        """Return the two displacement fields (2, h, w, 2) in pixels of a level."""
        if level not in self._fields:
            height, width = self.levels[level].shape[:2]
            side = self.size / 2 ** level
            fields = [cv2.resize(field.astype(np.float32), (width, height),
                                 interpolation=cv2.INTER_CUBIC) for field in self._bend]
            self._fields[level] = (np.stack(fields) * side).astype(np.float32)
        return self._fields[level]

    def _bent(self, level: int, pose: np.ndarray) -> np.ndarray:
        """Return a level deformed by the pose (2,), the shares of both fields."""
        image = self.levels[level]
        grid = np.stack(np.meshgrid(np.arange(image.shape[1], dtype=np.float32),
                                    np.arange(image.shape[0], dtype=np.float32)), axis=-1)
        first, second = self._field(level)
        grid += np.float32(pose[0]) * first
        grid += np.float32(pose[1]) * second
        return cv2.remap(image, grid, None, cv2.INTER_LINEAR)

    def points(self, matrix: np.ndarray, pose: np.ndarray | None = None) -> np.ndarray:
        """Return the outline (K, 2) as it is drawn by `draw` with the same arguments."""
        outline = self.outline
        if self._bend is not None and pose is not None:
            first, second = self._field(0)
            field = np.float32(pose[0]) * first + np.float32(pose[1]) * second
            source = outline.astype(np.float32)[:, None]
            moved = source
            # The deformation maps drawn pixels to their sources; it is inverted by iteration.
            for _ in range(4):
                moved = source - cv2.remap(field, moved, None, cv2.INTER_LINEAR,
                                           borderMode=cv2.BORDER_REPLICATE)
            outline = moved[:, 0]
        return outline @ matrix[:, :2].T + matrix[:, 2]

    def box(self, matrix: np.ndarray, pose: np.ndarray | None = None) -> np.ndarray:
        """Return the tight box as (4,) xyxy in pixels, edges as everywhere in the project."""
        points = self.points(matrix, pose)
        return np.concatenate((points.min(axis=0), points.max(axis=0))) + 0.5

    def draw(self, matrix: np.ndarray, pose: np.ndarray | None, smear: np.ndarray,
             limits: Window | None) -> Layer | None:
        """
        Draw the sprite.

        :param matrix: (2, 3) from points of the sprite to points of the frame
        :param pose: (2,) shares of the deformation fields
        :param smear: (2,) displacement in pixels while the shutter is open
        :param limits: draw only what lies within; None: everything
        :return: None where nothing lies within the limits
        """
        points = self.points(matrix, pose)
        pad = 2 + np.ceil(np.abs(smear) / 2)
        low = np.floor(points.min(axis=0) - pad).astype(int)
        high = np.ceil(points.max(axis=0) + pad).astype(int) + 1
        window = Window(*low.tolist(), *high.tolist())
        if limits is not None:
            window = window.meet(limits)
        if window.empty:
            return None
        level, to_level = self._level(matrix)
        to_window = matrix @ to_level
        to_window[:, 2] -= window[:2]
        image = self.levels[level]
        if self._bend is not None and pose is not None:
            image = self._bent(level, pose)
        size = (window.x2 - window.x1, window.y2 - window.y1)
        drawn = cv2.warpAffine(image, to_window, size, flags=cv2.INTER_LINEAR)
        return Layer(streak(drawn, smear), window.x1, window.y1)

    def _level(self, matrix: np.ndarray) -> tuple[int, np.ndarray]:
        """Choose the level for a matrix and return how its points map to those of level 0."""
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        level = int(np.clip(np.floor(-np.log2(max(scale, 1e-6)) + 0.25), 0,
                            len(self.levels) - 1))
        factor = 2.0 ** level
        shift = 0.5 * factor - 0.5
        return level, np.array(((factor, 0, shift), (0, factor, shift), (0, 0, 1)))


def _framed(image: np.ndarray, mask: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    """Add an empty border to the mask, and a replicated one to the image."""
    # An even size halves without a shift.
    sides = (border, border + image.shape[0] % 2, border, border + image.shape[1] % 2)
    return (cv2.copyMakeBorder(image, *sides, cv2.BORDER_REPLICATE),
            cv2.copyMakeBorder(mask, *sides, cv2.BORDER_CONSTANT, value=0))


def _outline(inside: np.ndarray, dense: bool) -> np.ndarray:
    """
    Return points (K, 2) on the edges of the outermost pixels of a mask.

    :param dense: all of the contour, as deformation needs it; else the convex hull
    """
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)
    points = (points if dense else cv2.convexHull(points))[:, 0].astype(np.float64)
    corners = np.array(((-.5, -.5), (.5, -.5), (.5, .5), (-.5, .5)))
    return (points[:, None] + corners).reshape(-1, 2)


def _premultiply(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    return np.dstack((cv2.multiply(image, weight, scale=1 / 255), alpha))


def _halve(image: np.ndarray) -> np.ndarray:
    """Scale down by 2; odd sizes get one empty row or column first."""
    bottom, right = image.shape[0] % 2, image.shape[1] % 2
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def streak(image: np.ndarray, smear: np.ndarray) -> np.ndarray:
    """
    Blur along a line as motion does while the shutter is open.

    Three times the mean of two shifted copies makes eight evenly spread ones.

    :param smear: (2,) x and y length of the line in pixels; less than 1.5 leaves it as it is
    """
    if np.abs(smear).max() < 1.5:
        return image
    for part in (2, 4, 8):
        step = np.rint(np.asarray(smear) / part).astype(int)
        if step.any():
            image = _mean_shifted(image, int(step[0]), int(step[1]))
    return image


def _mean_shifted(image: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Mean of the image shifted by half of (dx, dy) either way; borders keep their values."""
    height, width = image.shape[:2]
    ahead = (dx // 2, dy // 2)
    back = (ahead[0] - dx, ahead[1] - dy)
    left, right = max(0, ahead[0], back[0]), max(0, -ahead[0], -back[0])
    top, bottom = max(0, ahead[1], back[1]), max(0, -ahead[1], -back[1])
    if left + right >= width or top + bottom >= height:
        return image

    def shifted(x: int, y: int) -> np.ndarray:
        return image[top - y:height - bottom - y, left - x:width - right - x]

    result = image.copy()
    result[top:height - bottom, left:width - right] = cv2.addWeighted(
        shifted(*ahead), 0.5, shifted(*back), 0.5, 0)
    return result


def blend(frame: np.ndarray, layer: Layer) -> None:
    """Draw a layer into a frame (H, W, 3) in place."""
    window = layer.window.meet(Window(0, 0, frame.shape[1], frame.shape[0]))
    if window.empty:
        return
    part = np.ascontiguousarray(window.of(layer.image, layer.x, layer.y))
    alpha = cv2.extractChannel(part, 3)
    keep = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB)
    color = cv2.cvtColor(part, cv2.COLOR_RGBA2RGB)
    target = window.of(frame)
    target[:] = cv2.add(cv2.multiply(target, keep, scale=1 / 255), color)


def visible_fraction(target: Layer, in_front: list[Layer], frame_size: tuple[int, int]) -> float:
    """
    Return which fraction of a layer lies in the frame and is not covered by other layers.

    :param target: the whole object, also what lies outside the frame
    :param frame_size: height and width
    """
    alpha = cv2.extractChannel(target.image, 3)
    total = float(alpha.sum())
    inside = target.window.meet(Window(0, 0, frame_size[1], frame_size[0]))
    if inside.empty or total == 0:
        return 0.0
    seen = inside.of(alpha, target.x, target.y).copy()
    for layer in in_front:
        common = inside.meet(layer.window)
        if not common.empty:
            cover = cv2.bitwise_not(cv2.extractChannel(np.ascontiguousarray(
                common.of(layer.image, layer.x, layer.y)), 3))
            part = common.of(seen, inside.x1, inside.y1)
            part[:] = cv2.multiply(part, cover, scale=1 / 255)
    return min(1.0, float(seen.sum()) / total)
