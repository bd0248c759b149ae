# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The dense backbone: plain 3x3 convolutions that imitate the compact one.

Depthwise convolutions are few operations but slow ones on CPUs, forward and even more backward:
EfficientNet-Lite0 spends two thirds of its time before stride 4. Here are twice its operations,
all of them dense, in a quarter of its time. It starts from what `training.distill` has taught
it: the maps that EfficientNet-Lite0, trained on ImageNet, makes of the same crops.
"""

from re3_core.networks.backbone import normalise_buffers, normalised
from torch import nn

# (stride, channels) of the convolutions, each with ReLU.
LAYERS = ((2, 32), (2, 64), (1, 64), (2, 96), (1, 96), (1, 96), (2, 192), (1, 192), (1, 192),
          (1, 192))
# After these the maps of stride 4, 8 and 16 are read, and reduced to so many channels.
TAPS = (2, 5, 9)
CHANNELS = (24, 40, 112)


class DenseBackbone(nn.Module):
    """
    Return feature maps of stride 4, 8 and 16 of RGB crops (N, 3, S, S), values 0..255.

    S must be a multiple of 16. `width` scales all channel counts; at 1 those of the maps are 24,
    40 and 112 (attribute `channels`), as EfficientNet-Lite0's.
    """

    def __init__(self, width=1.):
        super().__init__()
        scaled = [max(4, round(channels * width)) for _, channels in LAYERS]
        self.channels = tuple(max(4, round(channels * width)) for channels in CHANNELS)
        inputs = (3, *scaled[:-1])
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1)
            for before, after, (stride, _) in zip(inputs, scaled, LAYERS, strict=True))
        self.reduce = nn.ModuleList(
            nn.Conv2d(scaled[index], channels, 1)
            for index, channels in zip(TAPS, self.channels, strict=True))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)
        normalise_buffers(self)

    def forward(self, images):
        maps = []
        x = normalised(self, images)
        for index, layer in enumerate(self.layers):
            x = layer(x).relu()
            if index in TAPS:
                maps.append(self.reduce[len(maps)](x))
        return tuple(maps)
