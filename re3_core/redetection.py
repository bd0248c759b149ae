# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re-detection of lost targets: search regions for them, and the rules by which they are found.

While a target is tracked confidently its latest state is kept as a `Keyframe`. Once it is lost,
the network continues from the last box, since many targets that count as lost are only uncertain.
In addition, every frame is searched at a few places in a window that follows the extrapolated
motion and grows with time, with the keyframe's size and network state. The place with the highest
confidence becomes a `Candidate`, which is searched in the following frames. A target counts as
found after FOUND_AFTER confident frames in a row, at its last box or at a candidate.

The functions are pure and take arrays; the tracker calls them.
"""

from typing import Any, NamedTuple

import numpy as np
from re3_core import boxes as box_ops
from re3_core.arrays import copy
from re3_core.model import State

# Search regions per lost target and frame, and for all lost targets together (0: none).
CANDIDATES = 6
LIMIT = 32
# Confident frames in a row after which a lost target is found.
FOUND_AFTER = 3
# Weight of a frame's motion in the velocity; factor on the velocity after each hidden frame.
VELOCITY_EMA = .3
DAMPING = .9
# Half the search window in box sizes: at first, and what each frame adds.
WINDOW_MARGIN, WINDOW_GROWTH = .5, .1
# Step of Roberts' R2 low-discrepancy sequence: powers of the plastic number.
R2_SEQUENCE = np.array((.7548776662466927, .5698402909980532))


class Keyframe(NamedTuple):
    """
    Last confidently tracked state of a target.

    `box` (4,) `xyxy` and `velocity` (2,) are float64, in pixels and pixels per frame;
    `previous` (1, 3, S, S) and `state` are the network's inputs for the next frame; `step` is
    the number of the frame.
    """

    box: np.ndarray
    velocity: np.ndarray
    previous: Any
    state: State
    step: int

    def clone(self) -> 'Keyframe':
        """Return a copy that does not keep the arrays of a whole batch in memory."""
        return self._replace(previous=copy(self.previous), state=State(
            *(tuple(copy(array) for array in part) for part in self.state)))


class Candidate(NamedTuple):
    """A tentative re-detection: its `box` (4,), confident for `frames` frames in a row."""

    box: np.ndarray
    frames: int


def update_velocities(velocities: np.ndarray, before: np.ndarray, after: np.ndarray,
                      frames: np.ndarray) -> np.ndarray:
    """
    Return the smoothed velocities (N, 2) after motions between `xyxy` boxes.

    :param velocities: (N, 2) pixels per frame.
    :param before: (N, 4) boxes, as `after`.
    :param frames: (N,) numbers of frames between the boxes; the more, the less smoothing.

    >>> before, after = np.array([[0., 0., 4., 4.]]), np.array([[2., 0., 6., 4.]])
    >>> [update_velocities(np.zeros((1, 2)), before, after, np.array([n])) for n in (1, 2)]
    [array([[0.6, 0. ]]), array([[0.51, 0.  ]])]
    """
    frames = frames[:, None]
    motion = (box_ops.xyxy_to_cxcywh(after) - box_ops.xyxy_to_cxcywh(before))[:, :2] / frames
    return velocities + (1 - (1 - VELOCITY_EMA) ** frames) * (motion - velocities)


def extrapolate(boxes: np.ndarray, velocities: np.ndarray, frames: np.ndarray,
                frame_sizes: np.ndarray) -> np.ndarray:
    """
    Return boxes moved on by a damped velocity: `xyxy` (N, 4), the center within the frame.

    :param boxes: (N, 4) `xyxy` pixels, `frames` (N,) frames ago.
    :param velocities: (N, 2) pixels per frame, multiplied by DAMPING after each frame.
    :param frame_sizes: (N, 2) height and width.

    >>> extrapolate(np.array([[0., 0., 4., 4.]]), np.array([[10., 0.]]), np.array([2]),
    ...             np.array([[50, 50]])).round(2)
    array([[17.1,  0. , 21.1,  4. ]])
    """
    steps = (1 - DAMPING ** frames) * DAMPING / (1 - DAMPING)
    centers, sizes = np.split(box_ops.xyxy_to_cxcywh(boxes), 2, -1)
    centers = np.clip(centers + velocities * steps[:, None], 0, frame_sizes[:, ::-1])
    return box_ops.cxcywh_to_xyxy(np.concatenate((centers, sizes), -1))


def search_windows(boxes: np.ndarray, frames: np.ndarray,
                   frame_sizes: np.ndarray) -> np.ndarray:
    """
    Return the windows for the centers of search regions, `xyxy` (N, 4) within the frame.

    :param boxes: (N, 4) extrapolated boxes; the other parameters as in `extrapolate`.
    """
    centers, sizes = np.split(box_ops.xyxy_to_cxcywh(boxes), 2, -1)
    reach = sizes * (WINDOW_MARGIN + WINDOW_GROWTH * frames[:, None])
    extent = frame_sizes[:, ::-1]
    return np.concatenate((np.clip(centers - reach, 0, extent),
                           np.clip(centers + reach, 0, extent)), -1)


def sample_points(windows: np.ndarray, used: np.ndarray, count: int) -> np.ndarray:
    """
    Return the next `count` points (N, count, 2) of a low-discrepancy sequence in `xyxy` windows.

    :param windows: (N, 4).
    :param used: (N,) number of points of the sequence that have been used.
    """
    numbers = used[:, None] + np.arange(count)
    unit = (.5 + numbers[..., None] * R2_SEQUENCE) % 1
    low, high = windows[:, None, :2], windows[:, None, 2:]
    return low + unit * (high - low)


def allocate_budget(used: np.ndarray, candidates: int, limit: int) -> np.ndarray:
    """
    Return the number of search regions (N,) of each lost target in this frame.

    At most `candidates` per target and `limit` in all; those with the fewest so far go first.

    >>> allocate_budget(np.array([8, 0, 4]), 4, 8)
    array([2, 3, 3])
    """
    counts = np.full(len(used), min(candidates, limit // len(used)))
    left = np.clip(limit - counts.sum(), 0, (candidates - counts).sum())
    counts[np.argsort(used, kind='stable')[:left]] += 1
    return counts


def candidate_boxes(boxes: np.ndarray, velocities: np.ndarray, frames: np.ndarray,
                    used: np.ndarray, frame_sizes: np.ndarray, count: int) -> np.ndarray:
    """
    Return search regions `xyxy` (N, count, 4): the extrapolated box, then samples of the window.

    Parameters are as in `extrapolate` and `sample_points`.
    """
    ahead = extrapolate(boxes, velocities, frames, frame_sizes)
    found = np.repeat(box_ops.xyxy_to_cxcywh(ahead)[:, None], count, 1)
    window = search_windows(ahead, frames, frame_sizes)
    found[:, 1:, :2] = sample_points(window, used, max(count - 1, 0))
    return box_ops.cxcywh_to_xyxy(found)
