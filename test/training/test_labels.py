# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Formats of labels: what is written is read back, and malformed files are named."""

import json
from pathlib import Path
import shutil
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from re3_core.io.images import save_image
from training.data import detect_format, read_dataset
from training.data.base import DataError, frames_of
from training.labels import (
    detect_label_format,
    link_boxes,
    read_labels,
    TargetLabels,
    VideoLabels,
    write_labels,
    WRITTEN,
)
from training.labels.__main__ import main
from training.labels.model import frame_names

SIZE = (64, 48)


def make_labels(folder=None, count=5, targets=None, name='clip'):
    """Return labels of a video with images in a folder, if one is given."""
    names = frame_names(count)
    if folder is not None:
        for number, file in enumerate(names):
            save_image(folder / file, np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8))
    if targets is None:
        boxes = np.tile((5., 6., 25.5, 30.25), (count, 1)) + np.arange(count)[:, None]
        hidden = boxes + 8
        hidden[2] = np.nan
        targets = {'cup': TargetLabels.of(boxes, np.arange(count) == 1,
                                          np.arange(count) % 4 == 0, 'mug'),
                   'second cup': TargetLabels.of(hidden, label='tea pot')}
    return VideoLabels(name, SIZE, names, targets, folder)


def same_boxes(found, expected, tolerance=2e-3):
    """Compare the boxes of two targets."""
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=tolerance)


@pytest.mark.parametrize('form', WRITTEN)
def test_labels_and_images_are_read_back(tmp_path, form):
    labels = make_labels(tmp_path / 'frames')
    write_labels(labels, tmp_path / 'out', form)
    assert detect_label_format(tmp_path / 'out') == form
    found = read_labels(tmp_path / 'out')
    targets = {identity: target for video in found for identity, target in video.targets.items()}
    assert all(video.size == SIZE and len(video) == 5 for video in found)
    # GOT-10k has one sequence for each target, YOLO has classes in place of ids.
    expected = {'got10k': 1, 'yolo': 2}.get(form, 2)
    assert len(targets) == expected and len(found) == (2 if form == 'got10k' else 1)
    ids = {'yolo': ['mug', 'tea pot'], 'otb': ['cup', 'second_cup']}.get(
        form, ['cup', 'second cup'])
    if form == 'got10k':
        pairs = zip((next(iter(video.targets.values())) for video in found),
                    labels.targets.values(), strict=True)
    else:
        assert sorted(targets) == sorted(ids)
        pairs = zip((targets[identity] for identity in ids), labels.targets.values(), strict=True)
    for target, original in pairs:
        same_boxes(target, original)
        if form in ('got10k', 'mot', 'coco', 'cvat'):
            assert (target.occluded == original.occluded).all()
        if form in ('mot', 'coco', 'cvat', 'yolo'):
            assert target.label == original.label
    for video in found:
        frames = list(frames_of(video.as_labeled_video()))
        assert [int(frame.mean().round()) for frame in frames] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize('form', WRITTEN)
def test_all_formats_serve_as_data_sets(tmp_path, form):
    write_labels(make_labels(tmp_path / 'frames'), tmp_path / 'out', form)
    videos = read_dataset(tmp_path / 'out')
    assert detect_format(tmp_path / 'out') in (form, 'videos')
    tracks = [track for video in videos for track in video.tracks]
    assert len(tracks) == 2
    absent = [np.flatnonzero(np.isnan(track.boxes[:, 0])).tolist() for track in tracks]
    assert sorted(absent) == [[], [2]]


def test_key_frames_survive_in_cvat_and_coco(tmp_path):
    labels = make_labels()
    for form in ('cvat', 'coco'):
        write_labels(labels, tmp_path / form, form)
        (found,) = read_labels(tmp_path / form)
        assert found.targets['cup'].key.tolist() == [True, False, False, False, True]


coordinates = st.floats(0, 40, width=32)
sides = st.floats(1, 30, width=32)
rows = st.one_of(st.none(), st.tuples(coordinates, coordinates, sides, sides))


@st.composite
def random_labels(draw):
    """Draw labels of a few frames and targets with any printable ids."""
    count = draw(st.integers(1, 6))
    ids = draw(st.lists(st.text(st.characters(categories=('L', 'N', 'P', 'S', 'Zs')), min_size=1,
                                max_size=8).filter(lambda text: text.strip() == text),
                        min_size=1, max_size=3, unique=True))
    targets = {}
    for identity in ids:
        frames = draw(st.lists(rows, min_size=count, max_size=count).filter(any))
        boxes = np.array([(np.nan,) * 4 if row is None else
                          (row[0], row[1], row[0] + row[2], row[1] + row[3]) for row in frames])
        occluded = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        targets[identity] = TargetLabels.of(boxes, np.array(occluded), label=draw(
            st.sampled_from(('', 'car', 'tea pot'))))
    return make_labels(count=count, targets=targets)


@settings(max_examples=40, deadline=None)
@given(labels=random_labels(), form=st.sampled_from(('mot', 'coco', 'cvat')))
def test_formats_with_ids_lose_nothing(labels, form):
    folder = Path(tempfile.mkdtemp())
    try:
        write_labels(labels, folder / 'out', form)
        (found,) = read_labels(folder / 'out', form)
    finally:
        shutil.rmtree(folder)
    assert set(found.targets) == set(labels.targets) and found.size == labels.size
    for identity, target in labels.targets.items():
        same_boxes(found.targets[identity], target)
        assert (found.targets[identity].occluded == target.occluded).all()
        assert found.targets[identity].label == target.label


def test_mot_results_of_a_recording(tmp_path):
    """The files that `re3_ros.bag track` writes."""
    (tmp_path / 'tracks_mot.txt').write_text('1,1,10,20,30,40,.9,-1,-1,-1\n'
                                             '3,1,12,22,30,40,.8,-1,-1,-1\n')
    (tmp_path / 'ids.csv').write_text('number,id,otb_file\n1,cup,001_cup.txt\n')
    (found,) = read_labels(tmp_path / 'tracks_mot.txt')
    assert list(found.targets) == ['cup'] and len(found) == 3
    np.testing.assert_array_equal(found.targets['cup'].present, (True, False, True))
    np.testing.assert_array_equal(found.targets['cup'].boxes[2], (12, 22, 42, 62))


def test_cvat_interpolates_between_its_key_frames(tmp_path):
    (tmp_path / 'annotations.xml').write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        '<name>a</name><size>8</size><original_size><width>64</width><height>48</height>'
        '</original_size></task></meta><track id="0" label="car" source="manual">'
        '<box frame="0" xtl="0" ytl="0" xbr="10" ybr="10" outside="0" occluded="0" keyframe="1"/>'
        '<box frame="4" xtl="8" ytl="0" xbr="18" ybr="10" outside="0" occluded="1" keyframe="1"/>'
        '<box frame="6" xtl="8" ytl="0" xbr="18" ybr="10" outside="1" occluded="0" keyframe="1"/>'
        '</track></annotations>')
    (found,) = read_labels(tmp_path)
    target = found.targets['0']
    np.testing.assert_allclose(target.boxes[:4, 0], (0, 2, 4, 6))
    np.testing.assert_allclose(target.boxes[4:6, 0], (8, 8))
    assert target.present.tolist() == [True] * 6 + [False] * 2
    assert target.occluded.tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert found.size == (64, 48) and target.label == 'car'


def test_coco_of_others(tmp_path):
    """CVAT puts ids into attributes; plain COCO has none, so boxes are linked by overlap."""
    def coco(attributes):
        return {'images': [{'id': 7 + k, 'file_name': f'{k}.jpg', 'width': 64, 'height': 48}
                           for k in range(3)],
                'categories': [{'id': 1, 'name': 'car'}],
                'annotations': [{'id': k, 'image_id': 7 + k % 3, 'category_id': 1,
                                 'bbox': [10 + k % 3 + 30 * (k > 2), 5, 20, 20],
                                 **attributes(k)} for k in range(6)]}
    (tmp_path / 'annotations.json').write_text(json.dumps(coco(
        lambda k: {'attributes': {'track_id': k // 3, 'occluded': k == 1}})))
    (found,) = read_labels(tmp_path)
    assert list(found.targets) == ['0', '1']
    assert found.targets['0'].occluded.tolist() == [False, True, False]
    (tmp_path / 'annotations.json').write_text(json.dumps(coco(lambda k: {})))
    (found,) = read_labels(tmp_path)
    assert list(found.targets) == ['car_1', 'car_2']
    np.testing.assert_array_equal(found.targets['car_2'].boxes[:, 0], (40, 41, 42))


def test_yolo_track_ids(tmp_path):
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'images').mkdir()
    for k in range(2):
        save_image(tmp_path / f'images/{k}.png', np.zeros((48, 64, 3), np.uint8))
        (tmp_path / f'labels/{k}.txt').write_text(f'0 .5 .5 .25 .5 {7 - k}\n0 .1 .1 .1 .1 9\n')
    (found,) = read_labels(tmp_path)
    assert {name: target.present.tolist() for name, target in found.targets.items()} == {
        '7': [True, False], '6': [False, True], '9': [True, True]}
    np.testing.assert_allclose(found.targets['7'].boxes[0], (24, 12, 40, 36))


def test_boxes_are_linked_over_short_gaps():
    box = np.array((0., 0., 10., 10.))
    frames = [[box, box + 30], [box + 31], [box + 1, box + 32]]
    first, second = link_boxes(frames)
    assert np.isnan(first[1]).all() and first[2, 0] == 1
    np.testing.assert_array_equal(second[:, 0], (30, 31, 32))


@pytest.mark.parametrize(('files', 'error'), [
    ({'gt/gt.txt': '0,1,1,1,1,1\n'}, 'gt.txt:1: expected'),
    ({'gt/gt.txt': '1,1,1,1,1\n'}, 'gt.txt:1: expected'),
    ({'gt/gt.txt': '1,1,1,1,1,1\n', 'seqinfo.ini': 'hello'}, r'no section \[Sequence\]'),
    ({'gt/gt.txt': '99999999,1,1,1,1,1\n'}, '99999999 frames, at most'),
    ({'annotations.xml': '<annotations><track><box frame="99999999" outside="1"/></track>'
                         '</annotations>'}, '100000000 frames, at most'),
    ({'annotations.json': '{'}, 'not JSON'),
    ({'annotations.json': '{"images": []}'}, "KeyError: 'annotations'"),
    ({'annotations.json': '[]'}, 'not a COCO file'),
    ({'annotations.json': json.dumps({
        'images': [{'id': 1, 'file_name': 'a', 'width': 4, 'height': 4}],
        'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 0, 1]}]})},
     'bbox must be'),
    ({'annotations.json': json.dumps({'images': [], 'annotations': [{'image_id': 5}]})},
     None),
    ({'annotations.xml': '<annotations>'}, 'not XML'),
    ({'annotations.xml': '<!DOCTYPE a><annotations/>'}, 'DOCTYPE'),
    ({'annotations.xml': '<annotations><image/></annotations>'}, 'no tracks'),
    ({'annotations.xml': '<annotations><track><box frame="x"/></track></annotations>'},
     'CVAT for video'),
    ({'annotations.xml': '<annotations><track><box frame="0" xtl="1" ytl="0" xbr="1" ybr="1"/>'
                         '</track></annotations>'}, 'x1 < x2'),
    ({'labels/a.txt': '0 .5 .5 .1\n', 'data.yaml': 'size: [4, 4]'}, 'a.txt:1: expected'),
    ({'labels/a.txt': '0 .5 .5 .1 .1\n'}, 'folder images is missing'),
    ({'groundtruth.txt': '1,2,3\n'}, 'expected "x,y,w,h"'),
    ({'letter.md': 'dear'}, 'no labels in one of the formats'),
])
def test_malformed_files_are_named_in_one_line(tmp_path, files, error):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    if 'groundtruth.txt' in files:
        for k in range(2):
            save_image(tmp_path / f'{k}.jpg', np.zeros((8, 8, 3), np.uint8))
    if error is None:       # nothing to label in it
        assert all(not video.targets for video in read_labels(tmp_path))
        return
    with pytest.raises(DataError, match=error) as caught:
        read_labels(tmp_path)
    assert '\n' not in str(caught.value)


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/letter').touch()
    with pytest.raises(FileExistsError, match='name another folder'):
        write_labels(make_labels(), tmp_path / 'out', 'coco')
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_a_failed_writer_leaves_nothing(tmp_path):
    labels = make_labels(tmp_path / 'frames')
    (tmp_path / 'frames/000003.jpg').unlink()
    with pytest.raises(DataError, match=r'000003\.jpg: this image is missing'):
        write_labels(labels, tmp_path / 'out', 'yolo')
    assert [path.name for path in tmp_path.iterdir()] == ['frames']


def test_convert_command(tmp_path, capsys):
    write_labels(make_labels(tmp_path / 'frames'), tmp_path / 'mot', 'mot')
    assert main([str(tmp_path / 'mot'), str(tmp_path / 'cvat'), '--to', 'cvat']) == 0
    assert '2 targets in 5 frames' in capsys.readouterr().out
    assert read_labels(tmp_path / 'cvat')[0].targets['cup'].occluded[1]
    assert main([str(tmp_path / 'mot'), str(tmp_path / 'x'), '--to', 'voc']) == 1
    assert 'must be one of' in capsys.readouterr().err
