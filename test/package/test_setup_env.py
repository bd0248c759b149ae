# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The script that makes the environment: what it says about unfit machines, what it skips."""

import importlib.util
import os
import subprocess
import sys
import sysconfig

import pytest


@pytest.fixture
def setup_env(root):
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location('setup_env', root / 'scripts' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(setup_env, tmp_path):
    """Return an environment that is not made yet."""
    return setup_env.Environment(tmp_path / 'venv', 'torch', uses_ros=False)


def finish(setup_env, environment):
    """Leave the stamps of a complete set-up."""
    stamps = environment.venv / 'stamps'
    stamps.mkdir(parents=True, exist_ok=True)
    for name, _, key in setup_env.steps(environment):
        (stamps / name).write_text(key)


def names(setup_env, environment):
    """Return the names of the steps that are to be done."""
    return [name for name, _, _ in setup_env.pending(environment)]


def run_script(root, tmp_path, **variables):
    """Run the script outside any ROS and return the process."""
    clean = {name: value for name, value in os.environ.items()
             if name not in ('ROS_DISTRO', 'PYTHONPATH', 'CC', 'CXX')}
    return subprocess.run(
        [sys.executable, root / 'scripts' / 'setup_env.py', '--venv', tmp_path / 'venv'],
        env={**clean, **variables}, capture_output=True, text=True, check=False)


def test_old_python(setup_env):
    with pytest.raises(setup_env.SetupError, match='Python 3.10 or newer is needed, this is 3.9'):
        setup_env.check_python((3, 9, 1))
    setup_env.check_python((3, 10, 0))


def test_python_without_wheels(setup_env):
    with pytest.raises(setup_env.SetupError, match='3.10 to 3.14 is needed, this is 3.15'):
        setup_env.check_wheel_platform((3, 15, 0))


def test_machine_without_wheels(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(setup_env.SetupError, match='x86-64 only; on this machine install ROS 2'):
        setup_env.check_wheel_platform((3, 12, 0))


def test_missing_compiler(setup_env, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert ('a C and C++ compiler (no-such-compiler)', 'g++') in setup_env.missing_for_interfaces()


def test_missing_python_headers(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('CC', sys.executable)
    monkeypatch.setenv('CXX', sys.executable)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    assert setup_env.missing_for_interfaces() == [
        (f'the headers of Python ({tmp_path}/Python.h)', 'python3-dev')]
    (tmp_path / 'Python.h').touch()
    assert setup_env.missing_for_interfaces() == []


def test_everything_missing_is_one_line(setup_env, environment, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ensurepip', None)
    monkeypatch.setenv('CC', 'no-such-compiler')
    monkeypatch.setattr(setup_env, 'check_wheel_platform', lambda: None)
    with pytest.raises(setup_env.SetupError, match='apt install python3-venv g[+][+]'):
        setup_env.make_environment(environment)
    assert not environment.venv.exists()


def test_full_disk(setup_env, tmp_path):
    with pytest.raises(setup_env.SetupError, match='1000000.0 GB of free disk are needed in'):
        setup_env.check_disk(tmp_path / 'not' / 'there', needed=10 ** 15)
    setup_env.check_disk(tmp_path / 'not' / 'there', needed=1)


def test_disk_that_becomes_full(setup_env, environment, tmp_path, capsys):
    script = 'echo "OSError: [Errno 28] No space left on device"; exit 1'
    with pytest.raises(setup_env.SetupError, match='the disk became full'):
        environment.run('sh', '-c', script)
    assert 'Errno 28' in capsys.readouterr().err


def test_sourced_ros_of_another_python(setup_env, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setattr(sys, 'executable', 'false')
    with pytest.raises(setup_env.SetupError, match='jazzy is sourced, but false cannot import'):
        setup_env.uses_sourced_ros()


def test_no_sourced_ros(setup_env, monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    assert not setup_env.uses_sourced_ros()


def test_trouble_is_one_line(root, tmp_path):
    result = run_script(root, tmp_path, CC='no-such-compiler')
    assert result.returncode == 1
    assert result.stdout == ''
    assert result.stderr.startswith(
        'setup: not found: a C and C++ compiler (no-such-compiler)')
    assert result.stderr.count('\n') == 1
    assert not (tmp_path / 'venv').exists()


def test_nothing_is_done_twice(setup_env, environment):
    assert names(setup_env, environment)[:3] == ['venv', 'ros', 'interfaces']
    finish(setup_env, environment)
    assert names(setup_env, environment) == []


def test_only_what_changed_is_done_again(setup_env, environment):
    finish(setup_env, environment)
    environment.torch = 'torch==2.0'
    assert names(setup_env, environment) == ['torch']


def test_new_environment_needs_everything(setup_env, environment):
    finish(setup_env, environment)
    everything = [name for name, _, _ in setup_env.steps(environment)]
    (environment.venv / 'stamps' / 'venv').unlink()
    assert names(setup_env, environment) == everything


def test_changed_interface_is_generated_again(setup_env, environment, monkeypatch, tmp_path):
    interfaces = tmp_path / 'interfaces'
    interfaces.mkdir()
    (interfaces / 'Point.msg').write_text('float64 x\n')
    monkeypatch.setattr(setup_env, 'INTERFACES', interfaces)
    finish(setup_env, environment)
    (interfaces / 'Point.msg').write_text('float32 x\n')
    assert names(setup_env, environment) == ['interfaces']


def test_interrupted_step_is_done_again(setup_env, environment, monkeypatch):
    finish(setup_env, environment)
    environment.torch = 'torch==2.0'

    def fail(_):
        raise setup_env.SetupError('interrupted')
    monkeypatch.setattr(setup_env, 'install_torch', fail)
    with pytest.raises(setup_env.SetupError, match='interrupted'):
        setup_env.make_environment(environment)
    environment.torch = 'torch'
    assert names(setup_env, environment) == ['torch']


def test_environment_on_ros_has_no_wheels(setup_env, tmp_path):
    environment = setup_env.Environment(tmp_path / 'venv', 'torch', uses_ros=True)
    steps = [name for name, _, _ in setup_env.steps(environment)]
    assert 'ros' not in steps
    assert 'interfaces' not in steps


def test_includes_of_wheels_are_repaired(setup_env, tmp_path):
    path = tmp_path / 'share' / 'rclpy' / 'export.cmake'
    path.parent.mkdir(parents=True)
    path.write_text('"/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312-cp312/lib/'
                    'python3.12/site-packages/numpy/_core/include;/opt/other"')
    setup_env.repair_includes(tmp_path, '/usr/include/py', '/numpy/include')
    assert path.read_text() == '"/usr/include/py;/numpy/include;/opt/other"'


def test_interface_has_every_message(root):
    messages = {path.stem for path in
                (root / 'third_party_interfaces' / 'vision_msgs' / 'msg').glob('*.msg')}
    assert messages == {
        'BoundingBox2D', 'BoundingBox2DArray', 'BoundingBox3D', 'BoundingBox3DArray',
        'Classification', 'Detection2D', 'Detection2DArray', 'Detection3D', 'Detection3DArray',
        'LabelInfo', 'ObjectHypothesis', 'ObjectHypothesisWithPose', 'Point2D', 'Pose2D',
        'VisionClass', 'VisionInfo'}
