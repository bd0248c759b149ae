# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Look at simulated sequences: `python -m training.simulator --output sheet.png`.

The same seed, pictures and length show the same sequences again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

import numpy as np
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from training.clips import Clip
from training.contact_sheet import clip_frame, clips_sheet
from training.simulator.options import add_sources, simulator_from

FRAMES_PER_SECOND = 15


def write_video(path: Path, clips: Sequence[Clip]) -> None:
    """
    Write clips with their boxes one after the other as an .mp4 file, atomically.

    :raises OSError: if OpenCV cannot write it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, FRAMES_PER_SECOND) as write:
        for clip in clips:
            for index in range(len(clip)):
                write(clip_frame(clip, index))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.simulator', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(parser)
    parser.add_argument('--output', type=Path, required=True, metavar='FILE',
                        help='contact sheet (.png, .jpg) or video (.mp4)')
    parser.add_argument('--clips', type=int, default=8, metavar='N',
                        help='number of sequences (default: %(default)s)')
    options = parser.parse_args(arguments)
    try:
        simulator = simulator_from(options)()
        clips = [simulator.sample(np.random.default_rng((options.seed, index)), options.length)
                 for index in range(options.clips)]
        if options.output.suffix.lower() == '.mp4':
            write_video(options.output, clips)
        else:
            save_image(options.output, clips_sheet(clips))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f'{len(clips)} sequences of {options.length} frames: {options.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
