# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Files that are there as a whole or not at all."""

from contextlib import contextmanager
import os


@contextmanager
def atomic_write(path):
    """
    Give a temporary path beside `path` to write to, and move it there if all went well.

    The temporary name ends as `path` does, since writers choose the format by the ending.
    """
    part = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
