# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The newest frame and state of every camera, for all viewers; requests of viewers."""

import asyncio
from dataclasses import asdict
import json
import logging
from threading import Lock
import time
from typing import Any

from re3_web.messages import Call, Init, MessageError, Remove, Rename
from re3_web.source import Frame, Source
from re3_web.viewer import Viewer

log = logging.getLogger('re3_web')
STATE_PERIOD = 0.3
# Seconds that a renamed target may take to appear under its new id.
RENAME_TIMEOUT = 10.


class Hub:
    """
    Connects one source with any number of viewers.

    `offer` and `notice` may be called in any thread, all else in the server's.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.viewers: set[Viewer] = set()
        self._loop = asyncio.get_running_loop()
        self._frames: dict[str, Frame] = {}
        self._cameras: set[str] = set()
        self._state = ''
        self._sequence = 0
        self._renames: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = Lock()
        self._offered: dict[str, Frame] = {}

    # ---- from the source ----

    def offer(self, camera: str, frame: Frame) -> None:
        """Take the newest frame of a camera; it replaces the one before."""
        with self._lock:
            scheduled = bool(self._offered)
            self._offered[camera] = frame
        if not scheduled:
            self._schedule(self._take_frames)

    def notice(self, level: int, text: str) -> None:
        """Show a message to all viewers."""
        self._schedule(lambda: self._broadcast(type='notice', level=level, text=text))

    def _schedule(self, action: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:    # the server has ended in the meantime
            log.debug('a message came after the end')

    def _take_frames(self) -> None:
        with self._lock:
            offered, self._offered = self._offered, {}
        for camera, frame in offered.items():
            self._sequence += 1
            frame.sequence = self._sequence
            self._frames[camera] = frame
            self._finish_renames(camera, frame)
        for viewer in self.viewers:
            if viewer.camera in offered:
                viewer.notify()

    def newest(self, camera: str) -> Frame | None:
        """Return the newest frame of a camera, or None before the first."""
        return self._frames.get(camera)

    # ---- to the viewers ----

    def _broadcast(self, **message: Any) -> None:
        for viewer in self.viewers:
            viewer.send(**message)

    def add(self, viewer: Viewer) -> None:
        """Serve a viewer from now on."""
        self.viewers.add(viewer)
        self._update_state()
        viewer.send_state(self._state)

    def remove(self, viewer: Viewer) -> None:
        """Stop serving a viewer."""
        self.viewers.discard(viewer)
        self.update_watched()

    def update_watched(self) -> None:
        """Have the source deliver the images that a viewer watches, and no others."""
        self.source.watch(frozenset(viewer.camera for viewer in self.viewers
                                    if viewer.camera is not None and viewer.wants_images))

    async def publish_states(self) -> None:
        """Send the source's state to all viewers whenever it changes; runs until canceled."""
        while True:
            if self._update_state():
                for viewer in self.viewers:
                    viewer.send_state(self._state)
            self._drop_old_renames()
            await asyncio.sleep(STATE_PERIOD)

    def _update_state(self) -> bool:
        state = self.source.state()
        self._cameras = {camera.name for camera in state.cameras}
        text = json.dumps({'type': 'state', **asdict(state)})
        changed = text != self._state
        self._state = text
        return changed

    # ---- requests ----

    def check_camera(self, camera: str) -> None:
        """Raise MessageError if there is no camera of this name."""
        if camera not in self._cameras:
            raise MessageError(f'no camera {camera!r}')

    async def request(self, message: Init | Remove | Rename | Call) -> str:
        """
        Pass on a viewer's request; return a message for it, which may be empty.

        :raises ValueError: it cannot be done; the message gives the reason.
        """
        if isinstance(message, Call):
            done, text = await self._loop.run_in_executor(
                None, self.source.call, message.service)
            if not done:
                raise ValueError(f'{message.service}: {text}')
            return text
        self.check_camera(message.camera)
        if isinstance(message, Init):
            self.source.init(message.camera, message.id, message.box, message.stamp)
        elif isinstance(message, Remove):
            self.source.remove(message.camera, message.id)
        else:
            self._rename(message)
        return ''

    def _rename(self, message: Rename) -> None:
        """Start the target under its new id; the old one goes once the new one is tracked."""
        frame = self._frames.get(message.camera)
        tracks = {track.id: track for track in frame.tracks} if frame else {}
        if frame is None or message.id not in tracks:
            raise MessageError(f'no target {message.id!r}')
        if message.to in tracks:
            raise MessageError(f'there is a target {message.to!r} already')
        self.source.init(message.camera, message.to, tracks[message.id].box, frame.stamp)
        deadline = time.monotonic() + RENAME_TIMEOUT
        self._renames[message.camera, message.to] = message.id, deadline

    def _finish_renames(self, camera: str, frame: Frame) -> None:
        for track in frame.tracks:
            old, _ = self._renames.pop((camera, track.id), ('', 0.))
            if old:
                self.source.remove(camera, old)

    def _drop_old_renames(self) -> None:
        now = time.monotonic()
        for key in [key for key, (_, end) in self._renames.items() if end < now]:
            old, _ = self._renames.pop(key)
            self._broadcast(type='notice', level=1,
                            text=f'target {old!r} was not renamed: {key[1]!r} did not start')
