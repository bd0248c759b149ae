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

"""The scenarios by name, in the order in which they run."""

from scripts.stress.endings import run_kill, run_signals
from scripts.stress.faults import run_dropouts, run_lifecycle
from scripts.stress.fuzzing import run_fuzz
from scripts.stress.load import run_fast_camera, run_load, run_two_cameras
from scripts.stress.soak import run_soak

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
