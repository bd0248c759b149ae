# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The web page for the tracker node: `ros2 run re3_ros web`."""
