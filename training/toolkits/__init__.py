# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Plug-ins that let public evaluation toolkits run our trackers; the toolkits stay optional."""
