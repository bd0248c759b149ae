# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Readers of the data sets that trackers are trained on and evaluated with."""
