# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Read published checkpoints of any format into tensors by name, without running their code."""

import os
from pathlib import Path
import re
from typing import Any

import numpy as np
from re3_core.convert.caffemodel import read_caffemodel
import torch
from torch import Tensor

# Names of Adam's averages and counters; names of weights have a scope.
OPTIMIZER_STATE = re.compile(r'/Adam(_\d+)?$|(^|/)(beta[12]_power|global_step)(_\d+)?$')
FORMATS = ('a TensorFlow checkpoint (its folder, its prefix or its .index file), a PyTorch file '
           '(.pt, .pth, .tar), .npz or .caffemodel')


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """
    Return the tensors of a checkpoint by name.

    :param path: one of `FORMATS`.
    :raises FileNotFoundError: if there is nothing at `path`.
    :raises ValueError: if its format is unknown, or torch refuses to load it safely.
    :raises ModuleNotFoundError: if it needs tensorflow, which is not installed.
    """
    path = Path(path)
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return read_tensorflow(open_tensorflow(prefix))
    if not path.exists():
        raise FileNotFoundError(f'no checkpoint {path}; expected {FORMATS}')
    if path.suffix == '.caffemodel':
        return read_caffemodel(path)
    if path.suffix == '.npz':
        return _read_npz(path)
    return _read_torch(path)


def _tensorflow_prefix(path: Path) -> Path | None:
    """Return tensorflow's name of the checkpoint at `path`, or None if it has another format."""
    if path.is_dir():
        return path
    if path.suffix in ('.index', '.meta') or '.data-' in path.name:
        return path.with_suffix('')
    return path if Path(f'{path}.index').exists() else None


def open_tensorflow(prefix: Path) -> Any:
    """Return tensorflow's reader of a checkpoint; ValueError if there is none at `prefix`."""
    try:
        from tensorflow import errors, train
    except ImportError:
        raise ModuleNotFoundError(
            f'{prefix} is a TensorFlow checkpoint; to read it, install tensorflow (pip install '
            f'tensorflow-cpu), if necessary in a separate environment') from None
    try:
        return train.load_checkpoint(str(prefix))
    except (ValueError, errors.OpError) as error:
        raise ValueError(f'tensorflow finds no checkpoint at {prefix}: {error}') from None


def read_tensorflow(reader: Any) -> dict[str, Tensor]:
    """
    Return the weights of a TensorFlow checkpoint, without the optimizer's state.

    :param reader: has `get_variable_to_shape_map` and `get_tensor`, as the result of
        `tf.train.load_checkpoint`.
    """
    names = [name for name in reader.get_variable_to_shape_map()
             if '/' in name and not OPTIMIZER_STATE.search(name)]
    return {name: torch.from_numpy(reader.get_tensor(name).copy()) for name in sorted(names)}


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:            # allow_pickle is off by default
        return {name.replace('/', '.'): torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:                  # torch raises many kinds for a bad file
        raise ValueError(f'{path} cannot be loaded safely as a PyTorch file: {error}\n'
                         f'Expected {FORMATS}.') from None
    if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
        content = content['state_dict']
    tensors = _flatten(content)
    if not tensors:
        raise ValueError(f'{path} holds no weights: expected a state_dict, a dict with the '
                         f"entry 'state_dict', or {{layer: {{'weight': ..., 'bias': ...}}}}")
    return tensors


def _numpy_globals() -> list[Any]:
    """Return the globals of pickled numpy arrays: training checkpoints have random states."""
    rebuild, scalar = (value.__reduce__()[0] for value in (np.zeros(1), np.float64(0)))
    kinds = {type(np.dtype(code)) for code in np.typecodes['All']}
    # The module of the first two has another name in numpy 1.
    old_names = [(rebuild, 'numpy.core.multiarray._reconstruct'),
                 (scalar, 'numpy.core.multiarray.scalar')]
    return [np.ndarray, np.dtype, rebuild, scalar, *kinds, *old_names]


def _flatten(content: Any, prefix: str = '') -> dict[str, Tensor]:
    """Flatten nested dicts of tensors or arrays to one of tensors, names joined by dots."""
    tensors: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict):
            tensors.update(_flatten(value, f'{prefix}{name}.'))
        elif isinstance(value, np.ndarray):
            tensors[f'{prefix}{name}'] = torch.from_numpy(value)
        elif torch.is_tensor(value):
            tensors[f'{prefix}{name}'] = value
    return tensors
