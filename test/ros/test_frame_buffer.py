# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the buffer of recent frames."""

from types import SimpleNamespace

import pytest
from re3_ros.frame_buffer import Frame, FrameBuffer

SECOND = 10 ** 9


def frame(index, stamp=None, nbytes=10):
    """Return a Frame, 0.1 s after the one before; its 'pixels' are its number."""
    message = SimpleNamespace(data=bytes(nbytes), header=f'header {index}')
    stamp = index * SECOND // 10 if stamp is None else stamp
    return Frame(index, stamp, message, (4, 4), lambda _: index)


def filled(count, seconds=10., max_bytes=10 ** 6):
    """Return a FrameBuffer that has seen `count` frames."""
    buffer = FrameBuffer(seconds, max_bytes)
    for index in range(count):
        buffer.append(frame(index))
    return buffer


def test_frame_converts_once_and_only_when_asked():
    calls = []
    lazy = Frame(0, 0, SimpleNamespace(data=b'', header=None), (1, 1), calls.append)
    assert not calls
    lazy.rgb()
    assert len(calls) == 1

    once = frame(7)
    assert once.rgb() == once.rgb() == 7


def test_bounded_in_time():
    buffer = filled(30, seconds=1.)
    assert len(buffer) == 11
    assert (buffer.oldest.index, buffer.newest.index) == (19, 29)


def test_bounded_in_memory():
    buffer = filled(30, max_bytes=55)
    assert len(buffer) == 5 and buffer.nbytes == 50


@pytest.mark.parametrize('bounds', [(0., 10 ** 6), (10., 1)])
def test_newest_is_always_kept(bounds):
    buffer = filled(3, *bounds)
    assert [kept.index for kept in buffer] == [2]


def test_nearest():
    buffer = filled(5)
    assert buffer.nearest(SECOND // 10 + 1).index == 1
    assert buffer.nearest(-SECOND).index == 0
    assert buffer.nearest(SECOND).index == 4
    assert buffer.nearest(int(.26 * SECOND)).index == 3


def test_next_after_skips_what_was_dropped():
    buffer = filled(30, seconds=1.)
    assert buffer.next_after(3).index == 19
    assert buffer.next_after(19).index == 20
    assert buffer.next_after(29) is None


def test_boxes_at_a_frame_include_younger_targets():
    buffer = filled(4)
    frames = list(buffer)
    frames[0].boxes = {'old': 0, 'gone': 0}
    frames[1].boxes = {'old': 1}
    frames[2].boxes = {'old': 2, 'new': 2}
    frames[3].boxes = {'old': 3, 'new': 3}
    assert buffer.boxes_at(frames[1]) == {'old': 1, 'new': 2}


def test_tolerance_is_half_the_period():
    assert filled(1).match_tolerance_ns() == 0
    assert filled(9).match_tolerance_ns() == SECOND // 20


def test_clear():
    buffer = filled(3)
    buffer.clear()
    assert buffer.newest is None and buffer.oldest is None and buffer.nbytes == 0


@pytest.mark.parametrize('constant', [0, 5 * SECOND])
def test_newest_of_equal_stamps_is_found_and_the_others_age(constant):
    buffer = FrameBuffer(10., 10 ** 6)
    for index in range(50):
        buffer.append(frame(index, constant))
    assert buffer.nearest(constant).index == 49
    assert len(buffer) == 1 and buffer.nbytes == 10
    # A duplicate amid rising stamps.
    buffer.append(frame(50, constant + 1))
    buffer.append(frame(51, constant + 1))
    assert [kept.index for kept in buffer] == [49, 51]
