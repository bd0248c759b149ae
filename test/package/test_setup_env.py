# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The script that makes the environment: errors on unfit machines, and skipped steps."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest


@pytest.fixture
def setup_env(root):
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location('setup_env', root / 'scripts' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def venv(tmp_path):
    """Return the folder of an environment that is not made yet."""
    return tmp_path / 'venv'


@pytest.fixture
def done(setup_env, monkeypatch):
    """Replace the steps by ones that only record their names; return the list of names."""
    names = []

    def make_venv(venv, on_ros):
        names.append('venv')
        shutil.rmtree(venv, ignore_errors=True)
        (venv / 'stamps').mkdir(parents=True)
    monkeypatch.setattr(setup_env, 'make_venv', make_venv)
    for step, name in (('install_packages', 'packages'), ('fetch_clips', 'clips'),
                       ('build_interfaces', 'interfaces')):
        monkeypatch.setattr(setup_env, step, lambda *_, name=name: names.append(name))
    return names


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


def test_missing_python_headers(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('CC', sys.executable)
    monkeypatch.setenv('CXX', sys.executable)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    with pytest.raises(setup_env.SetupError, match='apt install python3-dev$'):
        setup_env.check_tools(on_ros=False)
    setup_env.check_tools(on_ros=True)
    (tmp_path / 'Python.h').touch()
    setup_env.check_tools(on_ros=False)


def test_everything_missing_is_one_line(setup_env, venv, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ensurepip', None)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(setup_env, 'check_wheel_platform', lambda: None)
    with pytest.raises(setup_env.SetupError, match='no-such-compiler.*python3-venv g[+][+]'):
        setup_env.make_environment(venv, on_ros=False)
    assert not venv.exists()


def test_full_disk(setup_env, tmp_path):
    with pytest.raises(setup_env.SetupError, match='1000000.0 GB of free disk are needed in'):
        setup_env.check_disk(tmp_path / 'not' / 'there', needed=10 ** 15)
    setup_env.check_disk(tmp_path / 'not' / 'there', needed=1)


def test_disk_that_becomes_full(setup_env, venv, capsys):
    (venv / 'tmp').mkdir(parents=True)
    (venv / 'setup.sh').touch()
    script = 'echo "OSError: [Errno 28] No space left on device"; exit 1'
    with pytest.raises(setup_env.SetupError, match='the disk became full'):
        setup_env.run(venv, 'sh', '-c', script)
    assert 'Errno 28' in capsys.readouterr().err


def test_sourced_ros_of_another_python(setup_env, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setattr(sys, 'executable', 'false')
    with pytest.raises(setup_env.SetupError, match='jazzy is sourced, but false cannot import'):
        setup_env.uses_sourced_ros()


def test_no_sourced_ros(setup_env, monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    assert not setup_env.uses_sourced_ros()


def test_a_problem_is_one_line(root, tmp_path):
    result = run_script(root, tmp_path, CC='no-such-compiler')
    assert result.returncode == 1
    assert result.stderr.startswith(
        'setup: not found: a C and C++ compiler (no-such-compiler)')
    assert result.stderr.count('\n') == 1
    assert not (tmp_path / 'venv').exists()


def test_nothing_is_done_twice(setup_env, venv, done):
    setup_env.make_environment(venv, on_ros=False)
    assert done == ['venv', 'packages', 'clips', 'interfaces']
    setup_env.make_environment(venv, on_ros=False)
    assert len(done) == 4


def test_environment_on_ros_has_no_wheels(setup_env, venv, done):
    setup_env.make_environment(venv, on_ros=True)
    assert done == ['venv', 'packages', 'clips']
    assert not [line for line in setup_env.requirements(on_ros=True) if line.startswith('ros-')]


def test_other_python_or_ros_makes_everything_anew(setup_env, venv, done):
    setup_env.make_environment(venv, on_ros=True)
    done.clear()
    setup_env.make_environment(venv, on_ros=False)
    assert done == ['venv', 'packages', 'clips', 'interfaces']


def test_changed_interface_is_generated_again(setup_env, venv, done, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env, 'INTERFACES', tmp_path / 'interfaces')
    message = tmp_path / 'interfaces' / 'Point.msg'
    message.parent.mkdir()
    message.write_text('float64 x\n')
    setup_env.make_environment(venv, on_ros=False)
    done.clear()
    message.write_text('float32 x\n')
    setup_env.make_environment(venv, on_ros=False)
    assert done == ['interfaces']


def test_interrupted_step_is_done_again(setup_env, venv, done, monkeypatch):
    def fail(_):
        raise setup_env.SetupError('interrupted')
    with monkeypatch.context() as context:
        context.setattr(setup_env, 'fetch_clips', fail)
        with pytest.raises(setup_env.SetupError, match='interrupted'):
            setup_env.make_environment(venv, on_ros=False)
    done.clear()
    setup_env.make_environment(venv, on_ros=False)
    assert done == ['clips', 'interfaces']


@pytest.mark.parametrize('on_ros', [False, True])
@pytest.mark.parametrize('has_torch', [False, True])
def test_torch_is_installed_only_where_it_is_missing(setup_env, venv, monkeypatch, on_ros,
                                                     has_torch):
    commands = []

    def run(venv, *command):
        commands.append([str(part) for part in command])
        return 'ModuleSpec' if has_torch else 'None'
    monkeypatch.setattr(setup_env, 'run', run)
    (venv / 'tmp').mkdir(parents=True)
    setup_env.install_packages(venv, on_ros, 'torch==2.0 --index-url URL')
    torch = [command for command in commands if command[-3:] == ['torch==2.0', '--index-url',
                                                                 'URL']]
    assert len(torch) == (0 if has_torch else 1)
    others = [part for command in commands if command not in torch for part in command]
    assert not [part for part in others if part.startswith('torch')]


def test_packages_of_the_machine_are_kept(setup_env, venv, monkeypatch):
    commands = []
    monkeypatch.setattr(setup_env, 'run', lambda venv, *command: commands.append(command) or '')
    monkeypatch.setattr(setup_env, 'requirements',
                        lambda on_ros: ['numpy>=1.21', 'no-such-package>=1'])
    (venv / 'tmp').mkdir(parents=True)
    setup_env.install_packages(venv, True, 'torch')
    assert commands[-1][-1:] == ('no-such-package>=1',)
    assert 'numpy>=1.21' not in commands[-1]
    assert (venv / 'tmp' / 'constraints.txt').read_text() == f'numpy=={np.__version__}\n'


def test_modules_of_the_requirements(setup_env):
    """On top of ROS each requirement is looked for by the name of its module."""
    lines = [line for line in setup_env.requirements(on_ros=True)
             if not line.startswith('colcon')]
    modules = [setup_env.module_name(line) for line in lines]
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_includes_of_wheels_are_repaired(setup_env, venv, monkeypatch):
    path = venv / 'share' / 'rclpy' / 'export.cmake'
    path.parent.mkdir(parents=True)
    path.write_text('"/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312-cp312/lib/'
                    'python3.12/site-packages/numpy/_core/include;/opt/other"')
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: '/usr/include/py')
    setup_env.repair_includes(venv)
    python = 'python{}.{}'.format(*sys.version_info)
    assert path.read_text() == (
        f'"/usr/include/py;{venv}/lib/{python}/site-packages/numpy/_core/include;/opt/other"')


def test_interface_has_every_message(root):
    messages = {path.stem for path in
                (root / 'third_party_interfaces' / 'vision_msgs' / 'msg').glob('*.msg')}
    assert messages == {
        'BoundingBox2D', 'BoundingBox2DArray', 'BoundingBox3D', 'BoundingBox3DArray',
        'Classification', 'Detection2D', 'Detection2DArray', 'Detection3D', 'Detection3DArray',
        'LabelInfo', 'ObjectHypothesis', 'ObjectHypothesisWithPose', 'Point2D', 'Pose2D',
        'VisionClass', 'VisionInfo'}
