# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Normalization of RGB images, and its common constants."""

from collections.abc import Sequence

import torch
from torch import nn, Tensor

# RGB statistics of ImageNet, in units of 0..255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Normalize(nn.Module):
    """Map uint8 RGB images (N, 3, H, W) to (value - mean) / std, in the weights' precision."""

    def __init__(self, mean: Sequence[float], std: Sequence[float] = (1., 1., 1.)) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) / self.std
