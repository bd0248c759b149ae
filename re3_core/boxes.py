# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Boxes: formats, overlap and checks.

All functions but `check_box` take numpy arrays or torch tensors whose last axis holds one
box, and return the same kind. Formats: `xyxy` (left, top, right, bottom), `cxcywh` (centre,
size), `xywh` (left, top, size); pixels, x to the right, y down.
"""

import numpy as np
import torch


def _stack(*parts):
    """Join coordinates along a new last axis, in the library the parts come from."""
    return torch.stack(parts, -1) if torch.is_tensor(parts[0]) else np.stack(parts, -1)


def _split(boxes):
    return tuple(boxes[..., i] for i in range(4))


def xyxy_to_cxcywh(boxes):
    """
    Convert `xyxy` (..., 4) to `cxcywh` (..., 4).

    >>> xyxy_to_cxcywh(np.array([10., 20., 30., 60.]))
    array([20., 40., 20., 40.])
    """
    x1, y1, x2, y2 = _split(boxes)
    return _stack((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def cxcywh_to_xyxy(boxes):
    """
    Convert `cxcywh` (..., 4) to `xyxy` (..., 4).

    >>> cxcywh_to_xyxy(np.array([20., 40., 20., 40.]))
    array([10., 20., 30., 60.])
    """
    x, y, w, h = _split(boxes)
    return _stack(x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def xyxy_to_xywh(boxes):
    """
    Convert `xyxy` (..., 4) to `xywh` (..., 4).

    >>> xyxy_to_xywh(np.array([10., 20., 30., 60.]))
    array([10., 20., 20., 40.])
    """
    x1, y1, x2, y2 = _split(boxes)
    return _stack(x1, y1, x2 - x1, y2 - y1)


def xywh_to_xyxy(boxes):
    """
    Convert `xywh` (..., 4) to `xyxy` (..., 4).

    >>> xywh_to_xyxy(np.array([10., 20., 20., 40.]))
    array([10., 20., 30., 60.])
    """
    x, y, w, h = _split(boxes)
    return _stack(x, y, x + w, y + h)


def damp_scale(boxes, before, gain):
    """
    Let `xyxy` boxes (..., 4) change the size of those before only in part; centres are theirs.

    :param gain: power of the factor by which a side changes: 1 leaves `boxes` as they are, 0
        the sizes of those before.

    >>> damp_scale(np.array([10., 10., 50., 50.]), np.array([10., 20., 20., 30.]), .5)
    array([20., 20., 40., 40.])
    """
    if gain == 1:
        return boxes
    x, y, w, h = _split(xyxy_to_cxcywh(boxes))
    _, _, old_w, old_h = _split(xyxy_to_cxcywh(before))
    return cxcywh_to_xyxy(_stack(
        x, y, old_w * (w / old_w).clip(0) ** gain, old_h * (h / old_h).clip(0) ** gain))


def area(boxes):
    """
    Return the area, shape (...), of `xyxy` boxes (..., 4); a box turned inside out has area 0.

    >>> float(area(np.array([10., 20., 30., 60.])))
    800.0
    """
    x1, y1, x2, y2 = _split(boxes)
    return (x2 - x1).clip(0) * (y2 - y1).clip(0)


def _larger(a, b):
    return torch.maximum(a, b) if torch.is_tensor(a) else np.maximum(a, b)


def _smaller(a, b):
    return torch.minimum(a, b) if torch.is_tensor(a) else np.minimum(a, b)


def intersection(a, b):
    """Return the area (...) that `xyxy` boxes `a` and `b` share, pair by pair."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _split(a), _split(b)
    width = _smaller(ax2, bx2) - _larger(ax1, bx1)
    height = _smaller(ay2, by2) - _larger(ay1, by1)
    return width.clip(0) * height.clip(0)


def iou(a, b):
    """
    Return intersection over union (...) of `xyxy` boxes, pair by pair with broadcasting.

    Two empty boxes have overlap 0.

    >>> float(iou(np.array([0., 0., 2., 2.]), np.array([1., 0., 3., 2.])))  # doctest: +ELLIPSIS
    0.3333...
    """
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / union.clip(1e-12)


def match_box(box, candidates, threshold):
    """
    Return the key of the candidate that overlaps `box` most.

    None if there is no candidate or no intersection over union reaches `threshold`.

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


def check_box(box, frame_size=None):
    """
    Return `box` as a float64 array (4,), `xyxy` pixels, or raise ValueError saying what is wrong.

    A box must be four finite numbers with x1 < x2 and y1 < y2 and, if `frame_size`
    (height, width) is given, must overlap the frame.

    >>> check_box((1, 2, 3, 4))
    array([1., 2., 3., 4.])
    """
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f'box must be four numbers (x1, y1, x2, y2), got {box!r}') from None
    if values.shape != (4,):
        raise ValueError(f'box must be four numbers (x1, y1, x2, y2), got shape {values.shape}')
    text = '({:.6g}, {:.6g}, {:.6g}, {:.6g})'.format(*values)
    if not np.isfinite(values).all():
        raise ValueError(f'box coordinates must be finite, got {text}')
    if values[2] <= values[0] or values[3] <= values[1]:
        raise ValueError(f'box must have x1 < x2 and y1 < y2, got {text}')
    if frame_size is not None:
        _check_inside(values, frame_size, text)
    return values


def _check_inside(box, frame_size, text):
    height, width = frame_size
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise ValueError(f'box {text} lies outside the frame of {width} x {height} pixels')
