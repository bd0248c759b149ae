# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Occlusion benchmark: what trackers do while a target is fully hidden for some frames, and after.

Run `python -m training.occlusion --help`; protocol and figures are in docs/evaluation.md. Any
sequence with true boxes becomes an event: an opaque occluder, whose texture is a piece of the
background of the same frame, slides in, covers every place of the hidden target, and slides out.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from pathlib import Path
import sys
from typing import Any
import zlib

import cv2
import numpy as np
from re3_core.boxes import intersection
from re3_core.tracker import Tracker
import torch
from tqdm import tqdm
from training.config import run_command, SceneConfig
from training.data.base import Sequence
from training.evaluate import read_sequences, some_frames
from training.metrics import overlaps, spread, success_curve, SUCCESS_IOU
from training.report import markdown, number, write_json
from training.simulator.__main__ import SimulatorOptions
from training.simulator.sprites import blend, Layer
from training.track import track_target

# Frames before the target is hidden, and afterwards.
BEFORE, AFTER = 20, 30
# Frames in which the occluder slides in or out, and its margin around the target.
SLIDE = 5
MARGIN = .15
# Events whose occluder would cover more of the frame than this are left out.
MAX_OCCLUDER_AREA = .6
TRIES = 50
# Clips in which the target stays in the frame, and nothing else hides it.
SCENES = SceneConfig(occlusion_prob=0., leaving_prob=0.)
# Name and format of the columns of the table, by figure.
COLUMNS = {
    'found': ('re-detected', '.0%'), 'frames_until_found': ('frames until re-detected', '.2f'),
    'false_redetections': ('false re-detections', '.2f'),
    'tracked_while_hidden': ('tracked while occluded', '.0%'),
    'never_lost': ('never lost', '.0%'), 'auc': ('AUC', '.3f')}


# Events ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OccludedFrames:
    """
    Frames by index, uint8 RGB (H, W, 3), over which an opaque rectangle slides in and out.

    :param hidden: frames in which it is at its place and hides the target
    :param layer: the rectangle at this place
    :param shift: (2,) where it comes from and leaves to, in pixels from its place
    """

    frames: Any
    hidden: range
    layer: Layer
    shift: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        frame = np.array(self.frames[index])
        away = (max(self.hidden.start - index, 0) + min(self.hidden[-1] - index, 0)) / SLIDE
        if abs(away) < 1:
            x, y = np.rint((self.layer.x, self.layer.y) + away * self.shift).astype(int)
            blend(frame, self.layer._replace(x=x, y=y))
        return frame


@dataclass(frozen=True)
class OcclusionEvent:
    """One target that is hidden in the frames `hidden`, or never."""

    sequence: Sequence
    hidden: range = range(0)


def add_occluder(sequence: Sequence, length: int) -> OcclusionEvent | None:
    """
    Return the event of a target that is hidden for `length` frames from frame BEFORE on.

    :return: None if the target is absent in a frame, or the occluder would be too large
    """
    if np.isnan(sequence.boxes).any():
        return None
    hidden = range(BEFORE, BEFORE + length)
    rng = np.random.default_rng([0, length, zlib.crc32(
        sequence.name.encode('utf-8', 'surrogateescape'))])
    layer = _draw_occluder(rng, sequence.frames[BEFORE], sequence.boxes[hidden].astype(float))
    if layer is None:
        return None
    axis, shift = rng.integers(2), np.zeros(2)
    shift[axis] = rng.choice((-1, 1)) * layer.image.shape[1 - axis]
    frames = OccludedFrames(sequence.frames, hidden, layer, shift)
    return OcclusionEvent(replace(sequence, frames=frames), hidden)


def _draw_occluder(rng: np.random.Generator, frame: np.ndarray,
                   boxes: np.ndarray) -> Layer | None:
    """Return a rectangle over all of `boxes` (N, 4), or None."""
    margin = MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(0)
    low, high = boxes[:, :2].min(0) - margin, boxes[:, 2:].max(0) + margin
    extent = np.array(frame.shape[1::-1])
    corner = np.floor(np.clip(low, 0, extent)).astype(int)
    sides = np.ceil(np.clip(high, 0, extent)).astype(int) - corner
    if sides.min() < 1 or sides.prod() > MAX_OCCLUDER_AREA * extent.prod():
        return None
    for attempt in range(TRIES):
        # A piece of the frame without the target, ever smaller: most of the frame may be target.
        size = np.maximum(np.minimum(sides, extent // 2) * .93 ** attempt, 8).astype(int)
        x, y = rng.integers(0, extent - size + 1)
        piece = np.array((x, y, x + size[0], y + size[1]), float)
        if intersection(piece, boxes[0]) == 0:
            texture = cv2.resize(frame[y:y + size[1], x:x + size[0]], sides.tolist())
            return Layer(cv2.cvtColor(texture, cv2.COLOR_RGB2RGBA), *corner)
    return None


def sequence_events(sequences: SequenceOf[Sequence], length: int,
                    each: int) -> list[OcclusionEvent]:
    """Return up to `each` events of `length` hidden frames from each Sequence, spread evenly."""
    events, count = [], BEFORE + length + AFTER
    for sequence in sequences:
        room = len(sequence) - count
        for begin in sorted({int(place) for place in np.linspace(0, room, each)}) * (room >= 0):
            part = some_frames(sequence, range(begin, begin + count))
            events.append(add_occluder(replace(part, name=f'{part.name}@{begin}'), length))
    return [event for event in events if event]


# Figures ---------------------------------------------------------------------------------------


def track_event(tracker: Tracker, event: OcclusionEvent) -> dict[str, float]:
    """Track an event from its first true box; return its figures, see `score_event`."""
    frames, truth = event.sequence.frames, event.sequence.boxes
    tracks = [track for _, track in track_target(tracker, frames, truth[0])]
    return score_event(event, np.array([track.box for track in tracks]),
                       np.array([track.lost for track in tracks]))


def score_event(event: OcclusionEvent, boxes: np.ndarray, lost: np.ndarray) -> dict[str, float]:
    """
    Return the figures of one hidden target, from boxes (T, 4) `xyxy` and lost (T,) bool.

    `found`: tracked with an overlap > .5 in a frame after it was hidden; `frames_until_found`:
    which one, from 1 on, nan for none; `false_redetections`: how often it was lost, then tracked
    in a wrong place; `tracked_while_hidden`: fraction of the hidden frames; `never_lost`. Of a
    target that is never hidden: its success `auc`, `false_redetections`, and the fraction `lost`.
    """
    overlap = overlaps(boxes, event.sequence.boxes)
    back = np.flatnonzero(lost[:-1] & ~lost[1:]) + 1
    wrong = overlap[back] <= SUCCESS_IOU
    if not event.hidden:
        return {'auc': float(success_curve(overlap).mean()), 'lost': float(lost.mean()),
                'false_redetections': float(wrong.sum())}
    start, end = event.hidden.start, event.hidden.stop
    after = np.flatnonzero(~lost[end:] & (overlap[end:] > SUCCESS_IOU))
    return {
        'found': float(len(after) > 0),
        'frames_until_found': float(after[0] + 1) if len(after) else float('nan'),
        'false_redetections': float((np.isin(back, event.hidden) | wrong).sum()),
        'tracked_while_hidden': float((~lost[start:end]).mean()),
        'never_lost': float(not lost[start:].any()),
    }


def summarize(results: SequenceOf[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure (nan left out), and the number of `events`."""
    return {'events': len(results), **{
        name: spread([result[name] for result in results])['mean'] for name in results[0]}}


def measure(trackers: dict[str, Tracker], groups: dict[str, list[OcclusionEvent]]) -> dict:
    """Return {group: {tracker: figures}} of trackers by label on events by group."""
    return {group: {label: summarize([track_event(tracker, event) for event in events])
                    for label, tracker in trackers.items()}
            for group, events in tqdm(groups.items(), unit='group', disable=None)}


def table(report: dict) -> str:
    """Return the markdown table of the report of `measure`."""
    rows = [['targets', 'number', 'tracker', *(name for name, _ in COLUMNS.values())]]
    for group, trackers in report.items():
        for label, figures in trackers.items():
            rows.append([group, str(figures['events']), label, *(
                number(figures.get(figure), style) for figure, (_, style) in COLUMNS.items())])
    return markdown(rows)


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OcclusionOptions(SimulatorOptions):
    """
    Measure what trackers do while a target is fully hidden, with and without re-detection.

    :param model: name of the network
    :param weights: weights file (default: the packaged one)
    :param device: auto, cpu or cuda
    :param hidden: frames for which the targets are hidden
    :param candidates: places searched per lost target and frame, several to compare (default:
        0, which is no re-detection, and the tracker's default)
    :param clips: number of simulated clips
    :param dataset: folders of annotated sequences
    :param format: their layout: otb, got10k, lasot or vot
    :param each: times that each sequence is used for each length
    :param threads: threads of torch and OpenCV
    :param json: file to write the figures to
    """

    model: str = 're3_lite'
    weights: str | None = None
    device: str = 'auto'
    hidden: tuple[int, ...] = (10, 20, 40, 60)
    candidates: tuple[int, ...] = ()
    clips: int = 24
    dataset: tuple[Path, ...] = ()
    format: str = 'otb'  # noqa: A003
    each: int = 2
    threads: int = 1
    json: Path | None = None

    def groups(self) -> dict[str, list[OcclusionEvent]]:
        """Return the events, by the text that names them."""
        sets = [('simulated', self.simulated_sequences(), 1)] + [
            (dataset.name, read_sequences(dataset, self.format), self.each)
            for dataset in self.dataset]
        groups = {}
        for name, sequences, each in sets:
            for hidden in self.hidden:
                groups[f'{name}, hidden for {hidden}'] = sequence_events(sequences, hidden, each)
            groups[f'{name}, never hidden'] = [OcclusionEvent(one) for one in sequences]
        return {name: events for name, events in groups.items() if events}

    def simulated_sequences(self) -> list[Sequence]:
        """Return the simulated clips."""
        simulator, length = self.simulator(config=SCENES)(), BEFORE + max(self.hidden) + AFTER
        clips = [simulator.sample(np.random.default_rng([self.seed, index]), length)
                 for index in range(self.clips)]
        return [Sequence(f'clip {index}', list(clip.frames), clip.boxes, clip.visible)
                for index, clip in enumerate(clips)]

    def trackers(self) -> dict[str, Tracker]:
        """Return the trackers to compare, by label."""
        trackers = {}
        for count in self.candidates or (0, None):
            tracker = Tracker(self.model, weights=self.weights, device=self.device)
            places = tracker.redetection_candidates if count is None else count
            tracker.redetection_candidates = places
            trackers[f're-detection, {places} places' if places else 'no re-detection'] = tracker
        return trackers


def run(options: OcclusionOptions) -> None:
    """Run the command."""
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    report = measure(options.trackers(), options.groups())
    print(table(report))
    if options.json:
        write_json(report, options.json)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(OcclusionOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
