# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One connected viewer: the newest frame of its camera at its pace, and its messages."""

import asyncio
from collections import deque
import json
import time
from typing import Any, Callable

from aiohttp import web
from re3_web.pace import Pace
from re3_web.source import Frame

# Messages that wait for a slow viewer; the oldest ones are dropped.
MAX_WAITING = 32


class Viewer:
    """
    The sending side of a WebSocket.

    Nothing piles up for a slow viewer: of images and states only the newest one waits.

    :param socket: the prepared WebSocket.
    :param newest: returns the newest Frame of a camera, or None.
    :param rate: images per second at most.
    """

    def __init__(self, socket: web.WebSocketResponse, newest: Callable[[str], Frame | None],
                 rate: float) -> None:
        self.camera: str | None = None
        self.side = 0
        self.pace = Pace(rate)
        self._socket = socket
        self._newest = newest
        self._wake = asyncio.Event()
        self._sequence = 0
        self._had_image: dict[int, bool] = {}
        self._texts: deque[str] = deque(maxlen=MAX_WAITING)
        self._state: str | None = None
        self._opened = 0.

    @property
    def wants_images(self) -> bool:
        """Whether it shows images now, not only tracks."""
        return self.camera is not None and self.side > 0

    def watch(self, camera: str, side: int) -> None:
        """Show a camera at `side` pixels from now on; 0: tracks without images."""
        if self.camera is None:    # the answer to the first message: a round trip without images
            self.pace.measured(time.monotonic() - self._opened)
        self.camera, self.side = camera, side
        self._wake.set()

    def acknowledge(self, sequence: int) -> None:
        """Note that it has shown a frame; ValueError if this frame was not sent."""
        self.pace.acknowledged(sequence, time.monotonic(), self._had_image.pop(sequence, False))
        self._wake.set()

    def notify(self) -> None:
        """Look for a new frame."""
        self._wake.set()

    def send(self, **message: Any) -> None:
        """Send a message once the connection is free."""
        self._texts.append(json.dumps(message))
        self._wake.set()

    def send_state(self, state: str) -> None:
        """Send a state (JSON); it replaces one that still waits."""
        self._state = state
        self._wake.set()

    async def run(self, hello: dict[str, Any]) -> None:
        """Send `hello`, then new messages, until the connection ends."""
        self._opened = time.monotonic()
        await self._socket.send_str(json.dumps(hello))
        while not self._socket.closed:
            await self._wake.wait()
            self._wake.clear()
            while self._texts:
                await self._socket.send_str(self._texts.popleft())
            if self._state is not None:
                state, self._state = self._state, None
                await self._socket.send_str(state)
            await self._send_frame()

    async def _send_frame(self) -> None:
        """Send the newest frame, if there is a new one and the pace allows it."""
        frame = None if self.camera is None else self._newest(self.camera)
        if frame is None or frame.sequence <= self._sequence or not self.pace.free:
            return
        delay = self.pace.delay(time.monotonic())
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._wake.set)
            return
        self._sequence = frame.sequence
        header, jpeg = self._header(frame), b''
        if self.side and frame.has_image:
            level = self.pace.choose(self.side)
            try:
                jpeg = await asyncio.get_running_loop().run_in_executor(None, frame.jpeg, *level)
            except ValueError as error:
                header['problem'] = str(error)
        self.pace.sent(frame.sequence, time.monotonic())
        self._had_image[frame.sequence] = bool(jpeg)
        await self._socket.send_bytes(pack(header, jpeg))
        self._wake.set()    # there may be a newer one already

    def _header(self, frame: Frame) -> dict[str, Any]:
        return {
            'camera': self.camera, 'sequence': frame.sequence, 'stamp': str(frame.stamp),
            'size': frame.size, 'number': frame.number, 'age': frame.age(),
            'tracks': [{'id': track.id, 'class_id': track.class_id, 'box': track.box,
                        'confidence': track.confidence} for track in frame.tracks]}


def pack(header: dict[str, Any], jpeg: bytes) -> bytes:
    """Return a frame as sent: length of the JSON header (4 bytes, big endian), header, JPEG."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, 'big') + text + jpeg
