# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Objects of a simulated sequence: paths, sizes, appearances, deformations, drawn beforehand.

The original simulator (Re3 paper, section III-C) changes speed, direction and size by small
random steps. Real targets also stand still, bounce, jerk and jump; all of that is drawn here.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from training.config import SceneConfig
from training.simulator.material import Cutout, log_uniform, Material
from training.simulator.sprites import GRID, Sprite

# Paths -----------------------------------------------------------------------------------------


def wander(rng: np.random.Generator, length: int, spread: float, inertia: float,
           dimensions: int = 1) -> np.ndarray:
    """
    Draw a stationary random walk that is pulled back to 0.

    :param spread: standard deviation of the values
    :param inertia: correlation of neighboring values, 0..1
    :return: (length, dimensions)
    """
    noise = rng.standard_normal((length, dimensions)) * spread
    share = math.sqrt(1.0 - inertia * inertia)
    for index in range(1, length):
        noise[index] = inertia * noise[index - 1] + share * noise[index]
    return noise


def size_path(rng: np.random.Generator, length: int, steady: float, reach: float) -> np.ndarray:
    """
    Draw how the logarithm of an object's width and height changes over time.

    :param steady: probability that the size stays as it is
    :param reach: largest ratio of sizes within the clip
    :return: (length, 2), starts at 0, 0
    """
    path = np.zeros((length, 2))
    if rng.random() >= steady:
        path += _zoom(rng, length, math.log(reach))[:, None]
    if rng.random() < 0.6:
        aspect = wander(rng, length, rng.uniform(0.02, 0.15), 0.9)[:, 0]
        path += (aspect - aspect[0])[:, None] * (0.5, -0.5)
    return path


def _zoom(rng: np.random.Generator, length: int, limit: float) -> np.ndarray:
    """Draw a smooth zoom (logarithm) whose values differ by at most `limit`."""
    speed = log_uniform(rng, 0.003, 0.06)
    zoom = np.cumsum(wander(rng, length, speed, rng.uniform(0.8, 0.98))[:, 0])
    spread = np.ptp(zoom)
    if spread > limit:
        zoom *= limit / spread
    return zoom - zoom[0]


def angle_path(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the rotation of an object in radians, (length,): mostly little, sometimes a spin."""
    kind = rng.random()
    if kind < 0.35:
        return np.full(length, rng.normal(0, 0.05))
    angle = wander(rng, length, rng.uniform(0.02, 0.15), 0.93)[:, 0]
    if kind > 0.88:
        angle = angle + rng.choice((-1, 1)) * rng.uniform(0.02, 0.12) * np.arange(length)
    return angle


def direction(rng: np.random.Generator, height: float = 1.) -> np.ndarray:
    """Draw a direction (2,), a point of an ellipse of width 1 and the given height."""
    turn = rng.uniform(0, 2 * math.pi)
    return np.array((math.cos(turn), height * math.sin(turn)))


def displacements(rng: np.random.Generator, length: int) -> np.ndarray:
    """
    Draw the displacement per frame of a target in units of its side, (length, 2), each in -1..1.

    Smooth accelerations, sudden turns, a few jumps of up to one side, standing still, bouncing.
    """
    speed = log_uniform(rng, 0.008, 0.25)
    inertia = rng.uniform(0.6, 0.97)
    turn = rng.choice((0.0, 0.04, 0.15))
    jump = rng.choice((0.0, 0.03, 0.1), p=(0.6, 0.25, 0.15))
    velocity = rng.standard_normal(2) * speed
    moves = np.zeros((length, 2))
    for index in range(1, length):
        noise = rng.standard_normal(2) * speed
        velocity = noise * 1.5 if rng.random() < turn else (
            inertia * velocity + math.sqrt(1 - inertia * inertia) * noise)
        moves[index] = velocity
        if rng.random() < jump:
            moves[index] += direction(rng) * rng.uniform(0.2, 1.0)
    moves[1:] += _bounce(rng, length)
    return np.clip(moves, -1.0, 1.0)


def smooth_displacements(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the same, (length, 2), of a fast and steady motion whose velocity changes slowly."""
    speed = log_uniform(rng, 0.03, 0.6)
    start = speed * direction(rng, 0.6)
    moves = start + np.cumsum(rng.normal(0, 0.06 * speed, (length, 2)), axis=0)
    moves[0] = 0
    return np.clip(moves, -1.0, 1.0)


def _bounce(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the displacements (length - 1, 2) of a regular bounce, or none."""
    if rng.random() > 0.15:
        return np.zeros((length - 1, 2))
    swing = rng.uniform(0.05, 0.5) * np.array((rng.uniform(0, 0.5), 1.0))
    phase = rng.uniform(0, 2 * math.pi) + 2 * math.pi / rng.uniform(5, 20) * np.arange(length)
    return np.diff(np.sin(phase))[:, None] * swing


def bounded_path(rng: np.random.Generator, moves: np.ndarray, sides: np.ndarray,
                 frame_size: tuple[int, int], inside: float) -> np.ndarray:
    """
    Walk through the frame and turn around near its border.

    :param moves: (T, 2) displacements in units of `sides`
    :param sides: (T, 2) width and height of the object in pixels
    :param frame_size: height and width of the frame
    :param inside: distance that the center keeps from the border, in sides; may be negative
    :return: (T, 2) centers in pixels
    """
    extent = np.array(frame_size[::-1], np.float64)
    margin = np.minimum(inside * sides, 0.45 * extent)
    center = rng.uniform(margin[0], extent - margin[0])
    sign = np.ones(2)
    path = np.empty_like(moves)
    for index, move in enumerate(moves):
        center = center + sign * move * sides[index]
        low, high = margin[index], extent - margin[index]
        outside = (center < low) | (center > high)
        # Turn only those that leave: one that comes back from a jump goes on inwards.
        leaving = outside & (np.sign(sign * move) == np.where(center < low, -1, 1))
        sign = np.where(leaving, -sign, sign)
        center = np.clip(center, low, high)
        path[index] = center
    return path


def camera_shake(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the unsteadiness of a hand-held camera in pixels, (length, 2)."""
    kind = rng.random()
    if kind < 0.45:
        return np.zeros((length, 2))
    shift = wander(rng, length, log_uniform(rng, 0.3, 4.0), rng.uniform(0.0, 0.8), 2)
    if kind > 0.9:
        jerks = (rng.random((length, 1)) < 0.1) * rng.normal(0, 12, (length, 2))
        shift += np.cumsum(jerks - jerks.mean(axis=0), axis=0) * 0.7
    return shift


def camera_pan(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the smooth movement of a camera in pixels, (length, 2), starts at 0, 0."""
    if rng.random() < 0.35:
        return np.zeros((length, 2))
    speed = log_uniform(rng, 0.2, 8.0)
    velocity = wander(rng, length, speed, rng.uniform(0.85, 0.99), 2) * (1.0, 0.5)
    path = np.cumsum(velocity, axis=0)
    return path - path[0]


# Objects ---------------------------------------------------------------------------------------


class Actor:
    """
    An object of a scene; at first it stands upright at 0, 0 in the sprite's own size.

    :param sprite: its appearance
    :param length: number of frames T

    `sprites` are its appearances, two to change from one to the other; `centers` (T, 2) pixels;
    `scales` (T, 2) pixels of the frame per pixel of the sprite; `angles` (T,) radians; `shears`
    (T,); `poses` (T, 2) shares of the deformation fields; `changes` (T,) 0..1 how much of the
    second sprite is shown.
    """

    def __init__(self, sprite: Sprite, length: int):
        self.sprites = [sprite]
        self.centers, self.scales = np.zeros((length, 2)), np.ones((length, 2))
        self.angles, self.shears = np.zeros(length), np.zeros(length)
        self.poses, self.changes = np.zeros((length, 2)), np.zeros(length)

    def matrix(self, index: int) -> np.ndarray:
        """Return the (2, 3) map from points of the sprite to points of the frame."""
        cosine, sine = math.cos(self.angles[index]), math.sin(self.angles[index])
        shape = np.array(((1.0, self.shears[index]), (0.0, 1.0)))
        linear = (np.array(((cosine, -sine), (sine, cosine))) @ shape) * self.scales[index]
        shift = self.centers[index] - linear @ self.sprites[0].center
        return np.column_stack((linear, shift))

    @property
    def sides(self) -> np.ndarray:
        """Return width and height over time, (T, 2) pixels, rotation left out."""
        return self.scales * self.sprites[0].size


def color_table(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draw a change of gamma, brightness and color as a table (256, 1, 3) uint8."""
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


def mirrored(rng: np.random.Generator, cutout: Cutout) -> Cutout:
    """Mirror an object in half of the draws."""
    return Cutout(*(part[:, ::-1] for part in cutout)) if rng.random() < 0.5 else cutout


def target_actor(rng: np.random.Generator, cutout: Cutout, length: int,
                 frame_size: tuple[int, int], config: SceneConfig) -> Actor:
    """Draw the target: its appearance, size, path and deformation."""
    bend = bend_fields(rng) if rng.random() < config.bend_prob else None
    cutout = mirrored(rng, cutout)
    sprite = Sprite(*cutout, bend)
    sprite.recolor(color_table(rng, 0.7))
    actor = Actor(sprite, length)
    if rng.random() < config.morph_prob:
        actor.sprites.append(_turned(rng, *cutout, bend))
        actor.changes = _changes(rng, length)
    largest = config.largest * min(frame_size)
    side = log_uniform(rng, config.smallest, largest)
    relative = np.exp(size_path(rng, length, config.constant_size_prob, config.zoom))
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
    inside = rng.uniform(-0.9, -0.2) if rng.random() < config.leaving_prob else 0.35
    smooth = _drawn(rng, config.smooth_motion_prob)
    moves = smooth_displacements(rng, length) if smooth else displacements(rng, length)
    actor.centers = bounded_path(rng, moves, sides, frame_size, inside)
    return actor


def _drawn(rng: np.random.Generator, probability: float) -> bool:
    """Return true with a probability; scenes without this are drawn as if it did not exist."""
    return probability > 0 and rng.random() < probability


def _turned(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray,
            bend: np.ndarray | None) -> Sprite:
    """Make another appearance of the same outline: mirrored and differently lit, as if turned."""
    inside = mask > 127
    other = np.where(inside[..., None] & inside[:, ::-1, None], image[:, ::-1], image)
    sprite = Sprite(np.ascontiguousarray(other), mask, bend)
    sprite.recolor(color_table(rng, 1.0))
    return sprite


def distractors(rng: np.random.Generator, target: Actor, cutout: Cutout, material: Material,
                pan: np.ndarray, frame_size: tuple[int, int], config: SceneConfig) -> list[Actor]:
    """Draw other objects, some of which look like the target."""
    length = len(pan)
    count = int(rng.integers(0, config.max_distractors + 1))
    cutouts = [material.cutout(rng) for _ in range(count)]
    if rng.random() < config.lookalike_prob:
        cutouts.extend([cutout] * int(rng.choice((1, 2, 3), p=(.6, .25, .15))))
    actors = []
    for other in cutouts:
        actor = _loose_actor(rng, other, target, length)
        moves = displacements(rng, length) if rng.random() < 0.6 else np.zeros((length, 2))
        actor.centers = bounded_path(rng, moves, actor.sides, frame_size, -0.3) + pan
        actors.append(actor)
    if _drawn(rng, config.crossing_prob):
        actors.append(crossing_lookalike(rng, target, cutout))
    return actors


def crossing_lookalike(rng: np.random.Generator, target: Actor, cutout: Cutout) -> Actor:
    """
    Draw a look-alike of the target's size that meets it and passes on, or turns back.

    In half of the draws its appearance is the target's, and only its motion differs.
    """
    length = len(target.centers)
    sprite = target.sprites[0]
    if rng.random() < 0.5:
        sprite = Sprite(*cutout)
        sprite.recolor(color_table(rng, rng.uniform(0.1, 0.8)))
    actor = Actor(sprite, length)
    meeting = int(rng.integers(min(6, length - 1), length))
    sides = target.sides[meeting]
    actor.scales[:] = sides / sprite.size * log_uniform(rng, 0.85, 1.18)
    actor.angles = target.angles + wander(rng, length, 0.05, 0.95)[:, 0]
    towards = direction(rng, 0.7)
    relative = log_uniform(rng, 0.1, 0.5) * sides * towards
    near = target.centers[meeting] + rng.normal(0, 0.3, 2) * sides
    time = (np.arange(length) - meeting)[:, None]
    passed = np.abs(time) if rng.random() < 0.25 else time
    actor.centers = near + _drift(target, meeting) * time + relative * passed
    return actor


def _loose_actor(rng: np.random.Generator, cutout: Cutout, target: Actor, length: int) -> Actor:
    """Draw an object about as large as the target, recolored or not, mirrored or not."""
    sprite = Sprite(*mirrored(rng, cutout))
    if rng.random() < 0.7:
        sprite.recolor(color_table(rng, rng.uniform(0.2, 1.5)))
    actor = Actor(sprite, length)
    side = math.sqrt(target.sides.prod(axis=1).mean()) * log_uniform(rng, 0.6, 1.6)
    actor.scales[:] = side / math.sqrt(sprite.size.prod())
    actor.scales *= np.exp(rng.normal(0, 0.12, 2))
    actor.angles = angle_path(rng, length)
    return actor


def occluders(rng: np.random.Generator, target: Actor, material: Material,
              frame_size: tuple[int, int], config: SceneConfig) -> list[Actor]:
    """Draw objects that pass in front of the target at a chosen time."""
    if _drawn(rng, config.hiding_prob):
        return [_hider(rng, target, material, frame_size)]
    if rng.random() >= config.occlusion_prob:
        return []
    return [_occluder(rng, target, material, frame_size)
            for _ in range(int(rng.choice((1, 2), p=(.75, .25))))]


def _occluder(rng: np.random.Generator, target: Actor, material: Material,
              frame_size: tuple[int, int]) -> Actor:
    """Draw one object that meets the target, or a post or wall that it passes behind."""
    length = len(target.centers)
    meeting = int(rng.integers(min(4, length - 1), length + 4))
    near = target.centers[min(meeting, length - 1)]
    sides = target.sides[min(meeting, length - 1)]
    if rng.random() < 0.3:
        actor = Actor(Sprite(*_post(rng, material, frame_size)), length)
        wanted = np.array((sides[0] * rng.uniform(0.2, 1.6), 1.3 * frame_size[0]))
        towards = np.array((rng.choice((-1, 1)), 0.0))
        if rng.random() < 0.25:
            wanted = np.array((1.3 * frame_size[1], sides[1] * rng.uniform(0.2, 1.2)))
            towards = towards[::-1]
        middle = np.where(towards != 0, near, np.array(frame_size[::-1]) / 2)
    else:
        actor = Actor(Sprite(*material.cutout(rng)), length)
        side = math.sqrt(sides.prod()) * log_uniform(rng, 0.4, 1.8)
        wanted = side * actor.sprites[0].size / math.sqrt(actor.sprites[0].size.prod())
        towards = direction(rng, 0.4)
        middle = near + rng.normal(0, 0.2, 2) * sides
    actor.sprites[0].recolor(color_table(rng, 0.8))
    actor.scales[:] = wanted / actor.sprites[0].size
    cover = log_uniform(rng, 2, 15)
    velocity = towards * (sides + wanted) / cover
    # Posts reach across the frame: only the target's side counts for how fast they pass.
    velocity = np.clip(velocity, -2.5 * sides, 2.5 * sides) + _drift(target, meeting)
    velocity = np.where(towards == 0, 0, velocity)
    actor.centers = middle + velocity * (np.arange(length) - meeting)[:, None]
    return actor


def _hider(rng: np.random.Generator, target: Actor, material: Material,
           frame_size: tuple[int, int]) -> Actor:
    """Draw one object, larger than the target, that goes along with it and hides all of it."""
    length = len(target.centers)
    hidden = int(log_uniform(rng, 5, 40))
    meeting = int(rng.integers(min(6 + hidden // 2, length - 1), length))
    sides = target.sides[meeting]
    look = _post(rng, material, frame_size) if rng.random() < 0.4 else material.cutout(rng)
    actor = Actor(Sprite(*look), length)
    actor.sprites[0].recolor(color_table(rng, 0.8))
    wanted = sides.max() * log_uniform(rng, 1.4, 2.6) * rng.uniform(0.8, 1.3, 2)
    actor.scales[:] = wanted / actor.sprites[0].size
    # In `hidden` frames it passes by as far as it is larger than the target.
    passing = direction(rng, 0.4) * (np.maximum(wanted - sides, 2) / hidden)
    velocity = passing + _drift(target, meeting)
    actor.centers = (target.centers[meeting] + rng.normal(0, 0.1, 2) * sides
                     + velocity * (np.arange(length) - meeting)[:, None])
    return actor


def _drift(target: Actor, meeting: int) -> np.ndarray:
    """Return the mean velocity (2,) of the target around a time."""
    around = target.centers[max(0, meeting - 6):meeting + 6]
    return (around[-1] - around[0]) / max(1, len(around) - 1) if len(around) > 1 else np.zeros(2)


def _post(rng: np.random.Generator, material: Material, frame_size: tuple[int, int]) -> Cutout:
    """Cut a straight piece of an image, to be stretched to a post, wall or beam."""
    image = material.background(rng)
    height, width = image.shape[:2]
    side = int(rng.integers(20, max(21, min(width, 160))))
    x = int(rng.integers(0, width - side + 1))
    part = cv2.resize(image[:, x:x + side], (side, frame_size[0]))
    return Cutout(part, np.full(part.shape[:2], 255, np.uint8))
