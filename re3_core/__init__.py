# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re3: real-time recurrent regression trackers.

>>> from re3_core import Tracker
"""

from re3_core.tracker import Track, Tracker
from re3_core.weights import available_models, load_network, save_network

__all__ = ['available_models', 'load_network', 'save_network', 'Track', 'Tracker']
__version__ = '0.1.0'
