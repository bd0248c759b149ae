# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Evaluate trackers on annotated sequences.

Run `python -m training.evaluate --help`; protocol and definitions are in docs/evaluation.md.
All repeated starts of a sequence run side by side as targets of one tracker: a frame is decoded
once, and our networks process all starts in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Timeout
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
import sys
import zlib

import cv2
import numpy as np
from re3_core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
import torch
from torch.utils.data import Subset
from training import report as reports
from training.config import one_line, run_command
from training.data import read_got10k, read_lasot, read_videos
from training.data.base import path_key, Sequence, sequences_of
from training.executor import Executor, ExecutorOptions, WorkerDied
from training.metrics import OnePassRun
from training.storage import local_copy
from training.trackers import AnyTracker, TRACKER_ERRORS, TrackerOptions, TrackerSpec

READERS = {'otb': read_videos, 'got10k': read_got10k, 'lasot': read_lasot, 'vot': read_videos}
# Seconds per frame that a start may take beside the limit per start.
SECONDS_PER_FRAME = 1.


def read_sequences(path: Path | str, layout: str = 'otb') -> list[Sequence]:
    """
    Return the Sequences of a data set, in natural order of their names.

    :raises ValueError: if there are none, or a file is malformed
    """
    if layout not in READERS:
        raise ValueError(f'format must be one of {", ".join(READERS)}, got {layout!r}')
    sequences = sequences_of(READERS[layout](path))
    if not sequences:
        raise ValueError(f'{path}: no sequence with boxes in it')
    return sorted(sequences, key=lambda sequence: path_key(sequence.name))


def some_frames(sequence: Sequence, numbers: range) -> Sequence:
    """Return a Sequence of the frames with these numbers."""
    return replace(sequence, frames=Subset(sequence.frames, numbers),
                   boxes=sequence.boxes[numbers], visible=sequence.visible[numbers])


def every_nth_frame(sequence: Sequence, stride: int) -> Sequence:
    """
    Return a Sequence of every `stride`-th frame, as of a camera with a lower frame rate.

    :raises ValueError: for a stride below 1, or if only one frame is left
    """
    if stride < 1:
        raise ValueError(f'stride must be at least 1, got {stride}')
    if stride == 1:
        return sequence
    if len(sequence) <= stride:
        raise ValueError(f'{sequence.name}: {len(sequence)} frames are too few for stride '
                         f'{stride}')
    return some_frames(sequence, range(0, len(sequence), stride))


# One pass -------------------------------------------------------------------------------------


class TrackerError(Exception):
    """A tracker failed with several starts at once; the message is the reason."""


def jittered_box(box: np.ndarray, jitter: float, seed: int, name: str,
                 start: int) -> np.ndarray:
    """
    Return `box` (4,) `xyxy`, moved and scaled by up to `jitter` of its size along each axis.

    The draw depends on nothing but the arguments, so all trackers get the same starts.
    """
    name_hash = zlib.crc32(name.encode('utf-8', 'surrogateescape'))
    rng = np.random.default_rng([seed, name_hash, start])
    move, scale = rng.uniform(-jitter, jitter, (2, 2))
    x, y, width, height = xyxy_to_cxcywh(np.asarray(box, float))
    return cxcywh_to_xyxy(np.array([x + move[0] * width, y + move[1] * height,
                                    width * (1 + scale[0]), height * (1 + scale[1])]))


def run_one_pass(tracker: AnyTracker, sequence: Sequence, starts: SequenceOf[int], jitter: float,
                 seed: int) -> OnePassRun:
    """
    Track `sequence` from jittered first boxes to its end.

    A single start in which the tracker raises an exception ends there, with its reason.

    :param starts: numbers of the starts
    :raises TrackerError: if the tracker raises an exception with several starts
    :raises DataError: if there are not as many frames as boxes
    """
    boxes = np.full((len(starts), len(sequence), 4), np.nan)
    confidences = np.full((len(starts), len(sequence)), np.nan)
    errors = [''] * len(starts)
    tracker.reset()
    for t, frame in _frames(sequence):
        try:
            if t == 0:
                tracks: dict = {str(i): tracker.init(str(i), frame, jittered_box(
                    sequence.boxes[0], jitter, seed, sequence.name, i)) for i in starts}
            else:
                tracks = tracker.update(frame)
        except TRACKER_ERRORS as error:
            if len(starts) > 1:
                raise TrackerError(one_line(error)) from error
            errors = [f'frame {t}: {one_line(error)}']
            break
        for row, i in enumerate(starts):
            track = tracks[str(i)]
            boxes[row, t], confidences[row, t] = track.box, track.confidence
    return OnePassRun(boxes, confidences, tuple(errors))


def _frames(sequence: Sequence) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, frame); ValueError if there are not as many frames as boxes."""
    count = 0
    for frame in sequence.frames:
        if count < len(sequence):
            yield count, frame
        count += 1
    if count != len(sequence):
        raise ValueError(f'{sequence.name}: {count} frames, but {len(sequence)} boxes')


# Jobs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """Starts of one tracker on one sequence."""

    spec: TrackerSpec
    sequence: Sequence
    starts: tuple[int, ...]
    jitter: float
    seed: int

    def run(self) -> OnePassRun:
        return run_one_pass(_tracker(self.spec), self.sequence, self.starts, self.jitter,
                            self.seed)

    def failed(self, reason: str) -> OnePassRun:
        """Return the run of a single start that gave no result: no box in any frame."""
        count = len(self.sequence)
        return OnePassRun(np.full((1, count, 4), np.nan), np.full((1, count), np.nan), (reason,))


@lru_cache(maxsize=1)
def _tracker(spec: TrackerSpec) -> AnyTracker:
    return spec.make()


def _prepare_process(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    # OpenCV 5 warns of every ONNX file that it opens.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@dataclass(frozen=True)
class _Runner:
    """
    Runs jobs, and aborts those that take too long.

    :param start_timeout: seconds per start beside SECONDS_PER_FRAME; 0: no limit
    """

    executor: Executor
    start_timeout: float

    def submit(self, job: _Job) -> Future:
        """Start a job."""
        seconds = len(job.starts) * (self.start_timeout + SECONDS_PER_FRAME * len(job.sequence))
        return self.executor.submit(_Job.run, job, seconds if self.start_timeout else None)

    def result(self, job: _Job, future: Future) -> OnePassRun:
        """Return the result of a job; starts that fail together are repeated one by one."""
        try:
            return self.executor.result(future)
        except Timeout:
            reason = (f'no result within the time limit of {self.start_timeout:g} s and '
                      f'{SECONDS_PER_FRAME:g} s per frame')
        except WorkerDied as error:
            reason = f'its process died: {error}'
        except TrackerError as error:
            reason = str(error)
        if len(job.starts) == 1:
            return job.failed(reason)
        singles = [replace(job, starts=(start,)) for start in job.starts]
        return OnePassRun.joined([self.result(single, again) for single, again in
                                  [(single, self.submit(single)) for single in singles]])


# Evaluation ------------------------------------------------------------------------------------


def evaluate(specs: SequenceOf[TrackerSpec], sequences: SequenceOf[Sequence],
             starts: int = 5, jitter: float = .03, seed: int = 0, threads: int = 1,
             start_timeout: float = 0, log: Callable[[str], object] = lambda text: None,
             executor: ExecutorOptions | None = None) -> dict:
    """
    Run every tracker on every sequence; return the report, see docs/evaluation.md.

    A start in which a tracker fails or takes too long counts as failed, with its reason; a
    sequence that cannot be read is skipped for all trackers, with its reason.

    :param starts: repeated runs, each with the first box moved and scaled by up to `jitter`
    :param threads: threads of each process
    :param start_timeout: seconds that a start may take, beside a second per frame; 0: any
    :param executor: the processes that share the runs; by default this one
    :raises ValueError: if a tracker cannot be made, or no sequence can be read
    """
    for spec in specs:
        spec.make()
    jobs = [_Job(spec, sequence, tuple(range(starts)), jitter, seed)
            for spec in specs for sequence in sequences]
    runs: dict[tuple[TrackerSpec, str], OnePassRun] = {}
    skipped: dict[str, str] = {}
    prepare = partial(_prepare_process, threads)
    prepare()
    _tracker.cache_clear()      # a weights file may have changed since the last call
    options = executor or ExecutorOptions()
    with options.make_executor(prepare, separate=start_timeout > 0) as processes:
        runner = _Runner(processes, start_timeout)
        for job, future in [(job, runner.submit(job)) for job in jobs]:
            name = job.sequence.name
            try:
                run = runs[job.spec, name] = runner.result(job, future)
            except (OSError, ValueError, cv2.error) as error:
                skipped[name] = one_line(error)
                log(f'skipped {name}: {skipped[name]}')
                continue
            figures = reports.tracker_report([job.sequence], [run])['overall']
            log(f'{job.spec.label} {name}: AUC {figures["auc"]["mean"]:.3f}, '
                f'P@20 {figures["precision_20"]["mean"]:.3f}')
    sequences = [sequence for sequence in sequences if sequence.name not in skipped]
    if not sequences:
        raise ValueError('no sequence could be evaluated; ' + '; '.join(skipped.values()))
    trackers = {spec.label: reports.tracker_report(sequences, [
        runs[spec, sequence.name] for sequence in sequences]) for spec in specs}
    return {
        'starts': starts, 'jitter': jitter, 'seed': seed, 'threads': threads,
        'machine': reports.machine(), 'skipped': skipped,
        'sequences': {sequence.name: len(sequence) for sequence in sequences},
        'trackers': trackers, 'differences': reports.all_differences(trackers),
    }


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TrackerOptions, ExecutorOptions):
    """
    Evaluate trackers on annotated sequences.

    :param compare: further trackers in the same run: opencv:KIND, MODEL or MODEL=WEIGHTS
    :param reset_every: frames between resets of the memory
    :param reset_each_frame: also run the model with its memory reset at every frame, to the state
        after the first frame advanced by one step: the difference is what the memory is worth
    :param stride: every how many frames of a sequence are tracked
    :param dataset: folder of the sequences, path or URL such as s3://...
    :param format: its layout: otb, got10k, lasot or vot
    :param limit: take the first sequences only
    :param starts: jittered starts
    :param jitter: largest move and scale of the first box, in box sizes
    :param seed: of the starts
    :param threads: threads of a process
    :param start_timeout: a start that takes longer than these seconds and a second per frame
        counts as failed; 0: no limit
    :param json: file to write the whole report to, path or URL
    :param plots: folder to write the plots to
    """

    dataset: str
    compare: tuple[str, ...] = ()
    reset_every: int | None = None
    reset_each_frame: bool = False
    stride: int = 1
    format: str = 'otb'  # noqa: A003
    limit: int | None = None
    starts: int = 5
    jitter: float = .03
    seed: int = 0
    threads: int = 1
    start_timeout: float = 60.
    json: str | None = None
    plots: Path | None = None

    def specs(self) -> list[TrackerSpec]:
        """Return the TrackerSpecs that the command line names; the first one is the main one."""
        main = self.spec(reset_every=self.reset_every)
        specs = [main]
        if self.reset_each_frame:
            specs.append(replace(main, label=f'{main.label} reset each frame', reset_every=1))
        for text in self.compare:
            model, _, weights = text.partition('=')
            specs.append(replace(main, model=model, label=text, weights=weights or None))
        labels = [spec.label for spec in specs]
        if len(set(labels)) < len(labels):
            raise ValueError(f'a tracker is named twice: {", ".join(labels)}')
        return specs


def run_evaluation(options: EvaluateOptions) -> int:
    """Run the command; return 1 if a sequence had to be skipped."""
    specs = options.specs()
    sequences = read_sequences(local_copy(options.dataset), options.format)[:options.limit]
    sequences = [every_nth_frame(sequence, options.stride) for sequence in sequences]
    report = evaluate(
        specs, sequences, options.starts, options.jitter, options.seed, options.threads,
        options.start_timeout, lambda text: print(text, file=sys.stderr, flush=True), options)
    print(reports.overall_table(report), reports.sequence_table(report), sep='\n\n')
    print(reports.failure_lines(report), end='')
    if options.json:
        reports.write_json(report, options.json)
    if options.plots:
        reports.save_plots(report, options.plots)
    return 1 if report['skipped'] else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(EvaluateOptions, run_evaluation, arguments)


if __name__ == '__main__':
    sys.exit(main())
