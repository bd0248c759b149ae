# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The search for lost targets: where to look for them, and whether they are found.

What a target was when it was last trusted is kept: box, velocity, what it looked like and the
network's state. Once it is lost, the network goes on from where it is, for many targets that are
said to be lost are only in doubt. Beside that it looks, in every frame, at a few places in a
window that lies where the motion leads and grows with time, each time with the state and the size
of then, so that nothing seen meanwhile counts. The best place with a good score is looked at again
in the following frames. Only what keeps a good score, there or elsewhere, counts as found.

All here are pure functions of arrays; the tracker calls them.
"""

from typing import NamedTuple

import numpy as np
from re3_core import boxes as box_ops
from re3_core.networks import State
import torch

# Places per lost target and frame, and for all lost targets together (0: no search).
CANDIDATES = 6
LIMIT = 32
# Good scores in a row that make a lost target found.
FOUND_AFTER = 3
# Share of a frame's score in the usual one; how far below that a target may be that was lost and
# is found where the network went on: it may have come to take what hides it for the target.
CONFIDENCE_EMA = .1
CONFIDENCE_DROP = .1
# Share of a frame's motion in the velocity; what is left of a velocity after each frame hidden.
VELOCITY_EMA = .3
DAMPING = .9
# Half the window in box sizes, at first and per frame, and per frame in ways of the velocity.
WINDOW_MARGIN, WINDOW_GROWTH, VELOCITY_SLACK = .5, .1, .5
# Fractions of which the multiples fill the unit square evenly (the plastic number's powers).
R2_SEQUENCE = np.array((.7548776662466927, .5698402909980532))


class Keyframe(NamedTuple):
    """
    A target as it was when its score was last good.

    `box` (4,) `xyxy` and `velocity` (2,) are float64, pixels and pixels per frame; `score` is its
    usual one, 0 before there is one; `previous` (1, 3, S, S) and `state` are what the next step of
    the network would have been given; `step` numbers the frame.
    """

    box: np.ndarray
    velocity: np.ndarray
    score: float
    previous: torch.Tensor
    state: State
    step: int

    def copied(self):
        """Return the same in memory of its own, not in that of a whole batch."""
        return self._replace(previous=self.previous.clone(), state=State(
            *(tuple(tensor.clone() for tensor in part) for part in self.state)))


class Candidate(NamedTuple):
    """A place where a lost target seems to be: its `box` (4,), `good` frames in a row so far."""

    box: np.ndarray
    good: int


class Proposal(NamedTuple):
    """A place that the network is asked about: `row` tells whose target it is."""

    row: int
    box: np.ndarray
    previous: torch.Tensor
    state: State


def update_velocity(velocity, before, after, frames=1):
    """
    Return the velocity (2,) of a target that went from one `xyxy` box to another.

    It follows the motion smoothly, all the closer the more frames lie between.
    """
    motion = (box_ops.xyxy_to_cxcywh(after) - box_ops.xyxy_to_cxcywh(before))[:2] / frames
    return velocity + (1 - (1 - VELOCITY_EMA) ** frames) * (motion - velocity)


def running_mean_confidence(usual, score, frames):
    """
    Return the usual score after one more frame: of the first ones their mean, then of the latest.

    >>> [round(running_mean_confidence(.8, .5, frames), 3) for frames in (3, 300)]
    [0.7, 0.77]
    """
    return usual + max(CONFIDENCE_EMA, 1 / frames) * (score - usual)


def redetection_threshold(found_confidence, usual):
    """
    Return the score at which a lost target is found where the network went on.

    >>> redetection_threshold(.56, usual=.75), redetection_threshold(.56, usual=.6)
    (0.65, 0.56)
    """
    return max(found_confidence, usual - CONFIDENCE_DROP)


def extrapolate(boxes, velocities, frames, frame_sizes):
    """
    Return where the motion leads: `xyxy` (N, 4), the size unchanged, the centre in the frame.

    :param boxes: (N, 4) `xyxy` pixels, where the targets were `frames` (N,) frames ago.
    :param velocities: (N, 2) pixels per frame; DAMPING of it is left after each frame.
    :param frame_sizes: (N, 2) height and width.
    """
    way = (1 - DAMPING ** frames) * DAMPING / (1 - DAMPING)
    centres, sizes = np.split(box_ops.xyxy_to_cxcywh(boxes), 2, -1)
    centres = np.clip(centres + velocities * way[:, None], 0, frame_sizes[:, ::-1])
    return box_ops.cxcywh_to_xyxy(np.concatenate((centres, sizes), -1))


def search_windows(boxes, velocities, frames, frame_sizes):
    """
    Return where the centres are looked for, `xyxy` (N, 4) within the frame.

    :param boxes: (N, 4) `xyxy`, where the motion leads; the others as for `extrapolate`.
    """
    centres, sizes = np.split(box_ops.xyxy_to_cxcywh(boxes), 2, -1)
    frames = frames[:, None]
    reach = (sizes * (WINDOW_MARGIN + WINDOW_GROWTH * frames)
             + VELOCITY_SLACK * np.abs(velocities) * frames)
    extent = frame_sizes[:, ::-1]
    return np.concatenate((np.clip(centres - reach, 0, extent),
                           np.clip(centres + reach, 0, extent)), -1)


def sample_points(windows, tried, count):
    """
    Return `count` points (N, count, 2) in `xyxy` windows (N, 4), different ones at every call.

    They go on with a sequence that fills the window ever more densely (Roberts' R2 sequence).

    :param tried: (N,) number of points of the sequence that have been used up.
    """
    numbers = tried[:, None] + np.arange(count)
    unit = (.5 + numbers[..., None] * R2_SEQUENCE) % 1
    low, high = windows[:, None, :2], windows[:, None, 2:]
    return low + unit * (high - low)


def allocate_budget(tried, candidates, limit):
    """
    Return how many places (N,) of each lost target are looked at in this frame.

    At most `candidates` of each and `limit` in all; where that is not the same for each, those
    that have been tried least have it, so that everyone has its turn.

    >>> allocate_budget(np.array([8, 0, 4]), 4, 8)
    array([2, 3, 3])
    """
    counts = np.full(len(tried), min(candidates, limit // len(tried)))
    left = np.clip(limit - counts.sum(), 0, (candidates - counts).sum())
    counts[np.argsort(tried, kind='stable')[:left]] += 1
    return counts


def candidate_boxes(boxes, velocities, frames, tried, frame_sizes, count):
    """
    Return the places to look at, `xyxy` (N, count, 4): first where the motion leads.

    Parameters are as for `extrapolate` and `sample_points`.
    """
    ahead = extrapolate(boxes, velocities, frames, frame_sizes)
    found = np.repeat(box_ops.xyxy_to_cxcywh(ahead)[:, None], count, 1)
    window = search_windows(ahead, velocities, frames, frame_sizes)
    found[:, 1:, :2] = sample_points(window, tried, max(count - 1, 0))
    return box_ops.cxcywh_to_xyxy(found)
