# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The runners and the evaluation command on sequences made here."""

from dataclasses import replace
import json
import math
import shutil

import cv2
import numpy as np
import pytest
from re3_core import save_network
from re3_core import Track as Found
from re3_core.networks import NETWORKS
import torch
from training import evaluate, trackers
from training import report as summary
from training.data import read_videos
from training.data.base import LabeledTrack, read_image, Sequence, sequences_of
from training.evaluate import read_sequences
from training.executor import ExecutorOptions

LENGTH = 14


def write_otb(folder, shifts=((3, 1), (-2, 2))):
    """Write one OTB sequence for each shift: a textured patch that moves over noise."""
    rng = np.random.default_rng(0)
    for number, (dx, dy) in enumerate(shifts):
        images = folder / f'Seq{number}' / 'img'
        images.mkdir(parents=True)
        background = rng.integers(0, 90, (96, 128, 3), np.uint8)
        patch = cv2.resize(rng.integers(90, 255, (4, 4, 3), np.uint8), (24, 20))
        lines = []
        for t in range(LENGTH):
            x, y = 50 + dx * t, 30 + dy * t
            frame = background.copy()
            frame[y:y + 20, x:x + 24] = patch
            cv2.imwrite(str(images / f'{t + 1:04d}.png'), frame)
            lines.append(f'{x},{y},24,20')
        (folder / f'Seq{number}' / 'groundtruth_rect.txt').write_text('\n'.join(lines))
    return folder


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_otb(tmp_path_factory.mktemp('otb'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Return a weights file of a small untrained re3_lite."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(NETWORKS['re3_lite'](width=.25, embedding=8, hidden=16), path)
    return path


class Puppet:
    """A tracker that gives the truth but for given frames, which it misses."""

    def __init__(self, boxes, missed=()):
        self.boxes, self.missed, self.started = boxes, missed, []

    def reset(self):
        self.started = []

    def init(self, target_id, frame, box):
        self.started.append((target_id, tuple(box)))
        return Found(np.asarray(box, np.float32), 1., False)

    def update(self, frame, ids=('0', '1')):
        time = frame[0, 0, 0]
        box = self.boxes[time] + (500 if time in self.missed else 0)
        return {target_id: Found(box, .5, False) for target_id in ids}


def _still(length, absent=()):
    boxes = np.tile(np.float32([10, 10, 30, 30]), (length, 1))
    boxes[list(absent)] = np.nan
    frames = [np.full((60, 80, 3), t, np.uint8) for t in range(length)]
    return Sequence('still', frames, boxes, np.ones(length))


def test_sequences_begin_with_the_first_frame_that_shows_the_target(dataset):
    recording = read_videos(dataset)[0]
    boxes = recording.tracks[0].boxes.copy()
    boxes[:3] = boxes[7] = np.nan
    tracks = (LabeledTrack('a', boxes, np.linspace(0, 1, LENGTH)),
              LabeledTrack('b', boxes * np.nan))
    sequence, = sequences_of([replace(recording, tracks=tracks)])
    assert sequence.name == 'Seq0/a'
    assert len(sequence) == len(list(sequence.frames)) == LENGTH - 3
    np.testing.assert_array_equal(sequence.frames[0], read_image(recording.frames[3]))
    np.testing.assert_array_equal(sequence.boxes, boxes[3:])
    np.testing.assert_allclose(sequence.visible, np.linspace(0, 1, LENGTH)[3:])


def test_video_files_give_the_frames_of_the_images(dataset, tmp_path):
    images = read_sequences(dataset / 'Seq0')[0]
    (tmp_path / 'Seq0').mkdir()
    shutil.copy(dataset / 'Seq0' / 'groundtruth_rect.txt', tmp_path / 'Seq0')
    writer = cv2.VideoWriter(str(tmp_path / 'Seq0' / 'video.mp4'),
                             cv2.VideoWriter_fourcc(*'mp4v'), 10, (128, 96))
    for frame in images.frames:
        writer.write(frame[..., ::-1])
    writer.release()
    video, = read_sequences(tmp_path)
    alone, = read_sequences(tmp_path / 'Seq0')
    assert video.name == alone.name == 'Seq0'
    np.testing.assert_array_equal(alone.boxes, video.boxes)
    for frame, other, box in zip(images.frames, video.frames, images.boxes, strict=True):
        x1, y1, x2, y2 = box.astype(int)
        assert np.abs(frame[y1:y2, x1:x2].astype(int) - other[y1:y2, x1:x2]).mean() < 15
    np.testing.assert_array_equal(images.boxes, video.boxes)


def test_jitter_is_bounded_replayable_and_different_for_each_start():
    box = np.array([10., 20., 60., 45.])
    jitter = [evaluate.jittered_box(box, .03, 0, 'David', start) for start in range(50)]
    np.testing.assert_array_equal(jitter[7], evaluate.jittered_box(box, .03, 0, 'David', 7))
    assert len({tuple(b) for b in jitter}) == 50
    size = np.array([50., 25.])
    centers = np.array([(b[:2] + b[2:]) / 2 for b in jitter])
    scales = np.array([b[2:] - b[:2] for b in jitter]) / size
    assert np.abs((centers - [35., 32.5]) / size).max() <= .03
    assert np.abs(scales - 1).max() <= .03
    assert np.abs(scales - 1).max() > .02
    assert (evaluate.jittered_box(box, 0, 0, 'David', 0) == box).all()
    assert (evaluate.jittered_box(box, .03, 1, 'David', 0) != jitter[0]).any()
    assert (evaluate.jittered_box(box, .03, 0, 'Deer', 0) != jitter[0]).any()


def test_one_pass_gives_every_tracker_the_same_starts_and_records_all_frames():
    sequence = _still(6)
    first, second = Puppet(sequence.boxes), Puppet(sequence.boxes, missed=(3,))
    run = evaluate.run_one_pass(first, sequence, (0, 1), .03, 0)
    evaluate.run_one_pass(second, sequence, (0, 1), .03, 0)
    assert first.started == second.started
    assert run.boxes.shape == (2, 6, 4)
    np.testing.assert_array_equal(run.confidences[:, 1:], .5)
    np.testing.assert_array_equal(run.boxes[1, 1:], sequence.boxes[1:])


def test_frames_and_boxes_must_agree():
    sequence = _still(5)
    short = Sequence('short', sequence.frames[:4], sequence.boxes, sequence.visible)
    with pytest.raises(ValueError, match='short: 4 frames, but 5 boxes'):
        evaluate.run_one_pass(Puppet(sequence.boxes), short, (0,), 0, 0)


class Still:
    """An OpenCV tracker that stays where it starts, until a given frame."""

    def __init__(self):
        self.fails = self.score = None

    def init(self, image, box):
        self.image, self.box = image, box

    def update(self, image):
        if self.fails is cv2.error:
            raise cv2.error('the box has left the frame')
        return not self.fails, self.box

    def getTrackingScore(self):     # noqa: N802 - its name in OpenCV
        return -1. if self.score is None else self.score


@pytest.fixture
def still(monkeypatch):
    """Make `opencv:still` known and return the list of those made."""
    made = []

    def make(models):
        made.append(Still())
        return made[-1]

    monkeypatch.setitem(trackers.OPENCV_TRACKERS, 'still', make)
    return made


def _lacks(module, name):
    return pytest.mark.skipif(not hasattr(getattr(cv2, module, None) or cv2, name),
                              reason='this OpenCV is built without its contributed trackers')


@pytest.mark.parametrize(('kind', 'least'), [
    ('mil', .4),
    pytest.param('csrt', .6, marks=_lacks('', 'TrackerCSRT_create')),
    pytest.param('kcf', .6, marks=_lacks('', 'TrackerKCF_create')),
    pytest.param('mosse', .2, marks=_lacks('legacy', 'TrackerMOSSE_create')),
    pytest.param('medianflow', .6, marks=_lacks('legacy', 'TrackerMedianFlow_create'))])
def test_opencv_trackers_follow_a_patch(kind, least, dataset):
    sequence = read_sequences(dataset / 'Seq0')[0]
    tracker = trackers.OpenCVTracker(kind)
    run = evaluate.run_one_pass(tracker, sequence, (0,), 0, 0)
    figures = summary.tracker_report([sequence], [run])
    assert figures['overall']['auc']['mean'] > least
    assert figures['confidence'] is None


@pytest.mark.parametrize('failure', [True, cv2.error])
def test_opencv_failure_keeps_the_last_box_and_is_lost(failure, still):
    frame = np.zeros((60, 80, 3), np.uint8)
    tracker = trackers.OpenCVTracker('still')
    tracker.init('0', frame, (10., 20., 30., 40.))
    still[-1].score = .75
    found = tracker.update(frame)['0']
    still[-1].fails = failure
    lost = tracker.update(frame)['0']
    assert (found.lost, found.confidence) == (False, .75)
    assert lost.lost and math.isnan(lost.confidence)
    np.testing.assert_array_equal(found.box, [10, 20, 30, 40])
    np.testing.assert_array_equal(lost.box, found.box)


def test_opencv_gets_whole_boxes_in_the_frame_and_blue_first(still):
    tracker = trackers.OpenCVTracker('still')
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[..., 0] = 255
    for box, expected in (((10.4, 20.6, 30.2, 40.9), (10, 21, 20, 20)),
                          ((-10., -5., 20., 30.), (0, 0, 20, 30)),
                          ((70., 50., 95., 99.), (70, 50, 10, 10)),
                          ((79.8, 10., 90., 20.), (78, 10, 2, 10))):
        tracker.init('0', frame, box)
        assert still[-1].box == expected
    assert tuple(still[-1].image[0, 0]) == (0, 0, 255)


def test_unknown_trackers_and_missing_model_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown tracker 'magic'.*re3_lite.*opencv:csrt"):
        trackers.TrackerSpec(model='magic')
    with pytest.raises(ValueError, match='opencv:nano.*--opencv-models'):
        trackers.OpenCVTracker('nano')
    with pytest.raises(ValueError, match='one ONNX file with "backbone" in its name, found 0'):
        trackers.OpenCVTracker('nano', tmp_path)


def test_trackers_that_this_opencv_lacks_are_named(monkeypatch):
    monkeypatch.delattr(cv2, 'TrackerMIL_create')
    with pytest.raises(ValueError, match="no tracker 'mil'.*opencv-contrib-python"):
        trackers.OpenCVTracker('mil')


def test_reset_every_reaches_the_tracker(weights):
    spec = trackers.TrackerSpec(model='re3_lite', weights=str(weights), reset_every=7)
    assert spec.make().reset_every == 7


def test_every_nth_frame_keeps_frames_and_boxes_together(dataset):
    whole = read_sequences(dataset)[0]
    part = evaluate.every_nth_frame(whole, 3)
    frames = list(part.frames)
    assert len(part) == len(frames) == len(part.visible) == 5
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, whole.frames[3 * index])
        np.testing.assert_array_equal(frame, part.frames[index])
        np.testing.assert_array_equal(part.boxes[index], whole.boxes[3 * index])
    assert evaluate.every_nth_frame(whole, 1) is whole
    with pytest.raises(ValueError, match='stride must be at least 1, got 0'):
        evaluate.every_nth_frame(whole, 0)
    with pytest.raises(ValueError, match=r'Seq0: 14 frames are too few for stride 20'):
        evaluate.every_nth_frame(whole, 20)


def test_command_measures_the_memory_on_every_nth_frame(dataset, weights, tmp_path, capsys):
    assert evaluate.main([
        '--weights', str(weights), '--reset-each-frame', '--stride', '2', '--dataset',
        str(dataset), '--starts', '1', '--start-timeout', '0', '--device', 'cpu', '--json',
        str(tmp_path / 'report.json')]) == 0
    report = json.loads((tmp_path / 'report.json').read_text())
    assert list(report['trackers']) == ['re3_lite', 're3_lite reset each frame']
    assert report['sequences'] == {'Seq0': LENGTH // 2, 'Seq1': LENGTH // 2}
    whole, reset = (tracker['overall'] for tracker in report['trackers'].values())
    difference = report['differences']['re3_lite reset each frame']
    assert difference['mean'] == pytest.approx(whole['auc']['mean'] - reset['auc']['mean'])
    assert f'{difference["mean"]:.3f} ± {difference["error"]:.3f} |' in capsys.readouterr().out
    assert whole['scale_jitter'] != reset['scale_jitter']


def test_report_of_a_tracker_that_is_right_but_once():
    sequence = _still(21)
    run = evaluate.run_one_pass(Puppet(sequence.boxes, missed=(4,)), sequence, (0, 1), .03, 0)
    figures = summary.tracker_report([sequence], [run])
    assert figures['overall']['auc']['mean'] == pytest.approx(20 / 21 * 20 / 21)
    assert figures['overall']['auc']['std'] == 0
    assert figures['overall']['sr_75']['mean'] == pytest.approx(20 / 21)
    assert figures['sequences']['still']['precision_20']['mean'] == pytest.approx(20 / 21)
    assert sum(figures['confidence']['bins']['count']) == 40
    assert figures['confidence']['roc_auc'] == .5


def test_command_compares_trackers_and_writes_everything(
        dataset, weights, still, tmp_path, capsys):
    status = evaluate.main([
        '--weights', str(weights), '--reset-each-frame', '--compare', 'opencv:still',
        '--dataset', str(dataset), '--starts', '2', '--device', 'cpu', '--start-timeout', '0',
        '--json', str(tmp_path / 'out' / 'report.json'), '--plots', str(tmp_path / 'plots')])
    assert status == 0
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    labels = ['re3_lite', 're3_lite reset each frame', 'opencv:still']
    assert list(report['trackers']) == labels
    assert report['sequences'] == {'Seq0': LENGTH, 'Seq1': LENGTH}
    mean = {label: report['trackers'][label]['overall']['auc']['mean'] for label in labels}
    difference = report['differences']['opencv:still']['mean']
    assert difference == pytest.approx(mean['re3_lite'] - mean['opencv:still'])
    table = capsys.readouterr().out
    assert f'| opencv:still | {mean["opencv:still"]:.3f} ±' in table
    assert '| Seq1 | 14 |' in table
    for name in ('success', 'precision', 'normalized', 'calibration'):
        image = cv2.imread(str(tmp_path / 'plots' / f'{name}.png'))
        assert image.std() > 0


def test_workers_give_the_same_report_as_one_process(dataset, weights):
    specs = [trackers.TrackerSpec(label='tiny', weights=str(weights), device='cpu')]
    results = [evaluate.evaluate(specs, read_sequences(dataset), starts=2,
                                 executor=ExecutorOptions(workers=workers))
               for workers in (1, 2)]
    one, two = (result['trackers']['tiny'] for result in results)
    assert one['overall'] == two['overall']
    assert one['sequences'] == two['sequences']


def test_formats_choose_the_reader(dataset, still, tmp_path, capsys):
    boxes = (dataset / 'Seq0' / 'groundtruth_rect.txt').read_text()
    got10k = tmp_path / 'got10k' / 'val' / 'GOT-10k_Val_000001'
    for folder in (tmp_path / 'vot' / 'Seq0' / 'color', got10k):
        shutil.copytree(dataset / 'Seq0' / 'img', folder)
    (tmp_path / 'vot' / 'Seq0' / 'groundtruth.txt').write_text(boxes)
    (got10k / 'groundtruth.txt').write_text(boxes)
    (got10k / 'absence.label').write_text('0\n' * (LENGTH - 2) + '1\n1\n')
    (got10k / 'cover.label').write_text('8\n' * LENGTH)
    common = ['--model', 'opencv:still', '--starts', '1', '--jitter', '0', '--start-timeout', '0']
    reports = {}
    for layout, source in (('otb', dataset), ('got10k', tmp_path), ('vot', tmp_path)):
        path = source if layout == 'otb' else source / layout
        file = tmp_path / f'{layout}.json'
        assert evaluate.main([*common, '--dataset', str(path), '--format', layout, '--limit', '1',
                              '--json', str(file)]) == 0
        reports[layout] = json.loads(file.read_text())
    capsys.readouterr()
    figures = {layout: report['trackers']['opencv:still'] for layout, report in reports.items()}
    # The target leaves the box, so without the last frames the overlap is larger.
    assert figures['otb']['overall']['auc']['mean'] < figures['got10k']['overall']['auc']['mean']
    assert figures['otb']['overall'] == figures['vot']['overall']


def test_command_explains_bad_input(tmp_path, capsys):
    assert evaluate.main(['--model', 'opencv:mil', '--dataset', str(tmp_path)]) == 1
    assert 'no folder of images' in capsys.readouterr().err
    assert evaluate.main(['--model', 'nothing', '--dataset', str(tmp_path)]) == 1
    assert "unknown tracker 'nothing'" in capsys.readouterr().err
    assert evaluate.main(['--model', 'opencv:mil', '--compare', 'opencv:mil',
                          '--dataset', str(tmp_path)]) == 1
    assert 'named twice' in capsys.readouterr().err
