# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Readers and check of the data sets, on tiny made ones of each format."""

import json
import shutil

import cv2
import numpy as np
import pytest
from training.data import detect_format, FORMATS, read_dataset
from training.data.alov import ANNOTATIONS, IMAGES, read_alov, VOT_OVERLAP
from training.data.base import DataError, read_boxes
from training.data.check import check_dataset, main
from training.data.got10k import read_got10k, read_lasot
from training.data.ilsvrc import read_det, read_vid
from training.data.images import read_images
from training.data.otb import read_videos
from training.labels import TargetLabels, VideoLabels, write_labels
from training.labels.model import images_in

HEIGHT, WIDTH = 48, 64


def write_image(path, seed=0):
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    # OpenCV does not know the upper-case suffix of ImageNet on every platform.
    path.write_bytes(cv2.imencode('.jpg', image)[1].tobytes())


def write_images(folder, count, suffix='.jpg', first=1):
    """Write numbered images."""
    for number in range(first, first + count):
        write_image(folder / f'{number:08d}{suffix}', number)


def text(path, content):
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def make_otb(root, separator=','):
    """Make two OTB sequences, the second with two targets."""
    write_images(root / 'Ball' / 'img', 3)
    text(root / 'Ball' / 'groundtruth_rect.txt', '\n'.join(
        separator.join(str(number) for number in (5 + step, 6, 10, 8)) for step in range(3)))
    write_images(root / 'Jogging' / 'img', 2)
    for target in (1, 2):
        text(root / 'Jogging' / f'groundtruth_rect.{target}.txt', '1,2,3,4\nnan,nan,nan,nan\n')
    return root


def make_alov(root):
    """Make an ALOV video annotated in frames 1 and 5, and one that is excluded."""
    for name in ('01-Light_video00001', VOT_OVERLAP[0]):
        write_images(root / IMAGES / '01-Light' / name, 5)
        text(root / ANNOTATIONS / '01-Light' / f'{name}.ann',
             '1 21 11 11 11 11 31 21 31\n5 25 11 15 11 15 31 25 31\n')
    return root


def annotation(objects):
    """Return an ImageNet XML of objects (name, track, x1, y1, x2, y2)."""
    items = ''.join(
        f'<object><trackid>{track}</trackid><name>{name}</name><bndbox><xmin>{box[0]}</xmin>'
        f'<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
        for name, track, *box in objects)
    return (f'<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>'
            f'{items}</annotation>')


def make_vid(root):
    """Make a VID video of three frames with two tracks, one of them in one frame."""
    write_images(root / 'Data' / 'VID' / 'train' / 'a' / 'v1', 3, '.JPEG', 0)
    for number in range(3):
        objects = [('dog', 0, 5, 6, 20, 30)] + [('cat', 1, 30, 6, 50, 30)] * (number == 1)
        text(root / 'Annotations' / 'VID' / 'train' / 'a' / 'v1' / f'{number:08d}.xml',
             annotation(objects))
    return root


def make_det(root):
    """Make DET: one image with a small and a large object, one without objects."""
    for name, objects in (('p1', [('dog', '', 5, 6, 20, 30), ('cat', '', 2, 2, 62, 20)]),
                          ('p2', [])):
        write_image(root / 'Data' / 'DET' / 'train' / 'n1' / f'{name}.JPEG')
        text(root / 'Annotations' / 'DET' / 'train' / 'n1' / f'{name}.xml', annotation(objects))
    return root


def make_got10k(root):
    """Make a GOT-10k training and a test sequence."""
    place = root / 'train' / 'GOT-10k_Train_000001'
    write_images(place, 3)
    text(place / 'groundtruth.txt', '5.0,6.0,10.0,8.0\n' * 3)
    text(place / 'absence.label', '0\n0\n1\n')
    text(place / 'cover.label', '8\n4\n8\n')
    place = root / 'test' / 'GOT-10k_Test_000001'
    write_images(place, 2)
    text(place / 'groundtruth.txt', '5.0,6.0,10.0,8.0\n')
    return root


def make_lasot(root):
    """Make a LaSOT sequence whose target is hidden in the third frame, outside in the fourth."""
    place = root / 'cat' / 'cat-1'
    write_images(place / 'img', 4)
    text(place / 'groundtruth.txt', '5,6,10,8\n' * 3 + '0,0,0,0\n')
    text(place / 'full_occlusion.txt', '0,0,1,0')
    text(place / 'out_of_view.txt', '0,0,0,1')
    return root


def make_images(root):
    """Make a folder of two images, one with two boxes and a mask."""
    write_image(root / 'a' / '1.jpg')
    write_image(root / 'a' / '2.jpg')
    text(root / 'a' / 'boxes.json', json.dumps(
        {'1.jpg': {'boxes': [[5, 6, 10, 8], [30, 6, 20, 20]], 'labels': ['cat', 'dog']}}))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:14, 5:15], mask[6:26, 30:50] = 1, 2
    (root / 'a' / 'mask').mkdir()
    cv2.imwrite(str(root / 'a' / 'mask' / '1.png'), mask)
    return root


def make_labels(form):
    """Return a function that makes two videos in one of the formats of labels."""
    def make(root):
        boxes = np.tile((5., 6., 15., 14.), (3, 1))
        write_images(root / 'frames', 3)
        for name in ('a', 'b'):
            labels = VideoLabels(name, (WIDTH, HEIGHT), images_in(root / 'frames'), {
                'cat': TargetLabels.of(boxes, label='cat')}, root / 'frames')
            write_labels(labels, root / name, form)
        shutil.rmtree(root / 'frames')
        return root
    return make


MAKERS = {'alov': make_alov, 'vid': make_vid, 'det': make_det, 'got10k': make_got10k,
          'lasot': make_lasot, 'videos': make_otb, 'images': make_images,
          **{form: make_labels(form) for form in ('coco', 'cvat', 'mot', 'yolo')}}


def test_all_formats_are_tested():
    """Projects of the label page have tests of their own."""
    assert set(FORMATS) - set(MAKERS) == {'project'}


@pytest.mark.parametrize('form', MAKERS)
def test_every_format_is_detected_and_read_without_problems(form, tmp_path):
    """Each made data set is taken for what it is and checks clean."""
    MAKERS[form](tmp_path)
    assert detect_format(tmp_path) == form
    report, items = check_dataset(tmp_path)
    assert report.problems == []
    assert items and len(items) == report.counts['videos'] + report.counts['images']


@pytest.mark.parametrize('separator', [',', '\t', ' ', ', '])
def test_otb_boxes_with_any_separator(separator, tmp_path):
    """The x, y, w, h of a text become xyxy."""
    video = read_videos(make_otb(tmp_path, separator) / 'Ball')[0]
    np.testing.assert_allclose(video.tracks[0].boxes[2], (7, 6, 17, 14))


def test_otb_with_several_targets_and_absent_ones(tmp_path):
    """Every text of boxes is a target; nan is an absent one."""
    jogging = read_videos(make_otb(tmp_path))[1]
    assert jogging.name == 'Jogging'
    assert [track.name for track in jogging.tracks] == ['groundtruth_rect.1',
                                                        'groundtruth_rect.2']
    assert np.isnan(jogging.tracks[1].boxes[1]).all()


def test_otb_sequences_whose_boxes_are_for_a_part_of_the_images(tmp_path):
    """The boxes of David begin at image 300, those of Football1 end before the images do."""
    for name, images, boxes, first in (('David', 303, 2, 300), ('Football1', 4, 3, 1)):
        folder = tmp_path / name / 'img'
        folder.mkdir(parents=True)
        for number in range(1, images + 1):
            (folder / f'{number:04d}.jpg').touch()
        text(tmp_path / name / 'groundtruth_rect.txt', '1,2,3,4\n' * boxes)
        video = read_videos(tmp_path / name)[0]
        assert [path.stem for path in video.frames] == [
            f'{number:04d}' for number in range(first, first + boxes)]


def test_vot_folders_with_corners(tmp_path):
    """Images lie in `color`, and four corners become the upright box around them."""
    write_images(tmp_path / 'ball' / 'color', 2)
    text(tmp_path / 'ball' / 'groundtruth.txt', '5,5,15,10,12,20,2,12\n1,2,3,4\n')
    track = read_videos(tmp_path)[0].tracks[0]
    np.testing.assert_allclose(track.boxes, ((2, 5, 15, 20), (1, 2, 4, 6)))


def test_plain_videos_and_folders_of_frames_have_no_tracks(tmp_path):
    """A video file and a folder of images are videos; a single image is none."""
    write_images(tmp_path / 'walk', 2)
    write_image(tmp_path / 'alone' / '1.jpg')
    writer = cv2.VideoWriter(str(tmp_path / 'run.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10,
                             (WIDTH, HEIGHT))
    for _ in range(3):
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    videos = read_videos(tmp_path)
    assert [item.name for item in videos] == ['run', 'walk']
    assert not any(item.tracks for item in videos)
    assert check_dataset(tmp_path)[0].counts['frames'] == 5


def test_alov_takes_annotated_frames_and_leaves_vot_out(tmp_path):
    """Corners count from 1; the overlap with VOT is left out unless asked for."""
    videos = read_alov(make_alov(tmp_path))
    assert [item.name for item in videos] == ['01-Light_video00001']
    assert [path.stem for path in videos[0].frames] == ['00000001', '00000005']
    np.testing.assert_allclose(videos[0].tracks[0].boxes, ((10, 10, 20, 30),
                                                               (14, 10, 24, 30)))
    assert len(read_alov(tmp_path, excluded=())) == 2
    assert len(VOT_OVERLAP) == 7


def test_vid_tracks(tmp_path):
    """Every trackid is a track, nan where it does not appear."""
    video, = read_vid(make_vid(tmp_path))
    assert [track.name for track in video.tracks] == ['0', '1']
    assert np.isfinite(video.tracks[0].boxes).all()
    assert np.isfinite(video.tracks[1].boxes).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize('packed', [False, True])
def test_det_leaves_out_images_without_objects(packed, tmp_path):
    make_det(tmp_path)
    if packed:
        (tmp_path / 'Data' / 'DET').rename(tmp_path / 'ILSVRC2014_DET_train')
        (tmp_path / 'Annotations' / 'DET').rename(tmp_path / 'ILSVRC2014_DET_bbox_train')
    image, = read_det(tmp_path)
    assert len(image.boxes) == 2 and (5, 6, 20, 30) in map(tuple, image.boxes)
    assert image.annotated_size == (HEIGHT, WIDTH)


def test_got10k_absence_and_cover(tmp_path):
    """Absent targets have no box, cover counts in eighths, the test part has no tracks."""
    test, train = read_got10k(make_got10k(tmp_path))
    assert test.tracks == ()
    np.testing.assert_allclose(train.tracks[0].visible, (1, 0.5, 0))
    assert np.isnan(train.tracks[0].boxes[2]).all()


def test_lasot_hidden_targets(tmp_path):
    """Hidden targets have no box and are not visible."""
    video, = read_lasot(make_lasot(tmp_path))
    known = np.isfinite(video.tracks[0].boxes).all(axis=1)
    assert known.tolist() == [True, True, False, False]
    np.testing.assert_allclose(video.tracks[0].visible[2:], 0)


def test_images_with_boxes_and_masks(tmp_path):
    """Boxes of the JSON become xyxy; an image without an entry has none."""
    first, second = read_images(make_images(tmp_path))
    np.testing.assert_allclose(first.boxes, ((5, 6, 15, 14), (30, 6, 50, 26)))
    assert first.mask.name == '1.png'
    assert len(second.boxes) == 0 and second.mask is None


def broken(form, root):
    """Break one file of a made data set; return what its message must name."""
    if form == 'videos':
        text(root / 'Ball' / 'groundtruth_rect.txt', '1,2,3,4\n')
        return '3 images, but 1 boxes'
    if form == 'alov':
        path = next(root.rglob('01-Light_video00001.ann'))
        text(path, '1 2 3 4\n')
        return f'{path}:1'
    if form in ('vid', 'det'):
        path = next(root.rglob('*.xml'))
        text(path, '<annotation><size>')
        return str(path)
    if form == 'got10k':
        path = next(root.rglob('cover.label'))
        text(path, '8\n9\n8\n')
        return f'{path}: a number is not in 0..8'
    if form == 'lasot':
        path = next(root.rglob('out_of_view.txt'))
        text(path, '0,1')
        return f'{path}: 2 numbers for 4 frames'
    labels = {'cvat': 'a/annotations.xml', 'coco': 'a/annotations.json', 'mot': 'a/gt/gt.txt',
              'yolo': 'a/labels/00000002.txt'}
    if form in labels:
        text(root / labels[form], '<')
        return str(root / labels[form])
    path = next(root.rglob('boxes.json'))
    text(path, '{"1.jpg": {"boxes": [[1, 2, 3]]}}')
    return f'{path}: 1.jpg'


@pytest.mark.parametrize('form', MAKERS)
def test_malformed_files_are_named(form, tmp_path):
    """Reading stops at the malformed file; the check names it and continues."""
    MAKERS[form](tmp_path)
    message = broken(form, tmp_path)
    with pytest.raises(DataError) as error:
        read_dataset(tmp_path, form)
    assert message in str(error.value)
    report, _ = check_dataset(tmp_path, form)
    assert any(message in problem for problem in report.problems)


@pytest.mark.parametrize('form', MAKERS)
def test_empty_folders_are_refused(form, tmp_path):
    """A folder of another layout is an error, not an empty data set."""
    with pytest.raises(DataError, match=str(tmp_path)):
        read_dataset(tmp_path, form)


def test_missing_folder_and_unknown_format(tmp_path):
    """Both are named."""
    with pytest.raises(DataError, match='no such folder'):
        read_dataset(tmp_path / 'nothing')
    with pytest.raises(DataError, match='one of alov'):
        read_dataset(tmp_path, 'kitti')


def test_check_finds_unreadable_images_and_boxes_outside(tmp_path):
    """Every file that is no image is named, and boxes that show nothing."""
    make_otb(tmp_path)
    unreadable = tmp_path / 'Ball' / 'img' / '00000002.jpg'
    unreadable.write_text('not an image')
    text(tmp_path / 'Jogging' / 'groundtruth_rect.2.txt', '1,2,3,4\n900,5,10,10\n')
    report, _ = check_dataset(tmp_path)
    assert len(report.problems) == 2
    assert any(str(unreadable) in problem for problem in report.problems)
    assert any('box of frame 1 lies outside' in problem for problem in report.problems)
    assert report.counts['frames'] == 4 and report.counts['boxes'] == 6


def test_check_finds_masks_that_do_not_fit(tmp_path):
    """A mask of another size or with more objects than boxes is named."""
    make_images(tmp_path)
    cv2.imwrite(str(tmp_path / 'a' / 'mask' / '1.png'), np.full((HEIGHT, WIDTH), 3, np.uint8))
    assert 'value 3 for 2 boxes' in check_dataset(tmp_path)[0].problems[0]
    cv2.imwrite(str(tmp_path / 'a' / 'mask' / '1.png'), np.zeros((9, 9), np.uint8))
    assert 'is 9x9, the image 64x48' in check_dataset(tmp_path)[0].problems[0]


def test_check_command(tmp_path, capsys):
    """The command counts, writes a sheet, and fails when something is wrong."""
    data, sheet = make_otb(tmp_path / 'data'), tmp_path / 'sheet.png'
    arguments = [str(data), '--sheet', str(sheet), '--samples', '2']
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert '2 videos, 3 tracks, 5 frames, 0 images, 5 boxes, 0 problems' in output
    assert cv2.imread(str(sheet)) is not None
    text(data / 'Ball' / 'groundtruth_rect.txt', 'one,2,3,4\n')
    assert main(arguments) == 1
    assert 'groundtruth_rect.txt:1: expected' in capsys.readouterr().out


def test_boxes_without_area_are_absent(tmp_path):
    """A box of no width is no box."""
    text(tmp_path / 'boxes.txt', '1 2 0 4\n\n1 2 3 4\n')
    boxes = read_boxes(tmp_path / 'boxes.txt')
    assert np.isnan(boxes[0]).all() and boxes[1].tolist() == [1, 2, 4, 6]
