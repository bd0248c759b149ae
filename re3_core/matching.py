# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Which tracked target a detected box belongs to."""

import numpy as np
from re3_core.boxes import iou


def match_box(box, candidates, threshold):
    """
    Return the key of the candidate that overlaps `box` most, or None if none does enough.

    Several boxes may match the same candidate: a detector without suppression reports one
    object more than once, and none of these is a new object.

    :param box: (4,) `xyxy` pixels.
    :param candidates: dict of key -> (4,) `xyxy` box.
    :param threshold: the intersection over union, 0..1, from which boxes are the same object.

    >>> match_box((0, 0, 10, 10), {'cup': (1, 0, 11, 10), 'dog': (50, 0, 60, 10)}, 0.3)
    'cup'
    >>> match_box((0, 0, 10, 10), {'dog': (50, 0, 60, 10)}, 0.3) is None
    True
    """
    if not candidates:
        return None
    keys = list(candidates)
    boxes = np.array([candidates[key] for key in keys], dtype=np.float64)
    overlaps = iou(np.asarray(box, dtype=np.float64)[None], boxes)
    best = int(overlaps.argmax())
    return keys[best] if overlaps[best] >= threshold else None
