# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Crops: a network's input, cut from a frame around a box, and coordinates within it.

A crop covers a *region*: a box with the target's center and `context` times its width and
height, warped to a square (Re3 paper, section III-A: the aspect is not kept). Pixels outside the
frame are black. Tracking and training call the same `crop_batch`; frames may be numpy arrays
(cropped by OpenCV) or torch tensors, for example on a GPU (see `re3_core.tensor_crops`).
"""

from collections.abc import Sequence
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import cv2
import numpy as np
from re3_core import boxes as box_ops
from re3_core.arrays import is_tensor, namespace
from re3_core.boxes import Boxes

if TYPE_CHECKING:
    from torch import Tensor

# Samples per crop pixel and side against aliasing in crops of large regions.
MAX_OVERSAMPLING = 4
# OpenCV's warpAffine takes images of at most this many pixels per side.
MAX_FRAME_SIDE = 32766

Frame = Any     # H x W x 3 uint8 RGB: numpy array or torch tensor


class CropSpec(NamedTuple):
    """Side of the square crop in pixels, and its extent in multiples of the box."""

    size: int
    context: float


def region_of(boxes: Boxes, context: float | Boxes) -> Boxes:
    """
    Return `xyxy` regions (..., 4) with the centers and `context` times the size of `xyxy` boxes.

    >>> region_of(np.array([10., 10., 20., 30.]), 2.0)
    array([ 5.,  0., 25., 40.])
    """
    x, y, w, h = box_ops.split(box_ops.xyxy_to_cxcywh(boxes))
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
    :param size: side of the crops in pixels.
    :return: uint8 tensor (N, 3, size, size), RGB, on the frames' device.
    """
    import torch
    if len(frames) and is_tensor(frames[0]):
        from re3_core.tensor_crops import crop_tensors
        return crop_tensors(frames, regions, size)
    regions = torch.as_tensor(regions).cpu().numpy()
    return torch.from_numpy(crop_arrays(cast(Sequence[np.ndarray], frames), regions, size))


def crop_arrays(frames: Sequence[np.ndarray], regions: np.ndarray, size: int) -> np.ndarray:
    """
    Crop numpy frames; as `crop_batch`, without torch.

    :return: uint8 array (N, 3, size, size), RGB; the channels are the last axis in memory.
    """
    crops = np.zeros((len(frames), size, size, 3), np.uint8)
    for crop, frame, region in zip(crops, frames, regions, strict=True):
        _crop_array(frame, region, size, out=crop)
    return crops.transpose(0, 3, 1, 2)


def _oversampling(extent: float, size: int) -> int:
    """Return the samples per crop pixel and side that avoid aliasing."""
    return int(min(MAX_OVERSAMPLING, max(1, np.ceil(extent / size - 0.5))))


def _crop_array(frame: np.ndarray, region: np.ndarray, size: int, out: np.ndarray) -> None:
    """Crop one region of one numpy frame into `out` (size, size, 3)."""
    x1, y1, x2, y2 = (float(value) for value in region)
    if not (min(x1, x2) < frame.shape[1] and y1 < frame.shape[0] and max(x1, x2) > 0 and y2 > 0):
        return
    fine_x = size * _oversampling(abs(x2 - x1), size)
    fine_y = size * _oversampling(y2 - y1, size)
    step_x, step_y = (x2 - x1) / fine_x, (y2 - y1) / fine_y
    # Pixel centers are at +.5 in boxes, at integers in OpenCV.
    matrix = np.array([[step_x, 0, x1 + step_x / 2 - .5], [0, step_y, y1 + step_y / 2 - .5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if (fine_x, fine_y) == (size, size):
        cv2.warpAffine(frame, matrix, (size, size), dst=out, flags=flags)
    else:
        fine = cv2.warpAffine(frame, matrix, (fine_x, fine_y), flags=flags)
        cv2.resize(fine, (size, size), dst=out, interpolation=cv2.INTER_AREA)


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
