# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of what `make stress` is made of; the scenarios themselves are run only by that."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from rclpy.serialization import deserialize_message  # noqa: E402
from re3_ros.messages import (  # noqa: E402
    check_text,
    compressed_to_rgb,
    image_size,
    image_to_rgb,
    read_detection,  # noqa: E402
)
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from stress import bad_messages, report  # noqa: E402
from stress.__main__ import run_scenario  # noqa: E402
from stress.bench import Result, StressConfig  # noqa: E402
from stress.client import Arrival  # noqa: E402
from stress.fuzzing import difference  # noqa: E402
from stress.load import share_on_target  # noqa: E402
from stress.scene import LENGTH, PrerenderedSequence, Scene  # noqa: E402
from vision_msgs.msg import Detection2D  # noqa: E402

STAMP = 1_500_000_000_123_456_789


def test_scene_shows_its_targets_where_it_says():
    scene = Scene((240, 320), 4)
    before, after = scene.pixels(0), scene.pixels(LENGTH // 2)
    moved = scene.boxes(0) - scene.boxes(LENGTH // 2)
    assert np.abs(moved).max() > 1
    for (x1, y1, x2, y2), (u1, v1, u2, v2) in zip(
            scene.boxes(0).astype(int), scene.boxes(LENGTH // 2).astype(int), strict=True):
        np.testing.assert_array_equal(before[y1:y2, x1:x2], after[v1:v2, u1:u2])
    np.testing.assert_array_equal(scene.boxes(0), scene.boxes(LENGTH))


def test_scene_is_the_same_at_another_resolution():
    small, large = Scene((240, 320), 4), Scene((480, 640), 4)
    np.testing.assert_allclose(large.boxes(3), 2 * small.boxes(3), atol=4)


def test_sequence_stamps_its_images():
    scene = Scene((60, 80), 1)
    sequence = PrerenderedSequence(scene, 'lens', 'rgb8')
    message = deserialize_message(sequence.message(LENGTH + 2, STAMP), Image)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(STAMP, 10 ** 9)
    assert message.header.frame_id == 'lens'
    np.testing.assert_array_equal(image_to_rgb(message), scene.pixels(2))


def read_image(message):
    """Do what the node does with an image, as far as it needs no other one."""
    check_text('frame_id', message.header.frame_id)
    image_size(message)


# What is wrong with these shows only beside other images or targets.
IN_CONTEXT = {'outlier stamp', 'late', 'outside', 'removal without id', 'removal of an unknown id',
              'too old', 'too new', 'waiting'}


@pytest.mark.parametrize('kind, bads, read', [
    (Image, bad_messages.IMAGES, read_image),
    (CompressedImage, bad_messages.COMPRESSED, compressed_to_rgb),
    (Detection2D, bad_messages.BOXES, lambda message: read_detection(message, 64)),
])
def test_bad_messages_are_bad_as_they_say(kind, bads, read):
    rng = np.random.default_rng(0)
    for name, bad in bads.items():
        for _ in range(5):
            message = bad.make(rng, STAMP)
            if isinstance(message, bytes):
                message = deserialize_message(message, kind)
            if name in IN_CONTEXT:
                read(message)
                continue
            with pytest.raises(ValueError) as raised:
                read(message)
            assert bad.words in str(raised.value), name


def test_difference_of_two_runs():
    box, other = np.array([1., 2., 3., 4.]), np.array([1., 2., 3., 4.5])
    assert difference([[box, box]], [[box, box]]) == 0
    assert difference([[box, box]], [[box, other]]) == .5
    assert difference([[box]], [[None]]) == np.inf


def test_share_on_target():
    scene = Scene((240, 320), 2)
    truth = scene.boxes(STAMP % LENGTH)
    right = Arrival(STAMP, 0, {'target 0': truth[0], 'target 1': truth[1]})
    wrong = Arrival(STAMP, 0, {'target 0': truth[1], 'target 1': truth[1]})
    assert share_on_target([right], scene) == 1
    assert share_on_target([right, wrong], scene) == .75
    assert share_on_target([], scene) == 0


def test_result_passes_only_if_all_conditions_hold():
    result = Result('Title', 'Text.')
    assert not result.passed
    result.check('one', True)
    assert result.passed
    result.check('two', False)
    assert not result.passed


def test_scenario_that_breaks_down_fails():
    def broken(bench):
        """Break."""
        raise RuntimeError('no node')
    result = run_scenario(broken, None, Result)
    assert not result.passed and 'no node' in result.checks[0]['seen']


@pytest.fixture
def result():
    """Return a small Result."""
    result = Result('Title', 'Text.', report.circumstances(StressConfig()))
    result.table('a', 'b').rows.append([np.float64(1.5), 'x|y'])
    result.check('it holds', True, 'seen')
    return result


def test_result_is_written_and_read(result, tmp_path):
    result.write(tmp_path / 'result.json')
    assert json.loads((tmp_path / 'result.json').read_text())['title'] == 'Title'
    again = Result.read(tmp_path / 'result.json')
    assert report.to_markdown({'name': again}) == report.to_markdown({'name': result})


def test_report_goes_between_the_markers(result, tmp_path):
    docs = tmp_path / 'docs.md'
    docs.write_text(f'before\n{report.BEGIN}\nstale figures\n{report.END}\nafter\n')
    report.put_into_docs(docs, report.to_markdown({'name': result}))
    text = docs.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n') and 'stale' not in text
    assert '| 1.5 | x\\|y |' in text and '| it holds | seen | holds |' in text
    docs.write_text('no markers')
    with pytest.raises(ValueError, match='has no lines'):
        report.put_into_docs(docs, '')


def test_plot(tmp_path):
    report.plot_lines(tmp_path / 'plot.png', [0, 1, 2], {'a': [1, 2, 3], 'b': [3, 2, 1]})
    assert (tmp_path / 'plot.png').stat().st_size > 1000


def test_unknown_scenarios_are_refused():
    command = [sys.executable, '-m', 'stress', '--only', 'nonsense']
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': path}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2 and 'nonsense' in ended.stderr
