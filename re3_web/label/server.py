# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The server of the label page: images, changes over a WebSocket, export and import."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
import json
import logging
from pathlib import Path
import time
from typing import Any

from aiohttp import web, WSMsgType
import cv2
import numpy as np
from re3_core.io.images import read_image
from re3_web import messages
from re3_web.label import DEFAULT_PORT
from re3_web.label.source import LabelSource
from re3_web.messages import Fields, MessageError
from re3_web.pace import Allowance
from re3_web.server import CLOSE_TIMEOUT, HEARTBEAT
from re3_web.server import Settings as PageSettings
from re3_web.site import Site
from re3_web.site import STATIC as SHARED_STATIC
from re3_web.source import ERROR

log = logging.getLogger('re3_web')

STATIC = Path(__file__).parent / 'static'
# Formats that browsers show; others are sent as JPEG.
BROWSER_TYPES = {'.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.png': 'image/png',
                 '.webp': 'image/webp'}
JPEG_QUALITY = 88
# Bytes of an imported file.
MAX_IMPORT = 64 * 1024 * 1024
MAX_FRAMES = 10 ** 7
# Messages of a viewer per second, and at once.
MESSAGE_RATE, MESSAGE_BURST = 30., 120
MAX_REFUSED = 200


@dataclass(frozen=True)
class Settings(PageSettings):
    """Settings of the label page, as of the tracker's."""

    port: int = DEFAULT_PORT
    max_viewers: int = 4


@dataclass(frozen=True)
class Change:
    """A change that a viewer asks for: the name of a method of LabelSource and its arguments."""

    method: str
    arguments: tuple[Any, ...] = ()


def _key(get: Fields) -> Change:
    return Change('set_key', (get.text('id', empty=True), get.integer('frame', MAX_FRAMES),
                              get.box(), get.flag('occluded')))


BUILDERS: dict[str, Callable[[Fields], Change]] = {
    'key': _key,
    'absent': lambda get: Change('set_key', (
        get.text('id'), get.integer('frame', MAX_FRAMES), None, False)),
    'unkey': lambda get: Change('remove_key', (get.text('id'), get.integer('frame', MAX_FRAMES))),
    'remove': lambda get: Change('remove', (get.text('id'),)),
    'rename': lambda get: Change('rename', (get.text('id'), get.text('to'),
                                            get.text('label', empty=True))),
    'undo': lambda get: Change('undo'),
    'redo': lambda get: Change('redo'),
}


class LabelServer(Site):
    """Serves the label page for one source, from `start` to `stop`."""

    def __init__(self, source: LabelSource, settings: Settings) -> None:
        self.source = source
        self._limits = settings
        self._sockets: set[web.WebSocketResponse] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._known: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._image = lru_cache(maxsize=64)(self._scaled_image)
        super().__init__(settings, (STATIC, SHARED_STATIC), MAX_IMPORT)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the WebSocket, the images, export and import."""
        router.add_get('/ws', self._connect)
        router.add_get(r'/frames/{frame:\d{1,7}}', self._frame)
        router.add_get(r'/export/{form:\w+}.zip', self._export)
        router.add_post('/import', self._import)

    async def start(self) -> None:
        """Listen, and start the source; OSError if the address cannot be used."""
        await super().start()
        self.source.start(self)
        self._known = {name: self.source.version(name) for name in self.source.targets()}

    async def stop(self) -> None:
        """Close all connections and stop the source."""
        for socket in set(self._sockets):
            await socket.close(code=1001)
        await super().stop()
        await self._loop.run_in_executor(None, self.source.stop)

    # ---- from the source, in any thread ----

    def track_changed(self, target_id: str) -> None:
        """Show the filled-in boxes of a target."""
        self._schedule(lambda: self._send_target(target_id))

    def progress(self, target_id: str, done: int, total: int) -> None:
        """Show how many frames of a target have been filled in."""
        self._schedule(lambda: self._broadcast(
            {'type': 'progress', 'id': target_id, 'done': done, 'total': total}))

    def notice(self, level: int, text: str) -> None:
        """Show a message."""
        self._schedule(lambda: self._broadcast({'type': 'notice', 'level': level, 'text': text}))

    def _schedule(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:    # the server has ended in the meantime
            log.debug('a message came after the end')

    # ---- to the viewers ----

    def _broadcast(self, message: dict[str, Any]) -> None:
        text = json.dumps(message)
        for socket in self._sockets:
            self._send(socket, text)

    def _send(self, socket: web.WebSocketResponse, text: str) -> None:
        async def send() -> None:
            if not socket.closed:
                try:
                    await socket.send_str(text)
                except (ConnectionError, RuntimeError):
                    log.debug('a viewer left')
        task = asyncio.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _target_message(self, target_id: str) -> dict[str, Any]:
        state = self.source.target(target_id)
        return {'type': 'target', 'id': state.id, 'label': state.label, 'keys': state.keys,
                'boxes': state.boxes, 'confidence': state.confidence, 'occluded': state.occluded}

    def _send_target(self, target_id: str) -> None:
        if target_id in self.source.targets():
            self._broadcast(self._target_message(target_id))

    def _send_changes(self) -> None:
        """Send the targets whose keys have changed, and the ids of all of them."""
        known = {name: self.source.version(name) for name in self.source.targets()}
        for name, version in known.items():
            if self._known.get(name) != version:
                self._broadcast(self._target_message(name))
        self._known = known
        self._broadcast(self._overview())

    def _overview(self) -> dict[str, Any]:
        undo, redo = self.source.undoable()
        return {'type': 'overview', 'ids': list(self.source.targets()), 'undo': undo,
                'redo': redo}

    # ---- requests ----

    async def _frame(self, request: web.Request) -> web.StreamResponse:
        frame = int(request.match_info['frame'])
        if frame >= self.source.video.count:
            raise web.HTTPNotFound
        side = request.query.get('side', '')
        limit = int(side) if side.isascii() and side.isdigit() and len(side) < 6 else 0
        try:
            content, kind = await self._loop.run_in_executor(None, self._image, frame, limit)
        except (OSError, ValueError) as error:
            return web.Response(status=500, text=f'{error}\n')
        return web.Response(body=content, content_type=kind)

    def _scaled_image(self, frame: int, limit: int) -> tuple[bytes, str]:
        """Return an image file and its type, with its longer side at most `limit` (0: any)."""
        path = self.source.image(frame)
        kind = BROWSER_TYPES.get(path.suffix.lower())
        longest = max(self.source.video.size)
        if kind and (not limit or longest <= limit):
            return path.read_bytes(), kind
        rgb = read_image(path)
        if limit and longest > limit:
            scale = limit / longest
            rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode('.jpg', np.ascontiguousarray(rgb[..., ::-1]),
                               (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        return data.tobytes(), 'image/jpeg'

    async def _export(self, request: web.Request) -> web.StreamResponse:
        form = request.match_info['form']
        if form not in self.source.video.formats:
            raise web.HTTPNotFound
        try:
            content = await self._loop.run_in_executor(None, self.source.export, form)
        except (OSError, ValueError) as error:
            return web.Response(status=409, text=f'{error}\n')
        return web.Response(body=content, content_type='application/zip', headers={
            'Content-Disposition': f'attachment; filename="labels_{form}.zip"'})

    async def _import(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get('name', '')
        try:
            content = await request.read()
            loaded = await self._loop.run_in_executor(None, self.source.load, name, content)
            count = self.source.import_labels(loaded)
        except (OSError, ValueError) as error:
            return web.Response(status=422, text=f'{error}\n')
        self._send_changes()
        return web.Response(text=f'{count} targets imported\n')

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one viewer until it leaves."""
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT, heartbeat=HEARTBEAT, max_msg_size=messages.MAX_MESSAGE)
        await socket.prepare(request)
        if len(self._sockets) >= self._limits.max_viewers:
            await socket.send_json({'type': 'full', 'text': f'{self._limits.max_viewers} viewers '
                                    'are connected, no more are allowed'})
            await socket.close(code=1013)
            return socket
        video = self.source.video
        await socket.send_json({
            'type': 'hello', 'title': video.title, 'count': video.count, 'size': video.size,
            'formats': list(video.formats), 'uncertain': video.uncertain})
        for name in self.source.targets():
            await socket.send_json(self._target_message(name))
        await socket.send_json(self._overview())
        self._sockets.add(socket)
        try:
            await self._receive(socket, request.remote)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _receive(self, socket: web.WebSocketResponse, remote: str | None) -> None:
        allowance, refused = Allowance(MESSAGE_RATE, MESSAGE_BURST), 0
        async for item in socket:
            try:
                if item.type != WSMsgType.TEXT:
                    raise MessageError('message must be a text')
                change: Change = messages.parse(item.data, BUILDERS)
                if not allowance.take(time.monotonic()):
                    raise MessageError('too many messages, this one is ignored')
                result = getattr(self.source, change.method)(*change.arguments)
                self._send_changes()
                # Only now, when the change is stored.
                self._send(socket, json.dumps({'type': 'done', 'id': result or ''}))
            except (OSError, ValueError) as error:
                refused += 1
                self._send(socket, json.dumps(
                    {'type': 'notice', 'level': ERROR, 'text': str(error)}))
                self.log_refused(remote, str(error))
            if refused >= MAX_REFUSED:
                await socket.close(code=1008)


async def serve(source: LabelSource, settings: Settings, stop: asyncio.Event) -> None:
    """
    Serve the page until `stop` is set.

    :raises OSError: the address cannot be used, as when the port is taken.
    """
    await LabelServer(source, settings).serve(stop)
