# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The server of the tracker's page: its WebSocket, and the limits on it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
import logging
import time

from aiohttp import web, WSMsgType
from re3_web import DEFAULT_PORT, messages
from re3_web.hub import Hub
from re3_web.pace import Allowance
from re3_web.site import Site
from re3_web.source import ERROR, OK, Source
from re3_web.viewer import Viewer

log = logging.getLogger('re3_web')

# Messages per second of a viewer besides acknowledgements.
MESSAGE_RATE, MESSAGE_BURST = 20., 60
# Refused messages after which the connection is closed.
MAX_REFUSED = 200
# Seconds between checks that a viewer is still there, and for its answer when it is sent away.
HEARTBEAT, CLOSE_TIMEOUT = 15., 2.


@dataclass(frozen=True)
class Settings:
    """
    Settings of the server.

    :param host: address to listen on; others than those of this machine need a token.
    :param port: TCP port; 0 takes a free one.
    :param token: token to require; empty: a random one where one is needed.
    :param allowed_hosts: further host names of this server, as behind a proxy.
    :param rate: images per second and viewer at most.
    :param max_viewers: viewers at a time.
    """

    host: str = '127.0.0.1'
    port: int = DEFAULT_PORT
    token: str = ''
    allowed_hosts: tuple[str, ...] = ()
    rate: float = 15.
    max_viewers: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f'port must be 0 to 65535, got {self.port}')
        if not 0.1 <= self.rate <= 120:
            raise ValueError(f'rate must be 0.1 to 120 Hz, got {self.rate}')
        if self.max_viewers < 1:
            raise ValueError(f'max_viewers must be at least 1, got {self.max_viewers}')
        if self.token and not (self.token.isascii() and self.token.isalnum()
                               and len(self.token) >= 12):
            raise ValueError('token must be 12 or more ASCII letters and digits')


class PageServer(Site):
    """Serves the page for one source, from `start` to `stop`."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.hub = Hub(source)
        self._sockets: set[web.WebSocketResponse] = set()
        self._states: asyncio.Task[None] | None = None
        self._limits = settings
        super().__init__(settings)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the WebSocket."""
        router.add_get('/ws', self._connect)

    async def start(self) -> None:
        """Listen, and start the source; OSError if the address cannot be used."""
        await super().start()
        self.hub.source.start(self.hub)
        self._states = asyncio.create_task(self.hub.publish_states())

    async def stop(self) -> None:
        """Close all connections and stop the source."""
        if self._states is not None:
            self._states.cancel()
        for socket in set(self._sockets):
            await socket.close(code=1001)
        await super().stop()
        self.hub.source.stop()

    # ---- viewers ----

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one viewer until it leaves."""
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT, heartbeat=HEARTBEAT, max_msg_size=messages.MAX_MESSAGE,
            compress=False)
        await socket.prepare(request)
        if len(self.hub.viewers) >= self._limits.max_viewers:
            text = f'{self._limits.max_viewers} viewers are connected, no more are allowed'
            await socket.send_json({'type': 'full', 'text': text})
            await socket.close(code=1013)
            return socket
        viewer = Viewer(socket, self.hub.newest, self._limits.rate)
        self._sockets.add(socket)
        hello = {'type': 'hello', 'title': self.hub.source.title,
                 'buffer_seconds': self.hub.source.buffer_seconds}
        sending = asyncio.create_task(viewer.run(hello))
        self.hub.add(viewer)
        try:
            await self._receive(socket, viewer, request.remote)
        finally:
            self.hub.remove(viewer)
            self._sockets.discard(socket)
            sending.cancel()
            # Also the error of a send that the end of the connection overtook.
            with suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                await sending
        return socket

    async def _receive(self, socket: web.WebSocketResponse, viewer: Viewer,
                       remote: str | None) -> None:
        allowance = Allowance(MESSAGE_RATE, MESSAGE_BURST)
        refused = 0
        async for item in socket:
            try:
                if item.type != WSMsgType.TEXT:
                    raise messages.MessageError('message must be a text')
                await self._handle(messages.parse(item.data), viewer, allowance)
            except ValueError as error:
                refused += 1
                self.log_refused(remote, str(error))
                viewer.send(type='notice', level=ERROR, text=str(error))
            if refused >= MAX_REFUSED:
                self.log_refused(remote, f'connection closed after {refused} refused messages')
                await socket.close(code=1008)

    async def _handle(self, message: messages.Message, viewer: Viewer,
                      allowance: Allowance) -> None:
        if isinstance(message, messages.Ack):    # limited by the frames that are sent
            viewer.acknowledge(message.sequence)
            return
        if not allowance.take(time.monotonic()):
            raise messages.MessageError('too many messages, this one is ignored')
        if isinstance(message, messages.Watch):
            self.hub.check_camera(message.camera)
            viewer.watch(message.camera, message.side)
            self.hub.update_watched()
            return
        answer = await self.hub.request(message)
        if answer:
            viewer.send(type='notice', level=OK, text=answer)


async def serve(source: Source, settings: Settings, stop: asyncio.Event) -> None:
    """
    Serve the page until `stop` is set.

    :raises OSError: the address cannot be used, as when the port is taken.
    """
    await PageServer(source, settings).serve(stop)
