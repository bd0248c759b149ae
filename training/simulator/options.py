# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The options of commands that simulate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import functools

from training.cache import DEFAULT_CACHE
from training.simulator.simulator import Simulator, simulator_of, SIZE


def add_sources(parser: argparse.ArgumentParser, length: bool = True) -> None:
    """Add the options that tell where a simulator takes pictures from and what it makes."""
    parser.add_argument('--images', metavar='DIR',
                        help='photographs, with boxes.json and masks or not (default: drawn ones)')
    parser.add_argument('--videos', metavar='DIR', help='recordings as moving backgrounds')
    parser.add_argument('--cache', metavar='DIR', default=DEFAULT_CACHE,
                        help='where decoded pictures are kept (default: %(default)s)')
    if length:
        parser.add_argument('--length', type=int, default=32, metavar='N',
                            help='frames of a sequence (default: %(default)s)')
    parser.add_argument('--size', type=int, nargs=2, default=SIZE, metavar=('HEIGHT', 'WIDTH'),
                        help='of the frames (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)


def simulator_from(options: argparse.Namespace) -> Callable[[], Simulator]:
    """Return what makes the simulator that the options describe; it can be pickled."""
    return functools.partial(simulator_of, options.images, options.videos, options.cache,
                             tuple(options.size))
