# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of monitoring how images arrive, without ROS."""

import numpy as np
import pytest
from re3_ros.diagnostics import Arrival, loss_hint, no_image_hint, StreamMonitor, UNKNOWN

PERIOD = 33_000_000
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def feed(monitor, numbers, busy=0.001, sequences=False):
    """Let frames of these numbers arrive; return what to do with the last one."""
    for number in numbers:
        sequence = ('camera', int(number)) if sequences else UNKNOWN
        use = monitor.on_image(int(number) * PERIOD, busy, sequence)
    return use


@pytest.mark.parametrize('sequences', [False, True])
def test_nothing_is_missing(sequences):
    monitor = StreamMonitor()
    feed(monitor, range(100), sequences=sequences)
    assert (monitor.received, monitor.skipped, monitor.lost) == (100, 0, 0)
    assert monitor.loss() == 0


@pytest.mark.parametrize('sequences', [False, True])
def test_frames_lost_on_the_way(sequences):
    monitor = StreamMonitor()
    numbers = [number for number in range(300) if number % 4]
    feed(monitor, numbers, sequences=sequences)
    assert monitor.skipped == 0
    assert monitor.loss() == pytest.approx(.25, abs=.02)


def test_most_frames_lost():
    """Test with nine in ten lost at random: the period itself is hard to see."""
    numbers = np.flatnonzero(np.random.default_rng(0).random(2000) < .1)
    exact, estimated = StreamMonitor(), StreamMonitor()
    feed(exact, numbers, sequences=True)
    feed(estimated, numbers)
    assert exact.loss() == pytest.approx(.9, abs=.05)
    assert estimated.loss() > .5


def test_frames_that_come_while_the_node_is_busy_are_skipped_not_lost():
    monitor = StreamMonitor()
    feed(monitor, range(0, 300, 3), busy=.09, sequences=True)
    assert monitor.skipped == 2 * 99 and monitor.lost == 0


def test_sequence_of_another_publisher_is_no_loss():
    monitor = StreamMonitor()
    monitor.on_image(0, 0, ('first', 1))
    monitor.on_image(PERIOD, 0, ('second', 500))
    assert monitor.lost == 0


def test_pause_of_the_camera_is_no_loss():
    monitor = StreamMonitor()
    feed(monitor, range(60))
    feed(monitor, range(10_000, 10_060))
    assert monitor.lost == 0


def test_jitter_is_no_loss():
    monitor = StreamMonitor()
    jitter = np.random.default_rng(0).uniform(-.15, .15, 200)
    for number in range(200):
        monitor.on_image(int((number + jitter[number]) * PERIOD), 0)
    assert monitor.lost == 0


def test_frame_out_of_order():
    monitor = StreamMonitor()
    feed(monitor, range(10))
    assert feed(monitor, [7]) == Arrival.OUT_OF_ORDER and monitor.late == 1
    assert feed(monitor, [10]) == Arrival.ACCEPT


def test_time_set_back_shows_with_the_second_frame():
    monitor = StreamMonitor()
    feed(monitor, range(1000, 1040))
    assert feed(monitor, [0]) == Arrival.OUTLIER
    assert feed(monitor, [1]) == Arrival.CLOCK_RESET
    assert feed(monitor, range(2, 40)) == Arrival.ACCEPT and monitor.lost == 0


@pytest.mark.parametrize('stray', [-10 ** 9, 0, 10 ** 9])
def test_single_stray_stamp_changes_nothing(stray):
    monitor = StreamMonitor()
    feed(monitor, range(1000, 1040))
    for number in range(1040, 1080):
        assert feed(monitor, [stray]) == Arrival.OUTLIER
        assert feed(monitor, [number]) == Arrival.ACCEPT
    assert monitor.lost == 0


def test_stray_stamp_ahead_shows_in_the_time_that_passed():
    monitor = StreamMonitor()
    for number in range(40):
        assert monitor.on_image(number * PERIOD, 0, at=number * .033) == Arrival.ACCEPT
    assert monitor.on_image(160 * PERIOD, 0, at=40 * .033) == Arrival.OUTLIER
    assert monitor.on_image(41 * PERIOD, 0, at=41 * .033) == Arrival.ACCEPT
    # After a pause of the camera the same step is none.
    assert monitor.on_image(160 * PERIOD, 0, at=160 * .033) == Arrival.ACCEPT


def test_time_set_forward():
    monitor = StreamMonitor()
    feed(monitor, range(40))
    assert feed(monitor, [10 ** 9]) == Arrival.OUTLIER
    assert feed(monitor, [10 ** 9 + 1]) == Arrival.ACCEPT
    assert feed(monitor, [10 ** 9 + 2]) == Arrival.ACCEPT


def test_refused_frame_is_not_lost():
    monitor = StreamMonitor()
    monitor.on_image(0, 0, ('camera', 1))
    monitor.on_invalid_image(('camera', 2))
    monitor.on_image(2 * PERIOD, 0, ('camera', 3))
    assert monitor.lost == 0 and monitor.received == 3


def test_loss_hint():
    text = loss_hint('/camera', .4, 'best_effort', compressed=False)
    assert '40%' in text and 'fastdds.xml' in text and 'image_transport' in text
    assert 'image_transport' not in loss_hint('/camera', .4, 'reliable', compressed=True)


@pytest.mark.parametrize('publishers, requested, text', [
    ([], 'best_effort', 'nobody publishes there'),
    ([('reliable', COMPRESSED)], 'reliable', f'carries {COMPRESSED}, expected {IMAGE}'),
    ([('reliable', 'std_msgs/msg/String')], 'reliable', f'expected {IMAGE}'),
    ([('best_effort', IMAGE)], 'reliable', 'set image_reliability to auto'),
    ([('best_effort', IMAGE)], 'best_effort', 'LARGE_DATA'),
])
def test_no_image_hint(publishers, requested, text):
    assert text in no_image_hint(publishers, requested, False)


def test_no_image_hint_has_the_remedies_of_lost_images():
    hint = no_image_hint([('best_effort', IMAGE)], 'best_effort', False)
    remedies = loss_hint('/camera', .4, 'best_effort', False).partition('remedies: ')[2]
    assert remedies in hint
    assert all(text in hint for text in ('fastdds.xml', 'compressed', 'smaller images'))


def test_no_image_hint_names_other_topics():
    assert '/a, /b' in no_image_hint([], 'reliable', False, ['/a', '/b'])


@pytest.mark.parametrize('compressed, sibling, transport', [
    (False, '/image/compressed', 'compressed'), (True, '/image', 'raw')])
def test_no_image_hint_names_the_other_transport(compressed, sibling, transport):
    hint = no_image_hint([], 'best_effort', compressed, [], sibling, 'front.image_transport')
    assert f'{sibling} has images: set front.image_transport to {transport}' in hint
