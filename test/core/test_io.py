# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading and writing of images and videos."""

import logging
import os
import struct

import cv2
import numpy as np
import pytest
from re3_core.io.images import list_images, read_image, save_image
from re3_core.io.video import CameraDevice, open_source, video_writer, VideoFile


def gray_frames(count, shape=(48, 64)):
    """Return RGB frames whose gray level is 20 times their number."""
    return [np.full((*shape, 3), 20 * number, np.uint8) for number in range(count)]


def levels(source):
    """Read a source to its end; return the frames' numbers by their gray level."""
    found = []
    while (frame := source.read()) is not None:
        found.append(round(frame.mean() / 20))
    return found


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'gray.mp4'
    with video_writer(path, 25) as write:
        for frame in gray_frames(8):
            write(frame)
    return path


def test_video_file_gives_its_frames_in_order_and_again(video):
    source = open_source(video)
    assert source.properties() == ((64, 48), 8)
    assert source.rate == pytest.approx(25)
    assert levels(source) == list(range(8))
    source.rewind()
    assert levels(source) == list(range(8))


def test_source_starts_and_ends_at_the_given_frames(video):
    source = open_source(video, 3, 6)
    source.read()
    assert source.index == 3
    source.rewind()
    assert levels(source) == [3, 4, 5]


def test_folder_of_images_is_read_as_rgb(tmp_path):
    for name, rgb in (('b', (0, 255, 0)), ('a', (255, 0, 0))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((4, 4, 3), rgb[::-1], np.uint8))
    source = open_source(tmp_path)
    assert [tuple(source.read()[0, 0]) for _ in range(2)] == [(255, 0, 0), (0, 255, 0)]
    assert source.read() is None


@pytest.mark.parametrize('name, error', [
    ('missing.mp4', 'no video at'), ('text.mp4', 'cannot open video'), ('empty', 'no images')])
def test_unreadable_source_is_named(tmp_path, name, error):
    (tmp_path / 'text.mp4').write_text('not a video')
    (tmp_path / 'empty').mkdir()
    with pytest.raises((ValueError, OSError), match=error):
        open_source(tmp_path / name)


def test_bad_range_is_named(video):
    with pytest.raises(ValueError, match='start 4, end 4'):
        open_source(video, 4, 4)


def test_writer_refuses_a_frame_of_another_size_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match='got one of 64 x 48'):
        with video_writer(tmp_path / 'x.mp4', 25) as write:
            write(np.zeros((48, 48, 3), np.uint8))
            write(np.zeros((48, 64, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_video_without_a_frame_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match='needs at least one frame'):
        with video_writer(tmp_path / 'x.mp4', 25):
            pass
    assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_made_even(tmp_path):
    with video_writer(tmp_path / 'odd.mp4', 25) as write:
        write(np.zeros((47, 33, 3), np.uint8))
    assert open_source(tmp_path / 'odd.mp4').properties() == ((32, 46), 1)


def zero_data(video, path, start):
    """Write a copy of a video to `path`, its coded frames zeroed from the share `start` on."""
    data = bytearray(video.read_bytes())
    first, last = data.find(b'mdat') + 4, data.find(b'moov') - 4
    assert 4 < first < last
    first += int((last - first) * start)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    return path


@pytest.fixture
def noisy_video(tmp_path):
    rng = np.random.default_rng(0)
    with video_writer(tmp_path / 'noisy.mp4', 25) as write:
        for _ in range(40):
            write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    return tmp_path / 'noisy.mp4'


@pytest.mark.parametrize('start', [0, 2])
def test_video_without_a_decodable_frame_is_an_error_that_names_it(noisy_video, tmp_path, start):
    source = VideoFile(zero_data(noisy_video, tmp_path / 'bad.mp4', 0), start)
    with pytest.raises(ValueError, match=r'bad\.mp4: OpenCV can decode no frame'):
        list(source)


def test_video_that_ends_early_is_a_warning_with_both_counts(noisy_video, tmp_path, caplog):
    source = VideoFile(zero_data(noisy_video, tmp_path / 'half.mp4', .5))
    with caplog.at_level(logging.WARNING):
        count = len(list(source))
    assert 5 < count < 35
    assert [record.message for record in caplog.records] == [
        f'{source.name}: only {count} of 40 frames can be decoded, the file is damaged']
    caplog.clear()
    source.rewind()
    assert len(list(source)) == count and source.read() is None and not caplog.records
    assert len(list(VideoFile(noisy_video, end=40))) == 40 and not caplog.records


def test_source_that_ends_before_the_given_end_is_a_warning(video, tmp_path, caplog):
    save_image(tmp_path / 'one' / '1.png', np.zeros((4, 4, 3), np.uint8))
    for path, count in ((video, 8), (tmp_path / 'one', 1)):
        source = open_source(path, 0, 20)
        caplog.clear()
        assert len(list(source)) == count
        assert [record.message for record in caplog.records] == [
            f'{source.name}: ends after {count} frames, before frame 20']


@pytest.mark.parametrize('kind', ['video', 'folder'])
def test_start_after_the_last_frame_is_an_error(video, tmp_path, kind):
    save_image(tmp_path / 'one' / '1.png', np.zeros((4, 4, 3), np.uint8))
    source = open_source(video if kind == 'video' else tmp_path / 'one', 20)
    with pytest.raises(ValueError, match='has [18] frames, none from number 20 on'):
        source.read()


def test_images_are_listed_in_natural_order_without_hidden_files(tmp_path):
    for name in ('10.jpg', '2.jpg', '1.JPG', '._2.jpg', 'notes.txt'):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ['1.JPG', '2.jpg', '10.jpg']


def with_orientation(jpeg, orientation):
    """Return JPEG bytes with an EXIF orientation."""
    tiff = b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b'Exif\0\0' + tiff
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]


def test_pixels_of_an_image_are_as_stored_whatever_its_orientation(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :20, 0] = 200
    jpeg = cv2.imencode('.jpg', image[..., ::-1])[1].tobytes()
    (tmp_path / '1.jpg').write_bytes(with_orientation(jpeg, 6))
    assert cv2.imread(str(tmp_path / '1.jpg')).shape == (60, 40, 3), 'the test image is turned'
    for found in (read_image(tmp_path / '1.jpg'), open_source(tmp_path).read()):
        assert found.shape == (40, 60, 3) and found[20, 5, 0] > 150 > found[20, 40, 0]


@pytest.mark.parametrize('data', [b'', b'text', b'\x89PNG\r\n\x1a\n1234'])
def test_undecodable_image_is_named(tmp_path, data):
    (tmp_path / '7.png').write_bytes(data)
    with pytest.raises(ValueError, match=r'7\.png: OpenCV cannot decode'):
        open_source(tmp_path).read()


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_images_of_16_bits_are_refused_and_masks_are_not(tmp_path, suffix):
    path = tmp_path / f'depth{suffix}'
    depth = np.full((4, 6), 900, np.uint16)
    path.write_bytes(cv2.imencode(suffix, depth)[1].tobytes())
    with pytest.raises(ValueError, match=f'depth{suffix}: has uint16 pixels; convert it to 8'):
        read_image(path)
    assert (read_image(path, cv2.IMREAD_UNCHANGED) == depth).all()


@pytest.mark.parametrize('channels', [1, 4])
def test_gray_images_and_those_with_transparency_are_read_as_rgb(tmp_path, channels):
    path = tmp_path / '1.png'
    path.write_bytes(cv2.imencode('.png', np.full((4, 6, channels), 7, np.uint8))[1].tobytes())
    assert (read_image(path) == np.full((4, 6, 3), 7)).all()


def test_folders_are_no_images_and_broken_links_are_named(tmp_path):
    save_image(tmp_path / '1.png', np.zeros((4, 6, 3), np.uint8))
    (tmp_path / '2.png').mkdir()
    os.mkfifo(tmp_path / '3.png')
    assert [path.name for path in list_images(tmp_path)] == ['1.png']
    (tmp_path / '4.png').symlink_to(tmp_path / 'nowhere.png')
    with pytest.raises(FileNotFoundError, match='4.png'):
        list(open_source(tmp_path))


def test_image_is_saved_as_rgb_and_complete(tmp_path):
    save_image(tmp_path / 'new' / 'red.png', np.full((4, 6, 3), (255, 0, 0), np.uint8)[::-1])
    assert tuple(cv2.imread(str(tmp_path / 'new' / 'red.png'))[0, 0]) == (0, 0, 255)
    for name in ('red.xyz', 'red'):
        with pytest.raises(ValueError, match='cannot be written'):
            save_image(tmp_path / name, np.zeros((4, 6, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ['new']


def test_paths_that_are_not_utf8(video, tmp_path):
    folder = tmp_path / os.fsdecode(b'caf\xe9')
    image = np.full((4, 4, 3), (9, 8, 7), np.uint8)
    save_image(folder / os.fsdecode(b'\xff.png'), image)
    assert (open_source(folder).read() == image).all(), 'images are read from any path'
    path = folder / 'video.mp4'
    path.write_bytes(video.read_bytes())
    with pytest.raises(ValueError, match=r'caf\\xe9/video.mp4: the path is not UTF-8'):
        open_source(path)
    with pytest.raises(ValueError, match=r'the path is not UTF-8'):
        with video_writer(folder / 'new.mp4', 25) as write:
            write(image)


@pytest.mark.parametrize('name', [
    '100%.mp4', 'a%d.mp4', '12:30.mp4', 'a b.mp4', '-x.mp4', '\u00fc.mp4'])
def test_odd_names_of_videos(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with video_writer(name, 25) as write:
        for frame in gray_frames(3):
            write(frame)
    assert levels(open_source(name)) == [0, 1, 2]


def test_file_or_folder_named_by_a_number_goes_before_the_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CameraDevice, '__init__', lambda self, number: setattr(self, 'n', number))
    assert open_source('7').n == open_source(7).n == 7
    save_image(tmp_path / '7' / '1.png', np.zeros((4, 4, 3), np.uint8))
    assert open_source('7').read().shape == (4, 4, 3)
    for name in ('', '\u00b2', '-1'):
        with pytest.raises(FileNotFoundError, match='no video at'):
            open_source(name)


def test_an_image_is_a_source_of_one_frame(tmp_path):
    for number in (1, 2):
        save_image(tmp_path / f'{number}.png', np.full((4, 4, 3), number, np.uint8))
    assert [frame[0, 0, 0] for frame in open_source(tmp_path / '1.png')] == [1]
