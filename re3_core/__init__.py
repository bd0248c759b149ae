# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re3: real-time recurrent regression trackers.

>>> from re3_core import Tracker
"""

from typing import Any, TYPE_CHECKING

from re3_core import interrupts  # noqa: F401  (before what takes long to load)
from re3_core.model import available_models
from re3_core.tracker import Track, Tracker

if TYPE_CHECKING:
    from re3_core.weights import load_network, save_network

__all__ = ['available_models', 'load_network', 'save_network', 'Track', 'Tracker']
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is used: tracking with other engines does not."""
    if name in ('load_network', 'save_network'):
        try:
            from re3_core import weights
        except ModuleNotFoundError as error:
            if error.name not in ('safetensors', 'torch'):
                raise
            raise ImportError(f'{name} needs torch: pip install re3_ros[torch]') from error
        return getattr(weights, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
