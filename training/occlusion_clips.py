# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Sequences in which the target passes behind a wall, made of any sequence with true boxes.

The wall is opaque and does not move; its texture is a piece of the background of the same frame.
It slides in, stands before every place where the target is while it is hidden, and slides out
again, so that the target comes out where it really is then.
"""

from dataclasses import dataclass
import zlib

import cv2
import numpy as np
from re3_core.boxes import intersection

# Frames that the target is followed before it is hidden, and afterwards.
BEFORE, AFTER = 20, 30
# Frames that the wall takes to slide in or out, and how far it reaches beyond the target.
SLIDE = 5
MARGIN = .15
# A wall that would cover more of the frame than this is not put up.
LARGEST_WALL = .6
TRIES = 50


@dataclass(frozen=True)
class Wall:
    """
    What hides the target: `texture` (h, w, 3) uint8 RGB, in place with its corner at `corner`.

    `shift` (2,) is where it comes from and goes to, in pixels from its place.
    """

    texture: np.ndarray
    corner: tuple
    shift: np.ndarray

    def cover(self, frame, away):
        """Return a copy of `frame` with the wall, `away` (0..1, signed) of the shift from it."""
        frame = frame.copy()
        x, y = np.rint(np.array(self.corner) + away * self.shift).astype(int)
        height, width = self.texture.shape[:2]
        x1, y1 = max(x, 0), max(y, 0)
        part = frame[y1:max(y + height, 0), x1:max(x + width, 0)]
        part[:] = self.texture[y1 - y:, x1 - x:][:part.shape[0], :part.shape[1]]
        return frame


@dataclass(frozen=True)
class Event:
    """
    One target that is hidden once, or never.

    `frames` gives T frames, uint8 RGB (H, W, 3), by index; `boxes` (T, 4) is `xyxy` pixels, NaN
    where absent. It is hidden in the frames `hidden` (a range) by `wall`; without a wall that is
    empty.
    """

    name: str
    frames: object
    boxes: np.ndarray
    hidden: range = range(0)
    wall: Wall | None = None

    def __len__(self):
        return len(self.boxes)

    def frame(self, index):
        """Return a frame as the tracker is to see it."""
        frame = np.ascontiguousarray(self.frames[index])
        if self.wall is None:
            return frame
        away = (max(self.hidden.start - index, 0) + min(self.hidden[-1] - index, 0)) / SLIDE
        return self.wall.cover(frame, away) if abs(away) < 1 else frame


class Part:
    """`count` frames of others, by index, from number `begin` on."""

    def __init__(self, frames, begin, count):
        self.frames, self.begin, self.count = frames, begin, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.frames[self.begin + index]


def hide(name, frames, boxes, length, seed=0):
    """
    Return the Event of a target that is hidden for `length` frames from frame BEFORE on.

    :param frames: BEFORE + length + AFTER of them at least, by index.
    :param boxes: (T, 4) `xyxy` pixels.
    :return: None if the target is absent when it matters, or the wall would be too large.
    """
    count = BEFORE + length + AFTER
    boxes, hidden = np.asarray(boxes[:count], float), range(BEFORE, BEFORE + length)
    if len(boxes) < count or np.isnan(boxes).any():
        return None
    rng = np.random.default_rng([seed, length, zlib.crc32(name.encode())])
    wall = _wall(rng, frames[hidden.start], boxes[hidden.start:hidden.stop])
    return wall and Event(name, Part(frames, 0, count), boxes, hidden, wall)


def _wall(rng, frame, boxes):
    """Return a Wall before all of `boxes` (N, 4), or None."""
    margin = MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(0)
    low, high = boxes[:, :2].min(0) - margin, boxes[:, 2:].max(0) + margin
    extent = np.array(frame.shape[1::-1])
    low, high = np.floor(np.clip(low, 0, extent)), np.ceil(np.clip(high, 0, extent))
    sides = (high - low).astype(int)
    if sides.min() < 1 or sides.prod() > LARGEST_WALL * extent.prod():
        return None
    texture = _background(rng, frame, boxes[0], sides)
    shift = np.zeros(2)
    axis = rng.integers(2)
    shift[axis] = rng.choice((-1, 1)) * sides[axis]
    return texture if texture is None else Wall(texture, tuple(low), shift)


def _background(rng, frame, target, sides):
    """Return a piece of the frame without the target, stretched to `sides` (width, height)."""
    extent = np.array(frame.shape[1::-1])
    for attempt in range(TRIES):
        # Ever smaller pieces: most of the frame may be target.
        size = np.maximum(np.minimum(sides, extent // 2) * .93 ** attempt, 8).astype(int)
        x, y = rng.integers(0, extent - size + 1)
        piece = np.array((x, y, x + size[0], y + size[1]), float)
        if intersection(piece, target) == 0:
            return cv2.resize(frame[y:y + size[1], x:x + size[0]], tuple(map(int, sides)))
    return None


def sequence_events(sequences, length, each):
    """Return up to `each` Events of `length` hidden frames from each Sequence, spread evenly."""
    events = []
    for sequence in sequences:
        room = len(sequence) - (BEFORE + length + AFTER)
        if room < 0:
            continue
        for begin in sorted({int(place) for place in np.linspace(0, room, each)}):
            event = hide(f'{sequence.name}@{begin}',
                         Part(sequence.frames, begin, len(sequence) - begin),
                         sequence.boxes[begin:], length)
            events += [event] if event else []
    return events


def simulated_events(clips, length):
    """Return an Event of `length` hidden frames from each Clip that is long enough."""
    events = [hide(f'clip {index}', clip.frames, clip.boxes, length)
              for index, clip in enumerate(clips)]
    return [event for event in events if event]
