# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Functions for numpy arrays and torch tensors alike; torch need not be installed."""

from collections.abc import Sequence
import sys
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """
    Return whether `value` is a torch tensor, without importing torch.

    >>> is_tensor(np.zeros(3))
    False
    """
    torch = sys.modules.get('torch')
    return torch is not None and isinstance(value, torch.Tensor)


def namespace(value: Any) -> Any:
    """Return torch for a tensor, else numpy: both have many functions of the same name."""
    return sys.modules['torch'] if is_tensor(value) else np


def concatenate(parts: Sequence[Any]) -> Any:
    """Join arrays along the first axis; to a tensor if one of them is."""
    tensors = [part for part in parts if is_tensor(part)]
    if tensors:
        import torch
        return torch.cat([torch.as_tensor(part, device=tensors[0].device) for part in parts])
    if len(parts) == 1:
        return parts[0]
    joined = _consecutive_rows(parts)
    return np.concatenate(parts) if joined is None else joined


def _consecutive_rows(parts: Sequence[np.ndarray]) -> np.ndarray | None:
    """
    Return the view of an array whose consecutive single rows `parts` are, or None.

    The states of targets that are tracked together are such rows; megabytes need no copy.
    """
    base, first = parts[0].base, _address(parts[0])
    if not isinstance(base, np.ndarray) or base.shape[1:] != parts[0].shape[1:] or not len(base):
        return None
    stride = base.strides[0]
    start = (first - _address(base)) // stride if stride else -1
    if not all(part.base is base and len(part) == 1 and _address(part) == first + row * stride
               for row, part in enumerate(parts)):
        return None
    return base[start:start + len(parts)] if start >= 0 else None


def _address(array: np.ndarray) -> int:
    return array.__array_interface__['data'][0]


def copy(value: Any) -> Any:
    """Return a copy of an array or tensor, of the memory that it views only."""
    return value.clone() if is_tensor(value) else value.copy()
