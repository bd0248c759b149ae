# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Filling in boxes between key frames: tracked from both sides and blended.

Between two key frames a tracker runs forward from the first one and backward from the second one.
A track that reaches the other key frame is corrected by what it misses there. Where both agree,
the box is their mean, weighted by the distance to the key frames and by the confidence; where they
do not, one of them has lost the target: the box is that of the forward track up to the frame of
change with the least cost, and of the backward track from there on.
Before the first key frame and after the last one there is only one track.

A key without a box marks the target as absent until the next key frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from re3_core.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from training.trackers import AnyTracker, TRACKER_ERRORS

Box = tuple[float, float, float, float]

# Overlap from which the two tracks count as agreeing.
AGREEMENT = .5
# Overlap of a track with the key frame at its other end from which it has followed the target.
SAME_TARGET = .3
# A frame whose box is less certain than this is marked.
UNCERTAIN = .5
# Cost of changing between two tracks that do not overlap, in frames without confidence.
CHANGE_COST = 4.
TARGET = 'target'


class Frames(Protocol):
    """Frames (H, W, 3) uint8 RGB by index."""

    def __len__(self) -> int:
        """Return their number."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return a frame."""


@dataclass(frozen=True)
class Key:
    """
    What a person has set in a frame; it holds until the next key.

    :param box: xyxy pixels, or None: absent
    :param occluded: whether something covers a part of the target
    """

    box: Box | None
    occluded: bool = False


class Track(NamedTuple):
    """Boxes (N, 4) xyxy and confidences (N,) in 0..1 of consecutive frames, nan where unknown."""

    boxes: np.ndarray
    confidence: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> Track:
        """Return a Track without boxes."""
        return cls(np.full((count, 4), np.nan), np.full(count, np.nan))


class Run:
    """
    A tracker that was started in a key frame and runs in one direction, as far as is needed.

    :param start: number of the key frame
    :param step: 1: forward, -1: backward
    """

    def __init__(self, start: int, box: Box, step: int):
        self.start, self.box, self.step = start, box, step
        self.boxes = [np.array(box, np.float64)]
        self.confidences = [1.]
        self._tracker: AnyTracker | None = None
        self._failed = False

    def extend(self, frames: Frames, count: int,
               make_tracker: Callable[[], AnyTracker]) -> Iterator[None]:
        """Track until `count` frames are known, the key frame included; yield after each one."""
        while len(self.boxes) < count:
            if self._tracker is None:
                self._restart(frames, make_tracker())
            self._advance(frames[self.start + self.step * len(self.boxes)])
            yield

    def _restart(self, frames: Frames, tracker: AnyTracker) -> None:
        """Start the tracker in the key frame, or where a suspended run was."""
        self._tracker, self._failed = tracker, False
        known = len(self.boxes)
        tracker.reset()
        try:
            tracker.init(TARGET, frames[self.start], np.array(self.box))
            for t in range(1, known):
                tracker.update(frames[self.start + self.step * t])
        except TRACKER_ERRORS:      # a box that this tracker cannot start from
            self._failed = True

    def _advance(self, frame: np.ndarray) -> None:
        box, confidence = self.boxes[-1], 0.
        if not self._failed and self._tracker is not None:
            try:
                track = self._tracker.update(frame)[TARGET]
                box = np.array(track.box, np.float64)
                # Trackers of OpenCV have no confidence, but know when they fail.
                confidence = float(track.confidence) if np.isfinite(track.confidence) else .7
                confidence = min(confidence, .3) if track.lost else confidence
            except TRACKER_ERRORS:
                self._failed = True
        self.boxes.append(box)
        self.confidences.append(confidence)

    def suspend(self) -> None:
        """Free the tracker."""
        self._tracker = None

    def track(self, count: int) -> Track:
        """Return the first `count` frames in the order of time."""
        order = slice(None, None, self.step)
        return Track(np.array(self.boxes[:count])[order],
                     np.array(self.confidences[:count])[order])


def blend(forward: Track, backward: Track) -> Track:
    """
    Blend two tracks of the same N frames, the first and the last one being key frames.

    :return: the boxes and how certain they are, by the confidences and the overlap of both tracks
    """
    count = len(forward.boxes)
    if count < 3:
        return Track(np.stack((forward.boxes[0], backward.boxes[-1]))[:count], np.ones(count))
    share = np.linspace(0, 1, count)                                    # of the backward track
    first, last = forward.boxes[0], backward.boxes[-1]
    forward = forward._replace(boxes=corrected(forward.boxes, last, share))
    backward = backward._replace(boxes=corrected(backward.boxes, first, share[::-1]))
    overlap = iou(forward.boxes, backward.boxes)
    # The product: close to a key frame its own track is nearly always right.
    weight = np.stack(((1 - share) * _trust(forward.confidence),
                       share * _trust(backward.confidence)))
    weight /= np.maximum(weight.sum(0), 1e-9)
    mean = _weighted_mean(forward.boxes, backward.boxes, weight[1])
    change = change_frame(forward.confidence, backward.confidence, overlap)
    one = np.where((np.arange(count) <= change)[:, None], forward.boxes, backward.boxes)
    boxes = np.where((overlap >= AGREEMENT)[:, None], mean, one)
    pair = np.stack((forward.confidence, backward.confidence))
    used, other = np.where(np.arange(count) <= change, pair, pair[::-1])
    # A track that is lost by its own confidence says nothing against the other one.
    certainty = np.where(overlap >= AGREEMENT, np.sqrt((weight * pair).sum(0) * overlap),
                         used * (1 - other * (1 - overlap)))
    boxes[0], boxes[-1] = first, last
    certainty[[0, -1]] = 1
    return Track(boxes, certainty)


def corrected(boxes: np.ndarray, key: np.ndarray, share: np.ndarray) -> np.ndarray:
    """
    Return a track without the drift by which it misses the key frame at its other end.

    The drift is taken to grow evenly, sides by logarithm. A track that has lost the target before
    is returned as it is.

    :param boxes: (N, 4) xyxy in the order of time
    :param key: (4,) true box in the frame in which `share` is 1
    :param share: (N,) of the way to that frame, 0..1
    """
    end = boxes[int(np.argmax(share))]
    if iou(end, key) < SAME_TARGET:
        return boxes
    tracked, missed = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(key) - xyxy_to_cxcywh(end)
    ratio = xyxy_to_cxcywh(key)[2:] / np.maximum(xyxy_to_cxcywh(end)[2:], 1e-3)
    center = tracked[:, :2] + share[:, None] * missed[:2]
    return cxcywh_to_xyxy(np.concatenate((center, tracked[:, 2:] * ratio ** share[:, None]), 1))


def _trust(confidence: np.ndarray) -> np.ndarray:
    """Return the weight of boxes by their confidence."""
    return np.maximum(confidence, .02) ** 2


def _weighted_mean(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean of boxes (N, 4) with `weight` (N,) of the second, sides by logarithm."""
    a, b = xyxy_to_cxcywh(first), xyxy_to_cxcywh(second)
    weight = weight[:, None]
    center = (1 - weight) * a[:, :2] + weight * b[:, :2]
    sides = np.exp((1 - weight) * np.log(np.maximum(a[:, 2:], 1e-3))
                   + weight * np.log(np.maximum(b[:, 2:], 1e-3)))
    return cxcywh_to_xyxy(np.concatenate((center, sides), 1))


def change_frame(forward: np.ndarray, backward: np.ndarray, overlap: np.ndarray) -> int:
    """
    Return the last frame in which the forward track is used where the tracks disagree.

    The cost is what both lack in confidence over the frames in which they are used, and what
    they lack in overlap at the change; far from its key frame a track costs more.

    :param forward: confidences (N,)
    :param backward: confidences (N,)
    :param overlap: of both tracks (N,)
    """
    count = len(overlap)
    age = np.linspace(0, 1, count)
    # Without overlap one of both is wrong, and with time it is more likely the older one.
    before = np.cumsum((1 - forward) + age * (1 - overlap))
    after = np.cumsum(((1 - backward) + (1 - age) * (1 - overlap))[::-1])[::-1]
    cost = before + np.append(after[1:], 0.) + CHANGE_COST * (1 - overlap)
    return int(np.argmin(cost[:-1]))


class Propagation:
    """
    The boxes of one target in all frames, filled in from its key frames.

    Tracks are kept: a new key frame only needs those that start in it.

    :param frames: T frames (H, W, 3) uint8 RGB by index
    :param make_tracker: returns a tracker; the same one may be returned again
    """

    def __init__(self, frames: Frames, make_tracker: Callable[[], AnyTracker]):
        self.frames, self.make_tracker = frames, make_tracker
        self._runs: dict[tuple[int, Box, int], Run] = {}

    def update(self, keys: Mapping[int, Key]) -> Iterator[tuple[int, int]]:
        """
        Track what is missing for these keys; yield (frames done, frames to do) after each frame.

        Stop iterating to cancel; what was tracked is kept.
        """
        wanted = _wanted_runs(keys, len(self.frames))
        self._runs = {name: run for name, run in self._runs.items() if name in wanted}
        for name in wanted:
            self._runs.setdefault(name, Run(*name))
        total = sum(max(0, count - len(self._runs[name].boxes)) for name, count in wanted.items())
        done = 0
        for name, count in wanted.items():
            run = self._runs[name]
            try:
                for _ in run.extend(self.frames, count, self.make_tracker):
                    done += 1
                    yield done, total
            finally:
                run.suspend()

    def result(self, keys: Mapping[int, Key]) -> Track:
        """Return the Track of all T frames; nan where the target is absent or not yet known."""
        count = len(self.frames)
        filled = Track.unknown(count)
        for start, stop in _stretches(keys, count):
            track = self._stretch(keys, start, stop)
            if track is not None:
                filled.boxes[start:stop], filled.confidence[start:stop] = track
        return filled

    def _track(self, start: int, box: Box, step: int, count: int) -> Track | None:
        run = self._runs.get((start, box, step))
        return run.track(count) if run is not None and len(run.boxes) >= count else None

    def _stretch(self, keys: Mapping[int, Key], start: int, stop: int) -> Track | None:
        """Return the Track of the frames from one key, or the beginning, to the next one."""
        first, last = keys.get(start), keys.get(stop)
        if first is not None and first.box is None:     # absent
            return Track(np.full((stop - start, 4), np.nan), np.ones(stop - start))
        if first is None:       # before the first key
            if last is None or last.box is None:
                return None
            backward = self._track(stop, last.box, -1, stop - start + 1)
            return backward and Track(backward.boxes[:-1], backward.confidence[:-1])
        assert first.box is not None
        if last is None or last.box is None:
            return self._track(start, first.box, 1, stop - start)
        forward = self._track(start, first.box, 1, stop - start + 1)
        backward = self._track(stop, last.box, -1, stop - start + 1)
        if forward is None or backward is None:
            return None
        blended = blend(forward, backward)
        return Track(blended.boxes[:-1], blended.confidence[:-1])


def _stretches(keys: Mapping[int, Key], count: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the frames between keys, and before and after them."""
    places = sorted(keys)
    bounds = [*([0] if not places or places[0] else []), *places, count]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _wanted_runs(keys: Mapping[int, Key], count: int) -> dict[tuple[int, Box, int], int]:
    """Return the number of frames of each run (start, box, step) that the keys need."""
    wanted: dict[tuple[int, Box, int], int] = {}
    for start, stop in _stretches(keys, count):
        first, last = keys.get(start), keys.get(stop)
        if first is not None and first.box is None:
            continue
        meets = last is not None and last.box is not None
        if first is not None and first.box is not None:
            wanted[start, first.box, 1] = stop - start + meets
        if last is not None and last.box is not None:
            wanted[stop, last.box, -1] = stop - start + 1
    return wanted


def occluded_frames(keys: Mapping[int, Key], count: int) -> np.ndarray:
    """Return per frame, (T,) bool, whether the last key marks the target as occluded."""
    occluded = np.zeros(count, bool)
    for start, stop in _stretches(keys, count):
        if start in keys:
            occluded[start:stop] = keys[start].occluded
    return occluded


def interpolate(keys: Mapping[int, Key], count: int) -> np.ndarray:
    """Return boxes (T, 4) by linear interpolation between keys, as labeling tools have it."""
    boxes = np.full((count, 4), np.nan)
    for start, stop in _stretches(keys, count):
        first, last = keys.get(start), keys.get(stop)
        if first is None:
            boxes[start:stop] = np.nan if last is None or last.box is None else last.box
        elif first.box is not None:
            end = first.box if last is None or last.box is None else last.box
            share = (np.arange(stop - start) / (stop - start))[:, None]
            boxes[start:stop] = (1 - share) * np.array(first.box) + share * np.array(end)
    return boxes
