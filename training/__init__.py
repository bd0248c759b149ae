# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Data, training and evaluation of the trackers."""

import os

# See re3_ros/__init__.py: on a machine that does something else too, training is four times as
# fast when threads do not spin. Must be set before torch loads.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from re3_core import interrupts  # noqa: E402, F401
