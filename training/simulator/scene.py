# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Who appears in a simulated sequence, how it moves and looks: everything drawn beforehand."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from training.simulator.material import Cutout, Material
from training.simulator.motion import (
    angle_path,
    bounded_path,
    log_uniform,
    size_path,
    steps,
    wander,
)
from training.simulator.render import GRID, Sprite


@dataclass(frozen=True)
class SceneConfig:
    """
    How simulated sequences are distributed; all `*_share` are shares of the clips.

    :param smallest: side (root of the area) of the smallest targets in pixels
    :param largest: side of the largest targets in shorter frame sides
    :param zoom: largest change of the target's size within a clip
    :param steady_share: clips in which the target keeps its size
    :param bend_share: clips with a target that deforms
    :param morph_share: clips with a target that changes its appearance
    :param leaving_share: clips in which the target may leave the frame
    :param occlusion_share: clips in which something passes in front of the target
    :param twin_share: clips with a distractor that looks like the target
    :param others: largest number of other objects
    :param video_share: clips before real video, where there is any
    :param grey_share: clips without colour
    :param blurred_share: clips out of focus or of low resolution
    :param jpeg_share: clips with compression artefacts
    """

    smallest: float = 12.0
    largest: float = 0.75
    zoom: float = 3.0
    steady_share: float = 0.35
    bend_share: float = 0.4
    morph_share: float = 0.2
    leaving_share: float = 0.12
    occlusion_share: float = 0.45
    twin_share: float = 0.5
    others: int = 4
    video_share: float = 0.5
    grey_share: float = 0.1
    blurred_share: float = 0.15
    jpeg_share: float = 0.35


@dataclass
class Actor:
    """
    An object of a scene.

    :param sprites: what it looks like, usually one; two to change from one to the other
    :param centres: (T, 2) pixels
    :param scales: (T, 2) pixels of the frame per pixel of the sprite
    :param angles: (T,) radians
    :param shears: (T,)
    :param poses: (T, 2) shares of the deformation fields
    :param changes: (T,) 0..1 how much of the second sprite is shown
    """

    sprites: list[Sprite]
    centres: np.ndarray
    scales: np.ndarray
    angles: np.ndarray
    shears: np.ndarray
    poses: np.ndarray
    changes: np.ndarray

    def matrix(self, index: int) -> np.ndarray:
        """Return the (2, 3) map from points of the sprite to points of the frame."""
        cosine, sine = math.cos(self.angles[index]), math.sin(self.angles[index])
        shape = np.array(((1.0, self.shears[index]), (0.0, 1.0)))
        linear = (np.array(((cosine, -sine), (sine, cosine))) @ shape) * self.scales[index]
        shift = self.centres[index] - linear @ self.sprites[0].centre
        return np.column_stack((linear, shift))

    @property
    def sides(self) -> np.ndarray:
        """Return width and height over time, (T, 2) pixels, rotation left out."""
        return self.scales * self.sprites[0].size


def colour_table(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draw a change of gamma, brightness and colour as a table (256, 1, 3) uint8."""
    gamma = math.exp(rng.normal(0, 0.3 * strength))
    gain = np.exp(rng.normal(0, 0.12 * strength) + rng.normal(0, 0.06 * strength, 3))
    offset = rng.normal(0, 18 * strength) + rng.normal(0, 6 * strength, 3)
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma
    return np.clip(ramp * 255 * gain + offset, 0, 255).astype(np.uint8)[:, None]


def bend_fields(rng: np.random.Generator) -> np.ndarray:
    """Draw two smooth displacement fields (2, GRID, GRID, 2) in object sides."""
    return rng.normal(0, rng.uniform(0.01, 0.04), (2, GRID, GRID, 2))


def poses(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the shares of both deformation fields over time (T, 2): drifting or as in walking."""
    if rng.random() < 0.5:
        phase = 2 * math.pi * np.arange(length) / rng.uniform(6, 30) + rng.uniform(0, 6.3)
        return np.stack((np.sin(phase), np.cos(phase * rng.choice((1, 2)))), axis=1)
    return np.clip(wander(rng, length, 1.0, rng.uniform(0.8, 0.97), 2), -1.5, 1.5)


def _changes(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw how far the appearance has changed to the second sprite, (T,) 0..0.8."""
    middle, width = rng.uniform(0.2, 0.9) * length, rng.uniform(2, 12)
    return rng.uniform(0.4, 0.8) / (1 + np.exp(-(np.arange(length) - middle) / width))


def still_actor(sprite: Sprite, length: int) -> Actor:
    """Make an actor that stands upright at 0, 0 in the sprite's own size."""
    return Actor([sprite], np.zeros((length, 2)), np.ones((length, 2)), np.zeros(length),
                 np.zeros(length), np.zeros((length, 2)), np.zeros(length))


def target_actor(rng: np.random.Generator, cutout: Cutout, length: int,
                 frame_size: tuple[int, int], config: SceneConfig) -> Actor:
    """Draw the target: its look, size, path and deformation."""
    bend = bend_fields(rng) if rng.random() < config.bend_share else None
    image = cutout.image[:, ::-1] if (flip := rng.random() < 0.5) else cutout.image
    mask = cutout.mask[:, ::-1] if flip else cutout.mask
    sprite = Sprite(image, mask, bend)
    sprite.recolour(colour_table(rng, 0.7))
    actor = still_actor(sprite, length)
    if rng.random() < config.morph_share:
        actor.sprites.append(_turned(rng, image, mask, bend))
        actor.changes = _changes(rng, length)
    largest = config.largest * min(frame_size)
    side = log_uniform(rng, config.smallest, largest)
    relative = np.exp(size_path(rng, length, config.steady_share, config.zoom))
    sides = side * relative * sprite.size / math.sqrt(sprite.size.prod())
    # All sizes of the clip stay between the limits, by one factor so that the path stays smooth.
    mean = np.sqrt(sides.prod(axis=1))
    sides *= max(1.0, config.smallest / mean.min())
    sides *= min(1.0, 1.25 * largest / np.sqrt(sides.prod(axis=1)).max(),
                 0.95 * min(np.array(frame_size[::-1]) / sides.max(axis=0)))
    actor.scales = sides / sprite.size
    actor.angles = angle_path(rng, length)
    if rng.random() < 0.3:
        actor.shears = wander(rng, length, 0.08, 0.95)[:, 0]
    actor.poses = poses(rng, length)
    inside = rng.uniform(-0.9, -0.2) if rng.random() < config.leaving_share else 0.35
    actor.centres = bounded_path(rng, steps(rng, length), sides, frame_size, inside)
    return actor


def _turned(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray,
            bend: np.ndarray | None) -> Sprite:
    """Make another look of the same outline: mirrored and differently lit, as if turned."""
    inside = mask > 127
    other = np.where(inside[..., None] & inside[:, ::-1, None], image[:, ::-1], image)
    sprite = Sprite(np.ascontiguousarray(other), mask, bend)
    sprite.recolour(colour_table(rng, 1.0))
    return sprite


def distractors(rng: np.random.Generator, target: Actor, cutout: Cutout, material: Material,
                pan: np.ndarray, frame_size: tuple[int, int], config: SceneConfig) -> list[Actor]:
    """Draw other objects, some of which look like the target."""
    length = len(pan)
    looks = [material.cutout(rng) for _ in range(int(rng.integers(0, config.others + 1)))]
    if rng.random() < config.twin_share:
        looks.extend([cutout] * int(rng.choice((1, 2, 3), p=(.6, .25, .15))))
    actors = []
    for look in looks:
        actor = _loose_actor(rng, look, target, length)
        moves = steps(rng, length) if rng.random() < 0.6 else np.zeros((length, 2))
        actor.centres = bounded_path(rng, moves, actor.sides, frame_size, -0.3) + pan
        actors.append(actor)
    return actors


def _loose_actor(rng: np.random.Generator, look: Cutout, target: Actor, length: int) -> Actor:
    """Draw an object about as large as the target, recoloured or not, mirrored or not."""
    flip = rng.random() < 0.5
    sprite = Sprite(*(part[:, ::-1] if flip else part for part in look))
    if rng.random() < 0.7:
        sprite.recolour(colour_table(rng, rng.uniform(0.2, 1.5)))
    actor = still_actor(sprite, length)
    side = math.sqrt(target.sides.prod(axis=1).mean()) * log_uniform(rng, 0.6, 1.6)
    actor.scales[:] = side / math.sqrt(sprite.size.prod())
    actor.scales *= np.exp(rng.normal(0, 0.12, 2))
    actor.angles = angle_path(rng, length)
    return actor


def occluders(rng: np.random.Generator, target: Actor, material: Material,
              frame_size: tuple[int, int], config: SceneConfig) -> list[Actor]:
    """Draw objects that pass in front of the target at a chosen time."""
    if rng.random() >= config.occlusion_share:
        return []
    return [_occluder(rng, target, material, frame_size)
            for _ in range(int(rng.choice((1, 2), p=(.75, .25))))]


def _occluder(rng: np.random.Generator, target: Actor, material: Material,
              frame_size: tuple[int, int]) -> Actor:
    """Draw one object that meets the target, or a post or wall that it passes behind."""
    length = len(target.centres)
    meeting = int(rng.integers(min(4, length - 1), length + 4))
    near = target.centres[min(meeting, length - 1)]
    sides = target.sides[min(meeting, length - 1)]
    if rng.random() < 0.3:
        look = _post(rng, material, frame_size)
        actor = still_actor(Sprite(*look), length)
        wanted = np.array((sides[0] * rng.uniform(0.2, 1.6), 1.3 * frame_size[0]))
        direction = np.array((rng.choice((-1, 1)), 0.0))
        if rng.random() < 0.25:
            wanted = np.array((1.3 * frame_size[1], sides[1] * rng.uniform(0.2, 1.2)))
            direction = direction[::-1]
        middle = np.where(direction != 0, near, np.array(frame_size[::-1]) / 2)
    else:
        actor = still_actor(Sprite(*material.cutout(rng)), length)
        side = math.sqrt(sides.prod()) * log_uniform(rng, 0.4, 1.8)
        wanted = side * actor.sprites[0].size / math.sqrt(actor.sprites[0].size.prod())
        turn = rng.uniform(0, 2 * math.pi)
        direction = np.array((math.cos(turn), 0.4 * math.sin(turn)))
        middle = near + rng.normal(0, 0.2, 2) * sides
    actor.sprites[0].recolour(colour_table(rng, 0.8))
    actor.scales[:] = wanted / actor.sprites[0].size
    cover = log_uniform(rng, 2, 15)
    velocity = direction * (sides + wanted) / cover
    # Posts reach across the frame: only the target's side counts for how fast they pass.
    velocity = np.clip(velocity, -2.5 * sides, 2.5 * sides) + _drift(target, meeting)
    velocity = np.where(direction == 0, 0, velocity)
    actor.centres = middle + velocity * (np.arange(length) - meeting)[:, None]
    return actor


def _drift(target: Actor, meeting: int) -> np.ndarray:
    """Return the mean velocity (2,) of the target around a time."""
    around = target.centres[max(0, meeting - 6):meeting + 6]
    return (around[-1] - around[0]) / max(1, len(around) - 1) if len(around) > 1 else np.zeros(2)


def _post(rng: np.random.Generator, material: Material, frame_size: tuple[int, int]) -> Cutout:
    """Cut a straight piece of a picture, to be stretched to a post, wall or beam."""
    picture = material.picture(rng)
    height, width = picture.shape[:2]
    side = int(rng.integers(20, max(21, min(width, 160))))
    x = int(rng.integers(0, width - side + 1))
    part = cv2.resize(picture[:, x:x + side], (side, frame_size[0]))
    return Cutout(part, np.full(part.shape[:2], 255, np.uint8))
