# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Occlusion benchmark: what trackers do while a target is fully hidden for some frames, and after.

Run `python -m training.occlusion --help`; protocol and figures are in docs/evaluation.md. Any
sequence with true boxes becomes an event: an opaque occluder, whose texture is a piece of the
background of the same frame, slides in, covers every place of the hidden target, and slides out.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any
import zlib

import cv2
import numpy as np
from re3_core.boxes import intersection, iou
from re3_core.tracker import Tracker
import torch
from training.config import run_command, SceneConfig
from training.data.base import Sequence
from training.evaluate import read_sequences
from training.metrics import success_curve, SUCCESS_IOU
from training.report import markdown, number, write_json
from training.simulator.__main__ import SimulatorOptions

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
class Occluder:
    """
    An opaque rectangle.

    :param texture: (h, w, 3) uint8 RGB
    :param corner: x, y of its place in pixels
    :param shift: (2,) where it slides in from and out to, in pixels from its place
    """

    texture: np.ndarray
    corner: tuple[int, int]
    shift: np.ndarray

    def cover(self, frame: np.ndarray, away: float) -> np.ndarray:
        """
        Return a copy of `frame` with the occluder, `away` (-1..1) of the shift from its place.

        Its parts outside the frame are cut off.
        """
        frame = frame.copy()
        x, y = np.rint(np.array(self.corner) + away * self.shift).astype(int)
        height, width = self.texture.shape[:2]
        x1, y1 = max(x, 0), max(y, 0)
        part = frame[y1:max(y + height, 0), x1:max(x + width, 0)]
        part[:] = self.texture[y1 - y:, x1 - x:][:part.shape[0], :part.shape[1]]
        return frame


@dataclass(frozen=True)
class OcclusionEvent:
    """
    One target that is hidden once, or never.

    :param frames: frames, uint8 RGB (H, W, 3), by index; the event begins at number `begin`
    :param boxes: (T, 4) xyxy pixels, nan where absent
    :param hidden: frames in which it is hidden; empty without an occluder
    """

    name: str
    frames: Any
    boxes: np.ndarray
    begin: int = 0
    hidden: range = range(0)
    occluder: Occluder | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def frame(self, index: int) -> np.ndarray:
        """Return a frame with the occluder."""
        frame = np.ascontiguousarray(self.frames[self.begin + index])
        if self.occluder is None:
            return frame
        away = (max(self.hidden.start - index, 0) + min(self.hidden[-1] - index, 0)) / SLIDE
        return self.occluder.cover(frame, away) if abs(away) < 1 else frame


def add_occluder(name: str, frames: Any, boxes: np.ndarray, length: int, begin: int = 0,
                 seed: int = 0) -> OcclusionEvent | None:
    """
    Return the event of a target that is hidden for `length` frames from frame BEFORE on.

    :param frames: by index, BEFORE + length + AFTER of them at least after `begin`
    :param boxes: (T, 4) `xyxy` pixels from `begin` on
    :return: None if the target is absent when it matters, or the occluder would be too large
    """
    count = BEFORE + length + AFTER
    boxes, hidden = np.asarray(boxes[:count], float), range(BEFORE, BEFORE + length)
    if len(boxes) < count or np.isnan(boxes).any():
        return None
    rng = np.random.default_rng([seed, length, zlib.crc32(
        name.encode('utf-8', 'surrogateescape'))])
    occluder = _draw_occluder(rng, frames[begin + hidden.start],
                              boxes[hidden.start:hidden.stop])
    return occluder if occluder is None else OcclusionEvent(name, frames, boxes, begin, hidden,
                                                            occluder)


def _draw_occluder(rng: np.random.Generator, frame: np.ndarray,
                   boxes: np.ndarray) -> Occluder | None:
    """Return an Occluder of all of `boxes` (N, 4), or None."""
    margin = MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(0)
    low, high = boxes[:, :2].min(0) - margin, boxes[:, 2:].max(0) + margin
    extent = np.array(frame.shape[1::-1])
    low, high = np.floor(np.clip(low, 0, extent)), np.ceil(np.clip(high, 0, extent))
    sides = (high - low).astype(int)
    if sides.min() < 1 or sides.prod() > MAX_OCCLUDER_AREA * extent.prod():
        return None
    texture = _background(rng, frame, boxes[0], sides)
    shift = np.zeros(2)
    axis = rng.integers(2)
    shift[axis] = rng.choice((-1, 1)) * sides[axis]
    return texture if texture is None else Occluder(texture, tuple(low), shift)


def _background(rng: np.random.Generator, frame: np.ndarray, target: np.ndarray,
                sides: np.ndarray) -> np.ndarray | None:
    """Return a piece of the frame without the target, stretched to `sides` (width, height)."""
    extent = np.array(frame.shape[1::-1])
    for attempt in range(TRIES):
        # Ever smaller pieces: most of the frame may be target.
        size = np.maximum(np.minimum(sides, extent // 2) * .93 ** attempt, 8).astype(int)
        x, y = rng.integers(0, extent - size + 1)
        piece = np.array((x, y, x + size[0], y + size[1]), float)
        if intersection(piece, target) == 0:
            return cv2.resize(frame[y:y + size[1], x:x + size[0]], tuple(map(int, sides)))
    return None


def sequence_events(sequences: SequenceOf[Sequence], length: int,
                    each: int) -> list[OcclusionEvent]:
    """Return up to `each` events of `length` hidden frames from each Sequence, spread evenly."""
    events = []
    for sequence in sequences:
        room = len(sequence) - (BEFORE + length + AFTER)
        for begin in sorted({int(place) for place in np.linspace(0, room, each)}) * (room >= 0):
            events.append(add_occluder(f'{sequence.name}@{begin}', sequence.frames,
                                       sequence.boxes[begin:], length, begin))
    return [event for event in events if event]


# Figures ---------------------------------------------------------------------------------------


def track_event(tracker: Tracker, event: OcclusionEvent) -> tuple[np.ndarray, np.ndarray]:
    """Track an event from its first true box; return boxes (T, 4) `xyxy` and lost (T,) bool."""
    tracker.reset()
    tracks = [tracker.update(event.frame(t))['target'] if t else tracker.init(
        'target', event.frame(t), event.boxes[0]) for t in range(len(event))]
    return np.array([track.box for track in tracks]), np.array([track.lost for track in tracks])


def score_event(event: OcclusionEvent, boxes: np.ndarray,
                lost: np.ndarray) -> dict[str, float]:
    """
    Return the figures of one hidden target, from boxes (T, 4) `xyxy` and lost (T,) bool.

    `found`: tracked with an overlap > .5 in a frame after it was hidden; `frames_until_found`:
    which one, from 1 on, nan for none; `false_redetections`: how often it was lost, then tracked
    in a wrong place; `tracked_while_hidden`: fraction of the hidden frames; `never_lost`. Of a
    target that is never hidden: its success `auc`, `false_redetections`, and the fraction `lost`.
    """
    end = event.hidden.stop
    overlap = iou(boxes, event.boxes)
    back = np.flatnonzero(lost[:-1] & ~lost[1:]) + 1
    if event.occluder is None:
        known = np.isfinite(overlap)
        return {'auc': float(success_curve(overlap[known]).mean()), 'lost': float(lost.mean()),
                'false_redetections': float((overlap[back] <= SUCCESS_IOU).sum())}
    after = np.flatnonzero(~lost[end:] & (overlap[end:] > SUCCESS_IOU))
    hidden = np.isin(back, event.hidden)
    return {
        'found': float(len(after) > 0),
        'frames_until_found': float(after[0] + 1) if len(after) else float('nan'),
        'false_redetections': float((hidden | (overlap[back] <= SUCCESS_IOU)).sum()),
        'tracked_while_hidden': float((~lost[event.hidden.start:end]).mean()),
        'never_lost': float(not lost[event.hidden.start:].any()),
    }


def summarize(results: SequenceOf[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure (nan left out), and the number of `events`."""
    figures = {name: np.array([result[name] for result in results], float)
               for name in results[0]}
    return {'events': len(results), **{
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')
        for name, values in figures.items()}}


def measure(trackers: dict[str, Tracker], groups: dict[str, list[OcclusionEvent]]) -> dict:
    """Return {group: {tracker: figures}} of trackers by label on events by group."""
    report = {}
    for name, events in groups.items():
        report[name] = {
            label: summarize([score_event(event, *track_event(tracker, event))
                              for event in events])
            for label, tracker in trackers.items()}
        print(table({name: report[name]}), file=sys.stderr, flush=True)
    return report


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
            groups[f'{name}, never hidden'] = [
                OcclusionEvent(sequence.name, sequence.frames, sequence.boxes)
                for sequence in sequences]
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
