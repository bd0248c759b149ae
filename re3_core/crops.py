# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Crops: a network's input, cut from a frame around a box, and coordinates within it.

A crop covers a *region*: a box with the target's center and `context` times its width and
height, warped to a square (Re3 paper, section III-A: the aspect is not kept), or a region nearer
to a square. Pixels outside the frame are black. Tracking and training call the same `crop_batch`;
frames may be numpy arrays (cropped by OpenCV) or torch tensors, for example on a GPU (see
`re3_core.tensor_crops`).
"""

from collections.abc import Sequence
import math
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import cv2
import numpy as np
from re3_core import boxes as box_ops
from re3_core.arrays import is_tensor, namespace
from re3_core.boxes import Boxes

if TYPE_CHECKING:
    from torch import Tensor

# Pixels per crop pixel that bilinear interpolation may skip; larger regions are halved before.
MAX_STEP = 1.5
# OpenCV's warpAffine takes images of at most this many pixels per side.
MAX_FRAME_SIDE = 32766

Frame = Any     # H x W x 3 uint8 RGB: numpy array or torch tensor


class CropSpec(NamedTuple):
    """Side of the square crop in pixels, and its region around a box, see `region_of`."""

    size: int
    context: float
    aspect: float = 1.

    def region(self, boxes: Boxes) -> Boxes:
        """Return the `xyxy` regions (..., 4) of the crops around `xyxy` boxes."""
        return region_of(boxes, self.context, self.aspect)


def region_of(boxes: Boxes, context: float | Boxes, aspect: float = 1.) -> Boxes:
    """
    Return `xyxy` regions (..., 4) with the centers and `context` times the size of `xyxy` boxes.

    :param aspect: exponent of the boxes' aspect ratio in that of the regions, whose area does not
        depend on it. 1: the same aspect; 0: squares. In between, a narrow target has more room
        to move to its sides.

    >>> region_of(np.array([10., 10., 20., 30.]), 2.0)
    array([ 5.,  0., 25., 40.])
    >>> region_of(np.array([10., 0., 20., 160.]), 2.0, aspect=.5)
    array([ -5.,   0.,  35., 160.])
    """
    x, y, w, h = box_ops.split(box_ops.xyxy_to_cxcywh(boxes))
    if aspect != 1:
        stretch = (h / w) ** ((1 - aspect) / 2)
        w, h = w * stretch, h / stretch
    return box_ops.cxcywh_to_xyxy(box_ops.stack(x, y, w * context, h * context))


def encode(boxes: Boxes, regions: Boxes) -> Boxes:
    """
    Convert `xyxy` pixel boxes (..., 4) to region coordinates: 0 and 1 are the region's sides.

    >>> encode(np.array([10., 10., 20., 30.]), np.array([5., 0., 25., 40.]))
    array([0.25, 0.25, 0.75, 0.75])
    """
    origin, size = _origin_and_size(regions)
    return (boxes - origin) / size


def decode(coordinates: Boxes, regions: Boxes) -> Boxes:
    """
    Convert region coordinates (..., 4) to `xyxy` pixel boxes: the inverse of `encode`.

    >>> decode(np.array([.25, .25, .75, .75]), np.array([5., 0., 25., 40.]))
    array([10., 10., 20., 30.])
    """
    origin, size = _origin_and_size(regions)
    return coordinates * size + origin


def _origin_and_size(regions: Boxes) -> tuple[Boxes, Boxes]:
    origin, size = regions[..., :2], regions[..., 2:] - regions[..., :2]
    concatenate = namespace(regions).concatenate
    return concatenate((origin, origin), -1), concatenate((size, size), -1)


def crop_batch(frames: 'Sequence[Frame] | Tensor', regions: 'np.ndarray | Tensor',
               size: int) -> 'Tensor':
    """
    Crop `regions` of `frames` and warp each to size x size pixels.

    :param frames: N frames, H x W x 3 uint8 RGB (sizes may differ, one frame may occur often):
        a sequence of numpy arrays or of torch tensors, or one torch tensor (M, H, W, 3), each
        frame for N / M regions in a row.
    :param regions: (N, 4) `xyxy` pixels, array or tensor; may reach beyond the frame. With
        x1 > x2 the crop is mirrored left to right.
    :param size: side of the crops in pixels; 0: empty crops.
    :return: uint8 tensor (N, 3, size, size), RGB, on the frames' device.
    """
    import torch
    if len(frames) and is_tensor(frames[0]):
        from re3_core.tensor_crops import crop_tensors
        return crop_tensors(frames, regions, size)
    regions = torch.as_tensor(regions).cpu().numpy()
    return torch.from_numpy(crop_arrays(cast(Sequence[np.ndarray], frames), regions, size))


def crop_arrays(frames: Sequence[np.ndarray], regions: np.ndarray, size: int,
                out: np.ndarray | None = None) -> np.ndarray:
    """
    Crop numpy frames; as `crop_batch`, without torch.

    :param out: uint8 (N, size, size, 3) to write the crops to.
    :return: uint8 array (N, 3, size, size), RGB; the channels are the last axis in memory.
    """
    crops = np.empty((len(frames), size, size, 3), np.uint8) if out is None else out
    if not size:
        return crops.transpose(0, 3, 1, 2)
    for crop, frame, region in zip(crops, frames, regions, strict=True):
        _crop_array(frame, region, size, out=crop)
    return crops.transpose(0, 3, 1, 2)


def _crop_array(frame: np.ndarray, region: np.ndarray, size: int, out: np.ndarray) -> None:
    """Crop one region of one numpy frame into `out` (size, size, 3)."""
    x1, y1, x2, y2 = region.tolist()
    left, right = min(x1, x2), max(x1, x2)
    if not (left < frame.shape[1] and y1 < frame.shape[0] and right > 0 and y2 > 0):
        out[:] = 0
        return
    step_x, step_y = (x2 - x1) / size, (y2 - y1) / size
    if abs(step_x) > MAX_STEP or step_y > MAX_STEP:
        frame, column, row, factor_x, factor_y = _shrink(
            frame, (left, y1, right, y2), abs(step_x), step_y)
        x1, step_x = (x1 - column) / factor_x, step_x / factor_x
        y1, step_y = (y1 - row) / factor_y, step_y / factor_y
    # Pixel centers are at +.5 in boxes, at integers in OpenCV.
    matrix = np.array([[step_x, 0, x1 + step_x / 2 - .5], [0, step_y, y1 + step_y / 2 - .5]])
    cv2.warpAffine(frame, matrix, (size, size), dst=out,
                   flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _shrink(frame: np.ndarray, region: tuple[float, float, float, float], step_x: float,
            step_y: float) -> tuple[np.ndarray, int, int, int, int]:
    """
    Halve the part of a frame around a region until both steps are at most MAX_STEP.

    :param region: `xyxy` with x1 < x2; it overlaps the frame.
    :param step_x: pixels of the frame per crop pixel, as `step_y`.
    :return: the part, the column and row of the frame where it begins, and the pixels of the
        frame per pixel of the part in x and y.
    """
    factor_x, factor_y = _shrink_factor(step_x), _shrink_factor(step_y)
    height, width = frame.shape[:2]
    # Interpolation reads one pixel beyond the region.
    left, top = max(0, int(region[0]) - factor_x), max(0, int(region[1]) - factor_y)
    columns, rows = math.ceil(region[2]) - left, math.ceil(region[3]) - top
    # Whole pixels of the part, where the frame has them.
    part = frame[top:min(height, top + (rows // factor_y + 2) * factor_y),
                 left:min(width, left + (columns // factor_x + 2) * factor_x)]
    rest_x, rest_y = factor_x, factor_y
    while rest_x > 1 or rest_y > 1:
        by_x, by_y = min(rest_x, 2), min(rest_y, 2)
        odd_x, odd_y = part.shape[1] % by_x, part.shape[0] % by_y
        if odd_x or odd_y:      # black, as beyond the frame
            part = cv2.copyMakeBorder(part, 0, odd_y, 0, odd_x, cv2.BORDER_CONSTANT)
        # At exactly half the size this is the mean of two or four pixels.
        part = cv2.resize(part, (part.shape[1] // by_x, part.shape[0] // by_y),
                          interpolation=cv2.INTER_LINEAR)
        rest_x, rest_y = rest_x // by_x, rest_y // by_y
    return part, left, top, factor_x, factor_y


def _shrink_factor(step: float) -> int:
    """Return the smallest power of two that divides `step` to MAX_STEP or less."""
    return 1 << max(0, math.ceil(math.log2(max(step, 1e-9) / MAX_STEP)))


def check_frame(frame: np.ndarray) -> None:
    """
    Check a frame: an H x W x 3 uint8 array, RGB, with 1 to MAX_FRAME_SIDE pixels per side.

    :raises ValueError: with the reason.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 \
            or frame.shape[2] != 3 or frame.size == 0:
        got = f'{frame.dtype} {frame.shape}' if isinstance(frame, np.ndarray) else type(frame)
        raise ValueError(f'frame must be an H x W x 3 uint8 RGB array, got {got}')
    if max(frame.shape[:2]) > MAX_FRAME_SIDE:
        raise ValueError(f'frame must have at most {MAX_FRAME_SIDE} pixels per side, got '
                         f'{frame.shape[1]} x {frame.shape[0]}')
