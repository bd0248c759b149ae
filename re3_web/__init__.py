# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
A web page that shows the tracker's images and starts, restarts and removes targets.

The server and the page know nothing of ROS: they use a `re3_web.source.Source`. `re3_web.video`
is the one for video files and cameras; the one for the ROS topics is in `re3_ros.web`.
"""

from re3_core import interrupts  # noqa: F401

DEFAULT_PORT = 8088
