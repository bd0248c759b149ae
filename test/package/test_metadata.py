# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""package.xml and setup.py, compared with each other and with the sources."""

import importlib
import importlib.util
import sys
from xml.etree import ElementTree

import pytest

OWN = {'re3_core', 're3_ros', 're3_web', 'training'}
# Packages without a rosdep key, and packages that are used only where they are installed.
WITHOUT_KEY = {'backports', 'compression', 'mcap', 'rosbags', 'safetensors'}
OPTIONAL = {'cv_bridge', 'foxglove_msgs', 'onnx', 'onnxruntime', 'openvino', 'tensorflow',
            'tensorrt'}
KEYS = {'aiohttp': 'python3-aiohttp', 'cv2': 'python3-opencv',
        'matplotlib': 'python3-matplotlib', 'numpy': 'python3-numpy',
        'torch': 'python3-torch', 'tqdm': 'python3-tqdm', 'yaml': 'python3-yaml'}


@pytest.fixture
def package(root):
    """Return the root element of package.xml."""
    return ElementTree.parse(root / 'package.xml').getroot()


@pytest.mark.parametrize('field', ['name', 'version', 'license', 'maintainer'])
def test_fields_agree(package, setup_arguments, field):
    assert package.findtext(field) == setup_arguments[field]


def test_is_an_ament_python_package_of_format_3(package):
    assert package.get('format') == '3'
    assert package.findtext('export/build_type') == 'ament_python'


def test_runtime_imports_are_declared(root, package, imports_of):
    used = {name for folder in ('re3_core', 're3_ros', 're3_web', 'launch', 'examples')
            for path in (root / folder).rglob('*.py') for name in imports_of(path)}
    used -= OWN | OPTIONAL | WITHOUT_KEY | set(sys.stdlib_module_names)
    declared = {element.text for element in package.iter('exec_depend')}
    assert {KEYS.get(name, name) for name in used} - declared == set()


def test_every_package_is_installed(root, setup_arguments):
    found = {'.'.join(path.parent.relative_to(root).parts)
             for name in OWN for path in (root / name).rglob('__init__.py')}
    assert set(setup_arguments['packages']) == found


def test_folders_with_modules_are_packages(root):
    folders = {path.parent for name in OWN for path in (root / name).rglob('*.py')}
    assert [folder for folder in folders if not (folder / '__init__.py').exists()] == []


def test_data_files_are_complete(root, setup_arguments):
    installed = {f'{folder}/{path.split("/")[-1]}': root / path
                 for folder, paths in setup_arguments['data_files'] for path in paths}
    assert [path for path in installed.values() if not path.is_file()] == []
    share = 'share/re3_ros'
    assert {'share/ament_index/resource_index/packages/re3_ros', f'{share}/package.xml',
            f'{share}/LICENSE', f'{share}/NOTICE', f'{share}/launch/tracker.launch.py',
            f'{share}/config/tracker.yaml', f'{share}/config/fastdds.xml',
            f'{share}/examples/follow_target.py'} <= set(installed)
    for path in (root / 'config').rglob('*.yaml'):
        assert f'{share}/{path.relative_to(root)}' in installed


def test_entry_points_exist(setup_arguments):
    scripts = dict(line.split(' = ') for line in
                   setup_arguments['entry_points']['console_scripts'])
    assert set(scripts) >= {'bag', 'camera_player', 'demo', 'tracker_node', 'web'}
    if importlib.util.find_spec('rclpy') is None:
        pytest.skip('needs rclpy')
    for target in scripts.values():
        module, function = target.split(':')
        assert callable(getattr(importlib.import_module(module), function))
