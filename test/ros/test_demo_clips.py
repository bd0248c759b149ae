# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo's clips and its figures, without ROS."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from re3_ros.demo import clips, figures
from re3_ros.demo.report import Row

CLIPS = Path(__file__).parents[2] / 'config' / 'demo'
BOX = np.array([8., 12., 40., 30.])


def gray_frames(count, shape=(48, 64)):
    """Return RGB frames whose gray level is 20 times their number."""
    return [np.full((*shape, 3), 20 * number, np.uint8) for number in range(count)]


def row(frame, box=BOX, state='tracked', iou=None):
    return Row(frame, 10**18 + frame, box, 0.8, state, 5.0, iou)


def test_box_text():
    assert clips.parse_box('1,2,3.5,4').tolist() == [1, 2, 4.5, 6]


@pytest.mark.parametrize('text', ['', '1,2,3', '1,2,a,4', '1,2,0,4', '1,2,3,nan', '1,2,-3,4'])
def test_bad_box_text_is_refused(text):
    with pytest.raises(ValueError, match='box'):
        clips.parse_box(text)


@pytest.mark.parametrize('path', sorted(CLIPS.glob('*.yaml')), ids=lambda path: path.stem)
def test_shipped_annotations_are_sound(path):
    data = clips.load_annotation(path)
    assert data['end'] <= data['frames']
    assert len(data['boxes']) >= 10
    assert max(data['boxes']) == data['end'] - 1


def test_annotation_belongs_to_the_file_with_its_name_and_facts():
    facts = (176, 144), 120
    found = clips.find_annotation('/some/where/carphone_pristine.mp4', facts, CLIPS)
    assert found['target'] == 'head'
    assert clips.find_annotation('carphone_pristine.mp4', ((176, 144), 119), CLIPS) is None
    assert clips.find_annotation('other.mp4', facts, CLIPS) is None


@pytest.mark.parametrize('change, error', [
    ({'boxes': {1: [0, 0, 5, 5]}}, 'include the first'),
    ({'boxes': {0: [0, 0, 5, 5], 9: [0, 0, 5, 5]}}, 'must lie within frames'),
    ({'boxes': {0: [5, 0, 5, 5]}}, 'x1 < x2'),
    ({'color': 'red'}, 'has the keys')])
def test_bad_annotation_is_named(tmp_path, change, error):
    data = {'video': 'a.mp4', 'target': 't', 'credit': 'c', 'size': [64, 48], 'frames': 8,
            'start': 0, 'end': 8, 'boxes': {0: [0, 0, 5, 5]}, **change}
    (tmp_path / 'a.yaml').write_text(repr(data))
    with pytest.raises(ValueError, match=error):
        clips.load_annotation(tmp_path / 'a.yaml')


def annotation():
    return {'boxes': {10: BOX, 15: BOX + 1, 18: BOX + 2}, 'start': 10, 'end': 19,
            'target': 'cup', 'credit': 'us'}


def test_annotated_clip_needs_no_box():
    clip = clips.choose_clip('v.mp4', None, None, None, annotation())
    assert (clip.start, clip.end, clip.target) == (10, 19, 'cup')
    assert clip.box.tolist() == BOX.tolist()
    assert not clip.live


def test_own_box_and_frames_keep_the_annotated_boxes_within_them():
    clip = clips.choose_clip('v.mp4', BOX + 7, 12, 16, annotation())
    assert clip.box.tolist() == (BOX + 7).tolist()
    assert list(clip.boxes) == [15]


def test_unknown_video_needs_a_box():
    with pytest.raises(ValueError, match='no box is known for frame 0 of v.mp4'):
        clips.choose_clip('v.mp4', None, None, None, None)
    assert clips.choose_clip('0', BOX, None, None, None).live


def test_drawing_marks_the_box_and_keeps_the_frame():
    frame = np.zeros((48, 64, 3), np.uint8)
    image = figures.draw_row(frame, row(0))
    scale = figures.enlargement(64)
    assert image.shape == (48 * scale, 64 * scale, 3)
    assert tuple(image[12 * scale, 20 * scale]) == figures.COLORS['tracked']
    assert figures.draw_row(frame, row(0), width=32).shape == (24, 32, 3)
    assert not frame.any()


def test_montage_takes_evaluated_rows_first():
    rows = [row(frame, iou=0.7 if frame % 2 else None) for frame in range(20)]
    chosen = figures.choose_frames(rows, 4)
    assert len(chosen) == 4
    assert all(place % 2 for place in chosen)
    assert figures.choose_frames(rows[:2], 4) == [0, 1]


def test_montage_and_plot_are_images(tmp_path):
    rows = [row(0), row(1, None, 'absent'), row(2, BOX + 1, 'lost', 0.7)]
    frames = [figures.draw_row(frame, rows[place], BOX)
              for place, frame in enumerate(gray_frames(3))]
    figures.write_montage(tmp_path / 'montage.png', frames, 'credit', columns=2)
    figures.write_plot(tmp_path / 'plot.png', rows, {2: BOX})
    height, width = frames[0].shape[:2]
    montage = cv2.imread(str(tmp_path / 'montage.png'))
    assert montage.shape == (2 * height + figures.STRIP, 2 * width, 3)
    assert cv2.imread(str(tmp_path / 'plot.png')).std() > 5
