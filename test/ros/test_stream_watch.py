# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of watching how images arrive, without ROS."""

import numpy as np
import pytest
from re3_ros.stream_watch import (
    LATE,
    loss_advice,
    ODD,
    silence_advice,
    StreamWatch,
    TIME_SET_BACK,
    USE,
)

PERIOD = 33_000_000
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def feed(watch, numbers, busy=0.001, sequences=False):
    """Let frames of these numbers arrive; return what to do with the last one."""
    for number in numbers:
        sequence = ('camera', int(number)) if sequences else (None, 0)
        use = watch.arrived(int(number) * PERIOD, busy, sequence)
    return use


@pytest.mark.parametrize('sequences', [False, True])
def test_nothing_is_missing(sequences):
    watch = StreamWatch()
    feed(watch, range(100), sequences=sequences)
    assert (watch.received, watch.skipped, watch.lost) == (100, 0, 0)
    assert watch.loss() == 0


@pytest.mark.parametrize('sequences', [False, True])
def test_frames_lost_on_the_way(sequences):
    watch = StreamWatch()
    numbers = [number for number in range(300) if number % 4]
    feed(watch, numbers, sequences=sequences)
    assert watch.skipped == 0
    assert watch.loss() == pytest.approx(.25, abs=.02)


def test_most_frames_lost():
    """Test with nine in ten lost at random: the spacing itself is hard to see."""
    numbers = np.flatnonzero(np.random.default_rng(0).random(2000) < .1)
    exact, estimated = StreamWatch(), StreamWatch()
    feed(exact, numbers, sequences=True)
    feed(estimated, numbers)
    assert exact.loss() == pytest.approx(.9, abs=.05)
    assert estimated.loss() > .5


def test_frames_that_come_while_the_node_is_busy_are_skipped_not_lost():
    watch = StreamWatch()
    feed(watch, range(0, 300, 3), busy=.09, sequences=True)
    assert watch.skipped == 2 * 99 and watch.lost == 0


def test_sequence_of_another_publisher_is_no_loss():
    watch = StreamWatch()
    watch.arrived(0, 0, ('first', 1))
    watch.arrived(PERIOD, 0, ('second', 500))
    assert watch.lost == 0


def test_pause_of_the_camera_is_no_loss():
    watch = StreamWatch()
    feed(watch, range(60))
    feed(watch, range(10_000, 10_060))
    assert watch.lost == 0


def test_jitter_is_no_loss():
    watch = StreamWatch()
    jitter = np.random.default_rng(0).uniform(-.15, .15, 200)
    for number in range(200):
        watch.arrived(int((number + jitter[number]) * PERIOD), 0)
    assert watch.lost == 0


def test_frame_out_of_order():
    watch = StreamWatch()
    feed(watch, range(10))
    assert feed(watch, [7]) == LATE and watch.late == 1
    assert feed(watch, [10]) == USE


def test_time_set_back_shows_with_the_second_frame():
    watch = StreamWatch()
    feed(watch, range(1000, 1040))
    assert feed(watch, [0]) == ODD
    assert feed(watch, [1]) == TIME_SET_BACK
    assert feed(watch, range(2, 40)) == USE and watch.lost == 0


@pytest.mark.parametrize('stray', [-10 ** 9, 0, 10 ** 9])
def test_single_stray_stamp_changes_nothing(stray):
    watch = StreamWatch()
    feed(watch, range(1000, 1040))
    for number in range(1040, 1080):
        assert feed(watch, [stray]) == ODD
        assert feed(watch, [number]) == USE
    assert watch.lost == 0


def test_stray_stamp_ahead_shows_in_the_time_that_passed():
    watch = StreamWatch()
    for number in range(40):
        assert watch.arrived(number * PERIOD, 0, at=number * .033) == USE
    assert watch.arrived(160 * PERIOD, 0, at=40 * .033) == ODD
    assert watch.arrived(41 * PERIOD, 0, at=41 * .033) == USE
    # After a pause of the camera the same step is none.
    assert watch.arrived(160 * PERIOD, 0, at=160 * .033) == USE


def test_time_set_forward():
    watch = StreamWatch()
    feed(watch, range(40))
    assert feed(watch, [10 ** 9]) == ODD
    assert feed(watch, [10 ** 9 + 1]) == USE
    assert feed(watch, [10 ** 9 + 2]) == USE


def test_refused_frame_is_not_lost():
    watch = StreamWatch()
    watch.arrived(0, 0, ('camera', 1))
    watch.refused(('camera', 2))
    watch.arrived(2 * PERIOD, 0, ('camera', 3))
    assert watch.lost == 0 and watch.received == 3


def test_loss_advice():
    text = loss_advice('/camera', .4, 'best_effort', compressed=False)
    assert '40%' in text and 'fastdds.xml' in text and 'image_transport' in text
    assert 'image_transport' not in loss_advice('/camera', .4, 'reliable', compressed=True)


@pytest.mark.parametrize('publishers, requested, text', [
    ([], 'best_effort', 'nobody publishes there'),
    ([('reliable', COMPRESSED)], 'reliable', f'carries {COMPRESSED}, expected {IMAGE}'),
    ([('best_effort', IMAGE)], 'reliable', 'set image_reliability to auto'),
    ([('best_effort', IMAGE)], 'best_effort', 'LARGE_DATA'),
])
def test_silence_advice(publishers, requested, text):
    assert text in silence_advice(publishers, requested, IMAGE, [])


def test_silence_advice_names_other_topics():
    assert '/a, /b' in silence_advice([], 'reliable', IMAGE, ['/a', '/b'])
