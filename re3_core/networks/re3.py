# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re3, the network of the paper (Gordon, Farhadi and Fox, RA-L 2018, section III).

Both crops go through CaffeNet's convolutions; after norm1, norm2 and conv5 a 1x1 convolution
with PReLU branches off, so that the fully connected layer has fine and coarse maps. Two
factored peephole LSTM layers model appearance and motion, and four numbers are regressed.
"""

from collections.abc import Sequence
from typing import Any

from re3_core.crops import CropSpec
from re3_core.lstm import FactoredLSTM
from re3_core.networks.alexnet import AlexNet, CAFFENET
from re3_core.networks.base import Crops, Prediction, Tensors, TrackerNetwork
from re3_core.networks.normalize import Normalize
import torch
from torch import nn, Tensor

# RGB means that the authors' networks subtract.
MEAN = (123.151630838, 115.902882574, 103.062623801)
# The network's output is ten times the crop coordinate.
OUTPUT_SCALE = 10.
# The network of the authors' later TensorFlow download, with 85,699,684 parameters.
SMALL: dict[str, Any] = {'fc': 1024, 'hidden': 512, 'peephole': 'diagonal'}


class Re3Net(TrackerNetwork):
    """
    The paper's network: 190,004,324 parameters with the default widths.

    It has no confidence (logits are NaN), and its boxes are not clipped. `start` begins from a
    state of zeros.

    :param crop_size: side of both crops, which show twice the box.
    :param channels: of the five convolutions.
    :param skips: channels of the branches after norm1, norm2 and conv5.
    :param fc: width of the fully connected layer.
    :param hidden: units of each LSTM layer.
    :param peephole: 'full' in the paper, 'diagonal' in `SMALL`, or 'none'.
    """

    name = 're3'
    has_memory = True
    feature_modules = ('backbone.',)

    def __init__(self, crop_size: int = 227, channels: Sequence[int] = CAFFENET,
                 skips: Sequence[int] = (16, 32, 64), fc: int = 2048, hidden: int = 1024,
                 peephole: str = 'full') -> None:
        super().__init__({
            'crop_size': crop_size, 'channels': list(channels), 'skips': list(skips), 'fc': fc,
            'hidden': hidden, 'peephole': peephole})
        self.previous_crop = self.current_crop = CropSpec(crop_size, 2.)
        self.normalize = Normalize(MEAN)
        self.backbone = AlexNet('caffe', channels)
        taps = (channels[0], channels[1], channels[4])
        self.skips = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.PReLU(outputs, init=.25))
            for inputs, outputs in zip(taps, skips, strict=True))
        sides = self.backbone.map_sides(crop_size)
        depths = (*skips, channels[4])
        self.feature_size = sum(c * side ** 2 for c, side in zip(depths, sides, strict=True))
        self.fc6 = nn.Linear(2 * self.feature_size, fc)
        self.lstm = FactoredLSTM(fc, hidden, peephole)
        self.output = nn.Linear(hidden, 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize as the authors' code: Xavier, LSTM: MSRA; biases 0 except the forget gate."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                assert module.bias is not None
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.lstm.layer1.reset_parameters(gain=2.)
        self.lstm.layer2.reset_parameters(gain=2.)

    def features(self, crops: Crops) -> Tensors:
        """Return norm1, norm2, conv5 and pool5 of the previous and then of the current crop."""
        maps = self.backbone(self.normalize(torch.cat(crops)))
        return tuple(half for part in (0, 1) for half in (x.chunk(2)[part] for x in maps))

    def encode(self, features: Tensors, reference: Tensors = ()) -> Tensor:
        """Return the fully connected layer (N, fc) of both crops' skips and pool5, as C, H, W."""
        joined = torch.cat((*self._flatten(features[:4]), *self._flatten(features[4:])), 1)
        return nn.functional.relu(self.fc6(joined))

    def _flatten(self, maps: Tensors) -> list[Tensor]:
        *taps, pool5 = maps
        skips = [skip(tap) for skip, tap in zip(self.skips, taps, strict=True)]
        return [part.flatten(1) for part in (*skips, pool5)]

    def zero_memory(self, embedding: Tensor) -> Tensors:
        """Return (h1, c1, h2, c2) of zeros."""
        return self.lstm.zero_state(embedding)

    def recur(self, embedding: Tensor, memory: Tensors) -> tuple[Prediction, Tensors]:
        """Advance the LSTM by one time step; return (Prediction, new memory)."""
        hidden, memory = self.lstm(embedding, memory)
        boxes = self.output(hidden).float() / OUTPUT_SCALE
        return Prediction(boxes, torch.full_like(boxes[:, 0], torch.nan)), memory
