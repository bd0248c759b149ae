# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Files as people have them, and trackers that fail: nothing is mispaired or lost."""

import codecs
import json
import os
import pickle
import struct

import cv2
import numpy as np
import pytest
from training import evaluate, track, trackers
from training.data import read_dataset
from training.data.base import DataError, frames_of, read_boxes, sequences_of
from training.data.cache import cache_images, cache_videos
from training.data.check import main as check
from training.data.otb import read_videos
from training.evaluate import read_sequences
from training.toolkits.vot import VotTracker

HEIGHT, WIDTH, COUNT = 60, 96, 12


def frame_of(number):
    """Return a frame whose brightness is its number, with a target that moves with it."""
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    frame[20:40, 10 + 4 * number:30 + 4 * number] = 255
    frame[0, 0] = number
    return frame


def boxes_text(count=COUNT, separator=',', end='\n'):
    return end.join(separator.join(map(str, (10 + 4 * t, 20, 20, 20))) for t in range(count)) + end


def write_otb(root, name='Ball', count=COUNT, form='{}.png', truth=None):
    """Write an OTB sequence with frames numbered from 1."""
    folder = root / name / 'img'
    folder.mkdir(parents=True)
    for t in range(count):
        data = cv2.imencode('.png', frame_of(t)[..., ::-1])[1]
        (folder / form.format(t + 1)).write_bytes(data.tobytes())
    (root / name / 'groundtruth_rect.txt').write_text(truth or boxes_text(count))
    return root


def write_video(path, count=30, codec='mp4v'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (WIDTH, HEIGHT))
    noise = np.random.default_rng(0)
    for t in range(count):
        frame = frame_of(t % COUNT)
        frame[45:] = noise.integers(0, 255, (15, WIDTH, 3))
        writer.write(frame)
    writer.release()
    return path


def with_orientation(path, orientation=6):
    """Add an EXIF orientation to a JPEG file."""
    tiff = b'MM\x00*\x00\x00\x00\x08' + struct.pack(
        '>HHHIHHI', 1, 0x112, 3, 1, orientation, 0, 0)
    segment = b'Exif\x00\x00' + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment
                     + data[2:])


# Natural order ---------------------------------------------------------------------------------


def numbers_of(frames):
    return [int(frame[0, 0, 0]) for frame in frames]


def test_frames_are_paired_with_boxes_in_natural_order(tmp_path):
    """`ffmpeg %d.png` writes 1.png to 12.png; 10.png belongs to the tenth box."""
    sequence, = read_sequences(write_otb(tmp_path))
    assert numbers_of(sequence.frames) == list(range(COUNT))
    for frame, box in zip(sequence.frames, sequence.boxes, strict=True):
        x1, y1, x2, y2 = box.astype(int)
        assert (frame[y1:y2, x1:x2] == 255).all()


def test_every_layout_has_its_frames_in_natural_order(tmp_path):
    otb = write_otb(tmp_path / 'otb')
    images = otb / 'Ball' / 'img'
    got10k, lasot = (tmp_path / name for name in ('got10k', 'lasot'))
    (got10k / 'GOT-10k_Val_1').mkdir(parents=True)
    (lasot / 'ball' / 'ball-1' / 'img').mkdir(parents=True)
    for path in images.iterdir():
        for folder in (got10k / 'GOT-10k_Val_1', lasot / 'ball' / 'ball-1' / 'img'):
            (folder / path.name).write_bytes(path.read_bytes())
    for name, value in (('groundtruth.txt', boxes_text()), ('absence.label', '0\n' * COUNT),
                        ('cover.label', '8\n' * COUNT)):
        (got10k / 'GOT-10k_Val_1' / name).write_text(value)
    for name, value in (('groundtruth.txt', boxes_text()),
                        ('full_occlusion.txt', ','.join('0' * COUNT)),
                        ('out_of_view.txt', ','.join('0' * COUNT))):
        (lasot / 'ball' / 'ball-1' / name).write_text(value)
    for root, form in ((otb, 'videos'), (got10k, 'got10k'), (lasot, 'lasot')):
        video, = read_dataset(root, form)
        assert numbers_of(frames_of(video)) == list(range(COUNT)), form
    cached = cache_videos(read_videos(otb), tmp_path / 'cache')
    assert numbers_of(cached.frames(0)) == list(range(COUNT))
    assert [item.path.stem for item in read_dataset(images, 'images')] == [
        str(number) for number in range(1, COUNT + 1)]


def test_sequences_are_in_natural_order(tmp_path):
    for number in (10, 9, 100):
        write_otb(tmp_path, f'Seq{number}', 2)
    assert [sequence.name for sequence in read_sequences(tmp_path)] == ['Seq9', 'Seq10', 'Seq100']


def test_a_missing_alov_image_does_not_shift_the_others(tmp_path):
    folder = tmp_path / 'imagedata++' / '01-Light' / 'v1'
    folder.mkdir(parents=True)
    for number in (1, 2, 4, 5):
        cv2.imwrite(str(folder / f'{number:08d}.png'), frame_of(number))
    annotation = tmp_path / 'alov300++_rectangleAnnotation_full' / '01-Light' / 'v1.ann'
    annotation.parent.mkdir(parents=True)
    annotation.write_text('1 21 11 11 11 11 31 21 31\n4 25 11 15 11 15 31 25 31\n')
    video, = read_dataset(tmp_path, 'alov')
    assert numbers_of(frames_of(video)) == [1, 4]
    annotation.write_text('3 21 11 11 11 11 31 21 31\n')
    with pytest.raises(DataError, match='frame 3 is annotated, but it is not among the 4 images'):
        read_dataset(tmp_path, 'alov')


# Pixels as stored ------------------------------------------------------------------------------


def test_images_are_read_as_stored_as_their_boxes_are_meant(tmp_path):
    """An EXIF orientation does not turn the image away from its boxes."""
    folder = tmp_path / 'det' / 'Data' / 'DET'
    folder.mkdir(parents=True)
    path = folder / 'photo.JPEG'
    path.write_bytes(cv2.imencode('.jpg', frame_of(3))[1].tobytes())
    with_orientation(path)
    assert cv2.imread(str(path)).shape[:2] == (WIDTH, HEIGHT), 'OpenCV turns it by default'
    (tmp_path / 'det' / 'Annotations' / 'DET').mkdir(parents=True)
    (tmp_path / 'det' / 'Annotations' / 'DET' / 'photo.xml').write_text(
        f'<a><size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object><bndbox>'
        '<xmin>22</xmin><ymin>20</ymin><xmax>42</xmax><ymax>40</ymax></bndbox></object></a>')
    cached = cache_images(read_dataset(tmp_path / 'det'), tmp_path / 'cache')
    np.testing.assert_array_equal(cached.boxes(0), [(22, 20, 42, 40)])
    assert cached.frames(0)[0, 22:38, 24:40].min() > 200
    assert check([str(tmp_path / 'det'), '--sheet', str(tmp_path / 'sheet.png')]) == 0
    write_otb(tmp_path / 'otb', form='{}.png')
    for image in (tmp_path / 'otb' / 'Ball' / 'img').iterdir():
        data = cv2.imencode('.jpg', cv2.imread(str(image)))[1]
        image.with_suffix('.jpg').write_bytes(data.tobytes())
        with_orientation(image.with_suffix('.jpg'))
        image.unlink()
    sequence, = read_sequences(tmp_path / 'otb')
    assert {frame.shape for frame in sequence.frames} == {(HEIGHT, WIDTH, 3)}
    tracker = VotTracker('opencv:static')
    tracker.initialize(str(path), [((22, 20, 20, 20), {})])     # outside of a turned image


# Videos ----------------------------------------------------------------------------------------


@pytest.fixture
def undecodable(tmp_path):
    """Return a video that opens, but has no frame that can be decoded."""
    path = write_video(tmp_path / 'clip.mp4')
    data = path.read_bytes()
    start = data.index(b'mdat') + 4
    end = data.index(b'moov') - 4
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    return path


def test_a_video_without_frames_is_one_error_line(undecodable, tmp_path, capsys):
    assert track.main(['--model', 'opencv:static', '--data', str(undecodable), '--box',
                       '10,20,20,20', '--save', str(tmp_path / 'out')]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith('error:') for line in lines) == 1
    assert 'clip.mp4' in lines[-1] and 'Traceback' not in '\n'.join(lines)
    assert not list((tmp_path / 'out').rglob('*.mp4'))
    assert check([str(tmp_path), '--sheet', str(tmp_path / 'sheet.png')]) == 1
    assert 'clip.mp4' in capsys.readouterr().out


def test_a_truncated_video_is_reported_with_both_counts(tmp_path, capsys, caplog):
    path = write_video(tmp_path / 'clip.avi', 40, 'MJPG')
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    decoded = len(list(frames_of(read_videos(tmp_path)[0])))
    assert 0 < decoded < 40
    assert check([str(tmp_path), '--sheet', str(tmp_path / 'sheet.png')]) == 1
    assert f'clip.avi: only {decoded} of 40 frames' in capsys.readouterr().out
    caplog.clear()
    assert track.main(['--model', 'opencv:static', '--data', str(path), '--box', '10,20,20,20',
                       '--save', str(tmp_path / 'out')]) == 0
    assert f'only {decoded} of 40 frames' in caplog.text
    assert f'clip: {decoded} frames' in capsys.readouterr().out


def test_a_sequence_that_fails_does_not_stop_the_next(tmp_path, capsys):
    write_otb(tmp_path / 'data', 'A')
    write_otb(tmp_path / 'data', 'B')
    (tmp_path / 'data' / 'A' / 'img' / '5.png').write_text('no image')
    assert track.main(['--model', 'opencv:static', '--data', str(tmp_path / 'data'), '--save',
                       str(tmp_path / 'out')]) == 1
    result = capsys.readouterr()
    assert '5.png' in result.err and 'B: 12 frames' in result.out


# Odd names, texts and hidden files -------------------------------------------------------------


def test_names_that_are_not_utf8_work_or_are_named(tmp_path, capsys):
    """OpenCV itself crashes on such paths."""
    odd = os.fsdecode(b'caf\xe9')
    root = write_otb(tmp_path / 'data', odd)
    sequence, = read_sequences(root)
    assert numbers_of(sequence.frames) == list(range(COUNT))
    assert len(cache_videos(read_videos(root), tmp_path / 'cache')) == 1
    assert evaluate.main([
        '--model', 'opencv:static', '--dataset', str(root), '--starts', '1',
        '--start-timeout', '0', '--json', str(tmp_path / 'report.json')]) == 0
    assert check([str(root), '--sheet', str(tmp_path / 'sheet.png')]) == 0
    assert track.main(['--model', 'opencv:static', '--data', str(root), '--save',
                       str(tmp_path / 'out')]) == 0
    assert 'caf\\xe9: 12 frames' in capsys.readouterr().out
    write_video(tmp_path / 'clip.avi', 3, 'MJPG').rename(root / odd / f'{odd}.avi')
    assert check([str(root), '--sheet', str(tmp_path / 'sheet.png')]) == 1
    assert 'caf\\xe9.avi: the path is not UTF-8' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['007', '2026', 'my clip', '100%', 'a %d', '[1]', "it's"])
def test_folders_of_any_name_are_data_sets(name, tmp_path):
    root = write_otb(tmp_path, name)
    video, = read_videos(root)
    assert video.name == name and len(video.frames) == COUNT
    assert len(cache_videos([video], tmp_path / 'cache').frames(0)) == COUNT


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    write_otb(tmp_path / 'disk')
    root = tmp_path / 'data'
    root.mkdir()
    (root / 'Ball').symlink_to(tmp_path / 'disk' / 'Ball')
    (root / 'Ball2').symlink_to(tmp_path / 'disk' / 'Ball')
    (root / 'all').symlink_to(root)
    (tmp_path / 'disk' / 'Ball' / 'up').symlink_to(tmp_path / 'disk' / 'Ball')
    assert [(video.name, len(video.frames)) for video in read_videos(root)] == [
        ('Ball', COUNT), ('Ball2', COUNT)]
    assert len(read_dataset(root / 'Ball', 'images')) == COUNT


def test_links_to_videos_of_imagenet(tmp_path):
    xml = ('<annotation><size><width>96</width><height>60</height></size><object><trackid>0'
           '</trackid><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>'
           '</object></annotation>')
    for kind, name, data in (('Annotations', '000000.xml', xml.encode()),
                             ('Data', '000000.JPEG', b'not read')):
        (tmp_path / 'disk' / kind).mkdir(parents=True)
        (tmp_path / 'disk' / kind / name).write_bytes(data)
        (tmp_path / 'vid' / kind / 'VID' / 'train').mkdir(parents=True)
        (tmp_path / 'vid' / kind / 'VID' / 'train' / 'a').symlink_to(tmp_path / 'disk' / kind)
    video, = read_dataset(tmp_path / 'vid', 'vid')
    assert video.name == 'train/a' and len(video.frames) == len(video.tracks) == 1


def test_hidden_files_are_skipped(tmp_path):
    """As macOS and Windows leave them."""
    root = write_otb(tmp_path)
    for name in ('img/._1.png', 'img/.DS_Store', 'img/Thumbs.db', '._groundtruth_rect.txt',
                 '.DS_Store', '._video.mp4'):
        (root / 'Ball' / name).write_bytes(b'\x00\x05\x16\x07')
    (root / '__MACOSX' / 'Ball' / 'img').mkdir(parents=True)
    (root / '.hidden').mkdir()
    (root / '.hidden' / 'groundtruth.txt').write_text('1,2,3,4')
    (root / '__MACOSX' / 'Ball' / 'img' / '._1.png').write_bytes(b'\x00')
    assert [len(video.frames) for video in read_videos(root)] == [COUNT]
    assert len(read_dataset(root / 'Ball' / 'img', 'images')) == COUNT
    annotations = tmp_path / 'alov' / 'alov300++_rectangleAnnotation_full' / '01-Light'
    annotations.mkdir(parents=True)
    (annotations / '._v1.ann').write_bytes(b'\x00')
    with pytest.raises(DataError, match='no <category>/<video>.ann'):
        read_dataset(tmp_path / 'alov', 'alov')


@pytest.mark.parametrize('encode', [
    lambda text: codecs.BOM_UTF8 + text.encode(), lambda text: text.encode('utf-16'),
    lambda text: codecs.BOM_UTF16_BE + text.encode('utf-16-be'),
    lambda text: text.replace('\n', '\r\n').encode(),
    lambda text: text.replace(',', '\t').encode(), lambda text: text.replace(',', ';').encode(),
    lambda text: text.replace(',', ' ; ').encode(),
    lambda text: text.replace(',', ',0;').replace('\n', ',0\n').encode()],
    ids=['BOM', 'UTF-16', 'UTF-16 BE', 'CRLF', 'tabs', 'semicolons', 'spaced', 'decimal comma'])
def test_boxes_in_any_usual_encoding(encode, tmp_path):
    path = tmp_path / 'groundtruth.txt'
    path.write_bytes(encode(boxes_text(3)))
    np.testing.assert_array_equal(read_boxes(path), [
        (10, 20, 30, 40), (14, 20, 34, 40), (18, 20, 38, 40)])


@pytest.mark.parametrize('content', ['1,2,3,4'.encode('utf-16-le'), b'1,2,3,4 caf\xe9'])
def test_texts_of_other_encodings_are_named(content, tmp_path):
    path = tmp_path / 'groundtruth.txt'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'groundtruth\.txt: not a text in UTF-8'):
        read_boxes(path)


def test_other_texts_may_have_a_byte_order_mark(tmp_path):
    cv2.imwrite(str(tmp_path / '1.png'), frame_of(0))
    (tmp_path / 'boxes.json').write_bytes(codecs.BOM_UTF8 + json.dumps(
        {'1.png': {'boxes': [[1, 2, 3, 4]]}}).encode())
    assert len(read_dataset(tmp_path, 'images')[0].boxes) == 1


# Trackers that fail ----------------------------------------------------------------------------


class Static:
    """An OpenCV tracker that returns its first box."""

    def init(self, image, box):
        self.box = box

    def update(self, image):
        return True, self.box


class Picky(Static):
    """A static tracker that fails by the box's left side."""

    failures: dict = {}

    def init(self, image, box):
        super().init(image, box)
        self.calls = 0
        self._fail('init')

    def update(self, image):
        self.calls += 1
        self._fail(self.calls)
        return super().update(image)

    def _fail(self, when):
        for (left, place), error in self.failures.items():
            if self.box[0] > left and place == when:
                raise error


@pytest.fixture(autouse=True)
def static(monkeypatch):
    """Make `opencv:static` known."""
    monkeypatch.setitem(trackers.OPENCV_TRACKERS, 'static', lambda models: Static())


@pytest.fixture
def picky(monkeypatch):
    """Make `opencv:picky` known."""
    monkeypatch.setitem(trackers.OPENCV_TRACKERS, 'picky', lambda models: Picky())
    monkeypatch.setattr(Picky, 'failures', {})
    return Picky


@pytest.mark.parametrize('error', [
    cv2.error('bad box'), MemoryError(), OSError('no model'), RuntimeError('network'),
    ValueError('box')], ids=lambda error: type(error).__name__)
def test_a_failing_start_counts_as_failed_and_the_others_are_written(
        error, picky, tmp_path, capsys):
    write_otb(tmp_path / 'data', 'A')
    write_otb(tmp_path / 'data', 'B', truth=boxes_text().replace('10,20,20,20', '60,20,20,20'))
    picky.failures = {(50, 'init'): error}
    report = tmp_path / 'report.json'
    assert evaluate.main([
        '--model', 'opencv:static', '--compare', 'opencv:picky',
        '--dataset', str(tmp_path / 'data'), '--starts', '2', '--jitter', '0',
        '--start-timeout', '0', '--json', str(report)]) == 0
    found = json.loads(report.read_text())['trackers']
    assert set(found['opencv:picky']['failed']) == {'B'}
    assert set(found['opencv:picky']['failed']['B']) == {'0', '1'}
    reason = found['opencv:picky']['failed']['B']['0']
    assert reason.startswith('frame 0: ') and (str(error) or type(error).__name__) in reason
    assert found['opencv:static']['failed'] == {}
    assert 'failed: opencv:picky on B, start 1: frame 0: ' in capsys.readouterr().out
    good, bad = (found['opencv:picky']['sequences'][name]['auc']['mean'] for name in 'AB')
    assert bad < good


def test_a_start_keeps_its_boxes_until_it_fails(picky, tmp_path):
    """Only the start that fails is failed, and its later frames have no overlap."""
    sequence, = read_sequences(write_otb(tmp_path, truth='40,20,20,20\n' * COUNT))
    picky.failures = {(40, 3): RuntimeError('stopped')}
    specs = [trackers.TrackerSpec(model='opencv:picky')]
    report = evaluate.evaluate(specs, [sequence], starts=4, jitter=.1)
    found = report['trackers']['opencv:picky']
    assert 0 < len(found['failed']['Ball']) < 4
    assert set(found['failed']['Ball'].values()) == {'frame 3: stopped'}
    auc = found['sequences']['Ball']['auc']
    assert auc['low'] == pytest.approx(3 / COUNT, abs=.08) and auc['high'] > .8


def test_a_sequence_that_cannot_be_read_is_skipped_for_all(picky, tmp_path, capsys):
    write_otb(tmp_path / 'data', 'A')
    write_otb(tmp_path / 'data', 'B')
    (tmp_path / 'data' / 'B' / 'img' / '7.png').write_text('no image')
    report = tmp_path / 'report.json'
    arguments = ['--model', 'opencv:picky', '--dataset', str(tmp_path / 'data'), '--starts', '2',
                 '--start-timeout', '0', '--json', str(report)]
    assert evaluate.main(arguments) == 1
    found = json.loads(report.read_text())
    assert list(found['sequences']) == ['A'] and '7.png' in found['skipped']['B']
    assert 'skipped B: ' in capsys.readouterr().out
    (tmp_path / 'data' / 'A' / 'img' / '7.png').write_text('no image')
    assert evaluate.main(arguments) == 1
    assert 'error: no sequence could be evaluated' in capsys.readouterr().err


HANGING = """
import os, time
import cv2
from training import evaluate, trackers

class Hanging:
    def init(self, image, box):
        if box[0] > 50:
            os._exit(3) if box[1] > 30 else time.sleep(1e6)
        self.box = box

    def update(self, image):
        return True, self.box

trackers.OPENCV_TRACKERS['hanging'] = lambda models: Hanging()
evaluate.SECONDS_PER_FRAME = .1

if __name__ == '__main__':
    raise SystemExit(evaluate.main())
"""


def test_a_start_that_hangs_or_dies_is_stopped_and_the_others_are_written(
        tmp_path, environment):
    """The tracker hangs in one sequence, kills its process in another, and works in a third."""
    write_otb(tmp_path / 'data', 'good')
    write_otb(tmp_path / 'data', 'hangs', truth='60,20,20,20\n' * COUNT)
    write_otb(tmp_path / 'data', 'dies', truth='60,35,20,20\n' * COUNT)
    script, report = tmp_path / 'hanging.py', tmp_path / 'report.json'
    script.write_text(HANGING)
    import subprocess
    import sys
    done = subprocess.run(
        [sys.executable, str(script), '--model', 'opencv:hanging', '--dataset',
         str(tmp_path / 'data'), '--starts', '1', '--jitter', '0', '--start-timeout', '4',
         '--json', str(report)],
        env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())['trackers']['opencv:hanging']
    assert 'within the time limit' in found['failed']['hangs']['0']
    assert 'process died' in found['failed']['dies']['0']
    assert set(found['failed']) == {'hangs', 'dies'}
    assert found['sequences']['good']['auc']['mean'] > found['sequences']['hangs']['auc']['mean']


def test_occlusion_events_of_video_files(tmp_path):
    """Frames of a video file are available by index, forwards and backwards."""
    folder = tmp_path / 'Ball'
    folder.mkdir()
    write_video(folder / 'video.avi', COUNT, 'MJPG').rename(folder / 'video.avi')
    (folder / 'groundtruth_rect.txt').write_text(boxes_text())
    sequence, = sequences_of(read_videos(tmp_path))
    frames = list(sequence.frames)
    for index in (0, 5, 6, 2, COUNT - 1):
        again = pickle.loads(pickle.dumps(sequence)).frames[index]
        np.testing.assert_array_equal(again, frames[index])
        np.testing.assert_array_equal(sequence.frames[index], frames[index])
    with pytest.raises(IndexError, match='no frame 12'):
        sequence.frames[COUNT]


