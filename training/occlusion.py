# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0


"""
Measure what becomes of targets that are wholly hidden for a while.

Run `python -m training.occlusion --help`; protocol and figures are in docs/evaluation.md.
"""

import argparse
from pathlib import Path
import sys

import cv2
import numpy as np
from re3_core.boxes import iou
from re3_core.tracker import Tracker
import torch
from training.evaluate import read_sequences, READERS, write_json
from training.metrics import success_curve
from training.occlusion_clips import AFTER, BEFORE, Event, sequence_events, simulated_events
from training.report import markdown
from training.simulator.options import add_sources
from training.simulator.scene import SceneConfig
from training.simulator.simulator import simulator_of

LENGTHS = (10, 20, 40, 60)
GOOD = .5
# Clips in which the target stays in the frame, and nothing but the wall hides it on purpose.
SCENES = SceneConfig(occlusion_share=0., leaving_share=0.)
COLUMNS = {
    'found': 'found again', 'frames_until_found': 'frames until found', 'wrong': 'wrong finds',
    'tracked_while_hidden': 'tracked while hidden', 'never_lost': 'never lost', 'auc': 'AUC'}


def follow(trackers, events):
    """
    Follow all events side by side with each of several trackers, from the first true boxes.

    :return: for each tracker boxes (E, T, 4) and lost (E, T) bool; events that are shorter than
        the longest one are NaN and False at their ends.
    """
    longest = max(map(len, events))
    boxes = np.full((len(trackers), len(events), longest, 4), np.nan)
    lost = np.zeros(boxes.shape[:3], bool)
    for t in range(longest):
        running = [row for row, event in enumerate(events) if t < len(event)]
        frames = [events[row].frame(t) for row in running]
        for number, tracker in enumerate(trackers):
            for row, track in _step(tracker, t, events, running, frames):
                boxes[number, row, t], lost[number, row, t] = track.box, track.lost
    return list(zip(boxes, lost, strict=True))


def _step(tracker, t, events, running, frames):
    """Yield (row, Track) of the events `running` in their frame number `t`."""
    if t == 0:
        tracker.reset()
        for row, frame in zip(running, frames, strict=True):
            yield row, tracker.init(str(row), frame, events[row].boxes[0])
        return
    tracks = tracker.update_frames(
        [(frame, [str(row)]) for row, frame in zip(running, frames, strict=True)])
    yield from ((row, tracks[str(row)]) for row in running)


def judge(event, boxes, lost):
    """
    Return what became of one hidden target, from boxes (T, 4) `xyxy` and lost (T,) bool.

    `found`: tracked with an overlap > .5 in a frame after it was hidden; `frames_until_found`:
    which one, from 1 on, NaN for none; `wrong`: how often it was lost, then tracked where it was
    not; `tracked_while_hidden`: share of the hidden frames; `never_lost`.
    """
    count, end = len(event), event.hidden.stop
    boxes, lost = boxes[:count], lost[:count]
    overlap = iou(boxes, event.boxes)
    right = ~lost & (overlap > GOOD)
    after = np.flatnonzero(right[end:])
    back = np.flatnonzero(lost[:-1] & ~lost[1:]) + 1
    hidden = np.isin(back, event.hidden)
    return {
        'found': bool(len(after)),
        'frames_until_found': float(after[0] + 1) if len(after) else float('nan'),
        'wrong': int((hidden | (overlap[back] <= GOOD)).sum()),
        'tracked_while_hidden': float((~lost[event.hidden.start:end]).mean()),
        'never_lost': not lost[event.hidden.start:].any(),
    }


def judge_plain(event, boxes, lost):
    """Return `auc`, the success AUC of a target that is never hidden, `wrong` and `lost`."""
    count = len(event)
    overlap = iou(boxes[:count], event.boxes)
    known, lost = np.isfinite(overlap), lost[:count]
    back = np.flatnonzero(lost[:-1] & ~lost[1:]) + 1
    return {'auc': float(success_curve(overlap[known]).mean()), 'lost': float(lost.mean()),
            'wrong': int((overlap[back] <= GOOD).sum())}


def summary(results):
    """Return the mean of each figure (found ones only for the frames), and the `events`."""
    figures = {name: np.array([result[name] for result in results], float)
               for name in results[0]}
    return {'events': len(results), **{
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')
        for name, values in figures.items()}}


def measure(trackers, groups):
    """
    Return {group: {tracker: summary}} of Trackers by label on Events by group.

    The limit on all candidates together is lifted: the events only happen to run side by side.
    """
    events = [event for group in groups.values() for event in group]
    for tracker in trackers.values():
        tracker.redetection_limit = tracker.redetection_candidates * len(events)
    report = {}
    for name, group in groups.items():
        runs = follow(list(trackers.values()), group)
        report[name] = {
            label: summary([(judge if event.wall else judge_plain)(event, *run)
                            for event, *run in zip(group, *tracks, strict=True)])
            for label, tracks in zip(trackers, runs, strict=True)}
        print(table({name: report[name]}), file=sys.stderr, flush=True)
    return report


def table(report):
    """Return the markdown table of what `measure` returns."""
    rows = [['targets', 'number', 'tracker', *COLUMNS.values()]]
    for group, trackers in report.items():
        for label, figures in trackers.items():
            rows.append([group, str(figures['events']), label, *(
                _cell(name, figures.get(name)) for name in COLUMNS)])
    return markdown(rows)


def _cell(name, value):
    if value is None or np.isnan(value):
        return ''
    if name in ('found', 'tracked_while_hidden', 'never_lost'):
        return f'{value:.0%}'
    return f'{value:.3f}' if name == 'auc' else f'{value:.2f}'


def make_groups(options):
    """Return the Events that the command line asks for, by the text that names them."""
    groups = {}
    if options.clips:
        simulator = simulator_of(options.images, options.videos, options.cache,
                                 tuple(options.size), SCENES)
        length = BEFORE + max(options.hidden) + AFTER
        clips = [simulator.sample(np.random.default_rng([options.seed, index]), length)
                 for index in range(options.clips)]
        for hidden in options.hidden:
            groups[f'simulated, hidden for {hidden}'] = simulated_events(clips, hidden)
        groups['simulated, never hidden'] = [
            Event(f'clip {index}', clip.frames, clip.boxes) for index, clip in enumerate(clips)]
    for dataset in options.dataset or ():
        sequences, name = read_sequences(dataset, options.format), Path(dataset).name
        for hidden in options.hidden:
            groups[f'{name}, hidden for {hidden}'] = sequence_events(
                sequences, hidden, options.each)
        groups[f'{name}, never hidden'] = [
            Event(sequence.name, sequence.frames, sequence.boxes) for sequence in sequences]
    return {name: events for name, events in groups.items() if events}


def _parser():
    parser = argparse.ArgumentParser(
        prog='python -m training.occlusion',
        description='Measure what becomes of targets that are wholly hidden for a while, with '
        'and without the search for lost targets.')
    add = parser.add_argument
    add('--model', default='re3_lite', help='(default: %(default)s)')
    add('--weights', help='weights file of --model (default: the shipped one)')
    add('--device', default='auto', help='auto, cpu or cuda')
    add('--hidden', type=int, nargs='+', default=LENGTHS, metavar='N',
        help='frames for which the targets are hidden (default: 10 20 40 60)')
    add('--candidates', type=int, nargs='+', metavar='N',
        help='places looked at per lost target and frame, several to compare '
        "(default: 0, which is no search, and the tracker's default)")
    add('--clips', type=int, default=24,
        help='number of simulated clips (default: %(default)s); of what: the next options')
    add_sources(parser, length=False)
    add('--dataset', nargs='+', metavar='DIR', help='folders of annotated sequences')
    add('--format', choices=sorted(READERS), default='otb', help='their layout')
    add('--each', type=int, default=2, metavar='N',
        help='times that each sequence is used for each length (default: %(default)s)')
    add('--threads', type=int, default=1, help='(default: %(default)s)')
    add('--json', metavar='FILE', help='write the figures')
    return parser


def _trackers(options):
    """Return the Trackers to compare, by label."""
    counts = options.candidates or (0, None)
    trackers = {}
    for count in counts:
        settings = {} if count is None else {'redetection_candidates': count}
        tracker = Tracker(options.model, weights=options.weights, device=options.device,
                          **settings)
        count = tracker.redetection_candidates
        label = f'search, {count} places' if count else 'no search'
        trackers[label] = tracker
    return trackers


def main(arguments=None):
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    try:
        report = measure(_trackers(options), make_groups(options))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(report))
    if options.json:
        write_json(report, options.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
