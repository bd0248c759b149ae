# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Bags of all kinds: storages, compression, split, damaged, and those that are none."""

from pathlib import Path
import shutil

import numpy as np
import pytest
import yaml

pytest.importorskip('rosbags', reason='needs the extra bags')
from re3_ros.bag import BagError, message_types  # noqa: E402
from re3_ros.bag.reader import Bag  # noqa: E402
from re3_ros.messages import compressed_to_rgb, image_to_rgb  # noqa: E402

KINDS = [('mcap', 'NONE'), ('mcap', 'STORAGE'), ('mcap', 'FILE'), ('mcap', 'MESSAGE'),
         ('sqlite3', 'NONE'), ('sqlite3', 'FILE'), ('sqlite3', 'MESSAGE')]


def images_of(bag, topic):
    """Return {receive time: message} of a topic."""
    return {message.received: bag.deserialize(message) for message in bag.messages({topic})}


def numbers_of(bag, recording):
    """Return the numbers of the images that can be read."""
    return [(received - recording.delay - recording.first) // recording.period
            for received in images_of(bag, recording.topic)]


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_images_come_as_they_were_written(recording, storage, compression):
    path = recording.record(storage=storage, compression=compression, encoding='bgr8')
    with Bag(path) as bag:
        images = images_of(bag, recording.topic)
        assert bag.problems == [] and bag.storage == storage
        assert bag.topics[recording.topic].count == 12
        assert (bag.start, bag.end) == (recording.first + recording.delay,
                                        recording.stamp(11) + recording.delay)
    for number, message in enumerate(images.values()):
        assert np.array_equal(image_to_rgb(message), recording.pixels(number))
        assert image_to_rgb(message).flags.writeable


def test_compressed_images(recording):
    with Bag(recording.record(compressed=True)) as bag:
        messages = images_of(bag, recording.topic).values()
    for number, message in enumerate(messages):
        wrong = compressed_to_rgb(message).astype(int) - recording.pixels(number)
        assert np.abs(wrong).mean() < 20


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_part_of_a_bag(recording, storage):
    with Bag(recording.record(storage=storage)) as bag:
        start, stop = (recording.stamp(number) + recording.delay for number in (3, 7))
        messages = list(bag.messages({recording.topic}, start, stop))
    assert [message.received for message in messages] == [
        recording.stamp(number) + recording.delay for number in range(3, 7)]


def test_single_file_is_a_bag(recording):
    path = next(recording.record().glob('*.mcap'))
    with Bag(path) as bag:
        assert numbers_of(bag, recording) == list(range(12)) and bag.problems == []


def split(recording, storage='mcap', compression='NONE'):
    """Return a bag of three files, ten images each."""
    parts = [recording.record(f'part{index}', range(10 * index, 10 * index + 10), storage,
                              compression) for index in range(3)]
    whole = parts[0].with_name('whole')
    whole.mkdir()
    metadata = [yaml.safe_load((part / 'metadata.yaml').read_text())
                ['rosbag2_bagfile_information'] for part in parts]
    first = metadata[0]
    for part, data in zip(parts, metadata, strict=True):
        shutil.copy(part / data['relative_file_paths'][0], whole)
    for name in ('relative_file_paths', 'files'):
        first[name] = [item for data in metadata for item in data[name]]
    first['message_count'] = first['topics_with_message_count'][0]['message_count'] = 30
    (whole / 'metadata.yaml').write_text(yaml.safe_dump({'rosbag2_bagfile_information': first}))
    return whole


@pytest.mark.parametrize(('storage', 'compression'), KINDS[:1] + KINDS[2:3] + KINDS[4:5])
def test_split_bag(recording, storage, compression):
    with Bag(split(recording, storage, compression)) as bag:
        assert numbers_of(bag, recording) == list(range(30)) and bag.problems == []


def test_split_bag_without_one_of_its_files(recording):
    path = split(recording)
    (path / 'part1.mcap').unlink()
    with Bag(path) as bag:
        assert numbers_of(bag, recording) == [*range(10), *range(20, 30)]
        assert bag.problems == ['part1.mcap is missing',
                                f'10 of 30 messages of {recording.topic} are missing']


@pytest.mark.parametrize('text', [None, 'no: [yaml', '{}', 'rosbag2_bagfile_information: 3'])
def test_bag_without_usable_metadata(recording, text):
    path = recording.record()
    if text is None:
        (path / 'metadata.yaml').unlink()
    else:
        (path / 'metadata.yaml').write_text(text)
    with Bag(path) as bag:
        assert numbers_of(bag, recording) == list(range(12))
        assert len(bag.problems) == 1 and bag.problems[0].startswith('metadata.yaml ')


# ---- damaged files ----

def cut(path, share):
    """Truncate a file to a share of its size."""
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])


@pytest.mark.parametrize(('storage', 'compression'), [
    kind for kind in KINDS if kind != ('mcap', 'MESSAGE')])     # that is in one small chunk
def test_truncated_bag_gives_what_is_there(recording, storage, compression):
    # Large enough for several chunks of mcap.
    path = recording.record(frames=range(60), storage=storage, compression=compression)
    cut(next(path.glob(f'{path.name}.*')), .7)
    with Bag(path) as bag:
        numbers = numbers_of(bag, recording)
        assert 25 < len(numbers) < 60 and numbers == sorted(numbers)
        assert numbers[:25] == list(range(25))
        assert any('damaged or was not closed' in problem for problem in bag.problems)
        # A message whose end was overwritten is found, but cannot be decompressed.
        found = len(numbers) + sum('decompressed' in problem for problem in bag.problems)
        assert f'{60 - found} of 60 messages of {recording.topic} are missing' \
            in bag.problems


@pytest.mark.parametrize(('storage', 'compression'), [('mcap', 'STORAGE'), ('sqlite3', 'NONE')])
def test_damage_in_the_middle_loses_only_what_is_there(recording, storage, compression):
    path = recording.record(frames=range(60), storage=storage, compression=compression)
    file = next(path.glob(f'{path.name}.*'))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 200] = bytes(200)
    file.write_bytes(data)
    with Bag(path) as bag:
        numbers = numbers_of(bag, recording)
        if storage == 'mcap':   # the other one has no checksums
            assert bag.problems and 25 < len(numbers) < 60
        assert numbers[0] == 0 and numbers[-1] == 59 and numbers == sorted(numbers)


def chunks_of(file):
    """Return the positions of the chunks of an mcap file, and of its end."""
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader
    with open(file, 'rb') as opened:
        records, places = StreamReader(opened, emit_chunks=True).records, []
        while True:
            begin = opened.tell()
            record = next(records, None)
            if record is None:
                return [*places, opened.tell()]
            if isinstance(record, Chunk):
                places.append(max(begin, 8))


@pytest.mark.parametrize('offset', [0, 1, 9, 45, 200])
@pytest.mark.parametrize('cut', [False, True])
def test_after_a_damaged_record_of_mcap_the_next_chunk_is_found(recording, offset, cut):
    """Its opcode, length, times or content are damaged; with the index at the end or without."""
    path = recording.record(frames=range(100))
    file = next(path.glob('*.mcap'))
    with Bag(path) as bag:
        assert numbers_of(bag, recording) == list(range(100))
    data, chunks = bytearray(file.read_bytes()), chunks_of(file)
    assert len(chunks) > 6
    place = chunks[2] + offset
    data[place:place + 8] = b'\xff' * 8
    file.write_bytes(data[:chunks[-2] + 40] if cut else data)
    with Bag(path) as bag:
        numbers = numbers_of(bag, recording)
        lost = set(range(100)) - set(numbers)
        assert bag.problems or not lost
    # At most one chunk is lost (with the index its header is not needed), and the last one where
    # the file was cut.
    assert numbers == sorted(numbers) and numbers[0] == 0 and len(numbers) > 50
    if cut:
        assert len(numbers) < 100
        # Damaged times and pixels cost nothing.
        assert bool(lost - set(range(numbers[-1], 100))) == (offset in (0, 1, 45))
    else:
        assert numbers[-1] == 99 and (not lost or max(lost) - min(lost) + 1 == len(lost))


def test_damaged_message_is_a_clear_error(recording):
    with Bag(recording.record()) as bag:
        message = next(bag.messages({recording.topic}))
        with pytest.raises(BagError, match=f'a message of {recording.topic} is damaged'):
            bag.deserialize(message._replace(data=message.data[:40]))


def test_database_of_a_recorder_that_was_killed(recording, tmp_path):
    """Its last messages are in the write-ahead log."""
    import sqlite3
    path = recording.record(storage='sqlite3')
    (path / 'metadata.yaml').unlink()
    database = sqlite3.connect(path / 'recording.db3')
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('UPDATE messages SET timestamp = timestamp + 1')
    database.commit()
    killed = tmp_path / 'killed'
    shutil.copytree(path, killed)
    database.close()
    assert (killed / 'recording.db3-wal').stat().st_size
    with Bag(killed) as bag:
        received = list(images_of(bag, recording.topic))
    assert received == [recording.stamp(number) + recording.delay + 1 for number in range(12)]


# ---- what is no bag ----

def test_what_is_no_bag_has_a_clear_error(recording, tmp_path):
    ros1 = tmp_path / 'old.bag'
    ros1.write_bytes(b'#ROSBAG V2.0\n')
    renamed = tmp_path / 'renamed'
    renamed.write_bytes(b'#ROSBAG V2.0\n')
    (tmp_path / 'empty').mkdir()
    text = tmp_path / 'notes.txt'
    text.write_text('notes')
    damaged = tmp_path / 'zeros.mcap'
    damaged.write_bytes(bytes(1000))
    recorded = recording.record()
    for path, error in ((tmp_path / 'nowhere', 'no such file'), (ros1, 'ROS 1'),
                        (renamed, 'ROS 1'), (tmp_path / 'empty', 'not a bag'),
                        (text, 'not a bag'), (damaged, 'nothing in it can be read'),
                        (recorded / 'metadata.yaml', "give the bag's folder")):
        with pytest.raises(BagError, match=error) as raised:
            Bag(path)
        assert str(path) in str(raised.value) and '\n' not in str(raised.value)


def test_bag_of_a_newer_version(recording):
    path = recording.record(storage='sqlite3')
    metadata = path / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('version: 8', 'version: 10'))
    with pytest.raises(BagError, match='version 10 of a newer rosbag2, up to 9 can be read'):
        Bag(path)


def test_database_of_a_newer_version(recording):
    import sqlite3
    file = next(recording.record(storage='sqlite3').glob('*.db3'))
    database = sqlite3.connect(file)
    database.execute('UPDATE schema SET schema_version = 7')
    database.commit()
    database.close()
    with pytest.raises(BagError, match='newer rosbag2'):
        Bag(file)


def test_the_topic_must_have_images(recording):
    path = recording.record(boxes=[('cup', (40, 30, 80, 90), 1)],
                            topics=[recording.topic, '/rear/image'])
    with Bag(path) as bag:
        for name, error in ((None, 'choose one'), ('/nothing', 'no topic /nothing'),
                            ('/re3/init', 'is of type vision_msgs')):
            with pytest.raises(BagError, match=error) as raised:
                bag.image_topic(name)
            assert f'{recording.topic} (12), /rear/image (12)' in str(raised.value)


# ---- message types ----

def test_definitions_are_those_of_vision_msgs(request):
    folder = Path(request.config.rootpath) / 'third_party_interfaces/vision_msgs/msg'
    for name, text in message_types.VISION_MSGS.items():
        assert text.split() == (folder / f'{name}.msg').read_text().split()


def test_other_fields_under_the_same_name_are_refused():
    message_types.check_layout('vision_msgs/msg/Point2D', 'float64 x\nfloat64 y\n')
    with pytest.raises(BagError, match='with other fields of vision_msgs/msg/Point2D'):
        message_types.check_layout('vision_msgs/msg/Point2D', 'float32 x\nfloat32 y\n')


def test_messages_are_serialized_as_by_ros():
    serialization = pytest.importorskip('rclpy.serialization')
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
    ours = message_types.new(message_types.DETECTIONS)
    theirs = Detection2DArray()
    for message, detection, hypothesis in (
            (ours, message_types.new(message_types.DETECTION),
             message_types.new('vision_msgs/msg/ObjectHypothesisWithPose')),
            (theirs, Detection2D(), ObjectHypothesisWithPose())):
        message.header.frame_id = 'camera'
        message.header.stamp.sec, message.header.stamp.nanosec = 12, 34
        detection.id = 'cup'
        detection.bbox.size_x = 2.5
        hypothesis.hypothesis.score = .25
        detection.results = [hypothesis]
        message.detections = [detection]
    read = serialization.deserialize_message(bytes(message_types.to_cdr(ours)), Detection2DArray)
    assert read == theirs
    data = serialization.serialize_message(theirs)
    read = message_types.typestore().deserialize_cdr(data, message_types.DETECTIONS)
    assert str(read) == str(ours)
