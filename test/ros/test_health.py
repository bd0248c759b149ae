# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of latencies and the verdict for the diagnostics, without ROS."""

import pytest
from re3_ros import health
from re3_ros.stream_watch import StreamWatch

SECOND = 10 ** 9
NOW = 1_800_000_000 * SECOND
VALUES = {'latency_warn': .5, 'latency_error': 1., 'frame_timeout': 5.}


def run(latency, count=20):
    """Return the health of a camera whose tracks come `latency` seconds after the image."""
    camera = health.CameraHealth()
    for number in range(count):
        stamp = NOW + number * SECOND // 10
        now = stamp + int(latency * SECOND)
        camera.frame_arrived(stamp, stamp, number / 10)
        camera.published(stamp, now, number / 10, .02)
    return camera


def judge(camera, states=(), frame_age=0.):
    """Return the verdict on a camera that loses nothing."""
    return health.verdict(camera, StreamWatch(), list(states), VALUES, frame_age)


def test_all_is_well():
    assert judge(run(.03), ['tracked', 'tracked']) == (health.OK, 'tracking 2 targets')


@pytest.mark.parametrize('latency, level', [
    (.49, health.OK), (.51, health.WARN), (.99, health.WARN), (1.01, health.ERROR)])
def test_latency(latency, level):
    assert judge(run(latency))[0] == level


def test_lost_target():
    level, text = judge(run(.03), ['tracked', 'lost'])
    assert level == health.WARN and text == '1 of 2 targets lost'


def test_no_image():
    level, text = judge(health.CameraHealth(), frame_age=6.)
    assert level == health.ERROR and 'no image for 6 s' in text


def test_lost_images():
    watch = StreamWatch()
    for number in range(0, 200, 2):
        watch.arrived(number, 0, ('camera', number))
    level, text = health.verdict(run(.03), watch, [], VALUES, 0.)
    assert level == health.WARN and '50% of the images lost' in text


@pytest.mark.parametrize('stamp, now, text', [
    (0, NOW, 'no stamp'),
    (NOW, 0, 'stands at zero'),
    (NOW + SECOND, NOW, 'are 1.000 s ahead'),
    (NOW - 2 * 86400 * SECOND, NOW, '2 days old'),
])
def test_clocks_that_do_not_fit_are_named_not_averaged(stamp, now, text):
    camera = health.CameraHealth()
    camera.published(stamp, now, 0., .02)
    assert text in camera.clocks.problem
    level, found = judge(camera)
    assert level == health.WARN and text in found
    shown = health.figures(camera, StreamWatch(), [], 0.)
    assert shown['pipeline_latency_ms_mean'] == 'nan' and text in shown['clock']
    camera.published(NOW, NOW + SECOND // 100, 0., .02)
    assert not camera.clocks.problem


def test_figures():
    shown = health.figures(run(.03), StreamWatch(), ['tracked', 'lost'], .25)
    assert shown['pipeline_latency_ms_mean'] == '30.00'
    assert shown['processing_ms_p95'] == '20.00'
    assert shown['output_rate_hz'] == '10.0'
    assert (shown['targets_tracked'], shown['targets_lost']) == ('1', '1')
    assert shown['frame_age_s'] == '0.250'
    assert all(isinstance(value, str) for value in shown.values())


def test_summary_has_its_percentile():
    recent = health.Recent()
    for value in range(1, 101):
        recent.add(value)
    assert recent.summary() == (50.5, pytest.approx(95, abs=.1), 100)
