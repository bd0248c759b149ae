# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Start the tracker node, and its web page if asked for.

`ros2 launch re3_ros tracker.launch.py --show-args` lists the arguments.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

# Parameters of the node that are arguments too; where left empty, the params_file counts.
PARAMETERS = (
    ('image_transport', 'raw (sensor_msgs/Image) or compressed (topic of image + /compressed).'),
    ('device', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    ('model', 'Network: re3_lite, re3, ...'),
    ('weights', 'Path of a .safetensors weights file.'),
    ('redetection_candidates', 'Search regions per image and lost target; 0: no re-detection.'),
    ('search_candidates', 'Deprecated: use redetection_candidates.'),
    ('autostart', 'true: configure and activate the node; false: wait for lifecycle calls.'),
)
# With the page, images are kept so long that a box may be drawn on a paused image.
WEB_BUFFER_SECONDS = 10.0


def is_true(text):
    """Return whether the text of an argument means yes."""
    return text.lower() in ('true', '1')


def nodes(context):
    """Return the tracker node, and the web page's if it is asked for."""
    web = is_true(LaunchConfiguration('web').perform(context))
    return [tracker(context, web), *([web_page(context)] if web else [])]


def web_page(context):
    """Return the node of the web page."""
    return Node(
        package='re3_ros', executable='web', name='web', output='screen',
        namespace=LaunchConfiguration('namespace'),
        parameters=[ParameterFile(LaunchConfiguration('params_file'), allow_substs=True), {
            'web_host': LaunchConfiguration('web_host').perform(context),
            'web_port': int(LaunchConfiguration('web_port').perform(context)),
            'init_buffer_seconds': WEB_BUFFER_SECONDS,
            'use_sim_time': is_true(LaunchConfiguration('use_sim_time').perform(context))}])


def tracker(context, web):
    """Return the tracker node, with those parameters that were given as arguments."""
    given = {name: LaunchConfiguration(name).perform(context) for name, _ in PARAMETERS}
    given = {name: value for name, value in given.items() if value}
    given['use_sim_time'] = LaunchConfiguration('use_sim_time').perform(context)
    for flag in {'autostart', 'use_sim_time'} & set(given):
        given[flag] = is_true(given[flag])
    for name in {'redetection_candidates', 'search_candidates'} & set(given):
        given[name] = int(given[name])
    if web:
        given['init_buffer_seconds'] = WEB_BUFFER_SECONDS
    return Node(
        package='re3_ros', executable='tracker_node', name='tracker', output='screen',
        namespace=LaunchConfiguration('namespace'),
        parameters=[ParameterFile(LaunchConfiguration('params_file'), allow_substs=True), given],
        remappings=[('image', LaunchConfiguration('image'))],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')])


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
            'image', default_value='/camera/image_raw', description='Topic of the images.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=['true', 'false', 'True', 'False'],
            description='Take the time from /clock, as when a bag is replayed.'),
        DeclareLaunchArgument(
            'web', default_value='false', choices=['true', 'false', 'True', 'False'],
            description='Serve a web page to start, watch and stop targets (docs/web.md); '
                        f'init_buffer_seconds becomes {WEB_BUFFER_SECONDS:.0f}.'),
        DeclareLaunchArgument(
            'web_host', default_value='127.0.0.1',
            description='Address of the web page; 0.0.0.0: all, with a token that is logged.'),
        DeclareLaunchArgument(
            'web_port', default_value='8088', description='TCP port of the web page.'),
        DeclareLaunchArgument(
            'log_level', default_value='info', description='debug, info, warn, error or fatal.')]
    arguments += [
        DeclareLaunchArgument(name, default_value='',
                              description=f'{text} Empty: as in params_file.')
        for name, text in PARAMETERS]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
