# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Stress the installed tracker node in its own process, and report figures: `make stress`."""
