# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo's web page: its process, its address, and the video played on for its viewers."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path
import re
import socket
import sys
import time

from re3_ros.demo.clips import DemoClip
from re3_ros.demo.processes import Process, ros_command
from re3_web import DEFAULT_PORT

# Seconds for the page to start: during the run, which does not depend on it, and after it, when
# a busy machine may take long; a process that ends is noticed at once.
START_TIMEOUT, STAY_TIMEOUT = 30, 300
# Images kept so that a box may be drawn on a paused image.
BUFFER_SECONDS = 10.0


def _free_port(port: int) -> int:
    """Return `port` if it is free, else 0, for any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return 0
    return port


class DemoPage(Process):
    """The process of the web page, on the default port if that is free."""

    def __init__(self, folder: Path, buffer_seconds: float | None = None) -> None:
        """Start it; its log goes into `folder`; the tracker keeps images of `buffer_seconds`."""
        parameters: dict[str, float] = {'web_port': _free_port(DEFAULT_PORT)}
        if buffer_seconds is not None:
            parameters['init_buffer_seconds'] = buffer_seconds
        super().__init__('web page', ros_command('web', parameters, ()), folder / 'web.log')

    @property
    def address(self) -> str:
        """The page's URL; '' as long as it is not served."""
        found = re.search(r'open (http\S+)', self.tail())
        return found[1] if found else ''

    @property
    def started(self) -> bool:
        """Whether the page is served, or cannot be."""
        return bool(self.address) or self.ended

    def announcement(self) -> str:
        """Return a line with the address of the page, or with the reason why there is none."""
        if self.address:
            return f'web page: {self.address}'
        return f'no web page: {self.tail(1) or "it did not start in time"}'


def play_on(clip: DemoClip, commands: tuple[list[str], list[str]], folder: Path) -> None:
    """
    Play the clip over and over, with tracker and page, until a line is read from the terminal.

    :param commands: those of the tracker node and of the camera player.
    """
    tracker, player = commands
    with Process('tracker node', tracker, folder / 'tracker_node.log') as node, \
            Process('camera player', player, folder / 'camera_player.log'), \
            DemoPage(folder, BUFFER_SECONDS) as page:
        end = time.monotonic() + STAY_TIMEOUT
        while not page.started and time.monotonic() < end:
            time.sleep(.1)
            node.check(must_run=True)
        if not page.address:
            print(page.announcement(), flush=True)
            return
        print(f'The video plays on: draw boxes at {page.address}\nPress Enter to end.', flush=True)
        with suppress(KeyboardInterrupt):
            sys.stdin.readline()


def stays(options: Namespace) -> bool:
    """Return whether to play on after the report: as asked for, else if there is a terminal."""
    if options.stay is None:
        return sys.stdin.isatty() and sys.stdout.isatty()
    return bool(options.stay)
