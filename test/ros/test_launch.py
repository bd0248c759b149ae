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

FOLDER = Path(__file__).resolve().parents[2] / 'launch'
LAUNCH_FILE = FOLDER / 'tracker.launch.py'
DOCUMENTED = {'namespace', 'params_file', 'image', 'cameras', 'image_transport',
              'image_reliability', 'device', 'engine', 'precision', 'model', 'weights',
              'redetection_candidates', 'search_candidates', 'use_sim_time', 'autostart',
              'respawn', 'log_level', 'web', 'web_host', 'web_port'}
NO_LAUNCH = 'the launch system is not installed here (PyPI does not carry it)'


def has_launch():
    """Return whether the launch system is installed, not only this repository's folder."""
    try:
        return importlib.util.find_spec('launch.actions') is not None
    except ModuleNotFoundError:
        return False


HAS_LAUNCH = has_launch()


class Recorded(SimpleNamespace):
    """Stand-in for any class of the launch system: remembers its arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(args=args, **kwargs)


@pytest.fixture
def launch_file(monkeypatch):
    """Load the launch file; where there is no launch system, with stand-ins for its classes."""
    if not HAS_LAUNCH:
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
    assert {name for name, *_ in launch_file.PARAMETERS} <= known


def test_choices_are_those_of_the_parameters(launch_file):
    from re3_ros.parameters import find
    choices = {name: choices for name, _, choices, _ in launch_file.PARAMETERS if choices}
    assert choices == {name: find(name).allowed for name in choices}
    assert {'image_transport', 'image_reliability', 'precision'} <= set(choices)
    for argument in declared(launch_file.generate_launch_description()):
        name = getattr(argument, 'name', None) or argument.args[0]
        if name in choices:
            assert list(argument.choices) == ['', *choices[name]]


@pytest.mark.parametrize('text, value', [
    ('yes', True), ('True', True), ('on', True), ('1', True), ('no', False), ('OFF', False),
    ('false', False), ('0', False)])
def test_booleans(launch_file, text, value):
    assert launch_file.convert('autostart', bool, text) is value


@pytest.mark.parametrize('name, kind, text', [
    ('autostart', bool, 'maybe'), ('redetection_candidates', int, 'many'),
    ('redetection_candidates', int, '2.5'), ('cameras', list, 'front,,rear'),
    ('cameras', list, ',')])
def test_bad_values_name_the_argument(launch_file, name, kind, text):
    with pytest.raises(ValueError, match=f'{name}:={text} must be'):
        launch_file.convert(name, kind, text)


@pytest.mark.parametrize('text', ['front,rear', '[front, rear]', "['front', 'rear']"])
def test_names_of_cameras(launch_file, text):
    assert launch_file.convert('cameras', list, text) == ['front', 'rear']


@pytest.mark.parametrize('image, cameras, remappings', [
    ('', [], [('image', '/camera/image_raw')]),
    ('/usb/image', [], [('image', '/usb/image')]),
    ('', ['a', 'b'], [('a/image', '/a/image_raw'), ('b/image', '/b/image_raw')]),
    ('/rig/{camera}/color', ['a', 'b'],
     [('a/image', '/rig/a/color'), ('b/image', '/rig/b/color')]),
    ('/x, /y', ['a', 'b'], [('a/image', '/x'), ('b/image', '/y')]),
])
def test_topics_of_cameras(launch_file, image, cameras, remappings):
    assert launch_file.image_remappings(image, cameras) == remappings


@pytest.mark.parametrize('image, cameras', [
    ('/x', ['a', 'b']), ('/x,/y,/z', ['a', 'b']), ('/{camera}/x', []), ('/x,/y', [])])
def test_topics_that_do_not_match_the_cameras(launch_file, image, cameras):
    with pytest.raises(ValueError, match='image:='):
        launch_file.image_remappings(image, cameras)


@pytest.mark.parametrize('text, cameras', [
    ('/**: {ros__parameters: {cameras: [front, rear]}}', ['front', 'rear']),
    ('re3: {tracker: {ros__parameters: {cameras: [front, rear]}}}', ['front', 'rear']),
    ("/**: {ros__parameters: {cameras: ['']}}", []), ('/**: [', []), ('', [])])
def test_cameras_of_a_parameters_file(launch_file, tmp_path, text, cameras):
    (tmp_path / 'params.yaml').write_text(text)
    assert launch_file.cameras_of(tmp_path / 'params.yaml') == cameras
    assert launch_file.cameras_of(tmp_path / 'missing.yaml') == []


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
def launch(ros, tmp_path):
    """Return a function that runs a launch file by the real launch system."""
    pytest.importorskip('launch_ros', reason=NO_LAUNCH)
    from ament_index_python.packages import get_package_prefix, PackageNotFoundError
    try:
        get_package_prefix('re3_ros')
    except PackageNotFoundError:
        pytest.skip('re3_ros is not built and sourced')
    processes, log = [], tmp_path / 'log.txt'

    def run(name, **arguments):
        texts = [f'{key}:={value}' for key, value in arguments.items()]
        with open(log, 'wb') as file:
            processes.append(subprocess.Popen(
                [sys.executable, '-c', RUN, FOLDER / name, *texts], stdout=file, stderr=file))
        return processes[-1], log
    yield run
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_launch_system_starts_a_node_that_tracks(launch, make_client, tiny_weights):
    process, log = launch(
        'tracker.launch.py', namespace='launched', image='/launched/camera/image_raw',
        weights=tiny_weights, device='cpu', autostart='yes', image_reliability='reliable')
    client = make_client(namespace='/launched', image='camera/image_raw').connect()
    client.start_target('cup', (40., 30., 80., 90.))
    # An argument beats the params_file, which beats the default.
    from rcl_interfaces.srv import GetParameters
    values = client.call(GetParameters, 'tracker/get_parameters', names=[
        'device', 'precision', 'use_sim_time', 'image_reliability']).values
    assert values[0].string_value == 'cpu'
    assert values[1].string_value == 'auto' and not values[2].bool_value
    assert values[3].string_value == 'reliable'
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, log.read_text()
    assert 'process has finished cleanly' in log.read_text()


def test_launch_of_several_cameras(launch, make_client, tiny_weights):
    launch('tracker.launch.py', namespace='rigged', cameras='front,rear',
           image='/rigged/{camera}/color', weights=tiny_weights, device='cpu')
    client = make_client(namespace='/rigged', camera='rear', image='color').connect()
    client.start_target('cup', (40., 30., 80., 90.))


@pytest.mark.parametrize('arguments, text', [
    ({'precision': 'int4'}, 'precision'), ({'redetection_candidates': 'many'},
                                           'redetection_candidates:=many must be'),
    ({'autostart': 'maybe'}, 'autostart:=maybe must be'),
    ({'image_transport': 'smoke'}, 'image_transport'),
    ({'params_file': '/nowhere.yaml'}, '/nowhere.yaml')])
def test_bad_arguments_end_the_launch(launch, arguments, text):
    process, log = launch('tracker.launch.py', **arguments)
    assert process.wait(120) == 1
    assert text in log.read_text() and 'finished cleanly' not in log.read_text()


def test_demo_tracks_a_target_in_a_video(launch, make_client, tmp_path):
    import numpy as np
    from re3_core.io.video import video_writer
    from re3_core.weights import weights_path
    if not weights_path('re3_lite').exists():
        pytest.skip('needs the shipped weights')
    rng = np.random.default_rng(0)
    with video_writer(tmp_path / 'clip.mp4', 25) as write:
        patch = rng.integers(0, 255, (40, 40, 3), np.uint8)
        for number in range(10):
            frame = np.full((120, 160, 3), 60, np.uint8)
            frame[40:80, 20 + 4 * number:60 + 4 * number] = patch
            write(frame)
    _, log = launch('demo.launch.py', video=tmp_path / 'clip.mp4', box='20,40,40,40')
    client = make_client()
    client.wait_until(lambda: 'target: tracked' in log.read_text(), 'the answer to the box')
    client.wait_until(lambda: any(
        detection.id == 'target' and detection.bbox.center.position.x > 45
        for message in client.tracks.values() for detection in message.detections),
        'the target to move with the video')


@pytest.mark.parametrize('arguments, text', [
    ({}, 'video:= is missing'),
    ({'video': '/nowhere.mp4'}, 'video:=/nowhere.mp4: there is no such file'),
    ({'video': FOLDER, 'box': '1,2,3'}, 'box:=1,2,3 must be x,y,width,height'),
    ({'video': FOLDER, 'box': '1,2,-3,4'}, 'box:=1,2,-3,4 must be x,y,width,height')])
def test_bad_arguments_of_the_demo_are_named(launch, arguments, text):
    process, log = launch('demo.launch.py', **arguments)
    assert process.wait(120) == 1
    assert text in log.read_text()
