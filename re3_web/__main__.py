# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Track objects in a video file, a folder of images or a camera, and serve the page for it.

    python -m re3_web 0                    the first camera
    python -m re3_web video.mp4            a file, over and over
"""

import argparse
import asyncio
from contextlib import suppress
import logging
import signal
import sys
from typing import Sequence

from re3_core import available_models, Tracker
from re3_core.io.video import FrameSource, open_source
from re3_web.server import serve, Settings
from re3_web.video import VideoReader, VideoSource


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog='re3_web', description='Track objects in a video and serve a page to start, watch '
        'and stop targets.')
    add = parser.add_argument
    add('video', help='video file, folder of images, or number of a camera')
    add('--start', type=int, default=0, help='first frame of a file (default: 0)')
    add('--end', type=int, help='frame after the last one of a file')
    add('--model', choices=available_models(), help='network (default: re3_lite)')
    add('--weights', help='weights file (default: the packaged one)')
    add('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: auto)')
    add('--host', default=defaults.host, help='address to listen on; another than this '
        "machine's own needs a token, which is printed (default: %(default)s)")
    add('--port', type=int, default=defaults.port, help='TCP port (default: %(default)s)')
    add('--token', default='', help='token to require (default: a random one where needed)')
    add('--allowed-host', action='append', default=[], metavar='NAME',
        help='host name under which the page is reached, as behind a proxy; may be repeated')
    add('--rate', type=float, default=defaults.rate,
        help='images per second and viewer at most (default: %(default)s)')
    add('--max-viewers', type=int, default=defaults.max_viewers,
        help='viewers at a time (default: %(default)s)')
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    settings = Settings(options.host, options.port, options.token, tuple(options.allowed_host),
                        options.rate, options.max_viewers)

    def opened() -> FrameSource:
        return open_source(options.video, options.start, options.end)
    first = opened()
    if not first.live:    # a file without a frame is an error now, not one to show in the page
        first.read()
        first.rewind()
    reader = VideoReader(opened, first)
    tracker = Tracker(options.model, weights=options.weights, device=options.device)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(VideoSource(str(options.video), reader, tracker), settings, stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)
    try:
        with suppress(KeyboardInterrupt):    # a signal before the event loop handles them
            asyncio.run(run(options))
    except (ValueError, OSError) as error:
        print(f're3_web: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
