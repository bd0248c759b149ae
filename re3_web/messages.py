# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Messages from a viewer: JSON texts, checked field by field."""

from dataclasses import dataclass
import json
from typing import Any, Callable, Mapping, TypeVar

from re3_web.source import Box

# Bytes of a message, and characters of an id: as `max_id_length` of the node by default.
MAX_MESSAGE = 4096
MAX_ID = 64
MAX_COORDINATE = 1e6
SERVICES = ('enable', 'disable', 'reset')


class MessageError(ValueError):
    """A message that is refused; the message names the error."""


@dataclass(frozen=True)
class Watch:
    """Show a camera at `side` pixels; 0: tracks without images."""

    camera: str
    side: int


@dataclass(frozen=True)
class Ack:
    """A frame was shown."""

    sequence: int


@dataclass(frozen=True)
class Init:
    """Start or restart a target at an `xyxy` box of the image with this stamp (nanoseconds)."""

    camera: str
    id: str  # noqa: A003
    box: Box
    stamp: int


@dataclass(frozen=True)
class Remove:
    """Remove a target."""

    camera: str
    id: str  # noqa: A003


@dataclass(frozen=True)
class Rename:
    """Start a target anew under another id, and remove it under the old one."""

    camera: str
    id: str  # noqa: A003
    to: str


@dataclass(frozen=True)
class Call:
    """Call a service, one of SERVICES."""

    service: str


Message = Watch | Ack | Init | Remove | Rename | Call
Value = TypeVar('Value')


def parse(text: str, builders: Mapping[str, Callable[['Fields'], Any]] | None = None) -> Any:
    """
    Return the message that a JSON text holds.

    :param builders: make the messages from their fields by type; default: BUILDERS.
    :raises MessageError: it is no JSON object of a known type with valid fields.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise MessageError('message is not JSON') from None
    if not isinstance(data, dict):
        raise MessageError('message must be a JSON object')
    kind = data.pop('type', None)
    known = BUILDERS if builders is None else builders
    build = known.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise MessageError(f'type must be one of {", ".join(known)}, got {_short(kind)}')
    return build(Fields(data))


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


class Fields:
    """The fields of a message; each method raises MessageError if a field is not valid."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def _get(self, name: str, allowed: str, check: Callable[[Any], Value | None]) -> Value:
        value = self._data.get(name)
        result = check(value)
        if result is None:
            raise MessageError(f'{name} must be {allowed}, got {_short(value)}')
        return result

    def text(self, name: str, empty: bool = False) -> str:
        """Return a printable text of at most MAX_ID characters."""
        allowed = f'{0 if empty else 1} to {MAX_ID} printable characters'
        return self._get(name, allowed, lambda value: value if isinstance(value, str) and (
            (empty or value) and len(value) <= MAX_ID and value.isprintable()) else None)

    def integer(self, name: str, most: int) -> int:
        """Return an integer from 0 to `most`."""
        return self._get(name, f'an integer from 0 to {most}', lambda value: value if (
            type(value) is int and 0 <= value <= most) else None)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return self._get(name, 'true or false', lambda value: (value,) if (
            isinstance(value, bool)) else None)[0]

    def stamp(self) -> int:
        """Return the stamp: it comes as text, as numbers of JavaScript have 53 bits only."""
        return self._get('stamp', 'nanoseconds as text', lambda value: int(value) if (
            isinstance(value, str) and value.isascii() and value.isdigit()
            and len(value) < 20) else None)

    def box(self) -> Box:
        """Return a box with a positive area."""
        return self._get('box', 'x1, y1, x2, y2 in pixels with x1 < x2, y1 < y2', _as_box)

    def service(self) -> str:
        """Return one of SERVICES."""
        return self._get('service', f'one of {", ".join(SERVICES)}', lambda value: value if (
            isinstance(value, str) and value in SERVICES) else None)


def _as_box(value: Any) -> Box | None:
    if not isinstance(value, list) or len(value) != 4 or not all(
            type(side) in (int, float) and abs(side) <= MAX_COORDINATE for side in value):
        return None
    x1, y1, x2, y2 = map(float, value)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


BUILDERS: dict[str, Callable[[Fields], Message]] = {
    'watch': lambda get: Watch(get.text('camera', empty=True), get.integer('side', 10000)),
    'ack': lambda get: Ack(get.integer('sequence', 2 ** 53)),
    'init': lambda get: Init(get.text('camera', empty=True), get.text('id', empty=True),
                             get.box(), get.stamp()),
    'remove': lambda get: Remove(get.text('camera', empty=True), get.text('id')),
    'rename': lambda get: Rename(get.text('camera', empty=True), get.text('id'), get.text('to')),
    'call': lambda get: Call(get.service()),
}
