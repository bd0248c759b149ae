# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Crops of torch tensors on their device; `re3_core.crops.crop_batch` calls this."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def crop_tensors(frames: Sequence[Tensor] | Tensor, regions: np.ndarray | Tensor,
                 size: int) -> Tensor:
    """Crop one region of each torch frame; a frame that occurs several times is read once."""
    regions = torch.as_tensor(regions, dtype=torch.float32, device=frames[0].device)
    if not size:
        return regions.new_empty((len(regions), 3, 0, 0), dtype=torch.uint8)
    if torch.is_tensor(frames):
        return _sample(frames, regions.reshape(len(frames), -1, 4), size).flatten(0, 1)
    crops = regions.new_empty((len(frames), 3, size, size), dtype=torch.uint8)
    rows_of: dict[int, list[int]] = {}
    for row, frame in enumerate(frames):
        rows_of.setdefault(id(frame), []).append(row)
    for rows in rows_of.values():
        crops[rows] = _sample(frames[rows[0]][None], regions[rows][None], size)[0]
    return crops


def _sample(frames: Tensor, regions: Tensor, size: int) -> Tensor:
    """
    Sample M regions (N, M, 4) of each of N frames (N, H, W, 3) by bilinear interpolation.

    Every crop pixel is the mean of 2 x 2 samples: a fixed number, so that the host does not wait
    for the sizes of regions on a GPU.
    """
    (count, height, width), fine = frames.shape[:3], 2 * size
    many = regions.shape[1]
    ticks = (torch.arange(fine, dtype=torch.float32, device=frames.device) + .5) / fine
    xs = regions[..., 0, None] + ticks * (regions[..., 2] - regions[..., 0])[..., None]
    ys = regions[..., 1, None] + ticks * (regions[..., 3] - regions[..., 1])[..., None]
    grid = torch.stack((
        (2 * xs / width - 1)[:, :, None, :].expand(-1, -1, fine, -1),
        (2 * ys / height - 1)[..., None].expand(-1, -1, -1, fine)), -1)  # (N, M, fine, fine, 2)
    pixels = frames.permute(0, 3, 1, 2).float()                          # (N, 3, H, W)
    crops = functional.grid_sample(                                      # zeros outside
        pixels, grid.reshape(count, many * fine, fine, 2), align_corners=False)
    crops = functional.avg_pool2d(crops, 2).round().to(torch.uint8)
    return crops.view(count, 3, many, size, size).transpose(1, 2)        # (N, M, 3, size, size)
