# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
GOTURN, the feed-forward ancestor of Re3 (Held, Thrun and Savarese, ECCV 2016).

Convolutions of both crops, joined, go through fully connected layers to the box: nothing is
remembered from frame to frame. One class covers the published networks: Held's own (the
defaults), pygoturn's (`PYGOTURN`) and the one that OpenCV distributes (`OPENCV`).
"""

from re3_core.crops import CropSpec
from re3_core.networks.alexnet import AlexNet, CAFFENET, Normaliser, TORCHVISION
from re3_core.networks.base import Prediction, TrackerNetwork
import torch
from torch import nn

# RGB means; the published Caffe networks take BGR, conversion turns their first layer round.
HELD_MEAN = (123., 117., 104.)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# pygoturn, 111,550,276 parameters: torchvision's AlexNet, 224 pixels.
PYGOTURN = {
    'crop_size': 224, 'layout': 'torchvision', 'channels': TORCHVISION, 'mean': IMAGENET_MEAN,
    'std': IMAGENET_STD}
# OpenCV's, 96,967,428 parameters: convolutions trained for each crop, two wide layers; ten
# times the output is in pixels of the crop.
OPENCV = {
    'fc': (4096, 4096), 'separate': True, 'mean': (128., 128., 128.), 'output_scale': 22.7}


def fully_connected(inputs, widths, dropout):
    """Build GOTURN's stack of layers, each with ReLU and dropout, from `inputs` to widths[-1]."""
    layers = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers)


class GoturnNet(TrackerNetwork):
    """
    Held's network: 111,414,660 parameters with the default widths, both crops sharing one tower.

    In the paper the convolutions are CaffeNet's, trained on ImageNet and frozen. There is no
    confidence (scores are NaN) and no memory, and boxes are not clipped.

    :param crop_size: side of both crops, which show twice the box.
    :param layout: of the convolutions, 'caffe' or 'torchvision'.
    :param channels: of the five convolutions.
    :param fc: widths of the fully connected layers before the output.
    :param dropout: share of their outputs that training drops.
    :param separate: whether each crop has convolutions of its own.
    :param mean: what is subtracted from the RGB values 0..255.
    :param std: what they are divided by then.
    :param output_scale: the output is this many times the crop coordinate.
    """

    name = 'goturn'
    feature_modules = ('backbone.', 'previous_backbone.')

    def __init__(self, crop_size=227, layout='caffe', channels=CAFFENET, fc=(4096, 4096, 4096),
                 dropout=0.5, separate=False, mean=HELD_MEAN, std=(1., 1., 1.),
                 output_scale=10.):
        super().__init__({
            'crop_size': crop_size, 'layout': layout, 'channels': list(channels),
            'fc': list(fc), 'dropout': dropout, 'separate': separate, 'mean': list(mean),
            'std': list(std), 'output_scale': output_scale})
        self.previous_crop = self.current_crop = CropSpec(crop_size, 2.)
        self.output_scale = output_scale
        self.normalise = Normaliser(mean, std)
        self.backbone = AlexNet(layout, channels)
        self.previous_backbone = AlexNet(layout, channels) if separate else None
        side = self.backbone.map_sides(crop_size)[-1]
        self.fc = fully_connected(2 * channels[-1] * side ** 2, fc, dropout)
        self.output = nn.Linear(fc[-1], 4)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the weights as in Held's network definition; the towers start equal."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=.01 if name == 'output' else .005)
                nn.init.constant_(module.bias, 0 if name == 'output' else 1)
        for name, conv in self.backbone.named_children():
            nn.init.normal_(conv.weight, std=.01)
            nn.init.constant_(conv.bias, 1 if name in ('conv2', 'conv4', 'conv5') else 0)
        if self.previous_backbone is not None:
            self.previous_backbone.load_state_dict(self.backbone.state_dict())

    def features(self, crops):
        """Return pool5 of the previous and of the current crop, each (N, C, H, W)."""
        if self.previous_backbone is None:
            return self.backbone(self.normalise(torch.cat(crops))).pool5.chunk(2)
        return (self.previous_backbone(self.normalise(crops.previous)).pool5,
                self.backbone(self.normalise(crops.current)).pool5)

    def encode(self, features, reference=()):
        """Return the last hidden layer (N, F)."""
        return self.fc(torch.cat([maps.flatten(1) for maps in features], 1))

    def recur(self, encoded, memory=()):
        """Return the Prediction; there is no memory."""
        boxes = self.output(encoded).float() / self.output_scale
        return Prediction(boxes, torch.full_like(boxes[:, 0], torch.nan)), ()
