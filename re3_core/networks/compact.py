# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
What the compact networks share: all but what goes from frame to frame.

Both crops go through one backbone. To the network that remembers (`Re3LiteNet`) and to the one
that does not (`GoturnLiteNet`) a moment is one vector: skip connections of both crops with
PReLU, as in Re3, and a pixel-wise correlation of the current crop with templates of the target
(Yan et al. 2021, Alpha-Refine), which tells where each of its parts is found again. Both regress
the box in units of the last one, and the overlap to expect.
"""

import copy

from re3_core.crops import CropSpec
from re3_core.networks.backbone import CompactBackbone, folded
from re3_core.networks.base import Prediction, TrackerNetwork
from re3_core.networks.dense import DenseBackbone
import torch
from torch import nn
from torch.nn import functional

BACKBONES = {'efficientnet_lite0': CompactBackbone, 'dense': DenseBackbone}
# Channels of the skip connections from stride 4, 8 and 16.
SKIPS = (4, 16, 48)
# One frame changes the size at most by this factor (as a logarithm): a guard, never a target.
MAX_LOG_SCALE = 1.


class Neck(nn.Module):
    """Join the maps of stride 8 and 16 into unit vectors (N, C, H, W) of stride 8."""

    def __init__(self, channels, width):
        super().__init__()
        self.fine = nn.Conv2d(channels[1], width, 1)
        self.coarse = nn.Conv2d(channels[2], width, 1)
        self.activation = nn.PReLU(width)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps):
        coarse = functional.interpolate(self.coarse(maps[2]), scale_factor=2., mode='nearest')
        embedded = self.smooth(self.activation(self.fine(maps[1]) + coarse))
        return functional.normalize(embedded.float(), dim=1)


class Skips(nn.Module):
    """Reduce the three maps of one crop by 1x1 convolutions and PReLU, to one vector (N, F)."""

    def __init__(self, channels):
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in zip(channels, SKIPS, strict=True))
        self.activation = nn.ModuleList(nn.PReLU(outputs) for outputs in SKIPS)

    def forward(self, maps):
        return torch.cat([
            activation(reduce(x)).flatten(1)
            for reduce, activation, x in zip(self.reduce, self.activation, maps, strict=True)], 1)


class Matcher(nn.Module):
    """
    Find the parts of the templates in the search map; return one vector (N, F).

    Every cell of a template is correlated with every cell of the search map, so the channel
    tells which part of the target it is and the place where it is now: position and size can
    be read off without knowing what the target looks like.
    """

    def __init__(self, width, parts, outputs=64):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(2.))
        self.first = nn.Conv2d(parts + width, outputs, 3, padding=1)
        self.first_activation = nn.PReLU(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        self.second_activation = nn.PReLU(outputs)

    def forward(self, templates, search):
        count, width, height, _ = search.shape
        parts = torch.cat([template.flatten(2) for template in templates], 2)
        found = torch.bmm(parts.transpose(1, 2), search.flatten(2))     # (N, parts, H W)
        found = torch.exp(self.sharpness) * found.view(count, -1, height, height)
        x = torch.cat((found, search * width ** .5), 1)
        x = self.first_activation(self.first(x))
        return self.second_activation(self.second(x)).flatten(1)


class Head(nn.Module):
    """Turn a vector (N, F) into a Prediction: a box relative to the last one, and a score."""

    def __init__(self, inputs, context):
        super().__init__()
        self.context = context
        self.box = nn.Linear(inputs, 4)
        self.score = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1))
        nn.init.normal_(self.box.weight, std=1e-3)
        nn.init.zeros_(self.box.bias)

    def forward(self, inputs):
        change = self.box(inputs).float()
        centre = .5 + change[:, :2] / self.context
        half = change[:, 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() / (2 * self.context)
        boxes = torch.cat((centre - half, centre + half), 1)
        return Prediction(boxes, self.score(inputs).float()[:, 0])


class CompactNet(TrackerNetwork):
    """
    Base of the compact networks: from crops to one vector per moment.

    :param config: what rebuilds the network; of this, `backbone` is the name in BACKBONES and
        `width` the factor on its channels.
    :param embedding: channels of the correlated maps.
    :param templates: number of maps that the current crop is correlated with.
    """

    feature_modules = ('backbone.',)
    # 44.8 pixels per side of the box in both.
    previous_crop = CropSpec(size=64, context=2.5 * 64 / 112)
    current_crop = CropSpec(size=112, context=2.5)
    # Things change their size slowly; most of what is seen of it from one frame to the next is
    # noise, which adds up where nothing but the last box tells the size.
    scale_lr = .3

    def __init__(self, config, embedding, templates):
        super().__init__(config)
        self.backbone = _backbone(**config)
        channels = self.backbone.channels
        self.neck = Neck(channels, embedding)
        self.previous_skips, self.current_skips = Skips(channels), Skips(channels)
        self.matcher = Matcher(embedding, templates * (self.previous_crop.size // 8) ** 2)

    @property
    def joined_size(self):
        """Length of the vector that `join` returns."""
        cells = sum(channels * (crop.size // stride) ** 2
                    for crop in (self.previous_crop, self.current_crop)
                    for channels, stride in zip(SKIPS, (4, 8, 16), strict=True))
        return cells + self.matcher.second.out_channels * (self.current_crop.size // 16) ** 2

    def features(self, crops):
        """Return the maps of stride 4, 8, 16 of the previous and then of the current crop."""
        return self.backbone(crops.previous) + self.backbone(crops.current)

    def inference_copy(self, dtype=torch.float32):
        """Return a copy whose backbone's normalisations are merged into its convolutions."""
        network = copy.copy(self)
        network._modules = {**self._modules, 'backbone': folded(self.backbone)}
        return network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)

    def join(self, features, templates):
        """
        Return skips and matches of both crops as one vector (N, joined_size).

        :param templates: embedded maps to find again in the current crop.
        """
        previous, current = features[:3], features[3:]
        matched = self.matcher(templates, self.neck(current))
        return torch.cat((
            self.previous_skips(previous), self.current_skips(current), matched), 1)


def _backbone(backbone, width, **_):
    if backbone not in BACKBONES:
        raise ValueError(f'backbone must be one of {", ".join(sorted(BACKBONES))}, got '
                         f'{backbone!r}')
    return BACKBONES[backbone](width)
