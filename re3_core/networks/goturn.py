# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
GOTURN (Held, Thrun and Savarese, ECCV 2016), the feed-forward predecessor of Re3.

Fully connected layers regress the box from the concatenated feature maps of both crops; there is
no state between frames. One class covers the published networks: Held's own (the
defaults), pygoturn's (`PYGOTURN`) and the one that OpenCV distributes (`OPENCV`).
"""

from collections.abc import Sequence
from typing import Any

from re3_core.crops import CropSpec
from re3_core.networks.alexnet import AlexNet, CAFFENET, TORCHVISION
from re3_core.networks.base import Crops, Prediction, Tensors, TrackerNetwork
from re3_core.networks.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
import torch
from torch import nn, Tensor

# RGB; the published Caffe networks take BGR, conversion reverses the channels of layer 1.
HELD_MEAN = (123., 117., 104.)

# pygoturn, 111,550,276 parameters: torchvision's AlexNet, 224 pixels.
PYGOTURN: dict[str, Any] = {
    'crop_size': 224, 'layout': 'torchvision', 'channels': TORCHVISION, 'mean': IMAGENET_MEAN,
    'std': IMAGENET_STD}
# OpenCV's, 96,967,428 parameters: convolutions trained for each crop, two wide layers; ten
# times the output is in pixels of the crop.
OPENCV: dict[str, Any] = {
    'fc': (4096, 4096), 'separate': True, 'mean': (128., 128., 128.), 'output_scale': 22.7}


def fully_connected(inputs: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Build GOTURN's stack of layers, each with ReLU and dropout, from `inputs` to widths[-1]."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers)


class GoturnNet(TrackerNetwork):
    """
    Held's network: 111,414,660 parameters with the default widths, both crops sharing one tower.

    In the paper the convolutions are CaffeNet's, trained on ImageNet and frozen. There is no
    confidence (logits are NaN) and no memory, and boxes are not clipped.

    :param crop_size: side of both crops, which show twice the box.
    :param layout: of the convolutions, 'caffe' or 'torchvision'.
    :param channels: of the five convolutions.
    :param fc: widths of the fully connected layers before the output.
    :param dropout: probability by which training drops their outputs.
    :param separate: whether each crop has convolutions of its own.
    :param mean: subtracted from the RGB values 0..255.
    :param std: divisor after that.
    :param output_scale: factor of the output on the crop coordinate.
    """

    name = 'goturn'
    feature_modules = ('backbone.', 'previous_backbone.')

    def __init__(self, crop_size: int = 227, layout: str = 'caffe',
                 channels: Sequence[int] = CAFFENET, fc: Sequence[int] = (4096, 4096, 4096),
                 dropout: float = 0.5, separate: bool = False,
                 mean: Sequence[float] = HELD_MEAN, std: Sequence[float] = (1., 1., 1.),
                 output_scale: float = 10.) -> None:
        super().__init__({
            'crop_size': crop_size, 'layout': layout, 'channels': list(channels),
            'fc': list(fc), 'dropout': dropout, 'separate': separate, 'mean': list(mean),
            'std': list(std), 'output_scale': output_scale})
        self.previous_crop = self.current_crop = CropSpec(crop_size, 2.)
        self.output_scale = output_scale
        self.normalize = Normalize(mean, std)
        self.backbone = AlexNet(layout, channels)
        self.previous_backbone = AlexNet(layout, channels) if separate else None
        side = self.backbone.map_sides(crop_size)[-1]
        self.fc = fully_connected(2 * channels[-1] * side ** 2, fc, dropout)
        self.output = nn.Linear(fc[-1], 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the weights as in Held's network definition; the towers start equal."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=.01 if name == 'output' else .005)
                nn.init.constant_(module.bias, 0 if name == 'output' else 1)
        for name, conv in self.backbone.named_children():
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            nn.init.normal_(conv.weight, std=.01)
            nn.init.constant_(conv.bias, 1 if name in ('conv2', 'conv4', 'conv5') else 0)
        if self.previous_backbone is not None:
            self.previous_backbone.load_state_dict(self.backbone.state_dict())

    def features(self, crops: Crops) -> Tensors:
        """Return pool5 of the previous and of the current crop, each (N, C, H, W)."""
        if self.previous_backbone is None:
            return self.backbone(self.normalize(torch.cat(crops))).pool5.chunk(2)
        return (self.previous_backbone(self.normalize(crops.previous)).pool5,
                self.backbone(self.normalize(crops.current)).pool5)

    def encode(self, features: Tensors, reference: Tensors = ()) -> Tensor:
        """Return the last hidden layer (N, F)."""
        return self.fc(torch.cat([maps.flatten(1) for maps in features], 1))

    def recur(self, embedding: Tensor, memory: Tensors = ()) -> tuple[Prediction, Tensors]:
        """Return the Prediction; there is no memory."""
        boxes = self.output(embedding).float() / self.output_scale
        return Prediction(boxes, torch.full_like(boxes[:, 0], torch.nan)), ()
