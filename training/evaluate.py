# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Judge trackers on annotated sequences.

Run `python -m training.evaluate --help`; protocol and definitions are in docs/evaluation.md.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
import json
import math
import multiprocessing
import os
from pathlib import Path
import platform
import sys

import cv2
from re3_core.io.files import atomic_write
import torch
from training import report as reports
from training.datasets.got10k import read_got10k
from training.datasets.lasot import read_lasot
from training.datasets.recordings import read_recordings
from training.datasets.sequences import sequences_of
from training.plots import save_plots
from training.runners import (
    add_tracker_options,
    run_one_pass,
    run_supervised,
    TrackerSpec,
    update_times,
)

READERS = {'otb': read_recordings, 'got10k': read_got10k, 'lasot': read_lasot,
           'vot': read_recordings}
PROTOCOLS = {'one-pass': (run_one_pass, reports.one_pass_report),
             'restarts': (run_supervised, reports.supervised_report)}


def read_sequences(path, layout='otb'):
    """
    Return the Sequences of a data set, sorted by name.

    :raises ValueError: if there are none, or a file is malformed.
    """
    sequences = sequences_of(READERS[layout](path))
    if not sequences:
        raise ValueError(f'{path}: no sequence with boxes in it')
    return sorted(sequences, key=lambda sequence: sequence.name)


def evaluate(specs, sequences, protocol='one-pass', starts=5, jitter=.03, seed=0, workers=1,
             threads=1, speed_frames=30, say=lambda text: None):
    """
    Run every tracker of `specs` (TrackerSpec) on every sequence; return the report as a dict.

    :param protocol: 'one-pass' runs once to the end of each sequence, 'restarts' starts again
        after failures (VOT).
    :param starts: repeated runs, each with the first box moved and scaled by up to `jitter`.
    :param workers: processes that share the runs; speed is measured afterwards, alone.
    :param speed_frames: frames of each sequence on which a single target is timed; 0: none.
    """
    _tracker.cache_clear()      # a weights file may have changed since the last call
    jobs = [(spec, sequence, protocol, starts, jitter, seed)
            for spec in specs for sequence in sequences]
    runs = dict.fromkeys(specs, ())
    for job, run in zip(jobs, _map(_run, jobs, workers, threads), strict=True):
        runs[job[0]] += (run,)
        say(_progress(job, run))
    summarise = PROTOCOLS[protocol][1]
    trackers = {spec.label: summarise(sequences, runs[spec]) for spec in specs}
    for spec in specs:
        trackers[spec.label]['fps'] = _speed(spec, sequences, speed_frames)
    return {
        'protocol': protocol, 'starts': starts, 'jitter': jitter, 'seed': seed,
        'threads': threads, 'machine': _machine(),
        'sequences': {sequence.name: len(sequence) for sequence in sequences},
        'trackers': trackers,
        'ratios': _ratios(trackers, protocol),
    }


def _map(function, jobs, workers, threads):
    if workers == 1:
        _prepare_process(threads)
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, _prepare_process, (threads,)) as pool:
        yield from pool.map(function, jobs)
    _prepare_process(threads)


def _prepare_process(threads):
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    # OpenCV 5 warns of every ONNX file that it opens.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@lru_cache(maxsize=1)
def _tracker(spec):
    return spec.make()


def _run(job):
    spec, sequence, protocol, starts, jitter, seed = job
    return PROTOCOLS[protocol][0](_tracker(spec), sequence, starts, jitter, seed)


def _progress(job, run):
    spec, sequence, protocol = job[:3]
    figures = PROTOCOLS[protocol][1]([sequence], [run])['overall']
    return f'{spec.label} {sequence.name}: ' + ', '.join(
        f'{name} {figures[name]["mean"]:.3f}' for name in list(figures)[:2])


def _speed(spec, sequences, frames):
    """Return the mean number of updates a second with a single target, None if not measured."""
    if not frames:
        return None
    seconds = [update_times(_tracker(spec), sequence, frames).sum() for sequence in sequences]
    updates = sum(min(frames, len(sequence) - 2) for sequence in sequences)
    return updates / sum(seconds)


def _ratios(trackers, protocol):
    result = {name: reports.ratios(trackers, name) for name in reports.FIGURES[protocol]}
    if all(tracker['fps'] for tracker in trackers.values()):
        first, *others = trackers
        result['fps'] = {label: trackers[first]['fps'] / trackers[label]['fps']
                         for label in others}
    return result


def _machine():
    return {'processor': platform.processor() or platform.machine(), 'cores': os.cpu_count(),
            'python': platform.python_version(), 'torch': torch.__version__,
            'opencv': cv2.__version__}


def write_json(report, path):
    """Write the report to `path`, all or nothing; NaN becomes null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_text(json.dumps(_without_nan(report), indent=1, allow_nan=False) + '\n')


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _parser():
    parser = argparse.ArgumentParser(
        prog='python -m training.evaluate', description='Judge trackers on annotated sequences.')
    add_tracker_options(parser)
    add = parser.add_argument
    add('--compare', nargs='+', default=[], metavar='TRACKER',
        help='further trackers in the same run: opencv:KIND, MODEL or MODEL=WEIGHTS')
    add('--zero-state', action='store_true',
        help='also run --model with its memory zeroed at every frame')
    add('--reset-every', type=int, metavar='N', help='frames between resets of the memory')
    add('--dataset', required=True, help='folder of the sequences')
    add('--format', choices=sorted(READERS), default='otb', help='its layout')
    add('--protocol', choices=tuple(PROTOCOLS),
        help='(default: restarts after failures for vot, else one pass)')
    add('--limit', type=int, metavar='N', help='take the first N sequences only')
    add('--starts', type=int, default=5, help='jittered starts (default: %(default)s)')
    add('--jitter', type=float, default=.03,
        help='largest move and scale of the first box, in box sizes (default: %(default)s)')
    add('--seed', type=int, default=0, help='of the starts')
    add('--threads', type=int, default=1, help='threads of a process (default: %(default)s)')
    add('--workers', type=int, default=1, help='processes (default: %(default)s)')
    add('--speed-frames', type=int, default=30, metavar='N',
        help='frames of each sequence timed with one target, 0: none (default: %(default)s)')
    add('--json', metavar='FILE', help='write the whole report')
    add('--plots', metavar='DIR', help='write the plots')
    return parser


def _specs(options):
    """Return the TrackerSpecs that the command line asks for; the first one is the main one."""
    shared = {'device': options.device, 'precision': options.precision,
              'reset_every': options.reset_every, 'opencv_models': options.opencv_models}
    main = TrackerSpec(options.model, options.model, options.weights, **shared)
    specs = [main]
    if options.zero_state:
        specs.append(replace(main, label=f'{main.label} zero state', zero_state=True))
    for text in options.compare:
        name, _, weights = text.partition('=')
        specs.append(TrackerSpec(name, text, weights or None, **shared))
    labels = [spec.label for spec in specs]
    if len(set(labels)) < len(labels):
        raise ValueError(f'a tracker is named twice: {", ".join(labels)}')
    return specs


def main(arguments=None):
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        specs = _specs(options)
        sequences = read_sequences(options.dataset, options.format)[:options.limit]
        protocol = options.protocol or ('restarts' if options.format == 'vot' else 'one-pass')
        report = evaluate(
            specs, sequences, protocol, options.starts, options.jitter,
            options.seed, options.workers, options.threads, options.speed_frames,
            say=lambda text: print(text, file=sys.stderr, flush=True))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(reports.overall_table(report), reports.sequence_table(report), sep='\n\n')
    if options.json:
        write_json(report, options.json)
    if options.plots and report['protocol'] == 'one-pass':
        save_plots(report, options.plots)
    return 0


if __name__ == '__main__':
    sys.exit(main())
