# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The scenarios by name, in the order in which they run."""

from stress.endings import run_kill, run_signals
from stress.faults import run_dropouts, run_lifecycle
from stress.fuzzing import run_fuzz
from stress.load import run_fast_camera, run_load, run_two_cameras
from stress.soak import run_soak

SCENARIOS = {
    'load': run_load,
    'cameras': run_two_cameras,
    'fast': run_fast_camera,
    'dropouts': run_dropouts,
    'lifecycle': run_lifecycle,
    'signals': run_signals,
    'kill': run_kill,
    'fuzz': run_fuzz,
    'soak': run_soak,
}
