# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Clips from images: a virtual camera pans, zooms and turns over an annotated image.

Objects that are cut out and pasted have outlines that no real video has. Here the target stays in
its own surroundings, and its box is known exactly in every frame, whatever the camera does: what
is learned is where real objects end, and how a change of size looks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from training.config import SceneConfig
from training.data.cache import FrameCache
from training.data.sources import Clip, usable_tracks
from training.simulator import Camera
from training.simulator.material import log_uniform
from training.simulator.scene import wander

# Largest enlargement of the image's pixels, and the smallest target in frame heights.
MAX_MAGNIFICATION = 2.5
MIN_SIDE = .06
# Sides of a part of an image that serves as target, in sides of the image.
PATCH_SIDES = .08, .5


class _Path(NamedTuple):
    """The camera over time: where the target is in the frame, and the matrix of its axes."""

    centers: np.ndarray     # (T, 2) pixels of the frame
    axes: np.ndarray        # (T, 2, 2) from image to frame


class PannedImages:
    """
    Clip source of annotated images that a virtual camera moves over.

    :param cache: cache of images
    :param size: height and width of the frames
    :param max_box_ratio: boxes wider or higher than this fraction of the image are left out
    :param patch_prob: probability that any part of an image is the target
    :param config: effects of the camera
    :raises ValueError: if no box is left, and targets are not to be any part of an image
    """

    def __init__(self, cache: FrameCache, size: tuple[int, int] = (192, 256),
                 max_box_ratio: float = .66, patch_prob: float = 0.,
                 config: SceneConfig | None = None):
        self.cache, self.size, self.patch_prob = cache, size, patch_prob
        self.config = config or SceneConfig()
        self.tracks = usable_tracks(cache, max_box_ratio) if patch_prob < 1 else []

    def __len__(self) -> int:
        return len(self.tracks) or len(self.cache)

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a target and a movement of the camera."""
        image, box = self._target(rng)
        path = _draw_path(rng, image.shape, box, self.size, length)
        camera = Camera(rng, length, self.size, self.config)
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        # The extent of the ellipse in the box: that of most objects when they are turned.
        halves = np.sqrt(((path.axes * half) ** 2).sum(2))              # (T, 2)
        frames = [camera.expose(_view(image, center, place, axes, self.size), index)
                  for index, (place, axes) in enumerate(zip(path.centers, path.axes, strict=True))]
        boxes = np.concatenate((path.centers - halves, path.centers + halves), 1)
        extent = np.array(self.size[::-1])
        inside = np.minimum(boxes[:, 2:], extent) - np.maximum(boxes[:, :2], 0)
        visible = inside.clip(0).prod(1) / (2 * halves).prod(1)
        return Clip(frames, boxes.astype(np.float32), visible.astype(np.float32))

    def _target(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw an image (H, W, 3) and a box (4,) `xyxy` in it."""
        if rng.random() >= self.patch_prob:
            track = self.tracks[int(rng.integers(len(self.tracks)))]
            return self.cache.frames(track.video)[0], track.boxes[0].astype(float)
        image = self.cache.frames(int(rng.integers(len(self.cache))))[0]
        extent = np.array(image.shape[1::-1], float)
        sides = log_uniform(rng, *PATCH_SIDES) * extent * np.exp(rng.normal(0, .3, 2))
        sides = np.minimum(np.maximum(sides, 12), .66 * extent)
        corner = rng.uniform(0, 1, 2) * (extent - sides)
        return image, np.concatenate((corner, corner + sides))


def _draw_path(rng: np.random.Generator, shape: tuple[int, ...], box: np.ndarray,
               size: tuple[int, int], length: int) -> _Path:
    """Draw the camera's movement over an image (H, W, 3) with the target in `box`."""
    extent, frame = np.array(shape[1::-1], float), np.array(size[::-1], float)
    side = math.sqrt(float((box[2:] - box[:2]).prod()))
    # Between the whole image and a target that nearly fills the frame.
    smallest = max(float((frame / extent).max()), MIN_SIDE * size[0] / side)
    largest = max(smallest, min(MAX_MAGNIFICATION, .6 * size[0] / side))
    zoom = _drift(rng, length, .25, (.004, .06))
    scale = np.clip(log_uniform(rng, smallest, largest * 1.001) * np.exp(zoom), smallest, largest)
    aspect = _drift(rng, length, .5, (.001, .01))
    turn = _drift(rng, length, .5, (.002, .03))
    turns = np.stack((np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)), 1)
    stretch = np.exp(np.stack((aspect, -aspect), 1))
    axes = turns.reshape(-1, 2, 2) * (scale[:, None] * stretch)[:, :, None]
    speed = log_uniform(rng, .005, .4) * side * scale.mean()
    velocity = wander(rng, length, speed, rng.uniform(.3, .97), 2)
    places = frame * rng.uniform(.25, .75, 2) + np.cumsum(velocity, 0) - velocity[0]
    # The frame stays within the image, as far as zoom and turn allow it.
    center = (box[:2] + box[2:]) / 2
    highest = center * scale[:, None]
    lowest = frame - (extent - center) * scale[:, None]
    places = np.clip(places, np.minimum(lowest, highest), np.maximum(lowest, highest))
    return _Path(np.clip(places, 0, frame), axes)


def _drift(rng: np.random.Generator, length: int, still_prob: float,
           speeds: tuple[float, float]) -> np.ndarray:
    """Draw a smooth change (T,) from 0 on, or none at all."""
    if rng.random() < still_prob:
        return np.zeros(length)
    return np.cumsum(wander(rng, length, log_uniform(rng, *speeds), .95)[:, 0])


def _view(image: np.ndarray, center: np.ndarray, place: np.ndarray, axes: np.ndarray,
          size: tuple[int, int]) -> np.ndarray:
    """Return the frame in which the image's point `center` is at `place`."""
    while np.sqrt(np.linalg.det(axes)) < .6 and min(image.shape[:2]) > 32:
        image, center, axes = cv2.resize(
            image, None, fx=.5, fy=.5, interpolation=cv2.INTER_AREA), center / 2, axes * 2
    # Pixel centers are at +.5 in boxes, at integers in OpenCV.
    shift = place - axes @ (center - .5) - .5
    return cv2.warpAffine(image, np.column_stack((axes, shift)), size[::-1],
                          flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
