# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The commands track, extract and info without ROS: results, errors, interruptions."""

import csv
import errno
import json
import os
from pathlib import Path
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags', reason='needs the extra bags')
from re3_core.io.images import read_image  # noqa: E402
from re3_core.io.video import open_source  # noqa: E402
from re3_ros.bag import outputs, track  # noqa: E402
from re3_ros.bag.__main__ import DONE, ERROR, INCOMPLETE, INTERRUPTED, main  # noqa: E402
from re3_ros.bag.reader import Bag  # noqa: E402

CUP, DOG = (40., 30., 80., 90.), (90., 20., 140., 70.)
CUP_OPTION = 'cup=40,30,40,60@0'


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, tiny_weights):
    """Return a function that runs a command in tmp_path and returns (status, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        arguments = [str(argument) for argument in arguments]
        if arguments[0] == 'track':
            arguments += ['--weights', str(tiny_weights), '--device', 'cpu']
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return call


def table(path):
    """Return the rows of a CSV file as dicts."""
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def messages_of(path, topic):
    """Return the deserialized messages of a topic of a bag, with the times of recording."""
    with Bag(path) as bag:
        assert bag.problems == []
        return [(message.received, bag.deserialize(message)) for message in bag.messages({topic})]


# ---- track ----

@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_track_writes_all_formats(recording, run, storage):
    recording.record(boxes=[('dog', DOG, 4)], storage=storage)
    status, output, _ = run('track', 'recording', '--init', CUP_OPTION, '--init', 'topic',
                            '--param', 'lost_confidence=0')
    folder = Path('recording_tracks')
    assert (status, output) == (DONE, 'recording_tracks: 2 targets in 12 images\n')
    frames, rows = table(folder / 'frames.csv'), table(folder / 'tracks.csv')
    stamps = [recording.stamp(number) for number in range(12)]
    assert [int(row['stamp_ns']) for row in frames] == stamps
    ids = [(int(row['frame']), row['id']) for row in rows]
    # A box that is recorded after the tracks of its image were due appears in the next ones.
    assert ids == [(frame, identity) for frame in range(12)
                   for identity in ('cup', 'dog') if identity == 'cup' or frame > 4]
    messages = messages_of(folder / 'tracks', '/re3/tracks')
    assert [received for received, _ in messages] == [
        stamp + recording.delay for stamp in stamps]
    detections = [detection for _, message in messages for detection in message.detections]
    for row, detection in zip(rows, detections, strict=True):
        assert (row['id'], row['state']) == (detection.id, 'tracked')
        center = detection.bbox.center.position
        assert float(row['x']) == pytest.approx(center.x - detection.bbox.size_x / 2, abs=.001)
        assert float(row['h']) == pytest.approx(detection.bbox.size_y, abs=.001)
        assert detection.header.frame_id == 'optical_frame'
    mot = [line.split(',') for line in (folder / 'tracks_mot.txt').read_text().splitlines()]
    assert [(int(line[0]), int(line[1])) for line in mot] == [
        (frame + 1, ['cup', 'dog'].index(identity) + 1) for frame, identity in ids]
    otb = (folder / 'otb/002_dog.txt').read_text().splitlines()
    assert otb[:5] == ['nan,nan,nan,nan'] * 5
    assert otb[5:] == [f'{row["x"]},{row["y"]},{row["w"]},{row["h"]}'
                       for row in rows if row['id'] == 'dog']
    video = open_source(folder / 'tracks.mp4')
    assert video.properties() == ((160, 120), 12) and video.rate == pytest.approx(25)
    video.release()


def test_track_writes_the_status_as_the_node_does(recording, run):
    recording.record(boxes=[('dog', DOG, 4), ('dog', (0, 0, 0, 0), 8)])
    assert run('track', 'recording', '--init', 'topic', '--formats', 'bag')[0] == DONE
    with Bag('recording_tracks/tracks') as bag:
        assert bag.topics['/re3/status'].latched and bag.topics['/re3/vision_info'].latched
        assert not bag.topics['/re3/tracks'].latched
    statuses = messages_of('recording_tracks/tracks', '/re3/status')
    rows = [row for _, message in statuses for row in message.status]
    assert (rows[0].level, rows[0].name, rows[0].message) == (0, 'dog', 'tracked')
    last = rows[-1]
    assert (last.level, last.name, last.message) == (3, 'dog', 'removed')
    assert [(value.key, value.value) for value in last.values] == [('reason', 'on request')]
    (_, info), = messages_of('recording_tracks/tracks', '/re3/vision_info')
    assert info.method == 're3_lite'


def test_track_several_cameras_and_bags(recording, run):
    topics = ['/front/image', '/rear/image']
    for name in ('one', 'two'):
        recording.record(name, topics=topics)
    Path('boxes.csv').write_text('time,x,y,w,h,id,camera\n0,40,30,40,60,cup,front\n'
                                 '0.08,40,30,40,60,dog,rear\n')
    status, output, _ = run('track', 'one', 'two', '--topic', 'front=/front/image', '--topic',
                            'rear=/rear/image', '--init', 'boxes.csv', '--output', 'results')
    assert status == DONE and output.count('1 targets in 12 images') == 4
    for bag in ('one', 'two'):
        front, rear = (table(f'results/{bag}/{name}/tracks.csv') for name in ('front', 'rear'))
        assert {row['id'] for row in front} == {'cup'} and front[0]['frame'] == '0'
        assert {row['id'] for row in rear} == {'dog'} and rear[0]['frame'] == '2'
        assert len(messages_of(f'results/{bag}/rear/tracks', '/re3/rear/tracks')) == 12


def test_track_part_of_a_bag(recording, run):
    recording.record()
    status, _, _ = run('track', 'recording', '--init', CUP_OPTION, '--start', '0.15', '--end',
                       '0.3', '--formats', 'csv')
    assert status == DONE
    assert [int(row['stamp_ns']) for row in table('recording_tracks/frames.csv')] == [
        recording.stamp(number) for number in (4, 5, 6, 7)]


def test_finished_results_are_kept_and_unfinished_ones_are_not(recording, run, monkeypatch):
    """An interrupted command continues with the first unfinished bag."""
    recording.record('one')
    recording.record('two', frames=range(5))
    command = ('track', 'one', 'two', '--init', CUP_OPTION, '--output', 'results')
    add = outputs.Outputs.frame
    images = []

    def interrupted(*arguments):
        images.append(arguments)
        if len(images) == 15:
            raise KeyboardInterrupt
        add(*arguments)
    monkeypatch.setattr(outputs.Outputs, 'frame', interrupted)
    status, _, errors = run(*command)
    assert status == INTERRUPTED and 'first unfinished bag' in errors
    assert [path.name for path in Path('results').iterdir()] == ['one']
    written = {path: path.stat().st_mtime_ns for path in Path('results/one').rglob('*')}
    status, output, _ = run(*command)
    assert status == DONE and len(images) == 15 + 5
    assert 'results/one: finished before, left as it is' in output
    assert written == {path: path.stat().st_mtime_ns for path in Path('results/one').rglob('*')}
    assert len(table('results/two/frames.csv')) == 5


def test_results_of_another_run_are_replaced_only_on_demand(recording, run):
    recording.record()
    other = ('track', 'recording', '--init', 'dog=40,30,40,60@0', '--formats', 'csv')
    assert run('track', 'recording', '--init', CUP_OPTION, '--formats', 'csv')[0] == DONE
    status, _, errors = run(*other)
    assert status == ERROR and 'give --overwrite or another --output' in errors
    assert table('recording_tracks/tracks.csv')[0]['id'] == 'cup'
    assert run(*other, '--overwrite')[0] == DONE
    assert table('recording_tracks/tracks.csv')[0]['id'] == 'dog'
    assert sorted(path.name for path in Path().iterdir()) == ['recording', 'recording_tracks']


@pytest.mark.parametrize('command', [('track', '--init', CUP_OPTION), ('extract',)])
def test_only_results_are_replaced(recording, run, command):
    """An output that was named by mistake stays, with --overwrite as well."""
    recording.record()
    Path('home').mkdir()
    Path('home/letter.txt').write_text('dear')
    for output in ('home', 'home/letter.txt', 'recording'):
        status, _, errors = run(command[0], 'recording', *command[1:], '--output', output,
                                '--overwrite')
        assert status == ERROR and 'has no results of this command' in errors
    assert Path('home/letter.txt').read_text() == 'dear'
    Path('empty').mkdir()
    assert run(command[0], 'recording', *command[1:], '--output', 'empty')[0] == DONE
    assert Path('empty/frames.csv').exists()


def test_damaged_bag_is_tracked_as_far_as_it_can_be_read(recording, run):
    path = recording.record(frames=range(60))
    file = path / 'recording.mcap'
    file.write_bytes(file.read_bytes()[:2 * file.stat().st_size // 3])
    status, output, errors = run('track', 'recording', '--init', CUP_OPTION)
    rows = table('recording_tracks/frames.csv')
    assert status == INCOMPLETE and 25 < len(rows) < 60
    missing = f'{60 - len(rows)} of 60 messages of {recording.topic} are missing'
    assert f'incomplete: {missing}\n' in errors
    assert len(json.loads(Path('recording_tracks/run.json').read_text())['problems']) == 3
    # It is as finished as it can be.
    again, output, _ = run('track', 'recording', '--init', CUP_OPTION)
    assert again == INCOMPLETE and 'finished before' in output


def test_images_that_cannot_be_used_are_counted(recording, run, monkeypatch):
    image = recording.image

    def some_bad(number, *arguments):
        message = image(number, *arguments)
        if number % 3 == 2:
            message.encoding = '16SC1'
        return message
    monkeypatch.setattr(recording, 'image', some_bad)
    recording.record()
    status, output, errors = run('track', 'recording', '--init', CUP_OPTION)
    assert status == INCOMPLETE and '4 images could not be used' in output
    assert errors.count("unknown image encoding '16SC1'") == 1
    assert len(table('recording_tracks/frames.csv')) == 8


# ---- errors ----

ERRORS = [
    (['--topic', '/nothing', '--init', CUP_OPTION],
     'no topic /nothing; topics with images: /camera/image_raw (12)'),
    (['--init', 'topic'], 'there is no topic /re3/init with boxes; topics with boxes: none'),
    (['--init', 'topic:/camera/image_raw'], 'is of type sensor_msgs/msg/Image, expected'),
    (['--init', 'cup=400,30,40,60@0'], 'lies outside the frame of 160 x 120 pixels'),
    (['--init', 'cup=40,30,0,60@0'], 'box must have x1 < x2'),
    (['--init', 'cup=40,30,60@0'], 'expected x,y,w,h in pixels and a time in seconds'),
    (['--init', '1,2,3,4@soon'], 'expected x,y,w,h in pixels and a time in seconds'),
    (['--init', '40,30,40,60@99'], 'the images end before 99 s'),
    (['--init', 'nowhere.csv'], 'neither topic[:NAME], nor a file, nor a box'),
    (['--init', 'bad.csv'], 'bad.csv: the column y is missing; expected time,x,y,w,h'),
    (['--init', 'text.csv'], 'text.csv:3: expected x,y,w,h in pixels'),
    (['--init', CUP_OPTION, '--param', 'speed=3'], 'there is no parameter speed'),
    (['--init', CUP_OPTION, '--param', 'lost_confidence=2'], 'must be 0.0 to 1.0'),
    (['--init', CUP_OPTION, '--param', 'max_targets=x'], 'must be of type int'),
    (['--init', CUP_OPTION, '--start', '99'], 'the bag ends before 99 s: it lasts 0.440 s'),
    (['--init', CUP_OPTION, '--start', '.2', '--end', '.1'], 'no images in the chosen part'),
    (['--init', CUP_OPTION, '--model', 're4'], 're4'),
]


@pytest.mark.parametrize(('options', 'error'), ERRORS)
def test_errors_of_track_are_one_line(recording, run, options, error):
    recording.record()
    Path('bad.csv').write_text('time,x,w,h\n')
    Path('text.csv').write_text('time,x,y,w,h\n0,1,2,30,40\n0,a,b,c,d\n')
    status, _, errors = run('track', 'recording', *options, '--quiet')
    assert status == ERROR and errors.count('\n') == 1
    assert errors.startswith('error: ') and error in errors
    assert not Path('recording_tracks').exists() and not list(Path().glob('.*'))


@pytest.mark.parametrize('command', ['info', 'extract', 'track'])
def test_what_is_no_bag_is_one_line(run, command):
    Path('old.bag').write_bytes(b'#ROSBAG V2.0\n')
    options = ['--init', 'topic'] if command == 'track' else []
    for path, error in (('old.bag', 'a bag of ROS 1; convert it first: rosbags-convert'),
                        ('nowhere', 'there is no such file or folder')):
        status, _, errors = run(command, path, *options)
        assert status == ERROR and errors.count('\n') == 1 and error in errors


def test_unsupported_encoding_is_one_line(recording, run):
    recording.record(encoding='32FC1')
    for command in (['track', 'recording', '--init', CUP_OPTION], ['extract', 'recording']):
        status, _, errors = run(*command)
        assert status == ERROR and 'none of 12 images can be used' in errors.splitlines()[-1]
        assert "unknown image encoding '32FC1'" in errors.splitlines()[-1]


def test_bag_without_images_is_one_line(recording, run):
    recording.record(topics=['/a'], boxes=[('cup', CUP, 0)])
    run('track', 'recording', '--init', CUP_OPTION)
    for command in (['track', '--init', 'topic'], ['extract']):
        status, _, errors = run(command[0], 'recording_tracks/tracks', *command[1:])
        assert status == ERROR and errors.count('\n') == 1
        assert ('there are no images in this bag; topics: /re3/status, /re3/tracks, '
                '/re3/vision_info') in errors


def test_one_bad_bag_does_not_stop_the_others(recording, run):
    recording.record('good')
    status, output, errors = run('track', 'bad', 'good', '--init', CUP_OPTION)
    assert status == ERROR and 'bad: there is no such file' in errors
    assert 'good_tracks: 1 targets in 12 images' in output


@pytest.mark.parametrize('what', ['Outputs', 'video', 'sqlite'])
def test_full_disk_is_one_line_and_leaves_nothing(recording, run, monkeypatch, what):
    import sqlite3
    recording.record(storage='sqlite3')

    def fails(*_):
        if what == 'sqlite':
            raise sqlite3.OperationalError('database or disk is full')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'tracks.csv')
    if what == 'video':     # OpenCV does not report it
        monkeypatch.setattr(outputs.VideoFile, 'properties', lambda _: ((160, 120), 7))
        error = 'only 7 of 12 frames of tracks.mp4 could be written (disk full?)'
    else:
        monkeypatch.setattr(outputs.BagOutput, 'tracks', fails)
        error = 'disk is full' if what == 'sqlite' else 'No space left on device: tracks.csv'
    status, _, errors = run('track', 'recording', '--init', CUP_OPTION, '--quiet')
    assert status == ERROR and errors.count('\n') == 1 and error in errors
    assert [path.name for path in Path().iterdir()] == ['recording']


def test_limited_file_size_is_one_line(recording, run):
    """A real error of the operating system, with all its libraries in between."""
    recording.record()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    ended = subprocess.run(
        [sys.executable, '-m', 're3_ros.bag', 'extract', 'recording', '--quiet'],
        preexec_fn=limit, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path),
             'PYTHONDONTWRITEBYTECODE': '1'})
    assert ended.returncode == ERROR
    assert ended.stderr.startswith('error: File too large') and ended.stderr.count('\n') == 1
    assert [path.name for path in Path().iterdir()] == ['recording']


def test_only_play_imports_ros(recording, run):
    recording.record()
    code = ('import sys; from re3_ros.bag.__main__ import main; main(sys.argv[1:]); '
            'import re3_ros.bag.track; assert "rclpy" not in sys.modules, "rclpy"')
    ended = subprocess.run([sys.executable, '-c', code, 'extract', 'recording'], text=True,
                           capture_output=True,
                           env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert ended.returncode == 0, ended.stderr


# ---- extract and info ----

def test_extract_images(recording, run):
    recording.record(encoding='bgr8')
    assert run('extract', 'recording')[:2] == (DONE, 'recording_frames: 12 images\n')
    rows = table('recording_frames/frames.csv')
    assert [(int(row['frame']), int(row['stamp_ns'])) for row in rows] == [
        (number, recording.stamp(number)) for number in range(12)]
    for number, row in enumerate(rows):
        rgb = read_image(Path('recording_frames') / row['file'])
        assert np.array_equal(rgb, recording.pixels(number))


def test_extract_recorded_jpegs_as_they_are(recording, run):
    recording.record(compressed=True)
    assert run('extract', 'recording', '--format', 'jpg', '--every', '5')[0] == DONE
    rows = table('recording_frames/frames.csv')
    assert [int(row['stamp_ns']) for row in rows] == [
        recording.stamp(number) for number in (0, 5, 10)]
    for number, row in zip((0, 5, 10), rows, strict=True):
        assert (Path('recording_frames') / row['file']).read_bytes() == \
            recording.image(number, compressed=True).data.tobytes()


def test_extract_a_video(recording, run):
    recording.record()
    assert run('extract', 'recording', '--format', 'video', '--start', '.1')[0] == DONE
    video = open_source('recording_frames/frames.mp4')
    assert video.properties() == ((160, 120), 9) and video.rate == pytest.approx(25)
    wrong = video.read().astype(int) - recording.pixels(3)
    video.release()
    assert np.abs(wrong).mean() < 40
    assert len(table('recording_frames/frames.csv')) == 9


def test_info(recording, run):
    recording.record(boxes=[('cup', CUP, 0)], compression='FILE')
    status, output, _ = run('info', 'recording')
    assert status == DONE
    assert 'mcap, compressed by file, 1 file' in output and '0.440 s' in output
    lines = [line.split() for line in output.splitlines()]
    assert ['/camera/image_raw', '12', 'sensor_msgs/msg/Image', '160', 'x', '120', 'rgb8,', '25',
            'images/s'] in lines
    assert ['/re3/init', '1', 'vision_msgs/msg/Detection2D'] in lines
    info = json.loads(run('info', 'recording', '--json')[1])
    assert info['duration'] == pytest.approx(.44) and info['messages'] == 13


def test_info_of_a_damaged_bag(recording, run):
    (recording.record() / 'metadata.yaml').unlink()
    status, output, errors = run('info', 'recording')
    assert status == INCOMPLETE and 'incomplete: metadata.yaml is missing' in errors
    assert '/camera/image_raw' in output


def test_rate_is_that_of_most_images(recording):
    with Bag(recording.record(frames=[0, 1, 2, 9, 10, 11])) as bag:
        assert track.image_rate(bag, bag.image_topic(None)) == pytest.approx(25)


def test_names_of_files_are_plain(recording, run):
    recording.record()
    assert run('track', 'recording', '--init', '../a b/ü=40,30,40,60@0')[0] == DONE
    names = [path.name for path in Path('recording_tracks/otb').iterdir()]
    assert len(names) == 1 and '/' not in names[0] and ' ' not in names[0]
    (row,) = table('recording_tracks/ids.csv')
    assert row == {'number': '1', 'id': '../a b/ü', 'otb_file': names[0]}


def test_images_that_change_their_size(recording, run, monkeypatch):
    image = recording.image

    def larger(number, *arguments):
        message = image(number, *arguments)
        if number >= 6:
            rgb = np.ascontiguousarray(cv2.resize(recording.pixels(number), (320, 240)))
            message.height, message.width, message.step = 240, 320, 960
            message.data = rgb.reshape(-1)
        return message
    monkeypatch.setattr(recording, 'image', larger)
    recording.record()
    assert run('track', 'recording', '--init', CUP_OPTION)[0] == DONE
    rows = table('recording_tracks/tracks.csv')
    assert len(rows) == 12 and float(rows[-1]['w']) > 1.5 * float(rows[0]['w'])


def test_info_into_head_is_quiet(recording, tmp_path):
    """The reader of the pipe closes it before anything is written."""
    path = recording.record()
    process = subprocess.Popen(
        [sys.executable, '-m', 're3_ros.bag', 'info', str(path)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(120) == DONE and errors == ''


@pytest.mark.parametrize('text', [
    '/**:\n  ros__parameters:\n    lost_confidence: 0\n',
    '/re3/tracker:\n  ros__parameters:\n    lost_confidence: 0.0\n',
    '/re3:\n  tracker:\n    ros__parameters: {lost_confidence: 0.0}\n',
    '/**:\n  ros__parameters: {lost_confidence: .2}\n/*/tracker:\n'
    '  ros__parameters: {lost_confidence: 0}\n',
    '/other:\n  ros__parameters: {a: 1}\ntracker:\n  ros__parameters: {lost_confidence: 0}\n',
])
def test_parameters_of_the_nodes_file(recording, run, text):
    recording.record()
    Path('params.yaml').write_text(text)
    assert run('track', 'recording', '--init', CUP_OPTION, '--params', 'params.yaml', '--formats',
               'csv')[0] == DONE
    assert json.loads(Path('recording_tracks/run.json').read_text())[
        'parameters']['lost_confidence'] == 0
    assert run('track', 'recording', '--init', CUP_OPTION, '--params', 'params.yaml', '--param',
               'lost_confidence=.1', '--formats', 'csv', '--overwrite')[0] == DONE
    assert json.loads(Path('recording_tracks/run.json').read_text())[
        'parameters']['lost_confidence'] == .1


@pytest.mark.parametrize(('text', 'error'), [
    ('a: [', 'not YAML'), ('a: 1', 'no section ros__parameters'), ('', 'no section'),
    ('/other:\n  ros__parameters: {a: 1}\n', 'no parameters for the node /re3/tracker, but for '
     '/other'),
    ('/**:\n  ros__parameters: {lost: 1}\n', 'there is no parameter lost'),
    ('/**:\n  ros__parameters: {lost_confidence: high}\n', 'must be of type float'),
])
def test_files_of_parameters_that_cannot_be_used(recording, run, text, error):
    recording.record()
    Path('params.yaml').write_text(text)
    status, _, errors = run('track', 'recording', '--init', CUP_OPTION, '--params', 'params.yaml')
    assert status == ERROR and error in errors and errors.count('\n') == 1
