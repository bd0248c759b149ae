# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Parts of the compact networks: backbone and neck, and what `goturn_lite` is made of besides.

There both crops go through one backbone. Their features are fused into one vector: skip
connections of both crops with PReLU, as in Re3, and a pixel-wise correlation of the current crop
with the previous one (Alpha-Refine, Yan et al. 2021). A head predicts the box relative to the last
one, and the IoU with the true box.
"""

from collections.abc import Sequence
import copy
from typing import Any, TypeVar

from re3_core.crops import CropSpec
from re3_core.networks.backbone import CompactBackbone, fuse_batch_norm
from re3_core.networks.base import Crops, Prediction, Tensors, TrackerNetwork
from re3_core.networks.dense import DenseBackbone
import torch
from torch import nn, Tensor
from torch.nn import functional

BACKBONES: dict[str, type[CompactBackbone] | type[DenseBackbone]] = {
    'efficientnet_lite0': CompactBackbone, 'dense': DenseBackbone}
# Channels of the skip connections from stride 4, 8 and 16.
SKIPS = (4, 16, 48)
# Limit on the change of size per frame (natural logarithm), against outliers.
MAX_LOG_SCALE = 1.

Net = TypeVar('Net', bound=TrackerNetwork)


class Neck(nn.Module):
    """Fuse the maps of stride 8 and 16 into unit vectors (N, C, H, W) of stride 8."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels[1], width, 1)
        self.coarse = nn.Conv2d(channels[2], width, 1)
        self.activation = nn.PReLU(width)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensors) -> Tensor:
        coarse = functional.interpolate(self.coarse(maps[2]), scale_factor=2., mode='nearest')
        embedded = self.smooth(self.activation(self.fine(maps[1]) + coarse))
        return functional.normalize(embedded.float(), dim=1)


class Skips(nn.Module):
    """Reduce the three maps of one crop by 1x1 convolutions and PReLU, to one vector (N, F)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in zip(channels, SKIPS, strict=True))
        self.activation = nn.ModuleList(nn.PReLU(outputs) for outputs in SKIPS)

    def forward(self, maps: Tensors) -> Tensor:
        return torch.cat([
            activation(reduce(x)).flatten(1)
            for reduce, activation, x in zip(self.reduce, self.activation, maps, strict=True)], 1)


class PixelCorrelation(nn.Module):
    """
    Correlate every cell of a template with every cell of the search map (Alpha-Refine).

    Each template cell becomes a channel, so position and size can be read from the places where
    the parts of the target are found, whatever it looks like. Returns one vector (N, F).
    """

    def __init__(self, width: int, parts: int, outputs: int = 64) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(2.))   # as in CLIP, a logarithm
        self.conv1 = nn.Conv2d(parts + width, outputs, 3, padding=1)
        self.activation1 = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        self.activation2 = nn.PReLU(outputs)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        count, width, height, _ = search.shape
        parts = template.flatten(2)
        correlation = torch.bmm(parts.transpose(1, 2), search.flatten(2))   # (N, parts, H W)
        correlation = self.logit_scale.exp() * correlation.view(count, -1, height, height)
        x = torch.cat((correlation, search * width ** .5), 1)
        x = self.activation1(self.conv1(x))
        return self.activation2(self.conv2(x)).flatten(1)


class Head(nn.Module):
    """Predict a box relative to the last one, and a confidence, from a vector (N, F)."""

    def __init__(self, inputs: int, context: float) -> None:
        super().__init__()
        self.context = context
        self.box = nn.Linear(inputs, 4)
        self.confidence = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1))
        nn.init.normal_(self.box.weight, std=1e-3)
        nn.init.zeros_(self.box.bias)

    def forward(self, inputs: Tensor) -> Prediction:
        change = self.box(inputs).float()
        center = .5 + change[:, :2] / self.context
        half = change[:, 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() / (2 * self.context)
        boxes = torch.cat((center - half, center + half), 1)
        return Prediction(boxes, self.confidence(inputs).float()[:, 0])


class CompactNet(TrackerNetwork):
    """
    Base class of compact networks on vectors: from crops to one vector per time step.

    :param config: the arguments that rebuild the network; of these, `backbone` is a name in
        BACKBONES and `width` the factor on its channels.
    :param embedding: channels of the correlated maps.
    """

    feature_modules = ('backbone.',)
    # 44.8 pixels per side of the box in both.
    previous_crop = CropSpec(size=64, context=2.5 * 64 / 112)
    current_crop = CropSpec(size=112, context=2.5)
    # Most of the predicted change of size from one frame to the next is noise.
    scale_lr = .3

    def __init__(self, config: dict[str, Any], embedding: int) -> None:
        super().__init__(config)
        self.backbone = make_backbone(config['backbone'], config['width'])
        channels = self.backbone.channels
        self.neck = Neck(channels, embedding)
        self.previous_skips, self.current_skips = Skips(channels), Skips(channels)
        self.correlation = PixelCorrelation(embedding, (self.previous_crop.size // 8) ** 2)

    @property
    def feature_dim(self) -> int:
        """Length of the vector that `fuse` returns."""
        cells = sum(channels * (crop.size // stride) ** 2
                    for crop in (self.previous_crop, self.current_crop)
                    for channels, stride in zip(SKIPS, (4, 8, 16), strict=True))
        outputs = self.correlation.conv2.out_channels
        return cells + outputs * (self.current_crop.size // 16) ** 2

    def features(self, crops: Crops) -> Tensors:
        """Return the maps of stride 4, 8, 16 of the previous and then of the current crop."""
        return (*self.backbone(crops.previous), *self.backbone(crops.current))

    def inference_copy(self, dtype: torch.dtype = torch.float32) -> 'CompactNet':
        """Return a copy with the backbone's normalizations fused, see the base class."""
        return fused_copy(self, dtype)

    def fuse(self, features: Tensors) -> Tensor:
        """Return skips and correlation of both crops as one vector (N, feature_dim)."""
        previous, current = features[:3], features[3:]
        correlation = self.correlation(self.neck(previous), self.neck(current))
        return torch.cat((
            self.previous_skips(previous), self.current_skips(current), correlation), 1)


def fused_copy(network: Net, dtype: torch.dtype) -> Net:
    """Return an inference copy of a network with its backbone's normalizations fused."""
    fused = copy.copy(network)
    backbone = network.get_submodule('backbone')
    fused._modules = {**network._modules, 'backbone': fuse_batch_norm(backbone)}
    return TrackerNetwork.inference_copy(fused, dtype)


def make_backbone(name: str, width: float) -> CompactBackbone | DenseBackbone:
    """Return a backbone by its name in BACKBONES; ValueError for another name."""
    if name not in BACKBONES:
        raise ValueError(f'backbone must be one of {", ".join(sorted(BACKBONES))}, got {name!r}')
    return BACKBONES[name](width)
