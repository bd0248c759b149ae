# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Crops: the piece of a frame around a box that a network sees, and coordinates within it.

A crop covers a *region*: a box with the target's centre and `context` times its width and
height, warped to a square (Re3 paper, section III-A: the aspect is not kept). What lies outside
the frame is black. Tracking and training call the same `crop_batch`; frames may be numpy arrays
(OpenCV cuts them) or torch tensors, for example on a GPU (torch cuts them, on their device).
"""

from typing import NamedTuple

import cv2
import numpy as np
from re3_core import boxes as box_ops
import torch
from torch.nn import functional

# Beyond this shrinkage one bilinear sample per pixel would skip pixels of the frame; more than
# MAX_OVERSAMPLING samples per side cost more than they show.
MAX_OVERSAMPLING = 4


class CropSpec(NamedTuple):
    """Side of the square crop in pixels, and its extent in multiples of the box."""

    size: int
    context: float


def region_of(boxes, context):
    """
    Return the regions (..., 4), `xyxy`, of `context` times the size around `xyxy` boxes.

    >>> region_of(np.array([10., 10., 20., 30.]), 2.0)
    array([ 5.,  0., 25., 40.])
    """
    x, y, w, h = (box_ops.xyxy_to_cxcywh(boxes)[..., i] for i in range(4))
    stacked = torch.stack if torch.is_tensor(boxes) else np.stack
    return box_ops.cxcywh_to_xyxy(stacked((x, y, w * context, h * context), -1))


def encode(boxes, regions):
    """
    Express `xyxy` pixel boxes (..., 4) in region coordinates: 0 and 1 are the region's sides.

    >>> encode(np.array([10., 10., 20., 30.]), np.array([5., 0., 25., 40.]))
    array([0.25, 0.25, 0.75, 0.75])
    """
    origin, size = _origin_and_size(regions)
    return (boxes - origin) / size


def decode(coordinates, regions):
    """
    Turn region coordinates (..., 4) back into `xyxy` pixel boxes: the inverse of `encode`.

    >>> decode(np.array([.25, .25, .75, .75]), np.array([5., 0., 25., 40.]))
    array([10., 10., 20., 30.])
    """
    origin, size = _origin_and_size(regions)
    return coordinates * size + origin


def _origin_and_size(regions):
    joined = torch.cat if torch.is_tensor(regions) else np.concatenate
    origin, size = regions[..., :2], regions[..., 2:] - regions[..., :2]
    return joined((origin, origin), -1), joined((size, size), -1)


def crop_batch(frames, regions, size):
    """
    Cut `regions` out of `frames` and warp each to size x size pixels.

    :param frames: N frames, H x W x 3 uint8 RGB (sizes may differ, one frame may occur often):
        a sequence of numpy arrays or of torch tensors, or one torch tensor (M, H, W, 3) of which
        each frame serves N / M regions in a row.
    :param regions: (N, 4) `xyxy` pixels, array or tensor; may reach beyond the frame. One with
        x1 > x2 is cut mirrored left to right.
    :param size: side of the crops in pixels.
    :return: uint8 tensor (N, 3, size, size), RGB, on the frames' device.
    """
    if len(frames) and torch.is_tensor(frames[0]):
        return _crop_tensors(frames, regions, size)
    regions = regions.cpu().numpy() if torch.is_tensor(regions) else np.asarray(regions)
    crops = np.zeros((len(frames), size, size, 3), np.uint8)
    for crop, frame, region in zip(crops, frames, regions, strict=True):
        _crop_array(frame, region, size, out=crop)
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def _oversampling(extent, size):
    """Return how many samples per crop pixel and side keep a shrunk region free of aliasing."""
    return int(min(MAX_OVERSAMPLING, max(1, np.ceil(extent / size - 0.5))))


def _crop_array(frame, region, size, out):
    """Cut one region of one numpy frame into `out` (size, size, 3)."""
    x1, y1, x2, y2 = (float(value) for value in region)
    if not (min(x1, x2) < frame.shape[1] and y1 < frame.shape[0] and max(x1, x2) > 0 and y2 > 0):
        return
    fine_x = size * _oversampling(abs(x2 - x1), size)
    fine_y = size * _oversampling(y2 - y1, size)
    step_x, step_y = (x2 - x1) / fine_x, (y2 - y1) / fine_y
    # Pixel centres are at +.5 in boxes, at integers in OpenCV.
    matrix = np.array([[step_x, 0, x1 + step_x / 2 - .5], [0, step_y, y1 + step_y / 2 - .5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(frame, matrix, (fine_x, fine_y), flags=flags)
    out[:] = fine if fine.shape[:2] == (size, size) else cv2.resize(
        fine, (size, size), interpolation=cv2.INTER_AREA)


def _crop_tensors(frames, regions, size):
    """Cut one region of each torch frame; a frame that occurs several times is read once."""
    regions = torch.as_tensor(regions, dtype=torch.float32, device=frames[0].device)
    if torch.is_tensor(frames):
        return _sample(frames, regions.reshape(len(frames), -1, 4), size).flatten(0, 1)
    crops = regions.new_empty((len(frames), 3, size, size), dtype=torch.uint8)
    rows_of = {}
    for row, frame in enumerate(frames):
        rows_of.setdefault(id(frame), []).append(row)
    for rows in rows_of.values():
        crops[rows] = _sample(frames[rows[0]][None], regions[rows][None], size)[0]
    return crops


def _sample(frames, regions, size):
    """
    Sample M regions (N, M, 4) of each of N frames (N, H, W, 3) by bilinear interpolation.

    Every crop pixel is the mean of 2 x 2 samples: a fixed number, since on a GPU the host must
    not wait to learn how large the regions are.
    """
    (count, height, width), fine = frames.shape[:3], 2 * size
    many = regions.shape[1]
    ticks = (torch.arange(fine, device=frames.device) + .5) / fine
    xs = regions[..., 0, None] + ticks * (regions[..., 2] - regions[..., 0])[..., None]
    ys = regions[..., 1, None] + ticks * (regions[..., 3] - regions[..., 1])[..., None]
    grid = torch.stack((
        (2 * xs / width - 1)[:, :, None, :].expand(-1, -1, fine, -1),
        (2 * ys / height - 1)[..., None].expand(-1, -1, -1, fine)), -1)  # (N, M, fine, fine, 2)
    pixels = frames.permute(0, 3, 1, 2).float()                          # (N, 3, H, W)
    crops = functional.grid_sample(                                      # black outside
        pixels, grid.reshape(count, many * fine, fine, 2), align_corners=False)
    crops = functional.avg_pool2d(crops, 2).round().to(torch.uint8)
    return crops.view(count, 3, many, size, size).transpose(1, 2)        # (N, M, 3, size, size)
