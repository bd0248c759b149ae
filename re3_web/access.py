# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Who may use the page: the token, and the checks of the Host and Origin headers."""

import hmac
from ipaddress import ip_address, IPv4Address, IPv6Address
import secrets
import socket
from typing import Iterable
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset(('localhost', '127.0.0.1', '::1'))


class AccessError(Exception):
    """A request that is refused; the message gives the reason and the valid values."""


def is_loopback(host: str) -> bool:
    """Return whether a server bound to `host` can be reached from its own machine only."""
    address = _address(host)
    return host == 'localhost' or (address is not None and address.is_loopback)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _hostname(netloc: str) -> str:
    """Return the host of `host:port`, in lower case and without brackets; '' if malformed."""
    if any(character in netloc for character in '@/?#\\'):    # a URL's parts, not a host's
        return ''
    try:
        return urlsplit(f'//{netloc}').hostname or ''
    except ValueError:
        return ''


class Access:
    """
    The rules by which a request is served.

    The Host header must name this server, so that a foreign domain that resolves to it (DNS
    rebinding) is refused. A WebSocket's Origin must be this page. A token is required unless
    only programs of this machine can connect.

    :param host: address that the server listens on.
    :param allowed_hosts: further host names under which it is reached, as through a proxy.
    :param token: the token to require; empty: a random one, or none where none is required.
    """

    def __init__(self, host: str, allowed_hosts: Iterable[str] = (), token: str = '') -> None:
        self.local = is_loopback(host)
        self._extra = frozenset(name.lower() for name in allowed_hosts if name)
        names = set(LOOPBACK_NAMES | self._extra)
        if not self.local:
            own = socket.gethostname().lower()
            names |= {own, f'{own}.local', host.lower()}
        self._names = frozenset(names)
        required = not self.local or self._extra
        self.token = token or (secrets.token_urlsafe(18) if required else '')

    def check_host(self, header: str) -> None:
        """Raise AccessError unless a Host header names this server."""
        host = _hostname(header)
        # Only names can be rebound to another address; addresses cannot.
        if host in self._names or (not self.local and _address(host) is not None):
            return
        raise AccessError(f'host {header[:80]!r} is not served; add it to the allowed hosts')

    def check_origin(self, origin: str, host_header: str) -> None:
        """Raise AccessError unless an Origin header is that of this server's page."""
        try:
            parts = urlsplit(origin)
            same = parts.netloc.lower() == host_header.lower()
            known = (parts.hostname or '') in self._extra
        except ValueError:
            same = known = False
            parts = urlsplit('')
        if parts.scheme not in ('http', 'https') or not (same or known):
            raise AccessError(f'origin {origin[:80]!r} is not this page')

    def accepts(self, token: str) -> bool:
        """Return whether a token is right, in a time that does not depend on the token."""
        if not self.token:
            return True
        return hmac.compare_digest(token.encode(errors='replace'), self.token.encode())


def page_address(host: str, port: int, token: str) -> str:
    """Return the URL to open in a browser, with the token if there is one."""
    address = _address(host)
    if address is not None and address.is_unspecified:
        host = _outward_address()
    elif is_loopback(host):
        host = 'localhost'
    shown = f'[{host}]' if ':' in host else host
    return f'http://{shown}:{port}/' + (f'?token={token}' if token else '')


def _outward_address() -> str:
    """Return this machine's address on the route to others; its name if it has no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))    # sends nothing: UDP, an address for documentation
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
