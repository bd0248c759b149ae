# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Weights: the registry of networks, and files that are loaded strictly and never executed.

A weights file is a safetensors file. Its metadata holds the network's name (`model`) and the
arguments that rebuild it (`config`, JSON), so a file is enough to get the network back.
"""

import json
import os
from pathlib import Path
import tempfile

from re3_core.networks import NETWORKS
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

PACKAGED = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 're3_lite'


def available_models():
    """Return the names of the networks, in alphabetical order."""
    return tuple(sorted(NETWORKS))


def network_class(model):
    """Return the class of the network called `model`; ValueError names those that exist."""
    if model not in NETWORKS:
        raise ValueError(f'model must be one of {", ".join(available_models())}, got {model!r}')
    return NETWORKS[model]


def weights_path(model=DEFAULT_MODEL):
    """
    Return the path of the packaged weights of `model`.

    FileNotFoundError tells where weights for a network without packaged ones come from.
    """
    network_class(model)
    path = PACKAGED / f'{model}.safetensors'
    if not path.exists():
        packaged = sorted(file.stem for file in PACKAGED.glob('*.safetensors'))
        raise FileNotFoundError(
            f'no weights for model {model!r} come with the package (it has: '
            f'{", ".join(packaged) or "none"}); name a file with weights=, made by '
            f'training.train or, from the published checkpoints, by re3_core.convert')
    return path


def save_network(network, path, extra_metadata=None, dtype=torch.float16):
    """
    Write a network's weights to `path`, atomically.

    :param network: a TrackerNetwork.
    :param extra_metadata: dict of str to str, such as where the weights come from.
    :param dtype: precision of floating-point weights in the file.
    """
    save_tensors(network.state_dict(), path, {
        **(extra_metadata or {}), 'model': network.name, 'config': json.dumps(network.config)},
        dtype)


def save_tensors(state, path, metadata, dtype=torch.float16):
    """Write the tensors of a state_dict with metadata (dict of str to str), atomically."""
    path = Path(path)
    state = {name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
             for name, value in state.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(handle)
    try:
        save_file(state, temporary, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_metadata(path):
    """Return the metadata (dict of str to str) of a weights file."""
    try:
        with safe_open(path, framework='pt') as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a safetensors file: {error}') from None


def load_network(model=None, weights=None, device='cpu'):
    """
    Build a network and load its weights; return it in evaluation mode, in float32.

    :param model: name in the registry; the default is what the file says, else re3_lite.
    :param weights: path of a weights file; the default is the packaged one of `model`.
    :raises ValueError: a file that is no weights file, of another model, or does not fit.
    :raises FileNotFoundError: no such file, or none packaged.
    """
    path = Path(weights) if weights else weights_path(model or DEFAULT_MODEL)
    if not path.is_file():
        raise FileNotFoundError(f'no weights file {path}')
    metadata = read_metadata(path)
    name = metadata.get('model')
    if name is None or 'config' not in metadata:
        raise ValueError(f"{path} does not say which network it is for (metadata 'model' and "
                         f"'config' are missing); convert it with re3_core.convert")
    if model and model != name:
        raise ValueError(f'{path} holds weights of model {name!r}, not of {model!r}')
    try:
        network = network_class(name)(**json.loads(metadata['config']))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} has a config that {name} does not know: {error}') from None
    load_state_dict_strict(network, path, network.name)
    return network.to(device).eval()


def load_state_dict_strict(module, path, name):
    """Copy a file's tensors into a module; ValueError, with its name, lists what does not fit."""
    expected = module.state_dict()
    with safe_open(path, framework='pt') as file:
        names = set(file.keys())
        problems = [f'missing: {key}' for key in sorted(set(expected) - names)]
        problems += [f'not of this network: {key}' for key in sorted(names - set(expected))]
        for key in sorted(names & set(expected)):
            shape = tuple(file.get_slice(key).get_shape())
            if shape != tuple(expected[key].shape):
                problems.append(f'{key} has shape {shape}, not {tuple(expected[key].shape)}')
        if problems:
            shown = '; '.join(problems[:8]) + ('; ...' if len(problems) > 8 else '')
            raise ValueError(f'{path} does not fit {name}: {shown}')
        with torch.no_grad():
            for key, target in expected.items():
                target.copy_(file.get_tensor(key))
