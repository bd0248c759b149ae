# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Files of exported models, and the user's cache of them.

An exported model is a folder with the graph of one time step, `<model>.<precision>.onnx` (or the
`.xml` and `.bin` of OpenVINO): previous, current, reference_*, memory_* -> boxes, confidences,
next_reference_*, next_memory_*; crops are uint8 (N, S, S, 3).

Its metadata, under METADATA, are the properties of the model (`ModelInfo`) and the hash of the
weights. The packaged graphs do not contain the weights again: they refer to those in the weights
file beside them, and a manifest of checksums shows that all of these belong together.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile

from re3_core.engines.base import EngineError
from re3_core.io.files import atomic_write, printable
from re3_core.model import available_models, FIRST_GENERATION

METADATA = 're3_core'
FORMAT = 2      # of the graphs; files of another one are exported again
MANIFEST = 'manifest.json'


@dataclass(frozen=True)
class ModelFile:
    """The file of one exported model in one precision."""

    model: str
    precision: str
    path: Path


def file_name(model: str, precision: str, suffix: str = '.onnx') -> str:
    """
    Return the name of the file of a model.

    >>> file_name('re3_lite', 'int8')
    're3_lite.int8.onnx'
    """
    return f'{model}.{precision}{suffix}'


def find_file(folder: Path, model: str | None, precisions: Iterable[str],
              suffixes: Iterable[str] = ('.onnx',)) -> ModelFile | None:
    """
    Return the file of a model in a folder, in the first precision that is there, or None.

    :param model: by default that of the only model in the folder.
    :raises EngineError: if `model` is not given and there are several.
    :raises ValueError: if the folder is one of the first generation of re3_lite, for any engine.
    """
    models = (model,) if model else available_models()
    for precision in precisions:
        for suffix in suffixes:
            found = [ModelFile(name, precision, folder / file_name(name, precision, suffix))
                     for name in models]
            found = [file for file in found if file.path.is_file()]
            if len(found) > 1:
                raise EngineError(f'{printable(folder)} holds several models: '
                                  f'{", ".join(file.path.name for file in found)}; name one')
            if found:
                return found[0]
    # The first generation had a file for each of its parts.
    if 're3_lite' in models and (parts := sorted(folder.glob('re3_lite.step.*'))):
        raise ValueError(f'{printable(parts[0])} {FIRST_GENERATION}')
    return None


def manifest_path(folder: Path, model: str) -> Path:
    """Return the path of the manifest of a model's packaged graphs and weights."""
    return folder / f'{model}.{MANIFEST}'


def packaged_file(folder: Path, model: str, precisions: Iterable[str]) -> ModelFile | None:
    """
    Return the packaged file of a model in the first precision that is there, or None.

    :raises EngineError: if they do not belong to the weights beside them, or are damaged.
    """
    if not (manifest := manifest_path(folder, model)).is_file():
        return None
    if not _intact(folder, manifest):
        raise EngineError(f'{printable(manifest)} does not match the files beside it; make the '
                          f'graphs again with re3_core.export --packaged')
    return find_file(folder, model, precisions)


def write_manifest(path: Path, files: Iterable[Path]) -> None:
    """Write a manifest, the checksums of files in its folder, atomically."""
    sums = {file.name: file_hash(file) for file in sorted(files)}
    with atomic_write(path) as part:
        part.write_text(json.dumps(sums, indent=1) + '\n')


def cache_folder() -> Path:
    """Return the folder of the cache: $RE3_CACHE, or re3_ros in the user's cache folder."""
    if folder := os.environ.get('RE3_CACHE'):
        return Path(folder)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 're3_ros'


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """
    Return a folder of the cache, made by `make` unless it is there and intact.

    A folder is written beside and moved; with a manifest of checksums. One that is damaged is
    made again. Processes that make the same folder at the same time do not disturb each other.

    :param make: writes files into the empty folder that it is called with.
    :raises EngineError: if the cache cannot be written.
    """
    folder = cache_folder() / name
    if _intact(folder, folder / MANIFEST):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f'.{name}.', dir=folder.parent))
    except OSError as error:
        raise EngineError(
            f'the cache folder {printable(folder.parent)} cannot be written ({error.strerror}); '
            'set RE3_CACHE to a folder that can') from None
    try:
        make(part)
        write_manifest(part / MANIFEST, part.iterdir())
        if not _intact(folder, folder / MANIFEST):     # unless another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
    except OSError as error:
        if not _intact(folder, folder / MANIFEST):
            raise EngineError(f'the cache folder {printable(folder)} cannot be written: '
                              f'{error}') from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _intact(folder: Path, manifest: Path) -> bool:
    """Return whether a folder holds what its manifest lists."""
    try:
        sums = json.loads(manifest.read_text())
        return bool(sums) and all(file_hash(folder / name) == value
                                  for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
