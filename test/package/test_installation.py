# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Installations of a copy of the package: by pip without ROS, and by colcon."""

import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

WITHOUT_ROS = """
import sys
sys.modules.update(dict.fromkeys(['rclpy', 'sensor_msgs', 'vision_msgs', 'launch']))
import numpy as np
import re3_core
import re3_ros
import training.config
modules = re3_core, re3_ros, training.config
assert all(module.__file__.startswith(sys.argv[1]) for module in modules)
tracker = re3_core.Tracker(weights=sys.argv[2], device='cpu')
frame = np.zeros((60, 80, 3), np.uint8)
tracker.init('cup', frame, (10, 10, 30, 30))
print(list(tracker.update(frame)))
"""
PATIENCE = 60    # seconds; only a broken installation takes them


def test_pip_without_ros(sources, tiny_weights, tmp_path):
    target = tmp_path / 'target'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index',
                    '--no-build-isolation', '--target', target, sources], check=True)
    for folder in ('re3_core/weights', 'config'):
        shipped = {path.name for path in (sources / folder).glob('*.*')}
        place = target / ('share/re3_ros' if folder == 'config' else '') / folder
        assert {path.name for path in place.glob('*.*')} == shipped
    result = subprocess.run(
        [sys.executable, '-c', WITHOUT_ROS, target, tiny_weights], cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(target)}, capture_output=True, text=True, check=False)
    assert result.stdout == "['cup']\n", result.stderr


@pytest.fixture(scope='session')
def workspace(sources):
    """Return a workspace in which colcon has built the copy."""
    workspace = sources.parents[1]
    result = subprocess.run(
        ['colcon', 'build', '--packages-select', 're3_ros'], cwd=workspace,
        env={**os.environ, 'COLCON_LOG_PATH': str(workspace / 'log')},
        capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


@pytest.mark.parametrize('options', [[], ['--symlink-install']], ids=['copied', 'symlinked'])
def test_executables_use_the_active_python(sources, tmp_path, options):
    subprocess.run(
        ['colcon', '--log-base', tmp_path / 'log', 'build', '--base-paths', sources,
         '--build-base', tmp_path / 'build', '--install-base', tmp_path / 'install', *options,
         '--packages-select', 're3_ros'],
        cwd=tmp_path, capture_output=True, check=True)
    scripts = [path for path in (tmp_path / 'install/re3_ros/lib/re3_ros').iterdir()
               if path.is_file()]
    assert {'camera_player', 'demo', 'tracker_node'} <= {path.name for path in scripts}
    assert {path.read_text().splitlines()[0] for path in scripts} == {'#!/usr/bin/env python3'}


def in_workspace(workspace, *command):
    """Return a command line that runs a command where only the built copy can be found."""
    prefix = workspace / 'install' / 're3_ros'
    return ['bash', '-c', f'. {workspace}/install/local_setup.bash && exec "$@"', 'bash',
            *(str(part).format(prefix=prefix) for part in command)]


@pytest.fixture
def rclpy():
    """Return rclpy, initialized; skip without it."""
    module = pytest.importorskip('rclpy')
    if module.ok():     # by the tests of the node in the same process
        yield module
        return
    module.init()
    yield module
    module.try_shutdown()


@pytest.fixture
def node(workspace, tiny_weights, tmp_path):
    """Start the installed tracker node with its installed parameters file."""
    from stress.node_process import RosProcess
    config = workspace / 'install/re3_ros/share/re3_ros/config/tracker.yaml'
    with RosProcess(tmp_path / 'node.log',
                    in_workspace(workspace, '{prefix}/lib/re3_ros/tracker_node'),
                    ['--params-file', config, '-r', '__ns:=/re3'],
                    weights=tiny_weights, device='cpu') as process:
        yield process


def test_colcon_installs_everything(workspace, tmp_path):
    pytest.importorskip('rclpy')
    code = 'import re3_core, re3_ros, training; print(re3_core.__file__, training.__file__)'
    output = subprocess.run(in_workspace(workspace, sys.executable, '-c', code), cwd=tmp_path,
                            capture_output=True, text=True, check=True).stdout.split()
    prefix = workspace / 'install' / 're3_ros'
    assert [Path(path).is_relative_to(prefix) for path in output] == [True, True]
    script = prefix / 'lib' / 're3_ros' / 'tracker_node'
    assert script.read_text().startswith('#!/usr/bin/env python3\n')


def test_installed_node_tracks(node, rclpy):
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2D, Detection2DArray
    client = rclpy.create_node('client')
    received = []
    images = client.create_publisher(Image, '/re3/image', 10)
    inits = client.create_publisher(Detection2D, '/re3/init', 10)
    client.create_subscription(Detection2DArray, '/re3/tracks', received.append, 10)
    box = Detection2D(id='cup')
    box.bbox.center.position.x, box.bbox.center.position.y = 40., 30.
    box.bbox.size_x, box.bbox.size_y = 20., 10.
    image = Image(height=60, width=80, encoding='rgb8', step=240, data=bytes(60 * 240))
    end = time.monotonic() + PATIENCE
    while not any(message.detections for message in received):
        assert node.alive and time.monotonic() < end, node.log
        image.header.stamp = client.get_clock().now().to_msg()
        images.publish(image)
        if not received or not inits.get_subscription_count():
            inits.publish(box)
        rclpy.spin_once(client, timeout_sec=.1)
    client.destroy_node()
    assert [entry.id for message in received for entry in message.detections][:1] == ['cup']
