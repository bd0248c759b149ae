# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The pace of one viewer: how many images, how large."""

import pytest
from re3_web.pace import LEVELS, MAX_IN_FLIGHT, Pace


def play(pace, images, seconds_per_image, round_trip=.01, rate=15):
    """Send images over a connection that takes this long for each; return the end."""
    now = 0.
    for sequence in range(images):
        pace.sent(sequence, now)
        now += round_trip + seconds_per_image
        pace.acknowledged(sequence, now)
        now = max(now, (sequence + 1) / rate)
    return now


def test_one_image_at_a_time_on_a_short_way():
    pace = Pace(15)
    pace.measured(.01)
    assert pace.free
    pace.sent(1, 0.)
    assert not pace.free
    pace.acknowledged(1, .02)
    assert pace.free


def test_several_images_under_way_where_the_way_is_long():
    pace = Pace(15)
    pace.measured(.15)
    for sequence in range(3):
        assert pace.free
        pace.sent(sequence, sequence / 15)
    assert not pace.free
    pace.measured(100.)
    for sequence in range(3, MAX_IN_FLIGHT):
        pace.sent(sequence, sequence / 15)
    assert not pace.free


def test_images_get_smaller_where_they_take_long_and_larger_where_they_do_not():
    pace = Pace(15)
    pace.measured(.01)
    play(pace, 10, 1.)
    assert pace.level == 0
    play(pace, 500, .01)
    assert pace.level == len(LEVELS) - 1


def test_a_long_way_alone_does_not_make_images_small():
    pace = Pace(15)
    pace.measured(.3)
    play(pace, 200, .02, round_trip=.3)
    assert pace.level == len(LEVELS) - 1


def test_no_larger_than_shown():
    pace = Pace(15)
    pace.level = len(LEVELS) - 1
    assert pace.choose(500).side == 640
    assert pace.choose(5000) == LEVELS[-1]
    pace.level = 0
    assert pace.choose(5000) == LEVELS[0]


def test_rate_holds_on_average():
    pace, now = Pace(10), 0.
    for sequence in range(101):
        now += pace.delay(now) + (.03 if sequence % 2 else 0.)    # a timer that is late
        pace.sent(sequence, now)
        pace.acknowledged(sequence, now)
    assert now == pytest.approx(10, abs=.2)


def test_only_images_that_were_sent_can_be_acknowledged():
    pace = Pace(15)
    with pytest.raises(ValueError, match='no image 7'):
        pace.acknowledged(7, 0.)
    pace.sent(7, 0.)
    pace.acknowledged(7, 0.)
    with pytest.raises(ValueError, match='no image 7'):
        pace.acknowledged(7, 0.)
