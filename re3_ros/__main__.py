# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The entry points of the programs: `ros2 run re3_ros tracker_node`, or `python3 -m re3_ros ...`.

Apart from the modules they run, since to load those takes seconds: an interrupt meanwhile must
end the process quietly, too.
"""

from collections.abc import Sequence
from functools import partial
import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

PROGRAMS = {'tracker_node': 're3_ros.node', 'camera_player': 're3_ros.demo.player',
            'demo': 're3_ros.demo.app', 'web': 're3_ros.web.node'}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _exit_quietly(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def run(program: str, args: Sequence[str] | None = None) -> Any:
    """Load one of PROGRAMS and run it; signals raise KeyboardInterrupt in it."""
    for which in SIGNALS:
        signal.signal(which, _exit_quietly)
    main = importlib.import_module(PROGRAMS[program]).main
    for which in SIGNALS:
        signal.signal(which, signal.default_int_handler)
    return main(args)


# The entry points of the executables.
tracker_node = partial(run, 'tracker_node')
camera_player = partial(run, 'camera_player')
demo = partial(run, 'demo')
web = partial(run, 'web')


if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f'usage: python3 -m re3_ros {"|".join(PROGRAMS)} [arguments]')
    sys.argv[:2] = [f'{sys.argv[0]} {sys.argv[1]}']
    sys.exit(run(sys.argv[0].rpartition(' ')[2]))
