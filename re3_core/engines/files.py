# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Files of exported models, and the user's cache of them.

An exported model is a folder with one file per graph, `<model>.<graph>.<precision>.onnx` (or the
`.xml` and `.bin` of OpenVINO):

- `step`: previous, current, reference_*, memory_* -> boxes, confidences, next_reference_*,
  next_memory_*; crops are uint8 (N, S, S, 3);
- `similarity`: crops, reference_* -> similarities, of networks with a template similarity;
- `rescore`: confidences, before, found, reference_* -> confidences, of the same networks.

The metadata of each, under METADATA, are the properties of the model (`ModelInfo`) and the hash
of the weights. The packaged graphs do not contain the weights again: they refer to those in the
weights file beside them, and a manifest of checksums shows that all of these belong together.
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

METADATA = 're3_core'
FORMAT = 1      # of the graphs; files of another one are exported again
MANIFEST = 'manifest.json'


@dataclass(frozen=True)
class ModelFiles:
    """The files of one exported model in one precision: path by graph."""

    model: str
    precision: str
    paths: dict[str, Path]


def file_name(model: str, graph: str, precision: str, suffix: str = '.onnx') -> str:
    """
    Return the name of the file of a graph.

    >>> file_name('re3_lite', 'step', 'int8')
    're3_lite.step.int8.onnx'
    """
    return f'{model}.{graph}.{precision}{suffix}'


def find_files(folder: Path, model: str | None, precisions: Iterable[str],
               suffixes: Iterable[str] = ('.onnx',)) -> ModelFiles | None:
    """
    Return the files of a model in a folder, in the first precision that is there, or None.

    :param model: by default that of the only model in the folder.
    :raises EngineError: if `model` is not given and there are several.
    """
    for precision in precisions:
        for suffix in suffixes:
            steps = sorted(folder.glob(file_name(model or '*', 'step', precision, suffix)))
            if len(steps) > 1:
                raise EngineError(f'{printable(folder)} holds several models: '
                                  f'{", ".join(path.name for path in steps)}; name one')
            if steps:
                name = steps[0].name.partition('.')[0]
                paths = {graph: folder / file_name(name, graph, precision, suffix)
                         for graph in ('step', 'similarity', 'rescore')}
                return ModelFiles(name, precision, {
                    graph: path for graph, path in paths.items() if path.is_file()})
    return None


def manifest_path(folder: Path, model: str) -> Path:
    """Return the path of the manifest of a model's packaged graphs and weights."""
    return folder / f'{model}.{MANIFEST}'


def packaged_files(folder: Path, model: str, precisions: Iterable[str]) -> ModelFiles | None:
    """
    Return the packaged files of a model in the first precision that is there, or None.

    :raises EngineError: if they do not belong to the weights beside them, or are damaged.
    """
    if not (manifest := manifest_path(folder, model)).is_file():
        return None
    if not _intact(folder, manifest):
        raise EngineError(f'{printable(manifest)} does not match the files beside it; make the '
                          f'graphs again with re3_core.export --packaged')
    return find_files(folder, model, precisions)


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
