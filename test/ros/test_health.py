# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of latencies and the verdict for the diagnostics, without ROS."""

import pytest
from re3_ros import diagnostics
from re3_ros.diagnostics import StreamMonitor

SECOND = 10 ** 9
NOW = 1_800_000_000 * SECOND
VALUES = {'latency_warn': .5, 'latency_error': 1., 'frame_timeout': 5.}


def run(latency, count=20):
    """Return the health of a camera whose tracks come `latency` seconds after the image."""
    camera = diagnostics.CameraHealth()
    for number in range(count):
        stamp = NOW + number * SECOND // 10
        now = stamp + int(latency * SECOND)
        camera.frame_arrived(stamp, stamp, number / 10)
        camera.published(stamp, now, number / 10, .02)
    return camera


def level_of(camera, states=(), frame_age=0.):
    """Return level and text of a camera that loses nothing."""
    return diagnostics.diagnostic_level(camera, StreamMonitor(), list(states), VALUES, frame_age)


def test_all_is_well():
    assert level_of(run(.03), ['tracked', 'tracked']) == (diagnostics.OK, 'tracking 2 targets')


@pytest.mark.parametrize('latency, level', [
    (.49, diagnostics.OK), (.51, diagnostics.WARN), (.99, diagnostics.WARN),
    (1.01, diagnostics.ERROR)])
def test_latency(latency, level):
    assert level_of(run(latency))[0] == level


def test_lost_target():
    level, text = level_of(run(.03), ['tracked', 'lost'])
    assert level == diagnostics.WARN and text == '1 of 2 targets lost'


def test_no_image():
    level, text = level_of(diagnostics.CameraHealth(), frame_age=6.)
    assert level == diagnostics.ERROR and 'no image for 6 s' in text


def test_lost_images():
    monitor = StreamMonitor()
    for number in range(0, 200, 2):
        monitor.on_image(number, 0, ('camera', number))
    level, text = diagnostics.diagnostic_level(run(.03), monitor, [], VALUES, 0.)
    assert level == diagnostics.WARN and '50% of the images lost' in text


@pytest.mark.parametrize('stamp, now, text', [
    (0, NOW, 'no stamp'),
    (NOW, 0, 'stands at zero'),
    (NOW + SECOND, NOW, 'are 1.000 s ahead'),
    (NOW - 2 * 86400 * SECOND, NOW, '2 days old'),
])
def test_clocks_that_do_not_fit_are_named_not_averaged(stamp, now, text):
    camera = diagnostics.CameraHealth()
    camera.published(stamp, now, 0., .02)
    assert text in camera.clocks.problem
    level, found = level_of(camera)
    assert level == diagnostics.WARN and text in found
    shown = diagnostics.diagnostic_values(camera, StreamMonitor(), [], 0.)
    assert shown['pipeline_latency_ms_mean'] == 'nan' and text in shown['clock']
    camera.published(NOW, NOW + SECOND // 100, 0., .02)
    assert not camera.clocks.problem


def test_figures():
    shown = diagnostics.diagnostic_values(run(.03), StreamMonitor(), ['tracked', 'lost'], .25)
    assert shown['pipeline_latency_ms_mean'] == '30.00'
    assert shown['processing_ms_p95'] == '20.00'
    assert shown['output_rate_hz'] == '10.0'
    assert (shown['targets_tracked'], shown['targets_lost']) == ('1', '1')
    assert shown['frame_age_s'] == '0.250'
    assert all(isinstance(value, str) for value in shown.values())


def test_summary_has_its_percentile():
    recent = diagnostics.RollingStats()
    for value in range(1, 101):
        recent.add(value)
    assert recent.summary() == (50.5, pytest.approx(95, abs=.1), 100)


@pytest.mark.parametrize('stamp, text', [(0, 'no stamp'), (NOW, 'all have the same stamp')])
def test_constant_stamps_are_named(stamp, text):
    camera = diagnostics.CameraHealth()
    for number in range(diagnostics.CONSTANT_STAMPS - 1):
        camera.frame_arrived(stamp, NOW, number / 30)
    assert camera.clocks.stamp_problem == ''
    camera.frame_arrived(stamp, NOW, 1.)
    assert text in camera.clocks.stamp_problem and text in camera.clocks.problem
    camera.frame_arrived(NOW + 1, NOW + 1, 1.)
    assert camera.clocks.stamp_problem == ''
