# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo: a camera player, a run of the tracker on a video, and its report."""
