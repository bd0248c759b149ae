# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The convolutions of Re3 and GOTURN: AlexNet in Caffe's and in torchvision's layout.

CaffeNet, the paper's: 96-256-384-384-256 channels, the second, fourth and fifth convolution in
two groups, local response normalization after the pooling (AlexNet has it before). Torchvision's
AlexNet, which pygoturn uses: 64-192-384-256-256 channels, no groups, no normalization.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn, Tensor
from torch.nn import functional

CAFFENET = (96, 256, 384, 384, 256)
TORCHVISION = (64, 192, 384, 256, 256)
LAYOUTS = ('caffe', 'torchvision')


class AlexNetMaps(NamedTuple):
    """Feature maps (N, C, H, W) of `AlexNet`; shapes are those of CaffeNet at 227."""

    norm1: Tensor       # 96 x 27 x 27, after the first pooling and normalization
    norm2: Tensor       # 256 x 13 x 13, after the second
    conv5: Tensor       # 256 x 13 x 13
    pool5: Tensor       # 256 x 6 x 6


def response_norm(maps: Tensor) -> Tensor:
    """
    Divide by (1 + 1e-4 / 5 * the sum of squares over 5 channels) ** .75.

    Computed in float32: the squares do not fit into float16.
    """
    normed = functional.local_response_norm(maps.float(), 5, alpha=1e-4, beta=0.75, k=1.)
    return normed.to(maps.dtype)


def _pool(maps: Tensor) -> Tensor:
    return functional.max_pool2d(maps, 3, 2)


class AlexNet(nn.Module):
    """
    Compute `AlexNetMaps` of normalized images (N, 3, S, S).

    :param layout: 'caffe' or 'torchvision'; it sets groups, padding and normalization.
    :param channels: output channels of the five convolutions; even ones for 'caffe'.
    """

    def __init__(self, layout: str = 'caffe', channels: Sequence[int] = CAFFENET) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}')
        self.caffe = layout == 'caffe'
        groups, padding = (2, 0) if self.caffe else (1, 2)
        one, two, three, four, five = channels
        self.conv1 = nn.Conv2d(3, one, 11, 4, padding)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)
        self.conv4 = nn.Conv2d(three, four, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1, groups=groups)

    def forward(self, images: Tensor) -> AlexNetMaps:
        norm1 = self._normalize(_pool(functional.relu(self.conv1(images))))
        norm2 = self._normalize(_pool(functional.relu(self.conv2(norm1))))
        conv4 = functional.relu(self.conv4(functional.relu(self.conv3(norm2))))
        conv5 = functional.relu(self.conv5(conv4))
        return AlexNetMaps(norm1, norm2, conv5, _pool(conv5))

    def _normalize(self, maps: Tensor) -> Tensor:
        return response_norm(maps) if self.caffe else maps

    def map_sides(self, size: int) -> tuple[int, int, int, int]:
        """Return the sides of the four maps of images of `size` pixels, or raise ValueError."""
        first = (size + (0 if self.caffe else 4) - 11) // 4 + 1
        norm1 = (first - 3) // 2 + 1
        norm2 = (norm1 - 3) // 2 + 1
        pool5 = (norm2 - 3) // 2 + 1
        if pool5 < 1:
            raise ValueError(f'images of {size} pixels are too small for the convolutions')
        return norm1, norm2, norm2, pool5
