# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Start and end of the package's programs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
import sys
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException


def init_ros(program: str, args: Sequence[str] | None = None, **options: Any) -> None:
    """
    Initialize rclpy; print one line and exit with 1 if that fails.

    A parameters file that cannot be read, a bad remapping or log level, a bad environment.
    """
    sys.unraisablehook = _report_unraisable
    try:
        rclpy.init(args=args, **options)
    except Exception as error:
        # The text goes on with places in the source code of rcl.
        reason = str(error).partition(', at ')[0].strip()
        if type(error).__name__ == 'UnknownROSArgsError':    # its text is a list
            reason = f'unknown ROS arguments {error}'
        if 'logging' in reason and not (os.environ.get('ROS_LOG_DIR')
                                        or os.environ.get('ROS_HOME')):
            reason += ' (set HOME, or ROS_LOG_DIR to a folder for the log files)'
        raise SystemExit(f'{program}: cannot start: {reason}') from None


def _report_unraisable(unraisable: Any) -> None:
    """
    Report an error that was raised where Python cannot pass it on, but for an interrupt.

    An interrupt may come in some object's `__del__`. Nothing is lost with it: rclpy has shut the
    context down before, which ends the program.
    """
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


@contextmanager
def ignore_shutdown(context: rclpy.Context | None = None) -> Iterator[None]:
    """Ignore an interrupt, and errors due to a shutdown of the context (None: the default)."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok(context=context):
            raise
