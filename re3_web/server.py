# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The HTTP server: the page's files, the WebSocket, and the limits on both."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
import logging
import os
from pathlib import Path
import time
from typing import Any

from aiohttp import web, WSMsgType
from re3_web import DEFAULT_PORT, messages
from re3_web.access import Access, AccessError, page_address
from re3_web.hub import Hub
from re3_web.pace import Allowance
from re3_web.source import ERROR, OK, Source
from re3_web.viewer import Viewer

log = logging.getLogger('re3_web')

STATIC = Path(__file__).parent / 'static'
TYPES = {'.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript',
         '.svg': 'image/svg+xml'}
HEADERS = {
    'Content-Security-Policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
    'Cache-Control': 'no-store',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}
# Messages per second of a viewer besides acknowledgements; log lines about refused ones.
MESSAGE_RATE, MESSAGE_BURST = 20., 60
LOG_RATE, LOG_BURST = 0.2, 10
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


class PageServer:
    """Serves the page for one source, from `start` to `stop`."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.settings = settings
        self.access = Access(settings.host, settings.allowed_hosts, settings.token)
        self.hub = Hub(source)
        self.port = settings.port
        self._files = {path.relative_to(STATIC).as_posix(): path.read_bytes()
                       for path in STATIC.rglob('*') if path.suffix in TYPES}
        self._sockets: set[web.WebSocketResponse] = set()
        self._log_allowance = Allowance(LOG_RATE, LOG_BURST)
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.router.add_get('/', self._page)
        app.router.add_get('/ws', self._connect)
        app.router.add_get('/{name:.+}', self._page)
        self._runner = web.AppRunner(app, access_log=None)
        self._states: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and start the source; OSError if the address cannot be used."""
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self.settings.host, self.settings.port)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(f'cannot listen on {self.settings.host}:{self.settings.port}: '
                          f'{os.strerror(error.errno or 0)}') from error
        self.port = self._runner.addresses[0][1]
        self.hub.source.start(self.hub)
        self._states = asyncio.create_task(self.hub.publish_states())

    async def stop(self) -> None:
        """Close all connections and stop the source."""
        if self._states is not None:
            self._states.cancel()
        for socket in set(self._sockets):
            await socket.close(code=1001)
        await self._runner.cleanup()
        self.hub.source.stop()

    @property
    def address(self) -> str:
        """The URL to open, with the token if there is one."""
        return page_address(self.settings.host, self.port, self.access.token)

    # ---- requests ----

    @property
    def _cookie(self) -> str:
        # Cookies are shared by all ports of a host.
        return f're3_token_{self.port}'

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Check Host, Origin and token, and add the security headers."""
        try:
            self.access.check_host(request.headers.get('Host', ''))
            if request.path == '/ws':
                self.access.check_origin(request.headers.get('Origin', ''), request.host)
            response = self._check_token(request)
            if response is None:    # a Response is a mapping, and an empty one counts as false
                response = await handler(request)
        except AccessError as error:
            self._log_refused(request.remote, str(error))
            response = web.Response(status=403, text=f'{error}\n')
        except web.HTTPException as error:    # unknown paths and methods
            response = web.Response(status=error.status, text=f'{error.reason}\n')
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check_token(self, request: web.Request) -> web.Response | None:
        """Return None if the request has the token, else what to answer."""
        if self.access.accepts(request.cookies.get(self._cookie, '')):
            return None
        if request.path == '/' and self.access.accepts(request.query.get('token', '')):
            # Out of the address bar, and out of the reach of scripts. Lax: a link to the page in
            # another site still works; WebSockets of other sites do not get the cookie.
            response = web.Response(status=303, headers={'Location': './'})
            response.set_cookie(self._cookie, self.access.token, httponly=True, samesite='Lax')
            return response
        self._log_refused(request.remote, 'no valid token')
        return web.Response(status=401, text='This page needs its token: open the address that '
                            'the program printed when it started.\n')

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get('name', 'index.html')
        if name not in self._files:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=TYPES[Path(name).suffix],
                            charset='utf-8')

    # ---- viewers ----

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one viewer until it leaves."""
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT, heartbeat=HEARTBEAT, max_msg_size=messages.MAX_MESSAGE,
            compress=False)
        await socket.prepare(request)
        if len(self.hub.viewers) >= self.settings.max_viewers:
            text = f'{self.settings.max_viewers} viewers are connected, no more are allowed'
            await socket.send_json({'type': 'full', 'text': text})
            await socket.close(code=1013)
            return socket
        viewer = Viewer(socket, self.hub.newest, self.settings.rate)
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
                self._log_refused(remote, str(error))
                viewer.send(type='notice', level=ERROR, text=str(error))
            if refused >= MAX_REFUSED:
                self._log_refused(remote, f'connection closed after {refused} refused messages')
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

    def _log_refused(self, remote: str | None, text: str) -> None:
        if self._log_allowance.take(time.monotonic()):
            log.warning('refused a request of %s: %s', remote, text)


async def serve(source: Source, settings: Settings, stop: asyncio.Event) -> None:
    """
    Serve the page until `stop` is set.

    :raises OSError: the address cannot be used, as when the port is taken.
    """
    server = PageServer(source, settings)
    await server.start()
    log.info('open %s', server.address)
    try:
        await stop.wait()
    finally:
        await server.stop()
