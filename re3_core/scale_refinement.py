# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The size check: hold a box, and some that are larger and smaller, against the first one.

A network that goes from box to box adds up its errors of size: nothing that it sees says what
belonged to the target at first, only what belonged to the last box. So from time to time the
crops of a few boxes around the one just found are compared with the first crop, and the box
takes over part of the change that makes it look most like that, if it does so clearly. The
positions stay the network's.

What is told is steadier than what is followed: a size that differs little from the first one does
so mostly by error, one that differs a lot does so for a reason.

What has grown or shrunk a lot has often done so by mistake all the same, so the score of a box
knows of it. Whether a target is lost does not depend on that: things do come nearer.
"""

import numpy as np
from re3_core import boxes as box_ops

# Frames from one check to the next.
REFINE_EVERY = 4
# What counts of a change of area, as a natural logarithm.
MAX_LOG_AREA_RATIO = 1.
# Powers of two by which width and height of the boxes that are compared differ.
SCALE_STEP = .3
# Taken over, as a power of the factor.
SCALE_LR = .5
# A crop must be this much more alike (cosine) than that of the box itself.
MIN_SIMILARITY_GAIN = .01
# Of width and height; the first is the box as it is.
SCALE_OFFSETS = SCALE_STEP * np.array([(0, 0)] + [
    (w, h) for w in (-1, 0, 1) for h in (-1, 0, 1) if (w, h) != (0, 0)])


def scale_boxes(boxes, changes):
    """
    Return `xyxy` boxes (..., 4) with the same centres, their sides times two to the `changes`.

    :param changes: (..., 2), of width and height.

    >>> scale_boxes(np.array([10., 10., 30., 20.]), np.array([1., -1.]))
    array([ 0. , 12.5, 40. , 17.5])
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    centre, half = (low + high) / 2, (high - low) / 2 * 2. ** changes
    return np.concatenate((centre - half, centre + half), -1)


def shrink_size(box, first_box, noise):
    """
    Return an `xyxy` box (4,) as it is told: with little of a small change since the first box.

    Scale and aspect are judged apart, as logarithms: of a change x remains x^3 / (x^2 + noise^2),
    a Wiener gain with x itself for the signal. So large changes are told as they are.

    :param noise: (2,) spread of the errors of scale (geometric mean of both sides) and aspect
        (root of width to height).

    >>> first = np.array([0., 0., 40., 10.])
    >>> shrink_size(np.array([0., 0., 44., 11.]), first, (.1, .1)).round(2)
    array([ 1.07,  0.27, 42.93, 10.73])
    >>> shrink_size(np.array([0., 0., 80., 20.]), first, (.1, .1)).round(2)
    array([ 0.56,  0.14, 79.44, 19.86])
    """
    centre, size = np.split(box_ops.xyxy_to_cxcywh(box), 2)
    first_size = box_ops.xyxy_to_cxcywh(first_box)[2:]
    width, height = np.log(size / first_size)
    scale = _shrink((width + height) / 2, noise[0])
    aspect = _shrink((width - height) / 2, noise[1])
    told = first_size * np.exp([scale + aspect, scale - aspect])
    return box_ops.cxcywh_to_xyxy(np.concatenate((centre, told)))


def _shrink(change, noise):
    return change ** 3 / (change ** 2 + noise ** 2) if noise else change


def abs_log_area_ratio(boxes, first_areas):
    """
    Return |log(area / first area)| of `xyxy` boxes (..., 4), at most MAX_LOG_AREA_RATIO.

    >>> boxes = np.array([[0., 0., 20., 10.], [0., 0., 9., 1.]])
    >>> abs_log_area_ratio(boxes, np.array([200., 180.]))
    array([0., 1.])
    """
    changes = np.abs(np.log(box_ops.area(boxes) / first_areas))
    return np.minimum(changes, MAX_LOG_AREA_RATIO)


def recalibrate(score, change, weight, bias):
    """
    Return the overlap to expect (0..1) of a box by its score and its change of area.

    :param score: 0..1, as if nothing were known of the area.
    :param weight: how much the logit falls with the change, `bias` by how much it is too low
        for a box whose area has not changed.

    >>> recalibrate(.5, 1., weight=0., bias=0.), recalibrate(1., 1., weight=.7, bias=.2)
    (0.5, 1.0)
    """
    odds = score * np.exp(bias - weight * change)
    return float(odds / (odds + 1 - score))


def scale_pyramid(boxes):
    """Return the boxes (N, 9, 4) to be held against the first ones: `boxes` (N, 4), 8 around."""
    return scale_boxes(np.repeat(boxes[:, None], len(SCALE_OFFSETS), 1), SCALE_OFFSETS)


def refine_scale(box, alike):
    """
    Return `box` (4,) with its size refine_scale.

    :param alike: (9,) how alike the crops of `scale_pyramid` are to the first one, -1..1.
    """
    best = int(np.argmax(alike))
    clearly = alike[best] > alike[0] + MIN_SIMILARITY_GAIN
    return scale_boxes(box, SCALE_LR * SCALE_OFFSETS[best] * clearly)
