#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Turn a camera toward one target of re3_ros: a template for controllers.

    python3 examples/follow_target.py --ros-args -p target:=cup -r cmd_vel:=/head/cmd_vel

It turns only under three conditions: the latched status of the target is `tracked`, the newest
tracks contain the target with a sufficient confidence, and tracks keep arriving. Otherwise it
stops.
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
        self.min_confidence = self.declare_parameter('min_confidence', 0.43).value
        self.timeout = self.declare_parameter('timeout', 0.5).value      # seconds without tracks
        self.state = self.action = ''
        self.commands = self.create_publisher(Twist, 'cmd_vel', 1)
        # The status is latched: late subscribers receive the last one.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(DiagnosticArray, '/re3/status', self.on_status, latched)
        # Depth 1: a controller that falls behind must not act on old images.
        self.create_subscription(Detection2DArray, '/re3/tracks', self.on_tracks, 1)
        # A steady clock: the ROS clock stops when a simulation is paused.
        self.watchdog = self.create_timer(
            self.timeout, lambda: self.stop('no tracks arrive'), clock=Clock(
                clock_type=ClockType.STEADY_TIME))

    def on_status(self, message):
        """Store the target's state: a status lists all targets, and refused boxes."""
        self.state = next((status.message for status in message.status
                           if status.name == self.target and status.message != 'refused'),
                          'unknown')
        if self.state != 'tracked':
            self.stop(f'target is {self.state}')

    def on_tracks(self, message):
        """Turn toward the target, or stop."""
        self.watchdog.reset()
        track = next((track for track in message.detections if track.id == self.target), None)
        if track is None or self.state != 'tracked':
            self.stop(f'target is {self.state or "unknown"}')
        elif track.results[0].hypothesis.score < self.min_confidence:
            self.stop('low confidence')
        else:
            self.turn_toward(track.bbox.center.position)

    def turn_toward(self, center):
        """Publish a rate in proportion to the distance from the image center."""
        command = Twist()
        command.angular.z = -self.gain * (2 * center.x / self.width - 1)
        command.angular.y = self.gain * (2 * center.y / self.height - 1)
        self.publish(command, 'tracking')

    def stop(self, reason):
        """Publish zero."""
        self.publish(Twist(), f'stopped: {reason}')

    def publish(self, command, action):
        """Publish a command; log the action when it changes."""
        self.commands.publish(command)
        if action != self.action:
            self.action = action
            self.get_logger().info(action)


def main():
    """Track until SIGINT or SIGTERM, then stop."""
    # Without rclpy's own handlers, which prevent publishing after a signal.
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
