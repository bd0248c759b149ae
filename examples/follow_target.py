#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Turn a camera toward one target of re3_ros: a template for controllers.

    python3 examples/follow_target.py --ros-args -p target:=cup -r cmd_vel:=/head/cmd_vel

It turns only while three things hold: the latched status says `tracked`, the newest tracks hold
the target, and they keep arriving. In all other cases it stops.
"""

import signal

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from vision_msgs.msg import Detection2DArray


class FollowTarget(Node):
    """Pan (angular.z, to the left) and tilt (angular.y, down) toward the target."""

    def __init__(self):
        super().__init__('follow_target')
        self.target = self.declare_parameter('target', 'cup').value
        self.width = self.declare_parameter('width', 640).value          # of the image, pixels
        self.height = self.declare_parameter('height', 480).value
        self.gain = self.declare_parameter('gain', 1.0).value     # rad/s at the image's edge
        self.min_score = self.declare_parameter('min_score', 0.43).value
        self.timeout = self.declare_parameter('timeout', 0.5).value      # seconds without tracks
        self.state = self.doing = ''
        self.commands = self.create_publisher(Twist, 'cmd_vel', 1)
        # The status is latched: whoever asks so gets the last one, however late he comes.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(DiagnosticArray, '/re3/status', self.on_status, latched)
        # Depth 1: a controller that falls behind must not act on old images.
        self.create_subscription(Detection2DArray, '/re3/tracks', self.on_tracks, 1)
        # Not on the ROS clock: if that is simulated, it may stand still.
        self.watchdog = self.create_timer(
            self.timeout, lambda: self.stop('no tracks arrive'), clock=Clock(
                clock_type=ClockType.STEADY_TIME))

    def on_status(self, message):
        """Note the target's state: a status lists all targets, so one not in it is gone."""
        self.state = next((status.message for status in message.status
                           if status.name == self.target), 'unknown')
        if self.state != 'tracked':
            self.stop(f'target is {self.state}')

    def on_tracks(self, message):
        """Turn toward the target, or stop."""
        self.watchdog.reset()
        track = next((track for track in message.detections if track.id == self.target), None)
        if track is None or self.state != 'tracked':
            self.stop(f'target is {self.state or "unknown"}')
        elif track.results[0].hypothesis.score < self.min_score:
            self.stop('score is low')
        else:
            self.turn_toward(track.bbox.center.position)

    def turn_toward(self, place):
        """Publish a rate in proportion to the distance from the middle of the image."""
        command = Twist()
        command.angular.z = -self.gain * (2 * place.x / self.width - 1)
        command.angular.y = self.gain * (2 * place.y / self.height - 1)
        self.publish(command, 'following')

    def stop(self, reason):
        """Publish zero."""
        self.publish(Twist(), f'stopped: {reason}')

    def publish(self, command, doing):
        """Publish a command; say what is done whenever that changes."""
        self.commands.publish(command)
        if doing != self.doing:
            self.doing = doing
            self.get_logger().info(doing)


def main():
    """Follow until SIGINT or SIGTERM, and stop."""
    # Without rclpy's own handlers, after which nothing could be published any more.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    node = FollowTarget()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        node.stop('interrupted')
        node.commands.wait_for_all_acked(Duration(seconds=1))
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == '__main__':
    main()
