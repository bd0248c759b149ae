# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Bags: folders with metadata.yaml or single storage files, split, compressed or damaged."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack
import os
from pathlib import Path, PurePosixPath
import shutil
import sys
from tempfile import TemporaryDirectory
from typing import Any

from re3_core.io.files import natural_key, printable
from re3_ros.bag import BagError
from re3_ros.bag.message_types import check_layout, IMAGES, typestore
from re3_ros.bag.storage import Contents, Message, StorageFile, Topic
import yaml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The newest metadata.yaml that is read.
METADATA_VERSION = 9
SUFFIXES = ('.mcap', '.db3')
ZSTD_SUFFIX = '.zstd'
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
ROS1_MAGIC = b'#ROSBAG V'


class Bag:
    """
    A ROS 2 bag, opened for reading; a context manager.

    `topics` maps names to Topic, `start` and `end` are the times of the first and the last
    message in nanoseconds, `problems` lists what is missing, one line each; it may grow while
    messages are read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """
        Open a bag.

        :param path: a bag's folder, or one .mcap or .db3 file (also .zstd).
        :raises BagError: it is not a ROS 2 bag, of a newer version, or unreadable.
        """
        self.path = Path(path)
        self.problems: list[str] = []
        self.metadata: dict[str, Any] = {}
        self._stack = ExitStack()
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        self.files = self._find_files()
        expected = self._expected_counts()
        self._storages = []
        for path in self.files:
            storage = self._open_file(path, expected.get(path.name))
            if storage is not None:
                self._storages.append(storage)
        if not self._storages:
            raise BagError(f'{printable(self.path)}: no file of it can be read: '
                           f'{"; ".join(self.problems)}')
        self._merge([storage.contents for storage in self._storages])
        self._compare_counts()

    def __enter__(self) -> 'Bag':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and remove those that were decompressed."""
        self._stack.close()

    # ---- opening ----

    def _find_files(self) -> list[Path]:
        """Return the storage files in their order; reads metadata.yaml."""
        path = self.path
        if not path.exists():
            raise BagError(f'{printable(path)}: there is no such file or folder')
        if path.is_file():
            _check_file(path)
            return [path]
        self.metadata = self._read_metadata()
        found = sorted((entry for entry in path.iterdir() if _is_storage(entry)),
                       key=natural_key)
        listed = self._listed_files()
        missing = [name for name in listed if not (path / name).exists()]
        for name in missing:
            # Compressed when the recorder was closed, or not yet: the other one may be there.
            other = name.removesuffix(ZSTD_SUFFIX) if name.endswith(ZSTD_SUFFIX) \
                else name + ZSTD_SUFFIX
            if not (path / other).exists():
                self.problems.append(f'{printable(name)} is missing')
        files = [path / name for name in listed if name not in missing]
        files += [entry for entry in found if entry not in files]
        if not files:
            if listed:
                raise BagError(f'{printable(path)}: none of the files in its metadata.yaml is '
                               'there')
            ros1 = any(_is_ros1(entry) for entry in path.iterdir() if entry.is_file())
            raise _ros1_error(path) if ros1 else BagError(
                f'{printable(path)}: not a bag; expected a folder with .mcap or .db3 files, or '
                'one of these files')
        return sorted(files, key=natural_key) if not listed else files

    def _read_metadata(self) -> dict[str, Any]:
        path = self.path / 'metadata.yaml'
        if not path.exists():
            if any(_is_storage(entry) for entry in self.path.iterdir()):
                self.problems.append('metadata.yaml is missing (the recorder did not end '
                                     'cleanly); the files are read without it')
            return {}
        try:
            data = yaml.safe_load(path.read_text(encoding='utf-8'))
            metadata = data['rosbag2_bagfile_information']
            version = int(metadata['version'])
        except (yaml.YAMLError, ValueError, TypeError, KeyError, OSError) as error:
            self.problems.append(f'metadata.yaml cannot be read ({type(error).__name__}); the '
                                 'files are read without it')
            return {}
        if version > METADATA_VERSION:
            raise BagError(f'{printable(self.path)}: the bag has version {version} of a newer '
                           f'rosbag2, up to {METADATA_VERSION} can be read')
        return metadata

    def _listed_files(self) -> list[str]:
        listed = self.metadata.get('relative_file_paths')
        return [PurePosixPath(str(name)).name for name in listed] if isinstance(listed, list) \
            else []

    def _expected_counts(self) -> dict[str, int]:
        """Return the number of messages by file name, as far as metadata.yaml has it."""
        files = self.metadata.get('files')
        try:
            return {PurePosixPath(item['path']).name: int(item['message_count'])
                    for item in files or ()}
        except (TypeError, KeyError, ValueError):
            return {}

    def _open_file(self, path: Path, expected: int | None) -> StorageFile | None:
        try:
            if path.suffix == ZSTD_SUFFIX:
                path = self._decompressed(path)
            storage = StorageFile(path, expected)
        except BagError as error:
            # Of several files the others may be readable.
            if len(self.files) == 1:
                raise
            self.problems.append(str(error))
            return None
        self._stack.callback(storage.close)
        self.problems += storage.problems
        # From now on its later problems are the bag's.
        storage.problems = self.problems
        return storage

    def _decompressed(self, path: Path) -> Path:
        """Decompress a file into a temporary folder, as far as it can be; return its path."""
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix='bag-')))
        target = folder / path.stem
        with open(path, 'rb') as raw, open(target, 'wb') as output:
            try:
                with zstd.open(raw, 'rb') as source:
                    shutil.copyfileobj(source, output)
            except (zstd.ZstdError, EOFError) as error:
                self.problems.append(f'{printable(path.name)} is damaged: {error}')
        return target

    def _merge(self, contents: list[Contents]) -> None:
        """Set topics and times from those of the files."""
        self.topics: dict[str, Topic] = {}
        for part in contents:
            for topic in part.topics.values():
                whole = self.topics.setdefault(topic.name, Topic(topic.name, topic.type))
                whole.count += topic.count
                whole.definition = whole.definition or topic.definition
                whole.latched |= topic.latched
        self.start = min((part.start for part in contents if part.start is not None), default=0)
        self.end = max((part.end for part in contents if part.end is not None), default=0)

    def _compare_counts(self) -> None:
        """Note the topics that have fewer messages than metadata.yaml announces."""
        if not self.problems:
            return
        for item in self.metadata.get('topics_with_message_count') or ():
            try:
                name, expected = item['topic_metadata']['name'], int(item['message_count'])
            except (TypeError, KeyError, ValueError):
                continue
            found = self.topics[name].count if name in self.topics else 0
            if found < expected:
                self.problems.append(f'{expected - found} of {expected} messages of {name} are '
                                     'missing')

    # ---- reading ----

    @property
    def compression(self) -> str:
        """Return `file`, `message` or an empty string."""
        if any(path.suffix == ZSTD_SUFFIX for path in self.files):
            return 'file'
        mode = str(self.metadata.get('compression_mode') or '').lower()
        return '' if mode == 'none' else mode

    @property
    def storage(self) -> str:
        """Return `mcap` or `sqlite3`, that of the first file."""
        return 'mcap' if '.mcap' in self.files[0].suffixes else 'sqlite3'

    def messages(self, topics: Collection[str], start: int | None = None,
                 stop: int | None = None) -> Iterator[Message]:
        """Yield the Messages of topics with start <= received < stop, in nanoseconds."""
        for storage in self._storages:
            for message in storage.messages(topics, start, stop):
                if message.data[:4] == ZSTD_MAGIC:
                    try:
                        message = message._replace(data=zstd.decompress(message.data))
                    except zstd.ZstdError as error:
                        self.problems.append(f'a message of {message.topic} cannot be '
                                             f'decompressed: {error}')
                        continue
                yield message

    def deserialize(self, message: Message) -> Any:
        """
        Return a message as an object of rosbags, with the fields of the ROS type.

        :raises BagError: its data is damaged.
        """
        topic = self.topics[message.topic]
        try:
            # Writable, as that of a ROS subscription is.
            return typestore().deserialize_cdr(memoryview(bytearray(message.data)), topic.type)
        except Exception as error:  # noqa: B902  whatever the generated code meets
            raise BagError(f'a message of {topic.name} is damaged '
                           f'({type(error).__name__})') from None

    def image_topics(self) -> list[Topic]:
        """Return the topics of images, raw and compressed."""
        return [topic for topic in self.topics.values() if topic.type in IMAGES]

    def image_topic(self, name: str | None) -> Topic:
        """
        Return the topic of images called `name`; None: the only one.

        :raises BagError: there is none, or more than one and no name; lists those there are.
        """
        images = self.image_topics()
        names = ', '.join(f'{topic.name} ({topic.count})' for topic in images)
        where = printable(self.path)
        if not images:
            others = ', '.join(sorted(self.topics)) or 'none'
            raise BagError(f'{where}: there are no images in this bag; topics: {others}')
        if name is None:
            filled = [topic for topic in images if topic.count]
            if len(filled) == 1:
                return filled[0]
            raise BagError(f'{where}: choose one with --topic; topics with images: {names}')
        topic = self.topics.get(name)
        if topic is None:
            raise BagError(f'{where}: there is no topic {name}; topics with images: {names}')
        if topic.type not in IMAGES:
            raise BagError(f'{where}: {name} is of type {topic.type}; topics with images: {names}')
        if not topic.count:
            raise BagError(f'{where}: {name} has no images; topics with images: {names}')
        return topic

    def check(self, topic: Topic) -> None:
        """Raise BagError if a topic's type has other fields in this bag than are read."""
        if topic.definition:
            try:
                check_layout(topic.type, topic.definition)
            except BagError as error:
                raise BagError(f'{printable(self.path)}: {topic.name}: {error}') from None


def _is_storage(path: Path) -> bool:
    return path.is_file() and path.name.removesuffix(ZSTD_SUFFIX).endswith(SUFFIXES)


def _is_ros1(path: Path) -> bool:
    if path.suffix == '.bag':
        return True
    try:
        with open(path, 'rb') as file:
            return file.read(len(ROS1_MAGIC)) == ROS1_MAGIC
    except OSError:
        return False


def _ros1_error(path: Path) -> BagError:
    return BagError(f'{printable(path)}: a bag of ROS 1; convert it first: '
                    f'rosbags-convert --src {printable(path)} --dst FOLDER')


def _check_file(path: Path) -> None:
    """Raise BagError unless a file may be a bag of ROS 2."""
    if _is_ros1(path):
        raise _ros1_error(path)
    if path.name == 'metadata.yaml':
        raise BagError(f"{printable(path)}: give the bag's folder, not its metadata.yaml")
    if not _is_storage(path):
        raise BagError(f'{printable(path)}: not a bag; expected a folder with .mcap or .db3 '
                       'files, or one of these files')
