# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The style of all files, their headers, and which package may import which."""

import ast
from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('examples', 'launch', 're3_core', 're3_ros', 're3_web', 'scripts', 'test', 'training')
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))
HEADER = ('# SPDX-FileCopyrightText: 2026 re3_ros contributors\n'
          '# SPDX-License-Identifier: Apache-2.0')
ROS = {'rclpy', 'sensor_msgs', 'vision_msgs', 'launch'}
# Entry points that join two packages, of which neither needs the other.
JOINING = {'training/label.py': {'re3_web'}}
# What each package must do without.
FORBIDDEN = {
    're3_core': {'re3_ros', 're3_web', 'training'} | ROS,
    'training': {'re3_ros', 're3_web'} | ROS,
    're3_web': {'re3_ros', 'training'} | ROS,
    're3_ros': {'training'},
    # A controller needs the messages only.
    'examples': {'re3_core', 're3_ros', 'training'},
}


def test_ruff_finds_nothing():
    result = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise',
                             '.'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_finds_nothing():
    pytest.importorskip('mypy')
    result = subprocess.run([sys.executable, '-m', 'mypy', '--no-error-summary'], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_file_has_the_header():
    texts = {path: path.read_text() for path in FILES}
    without = [str(path.relative_to(ROOT)) for path, text in texts.items()
               if HEADER + '\n' not in text[:len(HEADER) + 40]]
    assert without == []


@pytest.mark.parametrize('package', FORBIDDEN)
def test_imports_go_one_way(package, imports_of):
    files = sorted((ROOT / package).rglob('*.py'))
    assert files
    names = {str(path.relative_to(ROOT)): imports_of(path) for path in files}
    wrong = {name: (found & FORBIDDEN[package]) - JOINING.get(name, set())
             for name, found in names.items()}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize('name', ['package.xml', 'config/fastdds.xml',
                                  'third_party_interfaces/vision_msgs/package.xml'])
def test_xml_is_well_formed(name):
    assert len(ElementTree.parse(ROOT / name).getroot()) > 0


def test_setup_script_can_be_read_by_old_pythons():
    source = (ROOT / 'scripts' / 'setup_env.py').read_text()
    ast.parse(source, feature_version=(3, 6))
