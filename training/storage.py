# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Data and results in object stores: paths may be URLs of fsspec, such as `s3://bucket/folder`.

Data are copied to this machine before they are used, and only what has changed is copied again.
Credentials and endpoints are those of the store's own tools, such as AWS_PROFILE and
AWS_ENDPOINT_URL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
import shutil
import tempfile
from typing import Any

from re3_core.io.files import atomic_write

MANIFEST = '.manifest.json'
SEPARATOR = '://'


class StorageError(OSError):
    """A place in a store that cannot be read or written; one line for the user."""


def is_url(path: os.PathLike | str) -> bool:
    """Return whether a path is a URL of a store, and not of this machine's file system."""
    text = os.fspath(path)
    return SEPARATOR in text and not text.startswith('file://')


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """Raise StorageError for the exceptions of all stores."""
    try:
        yield
    except StorageError:
        raise
    except ImportError as error:
        raise StorageError(f'{url}: {_one_line(error)}: pip install "re3_ros[storage]"') from None
    except FileNotFoundError:
        raise StorageError(f'{url}: there is no such file or folder') from None
    except Exception as error:  # noqa: B902  each store has its own
        raise StorageError(f'{url}: {_one_line(error)}') from None


class Store:
    """
    A folder for results, on this machine or in a store.

    :param place: path or URL
    :raises StorageError: if the store cannot be used
    """

    def __init__(self, place: os.PathLike | str):
        self.place = os.fspath(place)
        self.local = not is_url(self.place)
        if self.local:
            self.place = self.place.removeprefix('file://')
            return
        with _errors_of(self.place):
            import fsspec
            self._fs, self._root = fsspec.core.url_to_fs(self.place)

    def _path(self, name: str) -> str:
        return f'{self._root.rstrip("/")}/{name}'

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        if self.local:
            return (Path(self.place) / name).is_file()
        with _errors_of(f'{self.place}/{name}'):
            self._fs.invalidate_cache()
            return bool(self._fs.isfile(self._path(name)))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        if self.local:
            return (Path(self.place) / name).read_bytes()
        with _errors_of(f'{self.place}/{name}'):
            return self._fs.cat_file(self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole or not at all."""
        if self.local:
            path = Path(self.place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                part.write_bytes(content)
            return
        with _errors_of(f'{self.place}/{name}'):
            self._fs.makedirs(str(PurePosixPath(self._path(name)).parent), exist_ok=True)
            self._fs.pipe_file(self._path(name), content)

    def replace_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write a folder with these files in place of the one that is there."""
        if self.local:
            path = Path(self.place) / name
            part = path.with_name(f'{path.name}.partial')
            shutil.rmtree(part, ignore_errors=True)
            Store(part).write_files(files)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(part, path)
            return
        with _errors_of(f'{self.place}/{name}'):
            self._fs.invalidate_cache()
            if self._fs.exists(self._path(name)):
                self._fs.rm(self._path(name), recursive=True)
        self.write_files({f'{name}/{file}': content for file, content in files.items()})

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files by name."""
        for name, content in files.items():
            self.write(name, content)

    def is_empty(self) -> bool:
        """Return whether there is nothing."""
        if self.local:
            path = Path(self.place)
            return not path.exists() or path.is_dir() and not any(path.iterdir())
        with _errors_of(self.place):
            self._fs.invalidate_cache()
            return not self._fs.exists(self._root) or not self._fs.find(self._root)


def local_copy(path: os.PathLike | str, cache: Path | None = None) -> Path:
    """
    Return a path on this machine with the files at `path`.

    :param path: path, which is returned as it is, or URL of a file or folder
    :param cache: folder for the copies; None: the user's cache folder
    :raises StorageError: if there is nothing at the URL, or it cannot be read
    """
    text = os.fspath(path)
    if not is_url(text):
        return Path(text.removeprefix('file://'))
    if cache is None:
        from training.data.cache import default_cache
        cache = default_cache()
    with _errors_of(text):
        import fsspec
        fs, root = fsspec.core.url_to_fs(text)
        fs.invalidate_cache()
        found = fs.find(root, detail=True)
        if not found:
            raise StorageError(f'{text}: there is no such file or folder')
        root = root.rstrip('/')
        name = PurePosixPath(root).name or 'root'
        home = cache / f'remote-{hashlib.sha256(text.encode()).hexdigest()[:16]}' / name
        if set(found) == {root}:
            _copy(fs, {root: found[root]}, home.parent, lambda _: name)
        else:
            _copy(fs, found, home, lambda file: file[len(root):].lstrip('/'))
        return home


def _copy(fs: Any, files: dict[str, Any], home: Path, name_of: Any) -> None:
    """Copy files that are new or have changed, and remove those that are gone."""
    home.mkdir(parents=True, exist_ok=True)
    manifest = home / MANIFEST
    try:
        known = json.loads(manifest.read_text())
    except (OSError, ValueError):
        known = {}
    states = {}
    for file, info in sorted(files.items()):
        name = name_of(file)
        path = (home / name).resolve()
        if not path.is_relative_to(home.resolve()):
            raise StorageError(f'{file}: a name with ..')
        state = [info.get('size'), str(info.get('ETag') or info.get('etag')
                                       or info.get('LastModified') or info.get('mtime')
                                       or info.get('updated') or info.get('created') or '')]
        states[name] = state
        if known.get(name) == state and path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            fs.get_file(file, str(part))
    for name in set(known) - set(states):
        (home / name).unlink(missing_ok=True)
    with atomic_write(manifest) as part:
        part.write_text(json.dumps(states))


@contextmanager
def local_output(place: os.PathLike | str) -> Iterator[Path]:
    """
    Yield a folder for results, which are written to `place` after a clean end.

    :param place: path, which is yielded as it is, or URL
    :raises StorageError: if something cannot be written
    """
    if not is_url(place):
        yield Path(os.fspath(place).removeprefix('file://'))
        return
    store = Store(place)
    with tempfile.TemporaryDirectory(prefix='results-') as folder:
        yield Path(folder) / 'results'
        store.write_files(folder_content(Path(folder) / 'results'))


def folder_content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files of a folder, by their names in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}
