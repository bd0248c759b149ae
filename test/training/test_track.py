# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The command that follows a target through a video and draws it."""

import shutil

import cv2
import numpy as np
import pytest
from re3_core import Track
from re3_core.io.drawing import LOST, TRACKED, TRUTH
from training import track as command
from training import trackers

LENGTH = 8


class Right:
    """An OpenCV tracker that moves two pixels to the right in every frame."""

    def init(self, image, box):
        self.box = box

    def update(self, image):
        x, y, width, height = self.box
        self.box = x + 2, y, width, height
        return True, self.box


@pytest.fixture(autouse=True)
def right(monkeypatch):
    """Make `opencv:right` known."""
    monkeypatch.setitem(trackers.OPENCV_TRACKERS, 'right', lambda models: Right())


@pytest.fixture(scope='module')
def sequence(tmp_path_factory):
    """Return an OTB sequence: a colored patch that moves over gray, and a video of it."""
    folder = tmp_path_factory.mktemp('data') / 'Patch'
    (folder / 'img').mkdir(parents=True)
    rng = np.random.default_rng(0)
    patch = cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (30, 24))
    video = cv2.VideoWriter(str(folder.parent / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10,
                            (160, 120))
    lines = []
    for t in range(LENGTH):
        frame = np.full((120, 160, 3), 128, np.uint8)
        frame[40:64, 50 + 2 * t:80 + 2 * t] = patch
        cv2.imwrite(str(folder / 'img' / f'{t + 1:04d}.png'), frame)
        video.write(frame)
        lines.append(f'{50 + 2 * t}\t40\t30\t24')
    video.release()
    (folder / 'groundtruth_rect.txt').write_text('\n'.join(lines))
    return folder


def read_video(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return frames


def test_otb_folder_gives_frames_video_and_texts(sequence, tmp_path, capsys):
    assert command.main(['--model', 'opencv:right', '--data', str(sequence),
                         '--save', str(tmp_path)]) == 0
    out = tmp_path / 'Patch'
    boxes = np.loadtxt(out / 'boxes.txt', delimiter=',')
    expected = np.array([[50 + 2 * t, 40, 30, 24] for t in range(LENGTH)])
    np.testing.assert_allclose(boxes, expected, atol=.01)
    assert np.loadtxt(out / 'scores.txt').shape == (LENGTH,)
    assert sorted(path.name for path in (out / 'frames').iterdir()) == [
        f'{t:06d}.jpg' for t in range(1, LENGTH + 1)]
    frames = read_video(out / 'track.mp4')
    assert len(frames) == LENGTH
    assert frames[0].shape == (120, 160, 3)
    assert 'Patch: 8 frames, mean overlap 1.000' in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        'boxes.txt', 'frames', 'scores.txt', 'track.mp4']


def test_video_file_starts_from_the_given_box(sequence, tmp_path, capsys):
    assert command.main(['--model', 'opencv:right', '--data', str(sequence.parent / 'clip.mp4'),
                         '--box', '50,40,30,24', '--save', str(tmp_path)]) == 0
    boxes = np.loadtxt(tmp_path / 'clip' / 'boxes.txt', delimiter=',')
    np.testing.assert_allclose(boxes[-1], [64, 40, 30, 24], atol=.01)
    assert capsys.readouterr().out == 'clip: 8 frames\n'


def test_packed_sequence_uses_the_boxes_beside_the_video(sequence, tmp_path):
    folder = tmp_path / 'Packed'
    folder.mkdir()
    shutil.copy(sequence.parent / 'clip.mp4', folder / 'video.mp4')
    shutil.copy(sequence / 'groundtruth_rect.txt', folder)
    packed, = command.read_data(folder / 'video.mp4')
    assert packed.name == 'Packed'
    assert len(packed) == len(list(packed.frames)) == LENGTH


def test_given_box_takes_the_place_of_the_true_one(sequence):
    read, = command.read_data(sequence, np.array([1., 2., 30., 40.]))
    np.testing.assert_array_equal(read.boxes[0], [1, 2, 30, 40])
    np.testing.assert_array_equal(read.boxes[1], [52, 40, 82, 64])


def test_drawing_marks_track_truth_and_loss():
    frame = np.zeros((100, 100, 3), np.uint8)
    box = np.float32([20, 30, 60, 70])
    found = command.draw(frame, Track(box, .5, False), np.float32([5, 5, 15, 15]))
    assert tuple(found[50, 20]) == TRACKED
    assert tuple(found[5, 10]) == TRUTH
    lost = command.draw(frame, Track(box, float('nan'), True), np.full(4, np.nan))
    assert tuple(lost[50, 20]) == LOST
    assert (lost[:, :15] == 0).all()
    assert (frame == 0).all()


def test_what_is_missing_is_named(sequence, tmp_path, capsys):
    (tmp_path / 'img').mkdir()
    cv2.imwrite(str(tmp_path / 'img' / '1.png'), np.zeros((9, 9, 3), np.uint8))
    assert command.main(['--model', 'opencv:right', '--data', str(tmp_path),
                         '--save', str(tmp_path / 'out')]) == 1
    assert 'no true boxes there; give the first one by --box' in capsys.readouterr().err
    assert command.main(['--model', 'opencv:right', '--data', str(sequence.parent),
                         '--box', '1,2,3,4', '--save', str(tmp_path / 'out')]) == 1
    assert '--box needs a single video, here are 2' in capsys.readouterr().err


@pytest.mark.parametrize('text', ['1,2,3', '1,2,0,4', 'a,b,c,d'])
def test_malformed_box_is_refused(text, sequence, tmp_path, capsys):
    assert command.main(['--model', 'opencv:right', '--data', str(sequence), '--save',
                         str(tmp_path), '--box', text]) == 1
    assert 'expected x,y,w,h in pixels' in capsys.readouterr().err
