# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The tests run with the pytest plugins of a sourced ROS importable."""

import os
import subprocess
import sys

import pytest

# As launch_testing 3.7 has it: pytest 9 has no argument `path` any more.
HOOK = 'def pytest_pycollect_makemodule(path, parent):\n    pass\n'


@pytest.mark.parametrize('name', ['launch_testing', 'launch_ros'])
def test_outdated_hooks_do_not_stop_pytest(root, tmp_path, name):
    (tmp_path / 'outdated_plugin.py').write_text(HOOK)
    info = tmp_path / 'outdated_plugin-3.7.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: outdated-plugin\nVersion: 3.7\n')
    (info / 'entry_points.txt').write_text(f'[pytest11]\n{name} = outdated_plugin\n')
    (tmp_path / 'test_nothing.py').write_text('def test_nothing():\n    pass\n')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-c', root / 'pyproject.toml', '-q', '--rootdir',
         tmp_path, tmp_path / 'test_nothing.py'],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)}, capture_output=True, text=True,
        check=False)
    assert result.returncode == 0, result.stdout + result.stderr
