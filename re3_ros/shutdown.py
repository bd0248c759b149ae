# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What the programs here make of an interrupt or a shutdown: their ordinary end."""

from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException


@contextmanager
def shutdown_is_no_error(context=None):
    """Drop the error of a call that a shutdown of the context (None: the default) overtook."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok(context=context):
            raise
