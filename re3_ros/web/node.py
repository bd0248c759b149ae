# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Serve the web page for a tracker node: `ros2 run re3_ros web`; see docs/web.md."""

import asyncio
from contextlib import suppress
import logging
import os
import signal
import sys
from typing import Any, Sequence

from rcl_interfaces.msg import ParameterDescriptor
import rclpy
from rclpy.exceptions import InvalidParameterTypeException, ParameterUninitializedException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from re3_ros import parameters
from re3_ros.programs import init_ros
from re3_ros.web.source import RosSource
from re3_web.server import serve, Settings

DEFAULTS = Settings()
# How much lower than that of the tracker the process's priority is, see `nice`.
NICENESS = 10
# Name, default, description.
PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ('tracker', 'tracker', 'Name of the tracker node, in the namespace of this node.'),
    ('web_host', DEFAULTS.host, "Address to listen on. Others than this machine's own need the "
     'token that is logged at the start. 0.0.0.0: all addresses.'),
    ('web_port', DEFAULTS.port, 'TCP port.'),
    ('web_token', '', 'Token to require: 12 or more letters and digits. Empty: a random one, or '
     'none where only this machine can connect.'),
    ('web_allowed_hosts', [''], 'Host names under which the page is reached besides this '
     "machine's own, as behind a proxy."),
    ('web_rate', DEFAULTS.rate, 'Images per second and viewer at most.'),
    ('web_max_viewers', DEFAULTS.max_viewers, 'Viewers at a time.'),
    ('init_buffer_seconds', parameters.find('init_buffer_seconds').default,
     "The tracker's parameter of this name: the page warns of boxes on older images."),
)


class LogToRos(logging.Handler):
    """Passes Python's log records on to a node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at its level."""
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def declare(node: Node) -> dict[str, Any]:
    """Declare PARAMETERS on a node, read-only, and return their values."""
    return {name: node.declare_parameter(name, default, ParameterDescriptor(
        description=text, read_only=True)).value for name, default, text in PARAMETERS}


async def run(node: Node) -> None:
    """Serve until SIGINT or SIGTERM."""
    values = declare(node)
    settings = Settings(
        values['web_host'], values['web_port'], values['web_token'],
        tuple(filter(None, values['web_allowed_hosts'])), values['web_rate'],
        values['web_max_viewers'])
    logger = logging.getLogger('re3_web')
    logger.setLevel(logging.INFO)
    logger.addHandler(LogToRos(node))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    source = RosSource(node, values['tracker'], values['init_buffer_seconds'])
    await serve(source, settings, stop)


def main(args: Sequence[str] | None = None) -> int:
    """Serve the page; returns the exit code."""
    with suppress(OSError):    # where cores are short, the tracker goes first
        os.nice(NICENESS)
    # The signals belong to the event loop.
    init_ros('web', args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        with suppress(KeyboardInterrupt):    # a signal before the event loop handles them
            asyncio.run(run(rclpy.create_node('web', namespace='re3')))
    except (ValueError, OSError, InvalidParameterTypeException,
            ParameterUninitializedException) as error:
        print(f'web: {error}', file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
