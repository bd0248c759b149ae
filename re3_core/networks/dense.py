# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The dense backbone: plain 3x3 convolutions in place of depthwise ones.

Depthwise convolutions need few operations but are slow on CPUs; this backbone has twice the
operations of EfficientNet-Lite0 and takes a quarter of its time. It is initialized by feature
distillation from that (`training.distill`).
"""

from re3_core.networks.base import Tensors
from re3_core.networks.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
import torch
from torch import nn, Tensor

# (stride, channels) of the convolutions, each with ReLU.
LAYERS = ((2, 32), (2, 64), (1, 64), (2, 96), (1, 96), (1, 96), (2, 192), (1, 192), (1, 192),
          (1, 192))
# The maps of stride 4, 8 and 16 are the outputs of these layers, reduced to so many channels.
TAPS = (2, 5, 9)
CHANNELS = (24, 40, 112)


class DenseBackbone(nn.Module):
    """
    Return feature maps of stride 4, 8 and 16 of RGB crops (N, 3, S, S), values 0..255.

    S must be a multiple of 16. `width` scales all channel counts; at 1 those of the maps are 24,
    40 and 112 (attribute `channels`), as EfficientNet-Lite0's.
    """

    def __init__(self, width: float = 1.) -> None:
        super().__init__()
        scaled = [max(4, round(channels * width)) for _, channels in LAYERS]
        self.channels = tuple(max(4, round(channels * width)) for channels in CHANNELS)
        inputs = (3, *scaled[:-1])
        layers = [nn.Conv2d(before, after, 3, stride, padding=1)
                  for before, after, (stride, _) in zip(inputs, scaled, LAYERS, strict=True)]
        self.layers = nn.ModuleList(layers)
        self.reduce = nn.ModuleList(
            nn.Conv2d(scaled[index], channels, 1)
            for index, channels in zip(TAPS, self.channels, strict=True))
        for layer in layers:
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor) -> Tensors:
        maps: list[Tensor] = []
        x = self.normalize(images).contiguous(memory_format=torch.channels_last)
        for index, layer in enumerate(self.layers):
            x = layer(x).relu()
            if index in TAPS:
                maps.append(self.reduce[len(maps)](x))
        return tuple(maps)
