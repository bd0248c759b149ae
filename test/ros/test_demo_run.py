# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo as a user runs it: processes, topics, output folder and exit code."""

import csv
import os
from pathlib import Path
import subprocess
import sys
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from re3_core.io.video import open_source, video_writer  # noqa: E402
from re3_core.networks.re3_lite import Re3LiteNet  # noqa: E402
from re3_core.weights import save_network  # noqa: E402
from re3_ros.demo.app import default_video, ERROR, FAILED, PASSED  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).parents[2]
COUNT = 16
SIZE = 20
PATIENCE = 900

shipped = pytest.mark.skipif(
    not (default_video().exists() and (ROOT / 're3_core/weights/re3_lite.safetensors').exists()),
    reason='needs the default clip, which make setup fetches, and the shipped weights')


def box_at(number):
    return [4 + 8 * number, 30, 4 + 8 * number + SIZE, 30 + SIZE]


@pytest.fixture
def clip(tmp_path):
    """Write a video of a patch that moves by more than its size, and its annotation."""
    random = np.random.default_rng(0)
    patch = random.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    with video_writer(tmp_path / 'patch.mp4', 25) as write:
        for number in range(COUNT):
            frame = np.full((96, 160, 3), 60, np.uint8)
            x1, y1, x2, y2 = box_at(number)
            frame[y1:y2, x1:x2] = patch
            write(frame)
    (tmp_path / 'patch.yaml').write_text(repr({
        'video': 'patch.mp4', 'target': 'patch', 'credit': 'made by this test',
        'size': [160, 96], 'frames': COUNT, 'start': 0, 'end': COUNT,
        'boxes': {number: box_at(number) for number in range(0, COUNT, 3)}}))
    return tmp_path / 'patch.mp4'


@pytest.fixture
def random_weights(tmp_path):
    torch.manual_seed(0)
    network = Re3LiteNet(width=0.25, embedding=4, hidden=16)
    save_network(network, tmp_path / 'random.safetensors')
    return tmp_path / 'random.safetensors'


def run_demo(folder, *options):
    """Run the demo; returns the finished process and its output folder."""
    output = folder / 'output'
    done = subprocess.run(
        [sys.executable, '-m', 're3_ros', 'demo', '--output', str(output),
         '--domain-id', os.environ['ROS_DOMAIN_ID'], *map(str, options)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    return done, output


def rows_of(output):
    with open(output / 'tracks.csv', newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_untrained_network_is_reported_as_not_following(
        tmp_path, clip, random_weights, transport):
    done, output = run_demo(
        tmp_path, '--video', clip, '--annotation', clip.with_suffix('.yaml'), '--rate', 10,
        '--weights', random_weights, '--device', 'cpu', '--image-transport', transport)
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert 'the patch was not tracked: mean IoU' in done.stderr
    table = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert table['frames published'] == str(COUNT)
    rows = rows_of(output)
    assert [int(row['frame']) for row in rows] == list(range(COUNT))
    # The node was given the box in the frame that the player held.
    assert [float(rows[0][side]) for side in ('x1', 'y1')] == pytest.approx([4, 30], abs=8)
    answered = [row for row in rows if row['state'] != 'skipped']
    assert answered
    assert all(0 < float(row['latency_ms']) for row in answered)
    assert open_source(output / 'tracked.mp4').properties()[1] == COUNT
    for image in ('tracked.png', 'tracks.png'):
        assert cv2.imread(str(output / image)).std() > 5


def test_video_without_annotation_and_box_is_refused(tmp_path, clip):
    done, output = run_demo(tmp_path, '--video', clip)
    assert done.returncode == ERROR
    assert '--box x,y,width,height' in done.stderr
    assert not output.exists()


def test_node_that_cannot_start_is_named_with_its_words(tmp_path, clip):
    done, _ = run_demo(tmp_path, '--video', clip, '--box', '4,30,20,20',
                       '--weights', tmp_path / 'missing.safetensors')
    assert done.returncode == ERROR
    assert 'tracker node ended with code' in done.stderr
    assert 'missing.safetensors' in done.stderr


def test_the_page_is_served_until_enter_is_pressed(tmp_path, clip, random_weights):
    pytest.importorskip('aiohttp', reason='needs the extra web')
    command = [sys.executable, '-m', 're3_ros', 'demo', '--output', tmp_path / 'output',
               '--video', clip, '--box', '4,30,20,20', '--weights', random_weights, '--stay']
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith('Press Enter'):
                break
        assert lines[-1].startswith('Press Enter'), lines
        address = lines[-2].split()[-1]
        with urlopen(address) as page:
            assert 're3 tracker' in page.read().decode()
        demo.stdin.write('\n')
        demo.stdin.close()
        assert demo.wait(PATIENCE) in (PASSED, FAILED)
        with pytest.raises(OSError):
            urlopen(address)


@pytest.fixture
def patient(tmp_path):
    """Write parameters that make the verdict the network's and not the machine's."""
    path = tmp_path / 'patient.yaml'
    path.write_text('/**: {ros__parameters: {process_every_frame: true}}')
    return '--params-file', path, '--rate', 10


@shipped
def test_shipped_network_follows_the_default_clip(tmp_path, patient):
    done, output = run_demo(tmp_path, *patient)
    assert done.returncode == PASSED, done.stdout + done.stderr
    assert {row['state'] for row in rows_of(output)} <= {'tracked', 'skipped'}


@shipped
def test_wrong_box_on_the_default_clip_is_not_followed(tmp_path, patient):
    done, _ = run_demo(tmp_path, *patient, '--box', '500,20,60,60')
    assert done.returncode == FAILED, done.stdout + done.stderr


def test_refused_box_ends_the_demo_with_the_reason(tmp_path, clip, random_weights):
    parameters = tmp_path / 'none.yaml'
    parameters.write_text('/**: {ros__parameters: {max_id_length: 2}}')
    done, _ = run_demo(tmp_path, '--video', clip, '--box', '4,30,20,20', '--device', 'cpu',
                       '--weights', random_weights, '--params-file', parameters)
    assert done.returncode == ERROR
    assert "the tracker refused the box: id 'target'" in done.stderr
