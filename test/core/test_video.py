# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading and writing of videos."""

import cv2
import numpy as np
import pytest
from re3_core.io.video import open_source, video_writer


def grey_frames(count, shape=(48, 64)):
    """Return RGB frames whose grey level tells their number."""
    return [np.full((*shape, 3), 20 * number, np.uint8) for number in range(count)]


def levels(source):
    """Read a source to its end; return the frames' numbers by their grey level."""
    found = []
    while (frame := source.read()) is not None:
        found.append(round(frame.mean() / 20))
    return found


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'grey.mp4'
    with video_writer(path, 25) as write:
        for frame in grey_frames(8):
            write(frame)
    return path


def test_video_file_gives_its_frames_in_order_and_again(video):
    source = open_source(video)
    assert source.properties() == ((64, 48), 8)
    assert source.rate == pytest.approx(25)
    assert levels(source) == list(range(8))
    source.rewind()
    assert levels(source) == list(range(8))


def test_source_starts_and_ends_where_it_is_told(video):
    source = open_source(video, 3, 6)
    source.read()
    assert source.index == 3
    source.rewind()
    assert levels(source) == [3, 4, 5]


def test_folder_of_pictures_is_read_as_rgb_in_the_order_of_names(tmp_path):
    for name, rgb in (('b', (0, 255, 0)), ('a', (255, 0, 0))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((4, 4, 3), rgb[::-1], np.uint8))
    source = open_source(tmp_path)
    assert [tuple(source.read()[0, 0]) for _ in range(2)] == [(255, 0, 0), (0, 255, 0)]
    assert source.read() is None


@pytest.mark.parametrize('name, error', [
    ('missing.mp4', 'no video at'), ('text.mp4', 'cannot open video'), ('empty', 'no pictures')])
def test_what_is_no_video_is_named(tmp_path, name, error):
    (tmp_path / 'text.mp4').write_text('this is no video')
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
    with pytest.raises(ValueError, match='needs a frame'), video_writer(tmp_path / 'x.mp4', 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_made_even(tmp_path):
    with video_writer(tmp_path / 'odd.mp4', 25) as write:
        write(np.zeros((47, 33, 3), np.uint8))
    assert open_source(tmp_path / 'odd.mp4').properties() == ((32, 46), 1)
