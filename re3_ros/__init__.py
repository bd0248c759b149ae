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

"""The ROS 2 side of the tracker: messages, the node, the camera player and the demo."""

import os

# OpenMP's threads wait for each other by spinning. Where other processes need the cores too, as
# on any robot, a spinning thread keeps the one it waits for from running: one step of the network
# took 1050 ms instead of 48 (95th percentile, two busy cores). Must be set before torch loads.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
# OpenCV writes a line of its own for every damaged image; the node says it once.
os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')
