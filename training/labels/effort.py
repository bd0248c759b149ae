# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure the effort of labeling: `python -m training.labels.effort SEQUENCES`.

Counts the key frames that are needed until the filled-in boxes reach a mean IoU with annotated
ones, with the propagation of the label page, with linear interpolation and with OpenCV's CSRT
in place of our tracker. The simulated annotator draws the true box in the first frame, and then
again and again where the filled-in box is worst. Frames without the target are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import json
import multiprocessing
from pathlib import Path
import sys

import cv2
import numpy as np
from re3_core.boxes import iou
from re3_core.io.files import printable
import torch
from training.config import run_command
from training.data.base import Sequence as LabeledSequence
from training.evaluate import read_sequences
from training.labels.propagation import interpolate, Key, Propagation
from training.report import markdown
from training.trackers import TrackerSpec
import tyro

METHODS = ('propagation', 'linear', 'csrt')
TITLES = {'propagation': 'forward and backward, re3_lite', 'linear': 'linear interpolation',
          'csrt': 'forward and backward, CSRT'}


def count_key_frames(truth: np.ndarray, fill: Callable[[dict[int, Key]], np.ndarray],
                     target: float, most: int) -> tuple[int, float]:
    """
    Return the number of key frames that are needed, and the mean IoU that they reach.

    :param truth: (T, 4) xyxy, nan where absent
    :param fill: returns boxes (T, 4) for keys
    :param target: mean IoU to reach over the frames with a true box
    :param most: key frames after which to give up
    """
    present = np.isfinite(truth).all(1)
    keys: dict[int, Key] = {}
    for t in range(len(truth)):     # where the target disappears, and where it comes back
        if t and present[t] != present[t - 1]:
            keys[t] = Key(_as_box(truth[t]) if present[t] else None)
    given = len(keys)
    keys.setdefault(int(np.flatnonzero(present)[0]), _key(truth, int(np.flatnonzero(present)[0])))
    while True:
        boxes = fill(keys)
        overlap = np.where(present, np.nan_to_num(iou(boxes, truth)), np.nan)
        mean = float(np.nanmean(overlap))
        if mean >= target or len(keys) - given >= most:
            return len(keys), mean
        overlap[list(keys)] = np.nan
        if np.isnan(overlap).all():
            return len(keys), mean
        worst = int(np.nanargmin(_smooth(overlap)))
        keys[worst] = _key(truth, worst)


def _as_box(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def _key(truth: np.ndarray, t: int) -> Key:
    return Key(_as_box(truth[t]))


def _smooth(overlap: np.ndarray, width: int = 5) -> np.ndarray:
    """Return the running mean of overlaps, nan where they are: a person looks at stretches."""
    known = np.isfinite(overlap)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, overlap, 0), kernel, 'same')
    count = np.convolve(known.astype(float), kernel, 'same')
    return np.where(known, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class _Job:
    sequence: LabeledSequence
    method: str
    target: float
    most: int

    def run(self) -> tuple[int, float]:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        truth = np.asarray(self.sequence.boxes, np.float64)
        if self.method == 'linear':
            return count_key_frames(truth, lambda keys: interpolate(keys, len(truth)),
                                    self.target, self.most)
        model = 're3_lite' if self.method == 'propagation' else 'opencv:csrt'
        tracker = TrackerSpec(model=model, device='cpu').make()
        propagation = Propagation(list(self.sequence.frames), lambda: tracker)

        def fill(keys: dict[int, Key]) -> np.ndarray:
            for _ in propagation.update(keys):
                pass
            return propagation.result(keys).boxes
        return count_key_frames(truth, fill, self.target, self.most)


def _run(job: _Job) -> tuple[int, float]:
    return job.run()


def measure(sequences: Sequence[LabeledSequence], methods: Sequence[str] = METHODS,
            target: float = .8, most: int = 60, workers: int = 1,
            ) -> dict[str, dict[str, tuple[int, float]]]:
    """Return {sequence: {method: (key frames, mean IoU)}}."""
    jobs = [_Job(sequence, method, target, most) for sequence in sequences for method in methods]
    with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn')) as pool:
        results = list(pool.map(_run, jobs))
    table: dict[str, dict[str, tuple[int, float]]] = {}
    for job, result in zip(jobs, results, strict=True):
        table.setdefault(job.sequence.name, {})[job.method] = result
    return table


def as_table(results: dict[str, dict[str, tuple[int, float]]], lengths: dict[str, int],
             most: int) -> str:
    """Return the counts as a Markdown table."""
    methods = list(next(iter(results.values())))
    rows = [['sequence', 'frames', *(TITLES[method] for method in methods)]]
    for name, found in results.items():
        rows.append([printable(name), str(lengths[name]), *(
            f'{found[method][0]}' + f' ({found[method][1]:.2f})' * (found[method][0] >= most)
            for method in methods)])
    rows.append(['all', str(sum(lengths.values())), *(
        str(sum(found[method][0] for found in results.values())) for method in methods)])
    return markdown(rows)


@dataclass(frozen=True)
class EffortOptions:
    """
    Count the key frames that labeling needs.

    :param dataset: folder of annotated sequences
    :param format: its layout: otb, got10k, lasot or vot
    :param methods: some of propagation, linear and csrt
    :param target: mean IoU to reach
    :param most: key frames after which a sequence counts as not reached
    :param limit: take the first sequences only
    :param workers: processes
    :param json: file for the counts
    """

    dataset: tyro.conf.Positional[Path]
    format: str = 'otb'  # noqa: A003
    methods: tuple[str, ...] = METHODS
    target: float = .8
    most: int = 60
    limit: int | None = None
    workers: int = 1
    json: Path | None = None


def run(options: EffortOptions) -> None:
    """Run the command."""
    unknown = set(options.methods) - set(METHODS)
    if unknown or not options.methods:
        raise ValueError(f'--methods must be some of {", ".join(METHODS)}, got '
                         f'{", ".join(sorted(unknown)) or "none"}')
    sequences = read_sequences(options.dataset, options.format)[:options.limit]
    results = measure(sequences, options.methods, options.target, options.most, options.workers)
    lengths = {sequence.name: len(sequence) for sequence in sequences}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print(as_table(results, lengths, options.most))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(EffortOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
