# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The ROS 2 side of the tracker: messages, the node, the camera player and the demo."""

import os

# OpenMP's threads wait for each other by spinning. Where other processes need the cores too, as
# on any robot, a spinning thread keeps the one it waits for from running: one step of the network
# took 1050 ms instead of 48 (95th percentile, two busy cores). Must be set before torch loads.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
# OpenCV writes a line of its own for every damaged image; the node logs it once.
os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')
