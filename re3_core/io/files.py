# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""File names, and files that are written as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import re


def natural_key(path: Path | str) -> tuple[tuple[int, str], ...]:
    """
    Return a sort key by which numbers in names count as numbers.

    >>> sorted(['10.jpg', 'b.jpg', '2.jpg', '010.jpg'], key=natural_key)
    ['2.jpg', '010.jpg', '10.jpg', 'b.jpg']
    """
    parts = re.split('([0-9]+)', Path(path).name)
    # Number and text alternate, so every pair compares; the name itself breaks ties.
    pairs = [(int(number), text) for number, text in zip(['-1', *parts[1::2]], parts[::2],
                                                         strict=True)]
    return (*pairs, (-1, Path(path).name))


def printable(path: str | os.PathLike[str]) -> str:
    r"""
    Return a path for messages in one line: bytes that are not UTF-8, line ends, ... as escapes.

    >>> printable(os.fsdecode(b'caf\xe9\n.mp4'))
    'caf\\xe9\\n.mp4'
    """
    text = os.fsencode(path).decode('utf-8', 'backslashreplace')
    return ''.join(character if character.isprintable() else
                   character.encode('unicode_escape').decode() for character in text)


def check_utf8(path: str | os.PathLike[str]) -> str:
    """Return the path as text; ValueError names one that is not UTF-8, which libraries need."""
    try:
        return os.fsencode(path).decode('utf-8')
    except UnicodeDecodeError:
        raise ValueError(f'{printable(path)}: the path is not UTF-8; rename it') from None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """
    Yield a temporary path beside `path`, and move the file there unless an error was raised.

    The temporary name ends as `path` does, since writers choose the format by the suffix.
    """
    part = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
