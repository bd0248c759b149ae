# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The targets of one camera: ids, late boxes, matching of detections and states, without ROS.

A camera's frames and requests come in here; its targets live in a `re3_core.Tracker` that all
cameras share, under keys made of the camera's name and the target's id.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from re3_core import Track
from re3_core.boxes import check_box, match_box
from re3_ros.frames import FrameBuffer
from re3_ros.health import OK, STALE, WARN
from re3_ros.problem_log import Fault

TRACKED = 'tracked'
LOST = 'lost'
REMOVED = 'removed'


class RequestError(Fault):
    """A request that cannot be fulfilled."""


@dataclass
class Settings:
    """
    What governs the targets of a camera; the parameters of the same names say more.

    With `every_frame` nothing may depend on when a box with a stamp comes: late targets catch
    up at once, all boxes wait for their image, and a target counts as lost if it was in the
    image that the box belongs to.
    """

    max_targets: int
    association_iou: float
    drop_after: int
    catch_up_frames: int
    init_buffer_seconds: float
    init_buffer_bytes: int
    refuse_old: bool
    every_frame: bool = False


    @classmethod
    def from_parameters(cls, values):
        """Return the settings by the node's parameters, a mapping by name."""
        return cls(
            max_targets=values['max_targets'], association_iou=values['association_iou'],
            drop_after=values['drop_after'], catch_up_frames=values['catch_up_frames'],
            init_buffer_seconds=values['init_buffer_seconds'],
            init_buffer_bytes=values['init_buffer_megabytes'] * 1_000_000,
            refuse_old=values['on_old_box'] == 'refuse',
            every_frame=values['process_every_frame'])


class Event(NamedTuple):
    """A change of a target: `kind` is started, restarted, lost, found or removed."""

    id: str  # noqa: A003
    kind: str
    text: str = ''


@dataclass
class Target:
    """
    A target: its latest track and the number of the frame that this track belongs to.

    `lost_frames` counts the frames since it was lost.
    """

    id: str  # noqa: A003
    key: str
    class_id: str
    at: int
    track: Track
    lost_frames: int = 0

    @property
    def state(self):
        """Return TRACKED or LOST."""
        return LOST if self.track.lost else TRACKED


class StatusRow(NamedTuple):
    """A target in the status message: `level` of `re3_ros.health`, `reason` if removed."""

    id: str  # noqa: A003
    level: int
    state: str
    reason: str = ''


class UnbatchedTracker:
    """
    A tracker's `update` and `update_frames` with one target per forward.

    The batch a target is in changes its result in the last bits; a replay that must be the
    same to the bit cannot have batches that depend on the timing of messages.
    """

    def __init__(self, tracker):
        self._tracker = tracker
        self.init, self.remove = tracker.init, tracker.remove

    def update(self, frame, ids):
        """Track the targets in `ids` in the next frame; return {id: Track}."""
        return {key: self._tracker.update(frame, [key])[key] for key in ids}

    def update_frames(self, frames):
        """Track targets of several cameras, as `re3_core.Tracker.update_frames`."""
        return {key: track for frame, ids in frames
                for key, track in self.update(frame, ids).items()}


class _Waiting(NamedTuple):
    request: object
    stamp: int
    detected: bool


class CameraTargets:
    """
    Follow the targets of one camera.

    For each frame the caller runs `begin_frame`, updates the shared tracker on the frame for the
    keys returned, and hands the tracks to `end_frame`.
    """

    def __init__(self, tracker, settings, name=''):
        """
        Start without targets.

        :param tracker: `re3_core.Tracker`, may be shared.
        :param settings: `Settings`, may be changed from outside at any time.
        :param name: camera's name, unique among those that share the tracker, without '/'.
        """
        self.settings = settings
        self.frames = FrameBuffer(settings.init_buffer_seconds, settings.init_buffer_bytes)
        self.targets = {}
        self.events = []
        self.warnings = []
        self._tracker = tracker
        self._name = name
        self._waiting = []
        self._next_number = 1

    # ---- requests ----

    def request(self, request, stamp=0, detected=False):
        """
        Start, restart or remove a target as a `re3_ros.detections.Request` says.

        :param stamp: time in nanoseconds of the image that the box belongs to; 0 is the newest.
        :param detected: a box without id that overlaps a target is that target: it restarts
            only if lost. Otherwise (a user's box) it restarts in any case.
        :raises RequestError: it cannot be done. ValueError: the box does not suit the image.
        """
        if request.box is None:
            self._remove_on_request(request.id)
        elif self._must_wait(stamp):
            self._wait(_Waiting(request, stamp, detected))
        else:
            self._start_at(request, self._frame_at(stamp), detected)

    def _must_wait(self, stamp):
        """Tell whether the image that a box belongs to has yet to come."""
        newest = self.frames.newest
        if newest is None:
            return True
        ahead = stamp - newest.stamp - self.frames.tolerance()
        return stamp != 0 and 0 < ahead <= self._patience()

    def _patience(self):
        """Return by how many nanoseconds a box may be ahead of the newest image: its own time."""
        return int(max(1.0, self.settings.init_buffer_seconds) * 1e9)

    def _wait(self, waiting):
        if waiting.request.id:
            self._waiting = [other for other in self._waiting
                             if other.request.id != waiting.request.id
                             or self.settings.every_frame and other.stamp != waiting.stamp]
        if len(self._waiting) >= self.settings.max_targets:
            raise RequestError('waiting', f'refusing box of {waiting.request.id!r}: '
                               f'{len(self._waiting)} boxes already wait for their image')
        self._waiting.append(waiting)

    def _frame_at(self, stamp):
        """Return the frame for a box's stamp; with a warning the newest if there is none."""
        newest = self.frames.newest
        if stamp == 0:
            return newest
        too_old = self.frames.oldest.stamp - self.frames.tolerance() - stamp
        too_new = stamp - newest.stamp - self._patience()
        if too_old <= 0 and too_new <= 0:
            return self.frames.nearest(stamp)
        age = (newest.stamp - stamp) / 1e9
        if too_old > 0:
            reach = (newest.stamp - self.frames.oldest.stamp) / 1e9
            text = (f'box is {age:.3f} s older than the newest image, the kept images reach back '
                    f'{reach:.3f} s (see init_buffer_seconds)')
        else:
            text = (f'box is {-age:.3f} s newer than the newest image: do box and image come '
                    'from different clocks?')
        if self.settings.refuse_old:
            raise RequestError('stamp', f'{text}; refused')
        self.warnings.append(RequestError('stamp', f'{text}; it is used on the newest image'))
        return newest

    def _start_at(self, request, frame, detected):
        box = check_box(request.box, frame.size)
        identity = request.id or self._match(box, frame) or self._new_number()
        target = self.targets.get(identity)
        if target is None and len(self.targets) >= self.settings.max_targets:
            raise RequestError('max_targets', f'refusing target {identity!r}: there are '
                               f'{len(self.targets)} already (see max_targets)')
        if target and detected and not request.id and not self._was_lost(target, frame):
            return
        self._start(identity, box, frame, request.class_id)

    def _was_lost(self, target, frame):
        return target.id in frame.lost if self.settings.every_frame else target.track.lost

    def _match(self, box, frame):
        """Return the id of the target that a box without id belongs to, or None."""
        known = {identity: known for identity, known in self.frames.boxes_at(frame).items()
                 if identity in self.targets}
        return match_box(box, known, self.settings.association_iou)

    def _new_number(self):
        while str(self._next_number) in self.targets:
            self._next_number += 1
        self._next_number += 1
        return str(self._next_number - 1)

    def _start(self, identity, box, frame, class_id):
        """Start or restart a target on a frame; it catches up if that is not the newest."""
        key = f'{self._name}/{identity}'
        track = self._tracker.init(key, frame.rgb(), box)
        if frame is not self.frames.newest:
            frame.release()
        before = self.targets.get(identity)
        if before:
            class_id = class_id or before.class_id
            event = Event(identity, 'found', 'by a box') if before.track.lost else \
                Event(identity, 'restarted')
        else:
            event = Event(identity, 'started')
        self.targets[identity] = Target(identity, key, class_id, frame.index, track)
        self._forget_tracks(identity)
        frame.note(identity, track)
        self.events.append(event)

    def _forget_tracks(self, identity):
        for frame in self.frames:
            frame.forget(identity)

    def _remove_on_request(self, identity):
        if not identity:
            raise RequestError('no id', 'a box of size 0 x 0 removes a target: it needs the id')
        waiting = [other for other in self._waiting if other.request.id != identity]
        waited = len(waiting) < len(self._waiting)
        self._waiting = waiting
        if identity in self.targets:
            self.remove(identity, 'on request')
        elif not waited:
            raise RequestError('unknown id', f'cannot remove {identity!r}: there is no such '
                               'target')

    def remove(self, identity, reason):
        """Forget a target; `reason` becomes the event's text."""
        self._tracker.remove(self.targets.pop(identity).key)
        self.events.append(Event(identity, 'removed', reason))

    def reset(self, reason='by reset'):
        """Forget all targets and the boxes that wait."""
        self._waiting.clear()
        for identity in list(self.targets):
            self.remove(identity, reason)

    def detections(self, requests, stamp=0):
        """
        Take the boxes of a detector; return the errors of those that cannot be used.

        Boxes of earlier detections that still wait for their image are out of date.
        """
        if not self.settings.every_frame:
            self._waiting = [other for other in self._waiting if not other.detected]
        errors = []
        for request in requests:
            try:
                self.request(request, stamp, detected=True)
            except ValueError as error:
                errors.append(error)
        return errors

    def time_jumped(self, keep):
        """Forget the frames after image stamps jumped back, and the targets unless `keep`."""
        self.forget_frames()
        if not keep:
            self.reset('time jumped back')

    def take_events(self):
        """
        Return the events since the last call, and the status rows if these differ.

        :return: (list of Event, list of StatusRow or None): the rows are of all targets and of
            those removed since the last call; None while no state has changed.
        """
        events, self.events = self.events, []
        if all(event.kind == 'restarted' for event in events):
            return events, None
        rows = [StatusRow(target.id, WARN if target.state == LOST else OK, target.state)
                for target in self.targets.values()]
        removed = {}
        for event in events:
            removed.pop(event.id, None)
            if event.kind == 'removed':
                removed[event.id] = event.text
        rows += [StatusRow(identity, STALE, REMOVED, reason)
                 for identity, reason in removed.items() if identity not in self.targets]
        return events, rows

    def forget_frames(self):
        """Forget the frames, as after a jump in time; the targets stay."""
        self.frames.clear()
        for target in self.targets.values():
            target.at = -1

    # ---- frames ----

    def begin_frame(self, frame):
        """
        Take in the next frame; return the keys that the tracker has to update on it.

        Boxes that waited for this image start; late targets catch up by `catch_up_frames`
        frames at most, and follow only once they have arrived.
        """
        before = self.frames.newest
        self._resize(before, frame)
        self.catch_up()
        ready = [target.key for target in self.targets.values()
                 if before is None or target.at in (-1, before.index)]
        self.frames.append(frame)
        return ready

    def end_frame(self, tracks):
        """
        Take the tracks of the newest frame, {key: Track}; return what to publish of it.

        :return: list of the Targets whose track belongs to the newest frame.
        """
        frame = self.frames.newest
        for target in list(self.targets.values()):
            if target.key in tracks:
                self._follow(target, frame, tracks[target.key])
        self._start_waiting(frame)
        return [target for target in self.targets.values() if target.at == frame.index]

    def catch_up(self):
        """Run late targets through the buffered frames, `catch_up_frames` of them at most."""
        every = self.settings.every_frame
        for _ in range(len(self.frames) if every else self.settings.catch_up_frames):
            frame, late = self._next_late()
            if frame is None:
                return
            try:
                tracks = self._tracker.update(frame.rgb(), [target.key for target in late])
            except ValueError as error:     # an image that nobody had to decode until now
                self.warnings.append(error)
                tracks = {target.key: target.track for target in late}
            if frame is not self.frames.newest:
                frame.release()
            for target in late:
                self._follow(target, frame, tracks[target.key])

    def _next_late(self):
        """Return the earliest frame that some targets have yet to see, and these targets."""
        waits = {}
        for target in self.targets.values():
            frame = self.frames.following(target.at) if target.at >= 0 else None
            if frame is not None:
                waits.setdefault(frame.index, (frame, []))[1].append(target)
        return waits[min(waits)] if waits else (None, [])

    def _follow(self, target, frame, track):
        """Note a target's track in a frame, and what changed with it."""
        was_lost = target.track.lost
        target.track, target.at = track, frame.index
        frame.note(target.id, track)
        if not track.lost:
            target.lost_frames = 0
            if was_lost:
                self.events.append(Event(target.id, 'found', f'score {track.confidence:.2f}'))
            return
        target.lost_frames += 1
        if not was_lost:
            self.events.append(Event(target.id, 'lost', f'score {track.confidence:.2f}'))
        if 0 < self.settings.drop_after < target.lost_frames:
            self.remove(target.id, f'lost for {target.lost_frames - 1} frames')

    def _start_waiting(self, frame):
        """Start the boxes whose image has come; on the first image, all that came before it."""
        waiting, self._waiting = self._waiting, []
        first = len(self.frames) == 1
        for item in waiting:
            stamp = 0 if first and item.stamp <= frame.stamp else item.stamp
            try:
                self.request(item.request, stamp, item.detected)
            except ValueError as error:
                self.warnings.append(error)

    def _resize(self, before, frame):
        """Carry the targets over to images of another size, as if the view stayed the same."""
        if before is None or before.size == frame.size:
            return
        (old_height, old_width), (height, width) = before.size, frame.size
        self.frames.clear()
        for target in list(self.targets.values()):
            self._rescale(target, before, frame)
        self.warnings.append(RequestError('image size', (
            f'image size changed from {old_width} x {old_height} to {width} x {height}: '
            f'{len(self.targets)} targets go on, their boxes scaled')))

    def _rescale(self, target, before, frame):
        """Start a target again at its scaled box; remove it if it is not in view."""
        scale = np.array(frame.size[::-1] * 2) / np.array(before.size[::-1] * 2)
        try:
            if target.at != before.index or target.track.lost:
                raise ValueError('target is not in view')
            target.track = self._tracker.init(
                target.key, frame.rgb(), target.track.box * scale)
            target.at = -1
        except ValueError:
            self.remove(target.id, 'image size changed while it was not in view')
