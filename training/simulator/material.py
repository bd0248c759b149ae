# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What simulated sequences are made of: cut-out objects and backgrounds."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from training.cache import StillCache, VideoCache
from training.frame_store import shrink
from training.simulator.motion import log_uniform

CUTOUT_SIDE = 256


class Cutout(NamedTuple):
    """An object: (h, w, 3) uint8 RGB and its mask (h, w) uint8, 255 inside."""

    image: np.ndarray
    mask: np.ndarray


class Material(Protocol):
    """Where a simulator takes pictures from."""

    def __len__(self) -> int:
        """Return the number of different pictures."""

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Draw an object."""

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a background, (H, W, 3) uint8 RGB."""


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
    """Cut a random shape from the liveliest of a few random regions of an image."""
    best, best_score = None, -1.0
    height, width = image.shape[:2]
    for _ in range(tries):
        side = log_uniform(rng, 0.12, 0.6) * math.sqrt(height * width)
        aspect = log_uniform(rng, 0.35, 2.2)
        box = (int(np.clip(side * math.sqrt(aspect), 12, width)),
               int(np.clip(side / math.sqrt(aspect), 12, height)))
        x = int(rng.integers(0, width - box[0] + 1))
        y = int(rng.integers(0, height - box[1] + 1))
        region = image[y:y + box[1], x:x + box[0]]
        score = float(region[::3, ::3].std())
        if score > best_score:
            best, best_score = region, score
    return sized(best, blob(rng, *best.shape[:2]))


class StillMaterial:
    """
    Objects and backgrounds from decoded photographs.

    Objects with a mask are cut along it, objects with a box get a random shape within the box,
    and regions of any photograph serve as well.

    :param stills: cache of photographs
    :param shares: how often an object with mask, with box, and a random region is drawn
    """

    def __init__(self, stills: StillCache, shares: tuple[float, float, float] = (.75, .1, .15)):
        self.stills = stills
        self._masked: list[tuple[int, int]] = []
        self._boxed: list[tuple[int, int]] = []
        for index in range(len(stills)):
            places = self._masked if stills.mask(index) is not None else self._boxed
            shape = stills.image(index).shape
            places.extend((index, number) for number, box in enumerate(stills.boxes(index))
                          if _usable(box, shape))
        available = np.array((bool(self._masked), bool(self._boxed), True)) * shares
        self._shares = available / available.sum()

    def __len__(self) -> int:
        return len(self.stills)

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a photograph."""
        return self.stills.image(int(rng.integers(len(self.stills))))

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Draw an object."""
        kind = rng.choice(3, p=self._shares)
        if kind < 2:
            places = self._boxed if kind else self._masked
            chosen = places[rng.integers(len(places))]
            found = None if kind else self._along_mask(*chosen)
            return self._within_box(rng, *chosen) if found is None else found
        return textured_region(rng, self.picture(rng))

    def _along_mask(self, index: int, number: int) -> Cutout | None:
        """Cut out a masked object; None if hardly anything of it is in the mask."""
        image, mask = self.stills.image(index), self.stills.mask(index)
        window = _window(self.stills.boxes(index)[number], image.shape)
        part = tidy(np.where(mask[window] == number + 1, 255, 0).astype(np.uint8))
        if (part > 0).mean() < 0.15:
            return None
        return sized(image[window], part)

    def _within_box(self, rng: np.random.Generator, index: int, number: int) -> Cutout:
        image = self.stills.image(index)
        part = image[_window(self.stills.boxes(index)[number], image.shape)]
        return sized(part, blob(rng, *part.shape[:2]))


def _usable(box: np.ndarray, shape: tuple) -> bool:
    """Say whether an object is large enough to be shown, and not the whole picture."""
    sides = np.minimum(box[2:], shape[1::-1]) - np.maximum(box[:2], 0)
    area = sides.prod() / (shape[0] * shape[1])
    return sides.min() >= 14 and 0.004 <= area <= 0.8


def _window(box: np.ndarray, shape: tuple) -> tuple[slice, slice]:
    """Return rows and columns of a box within an image."""
    low = np.maximum(np.floor(box[:2]).astype(int), 0)
    high = np.minimum(np.ceil(box[2:]).astype(int), shape[1::-1])
    return slice(low[1], high[1]), slice(low[0], high[0])


class DrawnMaterial:
    """
    Objects and backgrounds that are drawn by chance: no data is needed at all.

    :param size: height and width of backgrounds
    """

    def __init__(self, size: tuple[int, int] = (360, 480)):
        self.size = size

    def __len__(self) -> int:
        return 1

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a background: coloured noise of several scales with shapes on it."""
        image = drawn_texture(rng, *self.size)
        for _ in range(int(rng.integers(4, 18))):
            side = log_uniform(rng, 0.05, 0.5) * self.size[1]
            height, width = int(max(8, side * log_uniform(rng, .4, 2.5))), int(max(8, side))
            height, width = min(height, self.size[0] - 1), min(width, self.size[1] - 1)
            y = int(rng.integers(0, self.size[0] - height))
            x = int(rng.integers(0, self.size[1] - width))
            inside = blob(rng, height, width) > 0
            image[y:y + height, x:x + width][inside] = drawn_texture(rng, height, width)[inside]
        return image

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Draw an object: a random shape with a texture and parts."""
        side = log_uniform(rng, 60, 180)
        height, width = int(side * log_uniform(rng, 0.6, 1.8)), int(side)
        image, mask = drawn_texture(rng, height, width), blob(rng, height, width)
        for _ in range(int(rng.integers(1, 6))):
            rows, columns = max(8, int(height * rng.uniform(.15, .5))), max(
                8, int(width * rng.uniform(.15, .5)))
            y, x = int(rng.integers(0, height - rows)), int(rng.integers(0, width - columns))
            part = blob(rng, rows, columns) > 0
            image[y:y + rows, x:x + columns][part] = drawn_texture(rng, rows, columns)[part]
        return sized(image, mask)


def drawn_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw an (height, width, 3) uint8 texture: a colour, noise of several scales, stripes."""
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
    """Moving backgrounds: consecutive frames of real recordings."""

    def __init__(self, videos: VideoCache):
        self.videos = videos

    def frames(self, rng: np.random.Generator, length: int) -> list[np.ndarray]:
        """Draw `length` consecutive frames, to and fro where a recording is too short."""
        recording = int(rng.integers(self.videos.recordings))
        count = self.videos.count(recording)
        start, step = int(rng.integers(count)), int(rng.choice((-1, 1)))
        places = (start + step * np.arange(length)) % max(1, 2 * count - 2)
        places = np.where(places < count, places, 2 * count - 2 - places)
        return [self.videos.frame(recording, int(place)) for place in places]
