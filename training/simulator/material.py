# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Cut-out objects and backgrounds of simulated sequences."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from training.data.base import shrink
from training.data.cache import FrameCache

CUTOUT_SIDE = 256


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


class Cutout(NamedTuple):
    """An object: (h, w, 3) uint8 RGB and its mask (h, w) uint8, 255 inside."""

    image: np.ndarray
    mask: np.ndarray


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw the mask (height, width) of a random shape that nearly fills it."""
    mask = np.zeros((height, width), np.uint8)
    kind = rng.random()
    if kind < 0.15:
        mask[:] = 255
        return mask
    turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    if kind < 0.45:
        # Superellipses reach from a diamond over the ellipse to a rounded rectangle.
        power = 2 / rng.uniform(1.6, 6)
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
        y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    else:
        radius = np.ones_like(turn)
        for wave in range(2, 7):
            radius += rng.normal(0, 0.35 / wave) * np.cos(wave * turn + rng.uniform(0, 6.3))
        radius = np.maximum(radius, 0.25)
        x, y = radius * np.cos(turn), radius * np.sin(turn)
    points = np.stack((x, y), axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - low) / (high - low) * (width - 1, height - 1)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)
    return mask


def sized(image: np.ndarray, mask: np.ndarray) -> Cutout:
    """Make a cut-out of at most CUTOUT_SIDE pixels a side, in its own memory."""
    image, mask = np.array(image), np.array(mask)
    return Cutout(shrink(image, CUTOUT_SIDE), shrink(mask, CUTOUT_SIDE))


def tidy(mask: np.ndarray) -> np.ndarray:
    """Remove specks and threads from a mask (h, w) of 0 and 255, keep its large parts."""
    smooth = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(smooth)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return smooth
    large = np.concatenate(((False,), areas >= 0.25 * areas.max()))
    return np.where(large[parts], 255, 0).astype(np.uint8)


def textured_region(rng: np.random.Generator, image: np.ndarray, tries: int = 5) -> Cutout:
    """Cut a random shape from the most textured of a few random regions of an image."""
    regions = []
    height, width = image.shape[:2]
    for _ in range(tries):
        side = log_uniform(rng, 0.12, 0.6) * math.sqrt(height * width)
        aspect = log_uniform(rng, 0.35, 2.2)
        box = (int(np.clip(side * math.sqrt(aspect), 12, width)),
               int(np.clip(side / math.sqrt(aspect), 12, height)))
        x = int(rng.integers(0, width - box[0] + 1))
        y = int(rng.integers(0, height - box[1] + 1))
        regions.append(image[y:y + box[1], x:x + box[0]])
    best = max(regions, key=lambda region: float(region[::3, ::3].std()))
    return sized(best, blob(rng, *best.shape[:2]))


class ImageMaterial:
    """
    Objects and backgrounds from decoded images.

    Objects with a mask are cut along it, objects with a box get a random shape within the box,
    and regions of any image serve as well.

    :param images: cache of images
    :param probabilities: of drawing an object with a mask, one with a box, and a random region
    """

    def __init__(self, images: FrameCache,
                 probabilities: tuple[float, float, float] = (.75, .1, .15)):
        self.images = images
        self._masked: list[tuple[int, int]] = []
        self._boxed: list[tuple[int, int]] = []
        for index in range(len(images)):
            objects = self._boxed if images.mask(index) is None else self._masked
            shape = images.frames(index).shape[1:3]
            objects.extend((index, number) for number, box in enumerate(images.boxes(index))
                           if _usable(box, shape))
        available = np.array((bool(self._masked), bool(self._boxed), True)) * probabilities
        self._probabilities = available / available.sum()

    def properties(self) -> dict:
        """Return the name of the cache, which depends on its content."""
        return {'images': self.images.directory.name}

    def background(self, rng: np.random.Generator) -> np.ndarray:
        """Draw an image."""
        return self.images.frames(int(rng.integers(len(self.images))))[0]

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Draw an object."""
        kind = rng.choice(3, p=self._probabilities)
        if kind == 2:
            return textured_region(rng, self.background(rng))
        objects = self._boxed if kind else self._masked
        index, number = objects[rng.integers(len(objects))]
        image = self.images.frames(index)[0]
        window = _window(self.images.boxes(index)[number], image.shape)
        mask = self.images.mask(index)
        if kind == 0 and mask is not None:
            part = tidy(np.where(mask[window] == number + 1, 255, 0).astype(np.uint8))
            if (part > 0).mean() >= 0.15:
                return sized(image[window], part)
        return sized(image[window], blob(rng, *image[window].shape[:2]))


def _usable(box: np.ndarray, shape: tuple) -> bool:
    """Return whether an object is large enough to be shown, and not the whole image."""
    sides = np.minimum(box[2:], shape[::-1]) - np.maximum(box[:2], 0)
    area = sides.prod() / (shape[0] * shape[1])
    return bool(sides.min() >= 14 and 0.004 <= area <= 0.8)


def _window(box: np.ndarray, shape: tuple) -> tuple[slice, slice]:
    """Return rows and columns of a box within an image."""
    low = np.maximum(np.floor(box[:2]).astype(int), 0)
    high = np.minimum(np.ceil(box[2:]).astype(int), shape[1::-1])
    return slice(low[1], high[1]), slice(low[0], high[0])


class ProceduralMaterial:
    """
    Procedurally generated objects and backgrounds: no data is needed.

    :param size: height and width of backgrounds
    """

    def __init__(self, size: tuple[int, int] = (360, 480)):
        self.size = size

    def properties(self) -> dict:
        """Return nothing: there are no files."""
        return {}

    def background(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a background: colored noise of several scales with shapes on it."""
        image = procedural_texture(rng, *self.size)
        for _ in range(int(rng.integers(4, 18))):
            side = log_uniform(rng, 0.05, 0.5) * self.size[1]
            height, width = int(max(8, side * log_uniform(rng, .4, 2.5))), int(max(8, side))
            height, width = min(height, self.size[0] - 1), min(width, self.size[1] - 1)
            _paint_blob(rng, image, height, width)
        return image

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Draw an object: a random shape with a texture and parts."""
        side = log_uniform(rng, 60, 180)
        height, width = int(side * log_uniform(rng, 0.6, 1.8)), int(side)
        image, mask = procedural_texture(rng, height, width), blob(rng, height, width)
        for _ in range(int(rng.integers(1, 6))):
            _paint_blob(rng, image, *(max(8, int(side * rng.uniform(.15, .5)))
                                      for side in (height, width)))
        return sized(image, mask)


def _paint_blob(rng: np.random.Generator, image: np.ndarray, height: int, width: int) -> None:
    """Paint a random shape with a texture at a random place of an image (H, W, 3)."""
    y = int(rng.integers(0, image.shape[0] - height))
    x = int(rng.integers(0, image.shape[1] - width))
    inside = blob(rng, height, width) > 0
    image[y:y + height, x:x + width][inside] = procedural_texture(rng, height, width)[inside]


Material = ImageMaterial | ProceduralMaterial


def procedural_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw an (height, width, 3) uint8 texture: a color, noise of several scales, stripes."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = rng.uniform(20, 235, 3)
    strength = log_uniform(rng, 4, 60)
    for cells in (3, 8, 24, 64):
        grid = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        strength *= rng.uniform(0.4, 1.0)
    if rng.random() < 0.4:
        angle, step = rng.uniform(0, math.pi), rng.uniform(0.2, 1.2)
        phase = step * (math.cos(angle) * np.arange(width)[None, :]
                        + math.sin(angle) * np.arange(height)[:, None])
        image += (np.sin(phase) * rng.uniform(10, 60))[..., None] * rng.uniform(-1, 1, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


class VideoBackgrounds:
    """Moving backgrounds: consecutive frames of real videos."""

    def __init__(self, videos: FrameCache):
        self.videos = videos

    def frames(self, rng: np.random.Generator, length: int) -> list[np.ndarray]:
        """Draw `length` consecutive frames, ping-pong looped where a video is too short."""
        frames = self.videos.frames(int(rng.integers(len(self.videos))))
        count = len(frames)
        start, step = int(rng.integers(count)), int(rng.choice((-1, 1)))
        places = (start + step * np.arange(length)) % max(1, 2 * count - 2)
        places = np.where(places < count, places, 2 * count - 2 - places)
        return [frames[place] for place in places]
