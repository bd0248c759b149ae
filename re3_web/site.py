# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The HTTP server of a page: its files, and the checks of each request."""

import asyncio
from collections.abc import Sequence
import logging
import os
from pathlib import Path
import time
from typing import Any, Protocol

from aiohttp import web
from re3_web.access import Access, AccessError, page_address
from re3_web.pace import Allowance

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
# Log lines about refused requests, per second and at once.
LOG_RATE, LOG_BURST = 0.2, 10


class SiteSettings(Protocol):
    """What a Site needs of the settings of a server."""

    @property
    def host(self) -> str:
        """Address to listen on."""

    @property
    def port(self) -> int:
        """TCP port; 0 takes a free one."""

    @property
    def token(self) -> str:
        """Token to require; empty: a random one where one is needed."""

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Further host names of this server."""


class Site:
    """
    Serves the files of a page and checks Host, Origin and token of all requests.

    A derived class adds its routes, of which `/ws` is the WebSocket. WebSockets, and requests of
    other methods than GET, must come from the page itself.

    :param folders: of the page's files; the first one that has a file counts.
    :param max_body: bytes of a request's body at most.
    """

    def __init__(self, settings: SiteSettings, folders: Sequence[Path] = (STATIC,),
                 max_body: int = 1024) -> None:
        self.settings = settings
        self.access = Access(settings.host, settings.allowed_hosts, settings.token)
        self.port = settings.port
        self._files = {path.relative_to(folder).as_posix(): path.read_bytes()
                       for folder in reversed(folders) for path in folder.rglob('*')
                       if path.suffix in TYPES}
        self._log_allowance = Allowance(LOG_RATE, LOG_BURST)
        self.app = web.Application(middlewares=[self._guard], client_max_size=max_body)
        self.app.router.add_get('/', self._page)
        self.add_routes(self.app.router)
        self.app.router.add_get('/{name:.+}', self._page)
        self._runner = web.AppRunner(self.app, access_log=None)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes beside those of the files."""

    async def start(self) -> None:
        """Serve from now on; OSError if the address cannot be used."""
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self.settings.host, self.settings.port)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            # That of an address is long; names that cannot be found have negative numbers.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror
            raise OSError(f'cannot listen on {self.settings.host}:{self.settings.port}: '
                          f'{reason}') from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def serve(self, stop: asyncio.Event) -> None:
        """
        Serve until `stop` is set.

        :raises OSError: the address cannot be used, as when the port is taken.
        """
        await self.start()
        log.info('open %s', self.address)
        try:
            await stop.wait()
        finally:
            await self.stop()

    @property
    def address(self) -> str:
        """The URL to open, with the token if there is one."""
        return page_address(self.settings.host, self.port, self.access.token)

    @property
    def _cookie(self) -> str:
        # Cookies are shared by all ports of a host.
        return f're3_token_{self.port}'

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Check Host, Origin and token, and add the security headers."""
        try:
            self.access.check_host(request.headers.get('Host', ''))
            if request.path == '/ws' or request.method not in ('GET', 'HEAD'):
                self.access.check_origin(request.headers.get('Origin', ''), request.host)
            response = self._check_token(request)
            if response is None:    # a Response is a mapping, and an empty one counts as false
                response = await handler(request)
        except AccessError as error:
            self.log_refused(request.remote, str(error))
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
        self.log_refused(request.remote, 'no valid token')
        return web.Response(status=401, text='This page needs its token: open the address that '
                            'the program printed when it started.\n')

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get('name', 'index.html')
        if name not in self._files:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=TYPES[Path(name).suffix],
                            charset='utf-8')

    def log_refused(self, remote: str | None, text: str) -> None:
        """Log a refused request, unless there were many."""
        if self._log_allowance.take(time.monotonic()):
            log.warning('refused a request of %s: %s', remote, text)
