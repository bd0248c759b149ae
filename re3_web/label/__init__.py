# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
A web page to label targets in a video.

The server and the page know nothing of trackers and files: they use a
`re3_web.label.source.LabelSource`. The one of `python -m training.label` is in that module.
"""

DEFAULT_PORT = 8089
