# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Preview and render simulated sequences: `python -m training.simulator --output sheet.png`."""

from __future__ import annotations

from dataclasses import dataclass
import functools
from pathlib import Path
from typing import Any

import numpy as np
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from training.config import run_command
from training.data.cache import cache_clips, default_cache
from training.data.check import clip_frame, clips_sheet
from training.simulator import make_simulator, Simulator, SIZE

FRAMES_PER_SECOND = 15


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """
    Source of simulated sequences; the same options and seed give the same sequences.

    :param images: folder of images, with boxes.json and masks or not; empty: procedural textures
    :param videos: folder of videos as moving backgrounds
    :param cache: folder of decoded frames; empty: the user's cache folder
    :param size: height and width of the frames
    :param seed: of the sequences
    """

    images: str = ''
    videos: str = ''
    cache: str = ''
    size: tuple[int, int] = SIZE
    seed: int = 0

    def simulator(self, **config: Any) -> functools.partial[Simulator]:
        """Return a function that makes the simulator; it can be pickled."""
        root = Path(self.cache) if self.cache else default_cache()
        return functools.partial(make_simulator, self.images, self.videos, root, self.size,
                                 **config)


@dataclass(frozen=True, kw_only=True)
class PreviewOptions(SimulatorOptions):
    """
    Simulate sequences: a contact sheet, a video, or a cache of clips for training.

    :param output: contact sheet (.png, .jpg), video (.mp4), or a folder that becomes a cache of
        clips (`kind: cache` of a training configuration); an interrupted rendering continues
    :param clips: number of sequences
    :param length: frames of each
    :param processes: that render a cache; 0: one per core
    """

    output: Path
    clips: int = 8
    length: int = 32
    processes: int = 0


def preview(options: PreviewOptions) -> None:
    """Run the command."""
    make = options.simulator()
    simulator, suffix = make(), options.output.suffix.lower()
    if not suffix:
        cache_clips(options.output, make, options.clips, options.length, options.seed,
                    options.processes, simulator.properties())
    else:
        clips = [simulator.sample(np.random.default_rng((options.seed, index)), options.length)
                 for index in range(options.clips)]
        if suffix == '.mp4':
            options.output.parent.mkdir(parents=True, exist_ok=True)
            with video_writer(options.output, FRAMES_PER_SECOND) as write:
                for clip in clips:
                    for index in range(len(clip)):
                        write(clip_frame(clip, index))
        else:
            save_image(options.output, clips_sheet(clips))
    print(f'{options.clips} sequences of {options.length} frames: {options.output}')


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.simulator`; return the exit status."""
    return run_command(PreviewOptions, preview, arguments)


if __name__ == '__main__':
    raise SystemExit(main())
