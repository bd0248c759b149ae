# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Scale refinement: a multi-scale search for the size that is most similar to the first template.

A network that regresses each box from the last one accumulates errors of size. Every REFINE_EVERY
frames the crops of boxes of several sizes around the tracked one are compared with the template,
as in SiamFC (Bertinetto et al. 2016), and part of the best change is applied. The returned boxes
are smoothed by `shrink_size`, the tracked ones are not. `recalibrate` lowers the returned
confidence of boxes whose area has changed much; lost and found do not depend on it.
"""

import numpy as np
from re3_core import boxes as box_ops

# Frames between refinements.
REFINE_EVERY = 4
# Larger changes of area (natural logarithm) do not lower the confidence further.
MAX_LOG_AREA_RATIO = 1.
# Step of width and height in the pyramid (logarithm to base 2); part of it that is applied.
SCALE_STEP = .3
SCALE_LR = .5
# The best crop's cosine similarity must exceed that of the box itself by this much.
MIN_SIMILARITY_GAIN = .01
# Changes of width and height (logarithm to base 2) in the pyramid; the first is the box itself.
SCALE_OFFSETS = SCALE_STEP * np.array([(0, 0)] + [
    (w, h) for w in (-1, 0, 1) for h in (-1, 0, 1) if (w, h) != (0, 0)])


def scale_boxes(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """
    Return `xyxy` boxes (..., 4) with the same centers, their sides times two to the `offsets`.

    :param offsets: (..., 2), of width and height.

    >>> scale_boxes(np.array([10., 10., 30., 20.]), np.array([1., -1.]))
    array([ 0. , 12.5, 40. , 17.5])
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    center, half = (low + high) / 2, (high - low) / 2 * 2. ** offsets
    return np.concatenate((center - half, center + half), -1)


def shrink_size(boxes: np.ndarray, initial_boxes: np.ndarray,
                std: tuple[float, float]) -> np.ndarray:
    """
    Return `xyxy` boxes (..., 4) with their size shrunk toward the initial size.

    Log scale and log aspect are shrunk separately: of a change x remains x^3 / (x^2 + std^2), the
    gain of a Wiener filter with x itself as signal. Large changes remain nearly as they are.

    :param std: standard errors of scale (geometric mean of both sides) and aspect (root of width
        to height).

    >>> initial = np.array([0., 0., 40., 10.])
    >>> shrink_size(np.array([0., 0., 44., 11.]), initial, (.1, .1)).round(2)
    array([ 1.07,  0.27, 42.93, 10.73])
    >>> shrink_size(np.array([0., 0., 80., 20.]), initial, (.1, .1)).round(2)
    array([ 0.56,  0.14, 79.44, 19.86])
    """
    x, y, w, h = box_ops.split(box_ops.xyxy_to_cxcywh(boxes))
    _, _, initial_w, initial_h = box_ops.split(box_ops.xyxy_to_cxcywh(initial_boxes))
    width, height = np.log(w / initial_w), np.log(h / initial_h)
    scale = _shrink((width + height) / 2, std[0])
    aspect = _shrink((width - height) / 2, std[1])
    return box_ops.cxcywh_to_xyxy(box_ops.stack(
        x, y, initial_w * np.exp(scale + aspect), initial_h * np.exp(scale - aspect)))


def _shrink(change: np.ndarray, std: float) -> np.ndarray:
    return change ** 3 / (change ** 2 + std ** 2) if std else change


def abs_log_area_ratio(boxes: np.ndarray, initial_areas: np.ndarray) -> np.ndarray:
    """
    Return |log(area / initial area)| of `xyxy` boxes (..., 4), at most MAX_LOG_AREA_RATIO.

    >>> boxes = np.array([[0., 0., 20., 10.], [0., 0., 9., 1.]])
    >>> abs_log_area_ratio(boxes, np.array([200., 180.]))
    array([0., 1.])
    """
    ratios = np.abs(np.log(box_ops.area(boxes) / initial_areas))
    return np.minimum(ratios, MAX_LOG_AREA_RATIO)


def recalibrate(confidence: float, log_area_ratio: float, weight: float, bias: float) -> float:
    """
    Return the confidence (0..1) corrected for the change of area.

    :param log_area_ratio: of `abs_log_area_ratio`.
    :param weight: decrease of the logit per unit of it.
    :param bias: added to the logit.

    >>> recalibrate(.5, 1., weight=0., bias=0.), recalibrate(1., 1., weight=.7, bias=.2)
    (0.5, 1.0)
    """
    odds = confidence * np.exp(bias - weight * log_area_ratio)
    return float(odds / (odds + 1 - confidence))


def scale_pyramid(boxes: np.ndarray) -> np.ndarray:
    """Return `xyxy` boxes (N, 9, 4) to compare: `boxes` (N, 4) with all SCALE_OFFSETS."""
    return scale_boxes(np.repeat(boxes[:, None], len(SCALE_OFFSETS), 1), SCALE_OFFSETS)


def refine_scale(box: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """
    Return an `xyxy` box (4,) moved toward the most similar size of its pyramid.

    :param similarity: (9,) cosine similarity of the crops of `scale_pyramid` and the template.
    """
    best = int(np.argmax(similarity))
    exceeds = similarity[best] > similarity[0] + MIN_SIMILARITY_GAIN
    return scale_boxes(box, SCALE_LR * SCALE_OFFSETS[best] * exceeds)
