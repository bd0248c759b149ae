# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Start and end of the programs: bad arguments, a bad environment, interrupts."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

INIT = "import sys\nfrom re3_ros.programs import init_ros\ninit_ros('program', sys.argv)"
PATIENCE = 120


@pytest.mark.parametrize('arguments, text', [
    (('--params-file', '/nowhere.yaml'), '/nowhere.yaml'),
    (('--params-file', '{malformed}'), 'malformed.yaml'),
    (('--log-level', 'loud'), 'loud'),
    (('-r', 'a:=b:=c'), 'a:=b:=c'),
    (('-r', '__ns:=bad!ns'), 'bad!ns'),
    (('-p', 'nonsense'), 'nonsense'),
    (('--nonsense',), 'unknown ROS arguments'),
])
def test_bad_arguments_are_printed_and_end_the_program(tmp_path, arguments, text):
    (tmp_path / 'malformed.yaml').write_text('/**: {ros__parameters: [')
    arguments = [part.format(malformed=tmp_path / 'malformed.yaml') for part in arguments]
    done = subprocess.run([sys.executable, '-c', INIT, '--ros-args', *arguments],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith('program: cannot start: ') and text in line
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('changes, text', [
    ({'HOME': None, 'ROS_LOG_DIR': None, 'ROS_HOME': None}, 'set HOME, or ROS_LOG_DIR'),
    ({'ROS_LOG_DIR': '/proc/nowhere'}, '/proc/nowhere'),
    ({'ROS_DOMAIN_ID': 'abc'}, 'ROS_DOMAIN_ID'),
])
def test_bad_environment_is_one_line(changes, text):
    environment = {**os.environ, **changes}
    environment = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, '-c', INIT], env=environment, capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == 1 and text in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('program', ['tracker_node', 'camera_player', 'web'])
def test_programs_end_with_the_reason(program):
    done = subprocess.run(
        [sys.executable, '-m', 're3_ros', program, '--ros-args', '--params-file', '/nowhere.yaml'],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and f'{program}: cannot start' in done.stderr
    assert '/nowhere.yaml' in done.stderr and 'Traceback' not in done.stderr


SLOW = """
import sys, types
import re3_ros.__main__ as programs
class Slow:
    def find_spec(self, name, path, target=None):
        if name == 'slow':
            print('loading', flush=True)
            import time
            while True:     # one long sleep would not notice a signal just before it
                time.sleep(.05)
sys.meta_path.insert(0, Slow())
programs.PROGRAMS['tracker_node'] = 'slow'
programs.tracker_node()
"""


@pytest.mark.parametrize('which', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_libraries_load_is_quiet(which):
    process = subprocess.Popen([sys.executable, '-c', SLOW], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'loading\n'
    process.send_signal(which)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, '')


def test_entry_points_load_nothing_before_signals_are_handled():
    code = "import sys, re3_ros.__main__; print([m for m in ('torch', 'rclpy', 'cv2') " \
           'if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.stdout == '[]\n'


def test_an_interrupt_in_a_destructor_is_quiet_and_other_errors_are_not():
    code = INIT + (
        '\nclass Rest:\n'
        '    def __init__(self, error): self.error = error\n'
        '    def __del__(self): raise self.error\n'
        'Rest(KeyboardInterrupt())\n'
        "Rest(ValueError('a fault'))\n")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 0
    assert 'ValueError: a fault' in done.stderr and 'KeyboardInterrupt' not in done.stderr
