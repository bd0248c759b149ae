# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One file of a bag (mcap or sqlite3), by rosbags; a damaged one as far as it can be read."""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
import sqlite3
from typing import NamedTuple

from mcap.records import Channel, Chunk, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import breakup_chunk, StreamReader
from re3_core.io.files import printable
from re3_ros.bag import BagError
from rosbags.interfaces import MessageDefinitionFormat, QosDurability
from rosbags.rosbag2 import Reader

# Rows of a damaged database that cannot be read in a row before the rest is given up, where
# nothing gives the number of rows.
MAX_UNREADABLE = 1000
# The newest layout of rosbag2's sqlite3 files that is read.
SQLITE_SCHEMA = 4


class Message(NamedTuple):
    """One serialized message; `received` is the time of the recording in nanoseconds."""

    topic: str
    received: int
    data: bytes


@dataclass
class Topic:
    """A topic in a bag; `definition` in `.msg` syntax where the bag has it, else empty."""

    name: str
    type: str  # noqa: A003
    count: int = 0
    definition: str = ''
    latched: bool = False


@dataclass
class Contents:
    """Topics by name, times of the first and last message in nanoseconds (None: empty)."""

    topics: dict[str, Topic] = field(default_factory=dict)
    start: int | None = None
    end: int | None = None

    def add(self, received: int) -> None:
        """Extend the times by those of one message."""
        self.start = received if self.start is None else min(self.start, received)
        self.end = received if self.end is None else max(self.end, received)


class StorageFile:
    """
    One storage file of a bag.

    `problems` is the list of what could not be read, one line each; it grows while reading.
    """

    def __init__(self, path: Path, expected: int | None = None) -> None:
        """
        Read the file's contents; a damaged one is searched for readable messages.

        :param expected: number of messages in it, if known.
        :raises BagError: it is of a newer version, not of ROS 2, or nothing can be read.
        """
        self.path = path
        self.problems: list[str] = []
        self._reader: Reader | None = None
        self._expected = expected
        if path.suffix == '.db3':
            _check_schema(path)
        # Of a recorder that was killed, SQLite's write-ahead log has the last messages; rosbags
        # does not read it.
        if path.with_name(path.name + '-wal').exists():
            self._use_salvage('the recorder did not close it')
            return
        try:
            self._reader = Reader(path)
            self._reader.open()
            self.contents = _contents_of(self._reader)
        except (BagError, OSError):
            raise
        except Exception as error:  # noqa: B902  rosbags meets damaged data with all kinds
            self._reader = None
            self._use_salvage(_one_line(error))

    def _use_salvage(self, reason: str) -> None:
        """Take the readable messages of a damaged file from now on."""
        salvage = salvage_mcap if self.path.suffix == '.mcap' else salvage_sqlite
        self._salvage = salvage
        self.problems.append(f'{printable(self.path.name)} is damaged or was not closed: {reason}')
        self.contents = Contents()
        for _ in salvage(self.path, self.contents, self.problems, self._expected):
            pass
        if not self.contents.topics:
            raise BagError(f'{printable(self.path)}: damaged, nothing in it can be read '
                           f'({reason})')

    def messages(self, topics: Collection[str], start: int | None = None,
                 stop: int | None = None) -> Iterator[Message]:
        """
        Yield the Messages of `topics` with start <= received < stop.

        In the order of `received`; of a damaged file in the order in which they were written.
        """
        last = None
        if self._reader is not None:
            try:
                for message in self._healthy(topics, start, stop):
                    yield message
                    last = message.received
                return
            except OSError:
                raise
            except Exception as error:  # noqa: B902  as above
                self._reader = None
                self._use_salvage(_one_line(error))
        for message in self._salvage(self.path, Contents(), [], self._expected):
            if (message.topic in topics and (start is None or message.received >= start)
                    and (stop is None or message.received < stop)
                    and (last is None or message.received > last)):
                yield message

    def _healthy(self, topics: Collection[str], start: int | None,
                 stop: int | None) -> Iterator[Message]:
        assert self._reader is not None
        wanted = [item for item in self._reader.connections if item.topic in topics]
        if not wanted:      # an empty list would be all topics
            return
        for connection, received, data in self._reader.messages(wanted, start, stop):
            yield Message(connection.topic, received, data)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _contents_of(reader: Reader) -> Contents:
    contents = Contents()
    for connection in reader.connections:
        _check_format(connection.ext.serialization_format)  # type: ignore[union-attr]
        topic = contents.topics.setdefault(
            connection.topic, Topic(connection.topic, connection.msgtype))
        topic.count += connection.msgcount
        if connection.msgdef.format == MessageDefinitionFormat.MSG:
            topic.definition = connection.msgdef.data
        topic.latched |= any(qos.durability == QosDurability.TRANSIENT_LOCAL
                             for qos in connection.ext.offered_qos_profiles)  # type: ignore
    if reader.message_count:
        contents.start, contents.end = reader.start_time, reader.end_time - 1
    return contents


def _check_format(name: str) -> None:
    if name != 'cdr':
        raise BagError(f'messages are serialized as {name!r}, expected cdr (ROS 2)')


# ---- damaged files ----

def salvage_mcap(path: Path, contents: Contents, problems: list[str],
                 expected: int | None = None) -> Iterator[Message]:
    """
    Yield the readable Messages of an mcap file, front to back, without its index.

    A chunk that is damaged is skipped; after a record whose length is wrong, or at the end of a
    truncated file, nothing more can be found.

    :param contents: is filled with the contents while reading.
    :param problems: gets a line for each part that is missing.
    :param expected: not used: an mcap file tells where it ends.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, Topic] = {}
    with open(path, 'rb') as file:
        reader = StreamReader(file, emit_chunks=True, record_size_limit=path.stat().st_size)
        records = reader.records
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except Exception as error:  # noqa: B902  struct.error and others of a cut record
                problems.append(f'{printable(path.name)}: nothing can be read from byte '
                                f'{file.tell()} on ({_one_line(error)})')
                return
            for part in _records_in(record, path, contents, problems):
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, Channel):
                    channels[part.id] = _topic_of(part, schemas.get(part.schema_id), contents)
                elif isinstance(part, McapMessage) and part.channel_id in channels:
                    topic = channels[part.channel_id]
                    topic.count += 1
                    contents.add(part.log_time)
                    yield Message(topic.name, part.log_time, part.data)


def _records_in(record: object, path: Path, contents: Contents,
                problems: list[str]) -> list[object]:
    """Return the records in a chunk in the order of time, or any other record itself."""
    if not isinstance(record, Chunk):
        return [record]
    try:
        parts: list[object] = list(breakup_chunk(record, validate_crc=True))
    except Exception as error:  # noqa: B902  of three decompressors
        at = (record.message_start_time - (contents.start or record.message_start_time)) / 1e9
        duration = (record.message_end_time - record.message_start_time) / 1e9
        problems.append(f'{printable(path.name)}: a chunk of {duration:.3f} s, {at:.3f} s after '
                        f'the first message, cannot be read ({_one_line(error)})')
        return []
    return sorted(parts, key=lambda part: part.log_time if isinstance(part, McapMessage) else 0)


def _topic_of(channel: Channel, schema: Schema | None, contents: Contents) -> Topic:
    _check_format(channel.message_encoding)
    text = schema is not None and schema.encoding == 'ros2msg'
    return contents.topics.setdefault(channel.topic, Topic(
        channel.topic, schema.name if schema else '', 0,
        schema.data.decode('utf-8', 'replace') if schema and text else ''))


def salvage_sqlite(path: Path, contents: Contents, problems: list[str],
                   expected: int | None = None) -> Iterator[Message]:
    """
    Yield the readable Messages of a sqlite3 file, row by row in the order of writing.

    :param contents, problems: as in `salvage_mcap`.
    :param expected: number of rows, if known.
    """
    with closing(sqlite3.connect(f'file:{path}?mode=ro', uri=True)) as database:
        try:
            # Else SQLite refuses a file that is shorter than its header tells.
            database.execute('PRAGMA writable_schema=ON')
            rows = database.execute(
                'SELECT id, name, type, serialization_format FROM topics').fetchall()
        except sqlite3.Error as error:
            problems.append(f'{printable(path.name)}: the list of topics cannot be read ({error})')
            return
        for row in rows:
            _check_format(row[3])
        topics = {key: Topic(name, kind) for key, name, kind, _ in rows}
        contents.topics.update({topic.name: topic for topic in topics.values()})
        unreadable: list[int] = []
        for key, received, data in _rows(database, expected, unreadable):
            if key in topics:
                topics[key].count += 1
                contents.add(received)
                yield Message(topics[key].name, received, data)
        if unreadable:
            problems.append(f'{printable(path.name)}: {len(unreadable)} rows cannot be read, the '
                            f'first is row {unreadable[0]}')


def _rows(database: sqlite3.Connection, expected: int | None,
          unreadable: list[int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield (topic, time, data) of all readable rows; `unreadable` gets the other numbers."""
    last = expected or _last_row(database)
    row = failures = 0
    while row < last if last else failures < MAX_UNREADABLE:
        row += 1
        try:
            found = database.execute(
                'SELECT topic_id, timestamp, data FROM messages WHERE id = ?', (row,)).fetchone()
        except sqlite3.Error:
            found = None
            failures += 1
            unreadable.append(row)
        else:
            failures = 0 if found else failures + 1
        if found:
            yield found
    if not last:    # past the end there is nothing that could be missing
        while unreadable and unreadable[-1] > row - failures:
            unreadable.pop()


def _last_row(database: sqlite3.Connection) -> int | None:
    try:
        return database.execute('SELECT max(id) FROM messages').fetchone()[0]
    except sqlite3.Error:
        return None


def _check_schema(path: Path) -> None:
    """Raise BagError if a sqlite3 file is of a newer rosbag2 than is read here."""
    try:
        with closing(sqlite3.connect(f'file:{path}?mode=ro', uri=True)) as database:
            row = database.execute('SELECT max(schema_version) FROM schema').fetchone()
    except sqlite3.Error:   # old files have no such table
        return
    if row and isinstance(row[0], int) and row[0] > SQLITE_SCHEMA:
        raise BagError(f'{printable(path)}: of a newer rosbag2 (schema {row[0]}), up to '
                       f'{SQLITE_SCHEMA} can be read')
