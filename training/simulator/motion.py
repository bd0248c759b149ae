# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Random motion: smooth wandering values and paths of simulated objects and cameras.

The original simulator (Re3 paper, section III-C) changes speed, direction and size by small
random steps. Real targets also stand still, bounce, jerk and jump; all of that is drawn here.
"""

from __future__ import annotations

import math

import numpy as np


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def wander(rng: np.random.Generator, length: int, spread: float, inertia: float,
           dimensions: int = 1) -> np.ndarray:
    """
    Draw a stationary random walk that is pulled back to 0.

    :param spread: standard deviation of the values
    :param inertia: correlation of neighbouring values, 0..1
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


def steps(rng: np.random.Generator, length: int) -> np.ndarray:
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
            moves[index] += _jump(rng)
    moves[1:] += _bounce(rng, length)
    return np.clip(moves, -1.0, 1.0)


def _jump(rng: np.random.Generator) -> np.ndarray:
    """Draw one sudden displacement in units of the side."""
    direction = rng.uniform(0, 2 * math.pi)
    return rng.uniform(0.2, 1.0) * np.array((math.cos(direction), math.sin(direction)))


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
    :param inside: distance that the centre keeps from the border, in sides; may be negative
    :return: (T, 2) centres in pixels
    """
    extent = np.array(frame_size[::-1], np.float64)
    margin = np.minimum(inside * sides, 0.45 * extent)
    centre = rng.uniform(margin[0], extent - margin[0])
    sign = np.ones(2)
    path = np.empty_like(moves)
    for index, move in enumerate(moves):
        centre = centre + sign * move * sides[index]
        low, high = margin[index], extent - margin[index]
        outside = (centre < low) | (centre > high)
        # Turn only those that leave: one that comes back from a jump goes on inwards.
        leaving = outside & (np.sign(sign * move) == np.where(centre < low, -1, 1))
        sign = np.where(leaving, -sign, sign)
        centre = np.clip(centre, low, high)
        path[index] = centre
    return path


def shake(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the unsteadiness of a hand-held camera in pixels, (length, 2)."""
    kind = rng.random()
    if kind < 0.45:
        return np.zeros((length, 2))
    shift = wander(rng, length, log_uniform(rng, 0.3, 4.0), rng.uniform(0.0, 0.8), 2)
    if kind > 0.9:
        jerks = (rng.random((length, 1)) < 0.1) * rng.normal(0, 12, (length, 2))
        shift += np.cumsum(jerks - jerks.mean(axis=0), axis=0) * 0.7
    return shift


def pan(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the smooth movement of a camera in pixels, (length, 2), starts at 0, 0."""
    if rng.random() < 0.35:
        return np.zeros((length, 2))
    speed = log_uniform(rng, 0.2, 8.0)
    velocity = wander(rng, length, speed, rng.uniform(0.85, 0.99), 2) * (1.0, 0.5)
    path = np.cumsum(velocity, axis=0)
    return path - path[0]
