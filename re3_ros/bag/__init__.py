# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""ROS 2 bags without ROS: list, track, play and extract their images (docs/recordings.md)."""


class BagError(ValueError):
    """A bag or an option that cannot be used; the text is one line for the user."""
