# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Start the tracker node, and its web page if asked for.

`ros2 launch re3_ros tracker.launch.py --show-args` lists the arguments.
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare
import yaml

BOOLEANS = {'true': True, 'yes': True, 'on': True, '1': True,
            'false': False, 'no': False, 'off': False, '0': False}
DEFAULT_IMAGE, DEFAULT_CAMERA_IMAGE = '/camera/image_raw', '/{camera}/image_raw'
# Arguments that are parameters of the node: name, type, choices, description.
PARAMETERS = (
    ('cameras', list, (), 'Names of several cameras, separated by commas: front,rear. Each has '
     'its own topics: front/init, front/tracks, ...'),
    ('image_transport', str, ('raw', 'compressed'),
     'raw (sensor_msgs/Image) or compressed (topic of image + /compressed).'),
    ('image_reliability', str, ('auto', 'reliable', 'best_effort'),
     'Reliability asked of the image publishers; auto: what they offer.'),
    ('device', str, (), 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    ('engine', str, ('auto', 'torch', 'onnxruntime', 'openvino', 'tensorrt'),
     'What runs the network; auto: the fastest that is installed.'),
    ('precision', str, ('auto', 'float32', 'bfloat16', 'float16', 'int8'),
     "Precision of the network's arithmetic; auto: as the engine chooses."),
    ('model', str, (), 'Network: re3_lite, re3, ...'),
    ('weights', str, (), 'Path of a .safetensors weights file.'),
    ('redetection_candidates', int, (),
     'Search regions per image and lost target; 0: no re-detection.'),
    ('search_candidates', int, (), 'Deprecated: use redetection_candidates.'),
    ('autostart', bool, (),
     'true: configure and activate the node; false: wait for lifecycle calls.'),
)
# With the page, images are kept so long that a box may be drawn on a paused image.
WEB_BUFFER_SECONDS = 10.0


def convert(name, kind, text):
    """Return the text of a launch argument as `kind`; ValueError names the argument."""
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise ValueError(f'{name}:={text} must be one of {", ".join(BOOLEANS)}')
        return BOOLEANS[text.lower()]
    if kind is list:
        names = [part.strip(' \'"') for part in text.strip(' []').split(',')]
        if not all(names):
            raise ValueError(f'{name}:={text} must be names separated by commas, as front,rear')
        return names
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'{name}:={text} must be a whole number') from None
    return text


def argument(context, name, kind=str):
    """Return the value of a launch argument, None if it is empty."""
    text = LaunchConfiguration(name).perform(context).strip()
    return convert(name, kind, text) if text else None


def given_parameters(context):
    """Return {name: value} of the parameters that were given as arguments."""
    given = {name: argument(context, name, kind)
             for name, kind in [*(entry[:2] for entry in PARAMETERS), ('use_sim_time', bool)]}
    given = {name: value for name, value in given.items() if value is not None}
    if 'weights' in given:
        given['weights'] = os.path.expanduser(given['weights'])
    return given


def cameras_in(tree):
    """Return the parameter `cameras` of a parameters file's content, [] without."""
    if not isinstance(tree, dict):
        return []
    parameters = tree.get('ros__parameters')
    own = parameters.get('cameras') if isinstance(parameters, dict) else None
    found = [own] if isinstance(own, list) else [cameras_in(value) for value in tree.values()]
    return next(([name for name in names if name] for names in found if names), [])


def cameras_of(path):
    """Return the names of the cameras in a parameters file; what is wrong the node reports."""
    try:
        with open(path, encoding='utf-8') as file:
            return cameras_in(yaml.safe_load(file))
    except (OSError, ValueError, yaml.YAMLError):
        return []


def image_remappings(image, cameras):
    """
    Return the remappings of the image topics.

    :param image: the argument: a topic; for several cameras a topic with `{camera}` in it or
        one topic for each, separated by commas; '' for the default.
    :param cameras: names of the cameras, empty for a single one without a name.
    :raises ValueError: topics and cameras do not match.
    """
    if not cameras:
        if '{camera}' in image or ',' in image:
            raise ValueError(f'image:={image} is for several cameras: give cameras:=front,rear')
        return [('image', image or DEFAULT_IMAGE)]
    pattern = image or DEFAULT_CAMERA_IMAGE
    topics = ([pattern.replace('{camera}', name) for name in cameras] if '{camera}' in pattern
              else [topic.strip() for topic in pattern.split(',')])
    if len(topics) != len(cameras):
        raise ValueError(f'image:={image} must have {{camera}} in it, or one topic for each of '
                         f'the cameras {", ".join(cameras)}')
    return [(f'{name}/image', topic) for name, topic in zip(cameras, topics, strict=True)]


def tracker(context, params_file, web):
    """Return the tracker node, with those parameters that were given as arguments."""
    given = given_parameters(context)
    if web:
        given['init_buffer_seconds'] = WEB_BUFFER_SECONDS
    image = argument(context, 'image') or ''
    cameras = given.get('cameras') or (cameras_of(params_file) if image else [])
    return Node(
        package='re3_ros', executable='tracker_node', name='tracker', output='screen',
        namespace=LaunchConfiguration('namespace'),
        parameters=[ParameterFile(params_file, allow_substs=True), given],
        remappings=image_remappings(image, cameras),
        respawn=argument(context, 'respawn', bool), respawn_delay=2.0,
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')])


def web_page(context, params_file):
    """Return the node of the web page."""
    return Node(
        package='re3_ros', executable='web', name='web', output='screen',
        namespace=LaunchConfiguration('namespace'),
        parameters=[ParameterFile(params_file, allow_substs=True), {
            'web_host': argument(context, 'web_host'),
            'web_port': argument(context, 'web_port', int),
            'init_buffer_seconds': WEB_BUFFER_SECONDS,
            'use_sim_time': argument(context, 'use_sim_time', bool)}])


def nodes(context):
    """Return the tracker node, and the web page's if it is asked for."""
    params_file = os.path.expanduser(argument(context, 'params_file') or '')
    web = argument(context, 'web', bool)
    return [tracker(context, params_file, web),
            *([web_page(context, params_file)] if web else [])]


def generate_launch_description():
    """Declare the arguments and start the node with them."""
    defaults = PathJoinSubstitution([FindPackageShare('re3_ros'), 'config', 'tracker.yaml'])
    arguments = [
        DeclareLaunchArgument(
            'namespace', default_value='re3',
            description='Namespace of the node: its topics are /re3/init, /re3/tracks, ...'),
        DeclareLaunchArgument(
            'params_file', default_value=defaults,
            description='YAML file with parameters of the node.'),
        DeclareLaunchArgument(
            'image', default_value='',
            description=f'Topic of the images. Empty: {DEFAULT_IMAGE}; with cameras: '
            f'{DEFAULT_CAMERA_IMAGE} of each, others as a topic with {{camera}} in it or as '
            'topics separated by commas.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false',
            description='Take the time from /clock, as when a bag is replayed.'),
        DeclareLaunchArgument(
            'web', default_value='false',
            description='Serve a web page to start, watch and stop targets (docs/web.md); '
                        f'init_buffer_seconds becomes {WEB_BUFFER_SECONDS:.0f}.'),
        DeclareLaunchArgument(
            'web_host', default_value='127.0.0.1',
            description='Address of the web page; 0.0.0.0: all, with a token that is logged.'),
        DeclareLaunchArgument(
            'web_port', default_value='8088', description='TCP port of the web page.'),
        DeclareLaunchArgument(
            'respawn', default_value='false', description='Start the node again if it ends.'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Messages of this level and above are logged.')]
    for name, _, choices, text in PARAMETERS:
        limits = {'choices': ['', *choices]} if choices else {}
        arguments.append(DeclareLaunchArgument(
            name, default_value='', description=f'{text} Empty: as in params_file.', **limits))
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
