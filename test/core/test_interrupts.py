# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Commands that are interrupted while their modules load."""

import signal
import subprocess
import sys

import pytest

# Stops where the first library that takes long is imported.
SLOW = """
import runpy, sys, time

class Slow:
    def find_spec(self, name, path, target=None):
        if name == {library!r}:
            print('loading', flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Slow())
sys.argv[0] = '-m'
runpy.run_module({module!r}, run_name='__main__', alter_sys=True)
"""
PATIENCE = 120


@pytest.mark.parametrize('module, library', [
    ('re3_core.convert', 'numpy'), ('re3_web', 'cv2'), ('re3_web', 'aiohttp'),
    ('training.track', 'numpy'), ('training.data.check', 'tqdm')])
def test_interrupt_while_libraries_load_is_quiet(module, library):
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW.format(module=module, library=library)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'loading\n'
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (-signal.SIGINT, '')


def test_other_errors_are_printed():
    code = ("import sys; sys.argv[0] = '-m'; import re3_core\n"
            'assert sys.excepthook is not sys.__excepthook__\n'
            "raise ValueError('a fault')")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 1 and 'ValueError: a fault' in done.stderr


def test_programs_that_import_the_package_keep_their_hook():
    code = 'import sys, re3_core; assert sys.excepthook is sys.__excepthook__'
    assert subprocess.run([sys.executable, '-c', code], timeout=PATIENCE).returncode == 0
