# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Weights: the registry of networks, and files that are loaded strictly and never executed.

A weights file is a safetensors file. Its metadata holds the network's name (`model`) and the
arguments that rebuild it (`config`, JSON), so a file is enough to get the network back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import json
import os
from pathlib import Path

from re3_core.io.files import atomic_write, check_utf8, printable
from re3_core.model import available_models, DEFAULT_MODEL, FIRST_GENERATION
from re3_core.networks import NETWORKS, TrackerNetwork
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import nn, Tensor

PACKAGED = Path(__file__).parent / 'weights'
# Prefixes of tensor names in files of earlier releases.
LEGACY_NAMES = {
    'matcher.sharpness': 'correlation.logit_scale',
    'matcher.first.': 'correlation.conv1.',
    'matcher.first_activation.': 'correlation.activation1.',
    'matcher.second.': 'correlation.conv2.',
    'matcher.second_activation.': 'correlation.activation2.',
    'head.score.': 'head.confidence.',
}

PathLike = str | os.PathLike[str]


def network_class(model: str) -> type[TrackerNetwork]:
    """Return the class of the network `model`; ValueError names those that exist."""
    if model not in NETWORKS:
        raise ValueError(f'model must be one of {", ".join(available_models())}, got {model!r}')
    return NETWORKS[model]


def weights_path(model: str = DEFAULT_MODEL) -> Path:
    """
    Return the path of the packaged weights of `model`.

    :raises FileNotFoundError: if there are none, with the ways to get some.
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


def save_network(network: TrackerNetwork, path: PathLike,
                 extra_metadata: Mapping[str, str] | None = None,
                 dtype: torch.dtype = torch.float16) -> None:
    """
    Write a network's weights to `path`, atomically.

    :param extra_metadata: further metadata, such as the source of the weights.
    :param dtype: precision of floating-point weights in the file.
    """
    save_tensors(network.state_dict(), path, {
        **(extra_metadata or {}), 'model': network.name, 'config': json.dumps(network.config)},
        dtype)


def save_tensors(state: Mapping[str, Tensor], path: PathLike, metadata: dict[str, str],
                 dtype: torch.dtype = torch.float16) -> None:
    """Write the tensors of a state_dict with metadata, atomically."""
    path = Path(check_utf8(path))
    tensors = {name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
               for name, value in state.items()}
    with atomic_write(path) as part:
        save_file(tensors, part, metadata)
        part.chmod(0o644)     # safetensors creates files that only their owner can read


def read_metadata(path: PathLike) -> dict[str, str]:
    """Return the metadata of a weights file; ValueError if it is not one."""
    try:
        with safe_open(check_utf8(path), framework='pt') as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a safetensors file: {error}') from None


def load_network(model: str | None = None, weights: PathLike | None = None,
                 device: str | torch.device = 'cpu') -> TrackerNetwork:
    """
    Build a network and load its weights; return it in evaluation mode, in float32.

    torch's random state, default dtype and default device have no effect and are not changed.

    :param model: name in the registry; by default that in the file, else re3_lite.
    :param weights: path of a weights file; by default the packaged one of `model`.
    :raises ValueError: for a file that is not a weights file, is of another model, or does not
        fit.
    :raises FileNotFoundError: if there is no such file, or none is packaged.
    """
    path = Path(weights) if weights else weights_path(model or DEFAULT_MODEL)
    if not path.is_file():
        raise FileNotFoundError(f'no weights file {printable(path)}')
    metadata = read_metadata(path)
    name = metadata.get('model')
    if name is None or 'config' not in metadata:
        raise ValueError(f"{path} does not name its network (metadata 'model' and 'config' are "
                         f'missing); convert it with re3_core.convert')
    if model and model != name:
        raise ValueError(f'{path} holds weights of model {name!r}, not of {model!r}')
    try:
        config = json.loads(metadata['config'])
        if name == 're3_lite' and 'fc6' in config:
            raise ValueError(f'{printable(path)} {FIRST_GENERATION}')
        # The default dtype first: constants that networks compute would be rounded to it.
        with _float32_by_default(), torch.device('cpu'), torch.random.fork_rng(devices=()):
            network = network_class(name)(**config).float()
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} has a config that does not fit {name}: {error}') from None
    load_state_dict_strict(network, path, network.name)
    return network.to(device).eval()


@contextmanager
def _float32_by_default() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def load_state_dict_strict(module: nn.Module, path: PathLike, name: str) -> None:
    """
    Copy a file's tensors into a module.

    :param name: of the module in messages.
    :raises ValueError: that lists missing, unknown and misshapen tensors.
    """
    expected = module.state_dict()
    with safe_open(check_utf8(path), framework='pt') as file:
        stored = {_present_name(key): key for key in file.keys()}
        problems = [f'missing: {key}' for key in sorted(set(expected) - set(stored))]
        problems += [f'not of this network: {key}' for key in sorted(set(stored) - set(expected))]
        for key in sorted(set(stored) & set(expected)):
            shape = tuple(file.get_slice(stored[key]).get_shape())
            if shape != tuple(expected[key].shape):
                problems.append(f'{key} has shape {shape}, not {tuple(expected[key].shape)}')
        if problems:
            shown = '; '.join(problems[:8]) + ('; ...' if len(problems) > 8 else '')
            raise ValueError(f'{path} does not fit {name}: {shown}')
        with torch.no_grad():
            for key, target in expected.items():
                target.copy_(file.get_tensor(stored[key]))


def _present_name(key: str) -> str:
    """Return the present name of a tensor."""
    for old, new in LEGACY_NAMES.items():
        if key.startswith(old):
            return new + key[len(old):]
    return key
