# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Start the tracker and a camera, to see it work before owning one.

    ros2 launch re3_ros demo.launch.py video:=clip.mp4 box:=120,80,60,90

`video` is a file, a folder of images or the number of a camera device. A device is opened by
usb_cam where that is installed, everything else by the package's camera_player. With `box` the
object in it is tracked; without, publish one on /re3/init. See the result in
/re3/tracker/debug/image, with rqt_image_view or rviz2.
"""

import os
import sys

from ament_index_python.packages import get_package_prefix, PackageNotFoundError
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def is_installed(package):
    """Return whether a ROS package is installed."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def given_video(context):
    """Return the argument `video`; ValueError if it is missing or there is no such file."""
    video = os.path.expanduser(LaunchConfiguration('video').perform(context).strip())
    if not video:
        raise ValueError('video:= is missing: a video file, a folder of images or the number of '
                         'a camera device')
    if not video.isdigit() and not os.path.exists(video):
        raise ValueError(f'video:={video}: there is no such file or folder')
    return video


def given_box(context):
    """Return the argument `box`; ValueError if it is not a box."""
    box = LaunchConfiguration('box').perform(context).strip()
    try:
        x, y, width, height = map(float, box.split(',')) if box else (0, 0, 1, 1)
    except ValueError:
        width = height = 0
    if not (width > 0 and height > 0):
        raise ValueError(f'box:={box} must be x,y,width,height in pixels')
    return box


def camera(context):
    """Return the node that publishes the images on /camera/image_raw."""
    video, box = given_video(context), given_box(context)
    if video.isdigit() and is_installed('usb_cam'):
        return [Node(package='usb_cam', executable='usb_cam_node_exe', name='usb_cam',
                     namespace='camera', output='screen',
                     parameters=[{'video_device': f'/dev/video{video}'}])]
    return [Node(package='re3_ros', executable='camera_player', name='camera_player',
                 namespace='camera', output='screen',
                 parameters=[{'video': ParameterValue(video, value_type=str), 'loop': True,
                              'paused': bool(box), 'wait_for_subscribers': 1}])]


def start(context):
    """Return the process that starts a target at `box`, if that is given."""
    box = given_box(context)
    if not box:
        return []
    script = PathJoinSubstitution([FindPackageShare('re3_ros'), 'examples', 'start_target.py'])
    return [ExecuteProcess(cmd=[sys.executable, script, '--id', 'target', '--box', box, '--play',
                                '/camera/camera_player/play'],
                           output='screen')]


def generate_launch_description():
    """Declare the arguments; start camera, tracker and the target."""
    share = FindPackageShare('re3_ros')
    return LaunchDescription([
        DeclareLaunchArgument(
            'video', default_value='',
            description='Video file, folder of images or number of a camera device.'),
        DeclareLaunchArgument(
            'box', default_value='',
            description='Target in the first images: x,y,width,height in pixels. Empty: none.'),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([share, 'launch', 'tracker.launch.py']))),
        OpaqueFunction(function=camera),
        OpaqueFunction(function=start)])
