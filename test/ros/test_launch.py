# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the launch file: by the launch system where there is one, and of its arguments."""

import importlib.util
from pathlib import Path
import signal
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from re3_ros.parameters import DEPRECATED, PARAMETERS

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'tracker.launch.py'
DOCUMENTED = {'namespace', 'params_file', 'image', 'image_transport', 'device', 'model',
              'weights', 'redetection_candidates', 'search_candidates', 'use_sim_time',
              'autostart', 'log_level', 'web', 'web_host', 'web_port'}
NO_LAUNCH = 'the launch system is not installed here (PyPI does not carry it)'


class Recorded(SimpleNamespace):
    """Stand-in for any class of the launch system: remembers its arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(args=args, **kwargs)


@pytest.fixture
def launch_file(monkeypatch):
    """Load the launch file; where there is no launch system, with stand-ins for its classes."""
    if importlib.util.find_spec('launch.actions') is None:
        names = {
            'launch': ['LaunchDescription'],
            'launch.actions': ['DeclareLaunchArgument', 'OpaqueFunction'],
            'launch.substitutions': ['LaunchConfiguration', 'PathJoinSubstitution'],
            'launch_ros': [],
            'launch_ros.actions': ['Node'],
            'launch_ros.parameter_descriptions': ['ParameterFile'],
            'launch_ros.substitutions': ['FindPackageShare'],
        }
        for name, classes in names.items():
            module = ModuleType(name)
            vars(module).update({kind: type(kind, (Recorded,), {}) for kind in classes})
            monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location('tracker_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(description):
    """Return the DeclareLaunchArgument actions of a launch description."""
    entities = description.entities if hasattr(description, 'entities') else description.args[0]
    return [entity for entity in entities if type(entity).__name__ == 'DeclareLaunchArgument']


def test_arguments_are_declared_and_described(launch_file):
    arguments = declared(launch_file.generate_launch_description())
    names = {getattr(argument, 'name', None) or argument.args[0] for argument in arguments}
    assert names == DOCUMENTED
    assert all(len(argument.description) > 10 for argument in arguments)


def test_arguments_that_are_parameters_exist(launch_file):
    known = {parameter.name for parameter in PARAMETERS} | set(DEPRECATED)
    assert {name for name, _ in launch_file.PARAMETERS} <= known


@pytest.mark.parametrize('web', ['false', 'true'])
def test_web_page_is_started_on_demand(launch_file, monkeypatch, web):
    arguments = {'web': web, 'web_host': '0.0.0.0', 'web_port': '9000', 'use_sim_time': 'true'}
    for name in ('Node', 'ParameterFile', 'PathJoinSubstitution', 'FindPackageShare'):
        monkeypatch.setattr(launch_file, name, type(name, (Recorded,), {}))
    monkeypatch.setattr(launch_file, 'LaunchConfiguration', lambda name: SimpleNamespace(
        perform=lambda context: arguments.get(name, '')))
    tracker, *others = launch_file.nodes(None)
    buffer = tracker.parameters[1].get('init_buffer_seconds')
    if web == 'false':
        assert (others, buffer) == ([], None)
        return
    page, = others
    assert page.executable == 'web'
    assert page.parameters[1:] == [{'web_host': '0.0.0.0', 'web_port': 9000, 'use_sim_time': True,
                                    'init_buffer_seconds': buffer}]
    assert buffer > 1


RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = dict(argument.split(':=') for argument in sys.argv[2:])
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments.items())]))
sys.exit(service.run())
"""


@pytest.fixture
def launched(ros, tiny_weights, tmp_path):
    """Run the launch file by the real launch system; yield the process and its log."""
    pytest.importorskip('launch_ros', reason=NO_LAUNCH)
    from ament_index_python.packages import get_package_prefix, PackageNotFoundError
    try:
        get_package_prefix('re3_ros')
    except PackageNotFoundError:
        pytest.skip('re3_ros is not built and sourced')
    arguments = ['namespace:=launched', 'image:=/launched/camera/image_raw',
                 f'weights:={tiny_weights}', 'device:=cpu', 'log_level:=debug']
    log = tmp_path / 'log.txt'
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            [sys.executable, '-c', RUN, LAUNCH_FILE, *arguments], stdout=file, stderr=file)
    yield process, log
    if process.poll() is None:
        process.kill()
        process.wait()


def test_launch_system_starts_a_node_that_tracks(launched, make_client):
    process, log = launched
    client = make_client(namespace='/launched', image='camera/image_raw').connect()
    client.start_target('cup', (40., 30., 80., 90.))
    # An argument beats the params_file, which beats the default.
    from rcl_interfaces.srv import GetParameters
    values = client.call(GetParameters, 'tracker/get_parameters',
                         names=['device', 'precision', 'use_sim_time']).values
    assert values[0].string_value == 'cpu'
    assert values[1].string_value == 'float32' and not values[2].bool_value
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, log.read_text()
    assert 'process has finished cleanly' in log.read_text()
