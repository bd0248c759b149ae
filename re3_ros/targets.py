# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The targets of one camera: ids, late boxes, matching of detections and states, without ROS.

A camera's frames and requests come in here; its targets live in a `re3_core.Tracker` that all
cameras share, under keys made of the camera's name and the target's id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from re3_core import Track
from re3_core.boxes import check_box, match_box
from re3_ros.diagnostics import ERROR, OK, STALE, WARN
from re3_ros.frame_buffer import Frame, FrameBuffer
from re3_ros.messages import InputError, Request

TRACKED = 'tracked'
LOST = 'lost'
REMOVED = 'removed'
REFUSED = 'refused'
# Seconds for which a refused request stays in the status table, and how many of them do.
REFUSAL_SECONDS = 10.
MAX_REFUSALS = 100


class RequestError(InputError):
    """A request that cannot be fulfilled."""


@dataclass
class Settings:
    """
    Settings of a camera's targets, described at the parameters of the same names.

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
    def from_parameters(cls, values: Any) -> 'Settings':
        """Return the settings by the node's parameters, a mapping by name."""
        return cls(
            max_targets=values['max_targets'], association_iou=values['association_iou'],
            drop_after=values['drop_after'], catch_up_frames=values['catch_up_frames'],
            init_buffer_seconds=values['init_buffer_seconds'],
            init_buffer_bytes=values['init_buffer_megabytes'] * 1_000_000,
            refuse_old=values['on_old_box'] == 'refuse',
            every_frame=values['process_every_frame'])


class Event(NamedTuple):
    """
    A change of a target, or the answer to a request.

    `kind` is started, restarted, lost, found, removed or refused; `requested` is set for
    answers to requests on `init`.
    """

    id: str  # noqa: A003
    kind: str
    text: str = ''
    requested: bool = False


@dataclass
class Target:
    """
    A target: its latest track and the index of the frame that this track belongs to.

    `frame_index` is -1 if that frame is no longer known; `lost_frames` counts the frames since
    it was lost.
    """

    id: str  # noqa: A003
    key: str
    class_id: str
    frame_index: int
    track: Track
    lost_frames: int = 0

    @property
    def state(self) -> str:
        """Return TRACKED or LOST."""
        return LOST if self.track.lost else TRACKED


class StatusRow(NamedTuple):
    """
    A row of the status table: a target, or a refused request.

    `level` is one of `re3_ros.diagnostics`, `reason` is of targets that are gone and of refused
    requests, `number` counts the latter from 1 and is 0 for targets.
    """

    id: str  # noqa: A003
    level: int
    state: str
    reason: str = ''
    number: int = 0

    @property
    def values(self) -> dict[str, str]:
        """Return the key-value pairs of the row."""
        values = {'reason': self.reason, 'number': str(self.number or '')}
        return {key: value for key, value in values.items() if value}


class RefusedRequests:
    """
    Requests on `init` that were refused, as long as the status table has them.

    They are numbered: a request refused again for the same reason is another row.
    """

    def __init__(self) -> None:
        self._refused: dict[str, tuple[StatusRow, float]] = {}
        self._number = 0

    def answer(self, identity: str, refusal: str, now: float) -> None:
        """Record the answer to a request at `now` (seconds): the refusal, '' if it was none."""
        self._refused.pop(identity, None)
        if refusal:
            self._number += 1
            row = StatusRow(identity, ERROR, REFUSED, refusal, self._number)
            self._refused[identity] = row, now
        while len(self._refused) > MAX_REFUSALS:
            del self._refused[next(iter(self._refused))]

    def expire(self, now: float) -> bool:
        """Remove those older than REFUSAL_SECONDS; return whether there were any."""
        old = [identity for identity, (_, since) in self._refused.items()
               if now - since >= REFUSAL_SECONDS]
        for identity in old:
            del self._refused[identity]
        return bool(old)

    def clear(self) -> None:
        """Remove all of them."""
        self._refused.clear()

    def rows(self) -> list[StatusRow]:
        """Return their rows of the status table."""
        return [row for row, _ in self._refused.values()]


class UnbatchedTracker:
    """
    A tracker's `update` and `update_frames` with one target per forward.

    The batch a target is in changes its result in the last bits; a replay that must be the
    same to the bit cannot have batches that depend on the timing of messages.
    """

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self.init, self.remove = tracker.init, tracker.remove

    def update(self, frame: np.ndarray, ids: Iterable[str]) -> dict[str, Track]:
        """Track the targets in `ids` in the next frame; return {id: Track}."""
        return {key: self._tracker.update(frame, [key])[key] for key in ids}

    def update_frames(self, frames: Iterable[tuple[np.ndarray, Iterable[str]]]
                      ) -> dict[str, Track]:
        """Track targets of several cameras, as `re3_core.Tracker.update_frames`."""
        return {key: track for frame, ids in frames
                for key, track in self.update(frame, ids).items()}


class _PendingRequest(NamedTuple):
    request: Request
    stamp: int
    detected: bool


class CameraTargets:
    """
    Track the targets of one camera.

    For each frame the caller runs `begin_frame`, updates the shared tracker on the frame for the
    keys returned, and hands the tracks to `end_frame`.
    """

    def __init__(self, tracker: Any, settings: Settings, name: str = '') -> None:
        """
        Start without targets.

        :param tracker: `re3_core.Tracker`, may be shared.
        :param settings: `Settings`, may be changed from outside at any time.
        :param name: camera's name, unique among those that share the tracker, without '/'.
        """
        self.settings = settings
        self.frames = FrameBuffer(settings.init_buffer_seconds, settings.init_buffer_bytes)
        self.targets: dict[str, Target] = {}
        self.events: list[Event] = []
        self.warnings: list[Exception] = []
        self.refused = RefusedRequests()
        self._tracker = tracker
        self._name = name
        self._pending: list[_PendingRequest] = []
        self._next_number = 1

    # ---- requests ----

    def request(self, request: Request, stamp: int = 0, detected: bool = False) -> None:
        """
        Start, restart or remove a target.

        A request that is not `detected` is answered by an event of which `requested` is set.

        :param stamp: stamp in nanoseconds of the image that the box belongs to; 0: the newest.
        :param detected: a box without id that overlaps a target is that target: it restarts
            only if lost. Otherwise (a user's box) it restarts in any case.
        :raises RequestError: it cannot be fulfilled, for whatever reason.
        """
        try:
            if request.box is None:
                self._remove_on_request(request.id)
            elif self._must_wait(stamp):
                self._enqueue(_PendingRequest(request, stamp, detected))
            else:
                self._start_at(request, self._frame_at(stamp, request.id), detected)
        except Exception as error:      # also the tracker's: the other targets go on
            refusal = error if isinstance(error, RequestError) else RequestError(
                type(error).__name__, f'refusing box of {request.id!r}: {error}', request.id)
            if not detected:
                self.refuse(request.id, str(refusal))
            raise refusal from None

    def refuse(self, identity: str, reason: str) -> None:
        """Answer a request on `init` that cannot be fulfilled."""
        self.events.append(Event(identity, 'refused', reason, requested=True))

    def _must_wait(self, stamp: int) -> bool:
        """Return whether the image that a box belongs to has not arrived yet."""
        newest = self.frames.newest
        if newest is None:
            return True
        ahead = stamp - newest.stamp - self.frames.match_tolerance_ns()
        return stamp != 0 and 0 < ahead <= self._max_lead_ns()

    def _max_lead_ns(self) -> int:
        """Return by how many nanoseconds a box may be ahead of the newest image."""
        return int(max(1.0, self.settings.init_buffer_seconds) * 1e9)

    def _enqueue(self, pending: _PendingRequest) -> None:
        identity = pending.request.id
        if identity:
            self._pending = [other for other in self._pending if other.request.id != identity
                             or self.settings.every_frame and other.stamp != pending.stamp]
        if len(self._pending) >= self.settings.max_targets:
            raise RequestError('pending', f'refusing box of {identity!r}: {len(self._pending)} '
                               'boxes already wait for their image', identity)
        self._pending.append(pending)

    def _frame_at(self, stamp: int, identity: str) -> Frame:
        """Return the frame for a box's stamp; with a warning the newest if there is none."""
        newest, oldest = self.frames.newest, self.frames.oldest
        assert newest is not None and oldest is not None
        if stamp == 0:
            return newest
        too_old = oldest.stamp - self.frames.match_tolerance_ns() - stamp
        too_new = stamp - newest.stamp - self._max_lead_ns()
        if too_old <= 0 and too_new <= 0:
            return self.frames.nearest(stamp)
        age = (newest.stamp - stamp) / 1e9
        if too_old > 0:
            reach = (newest.stamp - oldest.stamp) / 1e9
            text = (f'box of {identity!r} is {age:.3f} s older than the newest image, the kept '
                    f'images reach back {reach:.3f} s (see init_buffer_seconds)')
        else:
            text = (f'box of {identity!r} is {-age:.3f} s newer than the newest image: do box '
                    'and image come from different clocks?')
        if self.settings.refuse_old:
            raise RequestError('stamp', f'{text}; refused', identity)
        self.warnings.append(RequestError('stamp', f'{text}; it is used on the newest image'))
        return newest

    def _start_at(self, request: Request, frame: Frame, detected: bool) -> None:
        box = check_box(request.box, frame.size)
        identity = request.id or self._match(box, frame) or self._new_number()
        target = self.targets.get(identity)
        if target is None and len(self.targets) >= self.settings.max_targets:
            raise RequestError('max_targets', f'refusing target {identity!r}: there are '
                               f'{len(self.targets)} already (see max_targets)', request.id)
        if target and detected and not request.id and not self._was_lost(target, frame):
            return
        self._start(identity, box, frame, request.class_id, requested=not detected)

    def _was_lost(self, target: Target, frame: Frame) -> bool:
        return target.id in frame.lost if self.settings.every_frame else target.track.lost

    def _match(self, box: np.ndarray, frame: Frame) -> str | None:
        """Return the id of the target that a box without id belongs to, or None."""
        known = {identity: known for identity, known in self.frames.boxes_at(frame).items()
                 if identity in self.targets}
        return match_box(box, known, self.settings.association_iou)

    def _new_number(self) -> str:
        taken = {*self.targets, *(pending.request.id for pending in self._pending)}
        while str(self._next_number) in taken:
            self._next_number += 1
        self._next_number += 1
        return str(self._next_number - 1)

    def _start(self, identity: str, box: np.ndarray, frame: Frame, class_id: str,
               requested: bool) -> None:
        """Start or restart a target on a frame; it catches up if that is not the newest."""
        key = f'{self._name}/{identity}'
        track = self._tracker.init(key, frame.rgb(), box)
        if frame is not self.frames.newest:
            frame.release()
        before = self.targets.get(identity)
        if before:
            class_id = class_id or before.class_id
            kind, text = ('found', 'by a box') if before.track.lost else ('restarted', '')
        else:
            kind, text = 'started', ''
        self.targets[identity] = Target(identity, key, class_id, frame.index, track)
        for kept in self.frames:
            kept.discard(identity)
        frame.record(identity, track)
        self.events.append(Event(identity, kind, text, requested))

    def _remove_on_request(self, identity: str) -> None:
        if not identity:
            raise RequestError('no id', 'a box of size 0 x 0 removes a target: it needs the id')
        remaining = [other for other in self._pending if other.request.id != identity]
        was_pending = len(remaining) < len(self._pending)
        self._pending = remaining
        if identity in self.targets:
            self.remove(identity, 'on request')
        elif was_pending:
            self.events.append(Event(identity, 'removed', 'on request'))
        else:
            raise RequestError('unknown id', f'cannot remove {identity!r}: there is no such '
                               'target', identity)

    def remove(self, identity: str, reason: str) -> None:
        """Remove a target; `reason` becomes the event's text."""
        self._tracker.remove(self.targets.pop(identity).key)
        self.events.append(Event(identity, 'removed', reason))

    def reset(self, reason: str = 'by reset') -> None:
        """Remove all targets; refuse the requests that wait for their image."""
        pending, self._pending = self._pending, []
        for item in pending:
            if not item.detected:
                self.refuse(item.request.id, reason)
        for identity in list(self.targets):
            self.remove(identity, reason)

    def detections(self, requests: Iterable[Request], stamp: int = 0) -> list[RequestError]:
        """
        Process the boxes of a detector; return the errors of those that cannot be used.

        Boxes of earlier detections that still wait for their image are out of date.
        """
        if not self.settings.every_frame:
            self._pending = [other for other in self._pending if not other.detected]
        errors = []
        for request in requests:
            try:
                self.request(request, stamp, detected=True)
            except RequestError as error:
                errors.append(error)
        return errors

    def time_jumped(self, keep: bool) -> None:
        """Discard the frames after image stamps jumped back, and the targets unless `keep`."""
        self.discard_frames()
        if not keep:
            self.reset('time jumped back')

    def take_events(self, now: float = 0.) -> tuple[list[Event], list[StatusRow] | None]:
        """
        Return the events since the last call, and the status table if there is news for it.

        :param now: seconds of any clock, by which refused requests leave the table.
        :return: (events, rows or None): the rows are of all targets and of those removed since
            the last call.
        """
        events, self.events = self.events, []
        changed = self.refused.expire(now)
        removed: dict[str, str] = {}
        for event in events:
            removed.pop(event.id, None)
            if event.requested:
                self.refused.answer(event.id, event.text if event.kind == REFUSED else '', now)
            if event.kind == REMOVED:
                self.refused.answer(event.id, '', now)
                removed[event.id] = event.text
            # A detector restarts its targets with every message.
            changed |= event.kind != 'restarted' or event.requested
        return events, self.status_rows(removed) if changed else None

    def status_rows(self, removed: Mapping[str, str] | None = None) -> list[StatusRow]:
        """Return the status table: refused requests, targets, and `removed` {id: reason}."""
        rows = self.refused.rows()
        rows += [StatusRow(target.id, WARN if target.state == LOST else OK, target.state)
                 for target in self.targets.values()]
        rows += [StatusRow(identity, STALE, REMOVED, reason)
                 for identity, reason in (removed or {}).items() if identity not in self.targets]
        return rows

    def discard_frames(self) -> None:
        """Discard the frames, as after a jump in time; the targets stay."""
        self.frames.clear()
        for target in self.targets.values():
            target.frame_index = -1

    # ---- frames ----

    def begin_frame(self, frame: Frame) -> list[str]:
        """
        Add the next frame; return the keys of the targets to update on it.

        Late targets catch up by `catch_up_frames` frames at most, and are updated only once
        they have arrived.
        """
        before = self.frames.newest
        self._resize(before, frame)
        self.catch_up()
        ready = [target.key for target in self.targets.values()
                 if before is None or target.frame_index in (-1, before.index)]
        self.frames.append(frame)
        return ready

    def end_frame(self, tracks: dict[str, Track]) -> list[Target]:
        """
        Apply the tracks of the newest frame, {key: Track}, and start the requests for it.

        :return: the Targets whose track belongs to the newest frame.
        """
        frame = self.frames.newest
        assert frame is not None
        for target in list(self.targets.values()):
            if target.key in tracks:
                self._apply(target, frame, tracks[target.key])
        self._start_pending(frame)
        return [target for target in self.targets.values() if target.frame_index == frame.index]

    def catch_up(self) -> None:
        """Run late targets through the buffered frames, `catch_up_frames` of them at most."""
        every = self.settings.every_frame
        for _ in range(len(self.frames) if every else self.settings.catch_up_frames):
            frame, late = self._next_catch_up()
            if frame is None:
                return
            try:
                tracks = self._tracker.update(frame.rgb(), [target.key for target in late])
            except Exception as error:      # its pixels may be decoded here for the first time
                self.warnings.append(error)
                tracks = {target.key: target.track for target in late}
            if frame is not self.frames.newest:
                frame.release()
            for target in late:
                self._apply(target, frame, tracks[target.key])

    def _next_catch_up(self) -> tuple[Frame | None, list[Target]]:
        """Return the earliest frame that late targets are to be updated on, and these."""
        waits: dict[int, tuple[Frame, list[Target]]] = {}
        for target in self.targets.values():
            if target.frame_index < 0:
                continue
            frame = self.frames.next_after(target.frame_index)
            if frame is not None:
                waits.setdefault(frame.index, (frame, []))[1].append(target)
        return waits[min(waits)] if waits else (None, [])

    def _apply(self, target: Target, frame: Frame, track: Track) -> None:
        """Update a target with its track in a frame."""
        was_lost = target.track.lost
        target.track, target.frame_index = track, frame.index
        frame.record(target.id, track)
        if not track.lost:
            target.lost_frames = 0
            if was_lost:
                self.events.append(
                    Event(target.id, 'found', f'confidence {track.confidence:.2f}'))
            return
        target.lost_frames += 1
        if not was_lost:
            self.events.append(Event(target.id, 'lost', f'confidence {track.confidence:.2f}'))
        if 0 < self.settings.drop_after < target.lost_frames:
            self.remove(target.id, f'lost for {target.lost_frames - 1} frames')

    def _start_pending(self, frame: Frame) -> None:
        """Fulfill the requests for this frame; on the first one, all that came before it."""
        pending, self._pending = self._pending, []
        first = len(self.frames) == 1
        for item in pending:
            stamp = 0 if first and item.stamp <= frame.stamp else item.stamp
            try:
                self.request(item.request, stamp, item.detected)
            except RequestError as error:
                self.warnings.append(error)

    def _resize(self, before: Frame | None, frame: Frame) -> None:
        """Scale the targets' boxes to images of another size of the same view."""
        if before is None or before.size == frame.size:
            return
        (old_height, old_width), (height, width) = before.size, frame.size
        self.frames.clear()
        for target in list(self.targets.values()):
            self._rescale(target, before, frame)
        self.warnings.append(RequestError('image size', (
            f'image size changed from {old_width} x {old_height} to {width} x {height}: '
            f'{len(self.targets)} targets go on, their boxes scaled')))

    def _rescale(self, target: Target, before: Frame, frame: Frame) -> None:
        """Start a target again at its scaled box; remove it if it is not in view."""
        scale = np.array(frame.size[::-1] * 2) / np.array(before.size[::-1] * 2)
        try:
            if target.frame_index != before.index or target.track.lost:
                raise ValueError('target is not in view')
            target.track = self._tracker.init(
                target.key, frame.rgb(), target.track.box * scale)
            target.frame_index = -1
        except Exception as error:
            self.remove(target.id, f'image size changed: {error}')
