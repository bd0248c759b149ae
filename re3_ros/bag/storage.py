# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One file of a bag (mcap or sqlite3), by rosbags; a damaged one as far as it can be read."""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
import mmap
from pathlib import Path
import sqlite3
import struct
from typing import BinaryIO, NamedTuple

from mcap.opcode import Opcode
from mcap.reader import make_reader
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
        last, count = None, 0
        if self._reader is not None:
            expected = sum(self.contents.topics[name].count for name in topics
                           if name in self.contents.topics)
            try:
                for message in self._healthy(topics, start, stop):
                    yield message
                    last, count = message.received, count + 1
                # Of some damaged chunks rosbags returns nothing without an error.
                if start is not None or stop is not None or count >= expected:
                    return
                reason = f'{expected - count} of {expected} messages cannot be read'
            except OSError:
                raise
            except Exception as error:  # noqa: B902  as above
                reason = _one_line(error)
            self._reader = None
            self._use_salvage(reason)
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

    After a chunk that is damaged, or a record whose length is wrong, the next chunk is searched
    for, as rosbag2 writes all messages in chunks.

    :param contents: is filled with the contents while reading.
    :param problems: gets a line for each part that is missing.
    :param expected: not used: an mcap file tells where it ends.
    """
    with open(path, 'rb') as file:
        schemas, channels = _summary_of(file, contents)
        position: int | None = 0
        while position is not None:
            file.seek(position)
            damage = _Damage(path, problems)
            for part in _records_from(file, path.stat().st_size, damage, contents):
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, Channel):
                    channels[part.id] = _topic_of(part, schemas.get(part.schema_id), contents)
                elif isinstance(part, McapMessage) and part.channel_id in channels:
                    topic = channels[part.channel_id]
                    topic.count += 1
                    contents.add(part.log_time)
                    yield Message(topic.name, part.log_time, part.data)
            position = damage.next_position(file)


def _summary_of(file: BinaryIO, contents: Contents) -> tuple[dict[int, Schema], dict[int, Topic]]:
    """Return schemas and topics by the index at the end of the file, as far as it is there."""
    try:
        summary = make_reader(file).get_summary()
        assert summary is not None
        schemas = dict(summary.schemas)
        return schemas, {key: _topic_of(channel, schemas.get(channel.schema_id), contents)
                         for key, channel in summary.channels.items()}
    except BagError:
        raise
    except Exception:  # noqa: B902  whatever damaged data make of it: then they are in the chunks
        return {}, {}


class _Damage:
    """Where a file is damaged, and where reading can go on."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self._name, self._problems = printable(path.name), problems
        self._begin: int | None = None
        self._end: int | None = None
        self._text = ''

    def record(self, begin: int, error: Exception) -> None:
        """Note a record that cannot be read: its length is not known."""
        self._begin, self._text = begin, _one_line(error)

    def chunk(self, begin: int, end: int, text: str) -> None:
        """Note a chunk, from one byte to another, that cannot be read."""
        self._begin, self._end, self._text = begin, end, text

    def next_position(self, file: BinaryIO) -> int | None:
        """Return where to read on, None at the end; note what is missing."""
        if self._begin is None:
            return None
        following = _next_chunk(file, self._begin + 1)
        if self._end is not None:
            self._problems.append(f'{self._name}: {self._text}')
            # Without another chunk there is only the index behind it.
            return self._end if following is None else following
        if following is None:
            self._problems.append(f'{self._name}: nothing can be read from byte {self._begin} on '
                                  f'({self._text})')
        else:
            self._problems.append(f'{self._name}: bytes {self._begin} to {following - 1} cannot '
                                  f'be read ({self._text})')
        return following


def _records_from(file: BinaryIO, size: int, damage: _Damage,
                  contents: Contents) -> Iterator[object]:
    """Yield the records from the file's position on, up to the end or the first damage."""
    reader = StreamReader(file, skip_magic=file.tell() > 0, emit_chunks=True,
                          record_size_limit=size)
    records = reader.records
    while True:
        begin = file.tell()
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # noqa: B902  struct.error and others of a cut record
            damage.record(begin, error)
            return
        if not isinstance(record, Chunk):
            yield record
            continue
        try:
            parts: list[object] = list(breakup_chunk(record, validate_crc=True))
        except Exception as error:  # noqa: B902  of three decompressors
            at = (record.message_start_time
                  - (contents.start or record.message_start_time)) / 1e9
            duration = (record.message_end_time - record.message_start_time) / 1e9
            damage.chunk(begin, file.tell(), f'a chunk of {duration:.3f} s, {at:.3f} s after the '
                         f'first message, cannot be read ({_one_line(error)})')
            return
        yield from sorted(parts, key=lambda part: part.log_time if isinstance(
            part, McapMessage) else 0)


# Of a chunk: opcode and length of the record; times of the first and the last message, size,
# checksum, and length of the compression's name.
CHUNK_HEADER = struct.Struct('<BQQQQII')
COMPRESSIONS = (b'', b'lz4', b'zstd')


def _next_chunk(file: BinaryIO, start: int) -> int | None:
    """Return the first byte from `start` on at which there is the header of a whole chunk."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.find(bytes((Opcode.CHUNK,)), start)
        while 0 <= place <= len(data) - CHUNK_HEADER.size - 8:
            if _is_chunk(data, place):
                return place
            place = data.find(bytes((Opcode.CHUNK,)), place + 1)
    return None


def _is_chunk(data: mmap.mmap, place: int) -> bool:
    _, length, first, last, size, _, name_length = CHUNK_HEADER.unpack_from(data, place)
    body = place + 9
    if first > last or not size or name_length > 4 or body + length > len(data):
        return False
    name_at = place + CHUNK_HEADER.size
    records_at = name_at + name_length + 8
    if data[name_at:name_at + name_length] not in COMPRESSIONS or records_at > len(data):
        return False
    (records,) = struct.unpack_from('<Q', data, records_at - 8)
    return records_at + records == body + length


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
