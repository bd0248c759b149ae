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

"""
Growing: give a network that has learned already parts that it did not have.

What is known stays: layers of the file are taken over, layers that see more inputs now start
with zeros there, so that the new parts say nothing at first. New parts start as drawn.
"""

from re3_core.weights import read_metadata
from safetensors import safe_open
import torch


def load_grown(network, path):
    """
    Load a file of the same model, but with fewer parts or narrower inputs, into a network.

    :return: the network.
    :raises ValueError: a file of another model, or with something that has no place here.
    """
    name = read_metadata(path).get('model')
    if name != network.name:
        raise ValueError(f'{path} holds weights of model {name!r}, not of {network.name!r}')
    state = network.state_dict()
    with safe_open(path, framework='pt') as file, torch.no_grad():
        strange = sorted(set(file.keys()) - set(state))
        if strange:
            raise ValueError(f'{path} has parts that the network has not: {", ".join(strange)}')
        for key in file.keys():
            _take_over(file.get_tensor(key), state[key], f'{path}: {key}')
    return network


def _take_over(known, target, where):
    """Copy `known` into the first columns of `target`, zeros into the others."""
    widened = known.dim() == 2 and known.shape[0] == target.shape[0] and (
        known.shape[1] < target.shape[1])
    if known.shape != target.shape and not widened:
        raise ValueError(f'{where} has shape {tuple(known.shape)}, which does not grow into '
                         f'{tuple(target.shape)}: only further inputs can be added')
    if widened:
        target.zero_()
        target[:, :known.shape[1]] = known
    else:
        target.copy_(known)
