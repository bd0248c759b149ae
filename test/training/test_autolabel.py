# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Labels by consensus of trackers."""

import cv2
import numpy as np
import pytest
from re3_core.boxes import iou
from re3_core.io.images import save_image
from re3_core.tracker import Track
from training import autolabel
from training.data import read_dataset

SPEED = 3


def box_at(index):
    return np.array((20. + SPEED * index, 30, 60 + SPEED * index, 60))


@pytest.fixture(scope='module')
def frames():
    """Return 40 frames of a textured box that moves over a textured background."""
    rng = np.random.default_rng(0)
    def texture(height, width, low, high):
        noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 2)
        return cv2.normalize(noise, None, low, high, cv2.NORM_MINMAX).astype(np.uint8)
    ground, thing = texture(120, 240, 0, 160), texture(30, 40, 0, 255)
    images = []
    for index in range(40):
        image = ground.copy()
        x1, y1, x2, y2 = box_at(index).astype(int)
        image[y1:y2, x1:x2] = thing
        images.append(image)
    return images


class Oracle:
    """Track whatever starts on the object by its true box, `offset` pixels off; lose the rest."""

    def __init__(self, frames, offset=0., drift=0.):
        self.index = {frame.tobytes(): i for i, frame in enumerate(frames)}
        self.offset, self.drift, self.good, self.shown = offset, drift, {}, {}

    def reset(self):
        self.good, self.shown = {}, {}

    def init(self, target_id, frame, box):
        self.good[target_id] = iou(np.asarray(box), box_at(self.index[frame.tobytes()])) > .3
        self.shown[target_id] = np.asarray(box, float)

    def update(self, frame, ids):
        tracks = {}
        for name in ids:
            self.shown[name] = self.shown[name] + self.drift
            box = box_at(self.index[frame.tobytes()]) + self.offset if self.good[name] else (
                self.shown[name] + np.random.default_rng(len(self.shown)).normal(0, 30, 4))
            tracks[name] = Track(box, 1., False)
        return tracks


def test_what_moves_is_proposed_first(frames):
    boxes = autolabel.propose(frames, 10, 3, 3, np.random.default_rng(0))
    assert len(boxes) == 3
    assert iou(boxes[0], box_at(10)) > .5
    assert max(iou(boxes[0], boxes[1]), iou(boxes[1], boxes[2])) < .2


def test_still_images_give_textured_boxes_inside(frames):
    boxes = autolabel.propose([frames[0]] * 9, 3, 4, 3, np.random.default_rng(0))
    assert len(boxes) == 4
    assert (boxes >= 0).all() and (boxes[:, 2] <= 240).all() and (boxes[:, 3] <= 120).all()


def test_tracks_need_the_consent_of_all_trackers(frames):
    starts = np.array([box_at(0), (150, 70, 190, 110)])
    settings = autolabel.Settings()
    one = autolabel.consensus([lambda: Oracle(frames)], frames, starts, settings)
    assert len(one) == 1 and iou(one[0][0][30], box_at(30)) > .9 and one[0][1].all()
    near = autolabel.consensus([lambda: Oracle(frames), lambda: Oracle(frames, offset=2)],
                               frames, starts, settings)
    assert len(near) == 1
    apart = autolabel.consensus([lambda: Oracle(frames), lambda: Oracle(frames, offset=25)],
                                frames, starts, settings)
    assert apart == []


def test_frames_without_agreement_are_covered():
    there = np.tile(box_at(0), (3, 10, 1))
    there[0, 4] += 100
    median, agreed = autolabel._joined(there, autolabel.Settings())
    assert agreed.tolist() == [True] * 4 + [False] + [True] * 5
    np.testing.assert_array_equal(median[4], box_at(0))


def test_command_writes_a_data_set_and_continues(frames, tmp_path, monkeypatch, capsys):
    for index, frame in enumerate(frames):
        save_image(tmp_path / 'videos' / 'clip' / f'{index}.png', frame)
    (tmp_path / 'videos' / 'bad.mp4').write_bytes(b'no video')
    monkeypatch.setattr(autolabel.AutolabelOptions, 'spec', lambda self: Spec())
    monkeypatch.setattr(autolabel, 'replace', lambda spec, **_: spec)

    class Spec:
        def make(self):
            return Oracle(frames)
    arguments = ['--videos', str(tmp_path / 'videos'), '--output', str(tmp_path / 'out'),
                 '--min-length', '20']
    assert autolabel.main(arguments) == 1
    assert 'bad' in capsys.readouterr().err
    videos = read_dataset(tmp_path / 'out', 'got10k')
    assert len(videos) == 1 and len(videos[0].tracks[0].boxes) == 37
    assert iou(videos[0].tracks[0].boxes[20], box_at(23)) > .9
    assert (videos[0].tracks[0].visible == 1).all()
    assert (tmp_path / 'out' / 'sheets' / 'clip.jpg').is_file()
    monkeypatch.setattr(autolabel, 'label_frames', None)     # not called again
    assert autolabel.main(arguments) == 1
    assert '1 tracks of 1 videos' in capsys.readouterr().out
