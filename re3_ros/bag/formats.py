# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Names of the formats that the commands write, apart from the libraries they need."""

# Of `track`.
FORMATS = ('bag', 'csv', 'mot', 'otb', 'video')
# Of `extract`.
EXTRACTED = ('png', 'jpg', 'video')
