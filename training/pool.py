# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Pools: clips rendered beforehand into memory-mapped files, so that training only copies.

Clip k is made with the seed (seed, k): any number of processes render the same pool, and an
interrupted build goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from dataclasses import replace
import json
import multiprocessing
import os
from pathlib import Path
import sys
import threading

import cv2
import numpy as np
from re3_core.io.files import atomic_write
from tqdm import tqdm
from training.clips import Clip, ClipSource, cut
from training.frame_store import replace_directory
from training.simulator.options import add_sources, simulator_from
from training.simulator.simulator import SIZE

SETTINGS_FILE = 'settings.json'
BATCH = 4
START_VISIBLE = 0.5
# Sides of a part of a target, in sides of the target.
PART_SIDES = (0.5, 0.9)


def _arrays(directory: Path, settings: dict, mode: str) -> dict[str, np.ndarray]:
    """Map the files of a pool into memory."""
    clips, length = settings['clips'], settings['length']
    height, width = settings['size']
    forms = {'frames': (np.uint8, (clips, length, height, width, 3)),
             'boxes': (np.float32, (clips, length, 4)),
             'visible': (np.float32, (clips, length)),
             'done': (np.uint8, (clips,))}
    return {name: np.memmap(directory / f'{name}.bin', dtype, mode, shape=shape)
            for name, (dtype, shape) in forms.items()}


class Pool:
    """
    Clip source of rendered clips; frames are views into the mapped file.

    :param directory: made by `build_pool`
    :param strides: every how many frames a drawn clip goes on, drawn per clip from these; those
        that do not fit are left out
    :param parts: share of clips of which a part of the target is the target, so that a box is
        learned to be followed even if it is not that of a whole object
    :raises OSError: if there is no finished pool
    """

    def __init__(self, directory: os.PathLike | str, strides: tuple[int, ...] = (1,),
                 parts: float = 0.):
        directory = Path(directory)
        if not (directory / SETTINGS_FILE).is_file():
            raise OSError(f'{directory}: no finished pool of clips')
        self.settings = json.loads((directory / SETTINGS_FILE).read_text())
        arrays = _arrays(directory, self.settings, 'r')
        self._frames, self._boxes = np.asarray(arrays['frames']), np.asarray(arrays['boxes'])
        self._visible = np.asarray(arrays['visible'])
        self.strides, self.parts = tuple(strides), parts

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Clip:
        """Return a whole clip."""
        return Clip(self._frames[index], self._boxes[index], self._visible[index])

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """
        Draw a clip and `length` frames of it; the target is mostly visible in the first one.

        :raises ValueError: if the clips are shorter than that
        """
        whole = self[int(rng.integers(len(self)))]
        fitting = [step for step in self.strides if (length - 1) * step < len(whole)]
        stride = int(rng.choice(fitting)) if fitting else 1
        last = len(whole) - 1 - (length - 1) * stride
        good = np.flatnonzero(whole.visible[:last + 1] >= START_VISIBLE)
        # A target that is hidden in every possible first frame is rare; then any will do.
        start = int(rng.choice(good)) if len(good) else 0
        clip = cut(whole, start, length, stride)
        return part_of(clip, rng) if self.parts and rng.random() < self.parts else clip


def part_of(clip: Clip, rng: np.random.Generator) -> Clip:
    """Make the target a part of what it is, the same in all frames: half of each side or more."""
    shares = rng.uniform(*PART_SIDES, 2)
    corner = rng.uniform(0, 1, 2) * (1 - shares)
    inner = np.concatenate((corner, corner + shares))
    origin = np.tile(clip.boxes[:, :2], 2)
    size = np.tile(clip.boxes[:, 2:] - clip.boxes[:, :2], 2)
    return replace(clip, boxes=(origin + inner * size).astype(np.float32))


_worker: dict = {}


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone, even killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _start_worker(make: Callable[[], ClipSource], directory: Path, settings: dict) -> None:
    """Prepare a rendering process."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _worker.update(source=make(), arrays=_arrays(directory, settings, 'r+'), settings=settings)


def _render(clips: list[int]) -> int:
    """Render clips in a worker process; return their number."""
    arrays, settings = _worker['arrays'], _worker['settings']
    for index in clips:
        rng = np.random.default_rng((settings['seed'], index))
        clip = _worker['source'].sample(rng, settings['length'])
        arrays['frames'][index] = clip.frames
        arrays['boxes'][index] = clip.boxes
        arrays['visible'][index] = clip.visible
        arrays['done'][index] = 1
    return len(clips)


def build_pool(directory: os.PathLike | str, make: Callable[[], ClipSource], *, clips: int,
               length: int = 32, size: tuple[int, int] = SIZE, seed: int = 0,
               processes: int | None = None, progress: bool = True,
               settings: dict | None = None) -> Pool:
    """
    Render a pool, go on with an interrupted one, or open the finished one.

    :param make: makes the clip source, called once in every process, so it must be picklable
    :param size: height and width of the frames that the source gives
    :param processes: rendering processes; None: one per core
    :param settings: what else tells this pool from others, anything for JSON
    :raises ValueError: if the directory holds a pool of other settings
    """
    directory = Path(directory)
    wanted = {'clips': clips, 'length': length, 'size': list(size), 'seed': seed,
              'source': settings or {}}
    if (directory / SETTINGS_FILE).is_file():
        _check_settings(directory, wanted)
        return Pool(directory)
    partial = directory.with_name(directory.name + '.partial')
    _prepare(partial, wanted)
    done = _arrays(partial, wanted, 'r+')['done']
    missing = np.flatnonzero(np.asarray(done) == 0).tolist()
    batches = [missing[place:place + BATCH] for place in range(0, len(missing), BATCH)]
    with tqdm(total=clips, initial=clips - len(missing), desc='rendering', unit='clip',
              disable=None if progress else True) as bar:
        for count in _rendered(make, partial, wanted, batches, processes):
            bar.update(count)
    replace_directory(partial, directory)
    return Pool(directory)


def _rendered(make: Callable[[], ClipSource], partial: Path, wanted: dict,
              batches: list[list[int]], processes: int | None) -> Iterator[int]:
    """Render all batches in processes; yield how many clips each had."""
    # Fresh processes: forking one in which torch has started threads can hang.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes or os.cpu_count(), context, _start_worker,
                             (make, partial, wanted)) as executor:
        for future in as_completed([executor.submit(_render, batch) for batch in batches]):
            yield future.result()


def _check_settings(directory: Path, wanted: dict) -> None:
    found = json.loads((directory / SETTINGS_FILE).read_text())
    if found != json.loads(json.dumps(wanted)):
        raise ValueError(f'{directory} holds a pool with other settings: {found}; '
                         f'wanted: {wanted}. Name another directory or remove it')


def _prepare(partial: Path, wanted: dict) -> None:
    """Make the files of a pool, empty, unless an interrupted build has left them."""
    if (partial / SETTINGS_FILE).is_file():
        _check_settings(partial, wanted)
        return
    partial.mkdir(parents=True, exist_ok=True)
    _arrays(partial, wanted, 'w+')
    with atomic_write(partial / SETTINGS_FILE) as part:
        part.write_text(json.dumps(wanted, indent=1))


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.pool`: render a pool of simulated clips; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.pool', description=main.__doc__)
    add_sources(parser)
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='where the pool is put; an interrupted build goes on')
    parser.add_argument('--clips', type=int, default=1000, help='default: %(default)s')
    parser.add_argument('--processes', type=int, help='default: one per core')
    options = parser.parse_args(arguments)
    make = simulator_from(options)
    try:
        make()  # Fill the caches once, before several processes need them.
        pool = build_pool(
            options.output, make, clips=options.clips, length=options.length,
            size=tuple(options.size), seed=options.seed, processes=options.processes,
            settings={'images': options.images, 'videos': options.videos})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f'{len(pool)} clips of {options.length} frames: {options.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
