# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Boxes: formats, IoU and checks.

Except for `check_box` and `match_box` the functions take numpy arrays or torch tensors whose last
axis is one box, and return the same kind. Formats: `xyxy` (left, top, right, bottom), `cxcywh`
(center, size), `xywh` (left, top, size); pixels, x to the right, y down.
"""

from collections.abc import Hashable, Mapping
from decimal import Decimal
from numbers import Real
import reprlib
from typing import Any, TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from re3_core.arrays import namespace

if TYPE_CHECKING:
    import torch

Boxes = TypeVar('Boxes', np.ndarray, 'torch.Tensor')
Key = TypeVar('Key', bound=Hashable)


def stack(*parts: Boxes) -> Boxes:
    """Return boxes (..., 4) of four coordinates (...): the inverse of `split`."""
    library = namespace(parts[0])
    if library is np and np.ndim(parts[0]) < 2:     # several times as fast as np.stack
        return np.array(parts).T
    return library.stack(parts, -1)


def split(boxes: Boxes) -> tuple[Boxes, ...]:
    """Return the four coordinates (...) of boxes (..., 4)."""
    return tuple(boxes[..., i] for i in range(4))


def xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """
    Convert `xyxy` (..., 4) to `cxcywh` (..., 4).

    >>> xyxy_to_cxcywh(np.array([10., 20., 30., 60.]))
    array([20., 40., 20., 40.])
    """
    x1, y1, x2, y2 = split(boxes)
    return stack((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """
    Convert `cxcywh` (..., 4) to `xyxy` (..., 4).

    >>> cxcywh_to_xyxy(np.array([20., 40., 20., 40.]))
    array([10., 20., 30., 60.])
    """
    x, y, w, h = split(boxes)
    return stack(x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """
    Convert `xyxy` (..., 4) to `xywh` (..., 4).

    >>> xyxy_to_xywh(np.array([10., 20., 30., 60.]))
    array([10., 20., 20., 40.])
    """
    x1, y1, x2, y2 = split(boxes)
    return stack(x1, y1, x2 - x1, y2 - y1)


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """
    Convert `xywh` (..., 4) to `xyxy` (..., 4).

    >>> xywh_to_xyxy(np.array([10., 20., 20., 40.]))
    array([10., 20., 30., 60.])
    """
    x, y, w, h = split(boxes)
    return stack(x, y, x + w, y + h)


def damp_scale(boxes: Boxes, previous: Boxes, lr: float) -> Boxes:
    """
    Apply only part of the size change from `previous` to `boxes`, both `xyxy` (..., 4).

    :param lr: exponent of the factor by which a side changes: 1 returns `boxes`, 0 boxes of the
        previous size; the centers are those of `boxes` (`scale_lr` of SiamFC).

    >>> damp_scale(np.array([10., 10., 50., 50.]), np.array([10., 20., 20., 30.]), .5)
    array([20., 20., 40., 40.])
    """
    if lr == 1:
        return boxes
    x, y, w, h = split(xyxy_to_cxcywh(boxes))
    _, _, old_w, old_h = split(xyxy_to_cxcywh(previous))
    return cxcywh_to_xyxy(stack(
        x, y, old_w * (w / old_w).clip(0) ** lr, old_h * (h / old_h).clip(0) ** lr))


def area(boxes: Boxes) -> Boxes:
    """
    Return the area, shape (...), of `xyxy` boxes (..., 4); with x1 > x2 or y1 > y2 it is 0.

    >>> float(area(np.array([10., 20., 30., 60.])))
    800.0
    """
    x1, y1, x2, y2 = split(boxes)
    return (x2 - x1).clip(0) * (y2 - y1).clip(0)


def intersection(a: Boxes, b: Boxes) -> Boxes:
    """
    Return the area (...) of the intersection of `xyxy` boxes, elementwise with broadcasting.

    >>> float(intersection(np.array([0., 0., 2., 2.]), np.array([1., 0., 3., 2.])))
    2.0
    """
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = split(a), split(b)
    library = namespace(a)
    width = library.minimum(ax2, bx2) - library.maximum(ax1, bx1)
    height = library.minimum(ay2, by2) - library.maximum(ay1, by1)
    return width.clip(0) * height.clip(0)


def iou(a: Boxes, b: Boxes) -> Boxes:
    """
    Return intersection over union (...) of `xyxy` boxes, elementwise with broadcasting.

    The IoU of two empty boxes is 0.

    >>> float(iou(np.array([0., 0., 2., 2.]), np.array([1., 0., 3., 2.])))  # doctest: +ELLIPSIS
    0.3333...
    """
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / union.clip(1e-12)


def match_box(box: ArrayLike, candidates: Mapping[Key, ArrayLike],
              threshold: float) -> Key | None:
    """
    Return the key of the candidate with the highest IoU, or None if none reaches `threshold`.

    Several boxes may match the same candidate: a detector without non-maximum suppression reports
    one object more than once, and none of these is a new object.

    :param box: (4,) `xyxy` pixels.
    :param candidates: (4,) `xyxy` boxes by key.
    :param threshold: IoU, 0..1, from which boxes are the same object.

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


def check_box(box: Any, frame_size: tuple[int, int] | None = None) -> np.ndarray:
    """
    Return `box` as a new float64 array (4,), `xyxy` pixels.

    :param box: four finite real numbers with x1 < x2 and y1 < y2: a sequence, an array of any
        integer or floating dtype, or a tensor on any device.
    :param frame_size: (height, width) of a frame that the box must overlap.
    :raises ValueError: with the reason.

    >>> check_box((1, 2, 3, 4))
    array([1., 2., 3., 4.])
    """
    values = _four_numbers(box)
    text = '({:.6g}, {:.6g}, {:.6g}, {:.6g})'.format(*values)
    if not np.isfinite(values).all():
        raise ValueError(f'box coordinates must be finite, got {text}')
    if values[2] <= values[0] or values[3] <= values[1]:
        raise ValueError(f'box must have x1 < x2 and y1 < y2, got {text}')
    if frame_size is not None:
        height, width = frame_size
        if values[0] >= width or values[1] >= height or values[2] <= 0 or values[3] <= 0:
            raise ValueError(f'box {text} lies outside the frame of {width} x {height} pixels')
    return values


def _four_numbers(box: Any) -> np.ndarray:
    error = f'box must be four numbers (x1, y1, x2, y2), got {reprlib.repr(box)}'
    if isinstance(box, (str, bytes, Mapping, set, frozenset)):
        raise ValueError(error)
    try:
        # `tolist` and `item`: arrays and tensors of any dtype, on any device, with gradients.
        values = box.tolist() if hasattr(box, 'tolist') else list(box)
        values = [value.item() if hasattr(value, 'item') else value for value in values]
        if len(values) == 4 and all(isinstance(value, (Real, Decimal))
                                    and not isinstance(value, bool) for value in values):
            return np.array([float(value) for value in values])
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ValueError(error)
