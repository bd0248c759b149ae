#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Start a target and wait for the tracker's answer; exit code 0 if it is tracked, 1 if refused.

    python3 examples/start_target.py --id cup --box 120,80,60,90

Every box on `init` is answered in the latched `status` table, within one processed image: by the
state `tracked`, or `refused` with the reason. The box is published again if no answer comes, for
it may have been published before the tracker listened.
"""

import argparse
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.utilities import remove_ros_args
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2D


class StartTarget(Node):
    """Publishes the box of a target; `answer` is (state, reason) once it has come."""

    def __init__(self, identity, box):
        super().__init__('start_target', namespace='re3')
        self.answer = None
        self.request = Detection2D(id=identity)
        x, y, width, height = box
        center = self.request.bbox.center.position
        center.x, center.y = x + width / 2, y + height / 2
        self.request.bbox.size_x, self.request.bbox.size_y = width, height
        self.inits = self.create_publisher(Detection2D, 'init', 10)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(DiagnosticArray, 'status', self.on_status, latched)
        self.sent = 0

    def send(self):
        """Publish the box, if the tracker listens."""
        if self.inits.get_subscription_count():
            self.sent = self.get_clock().now().nanoseconds
            self.inits.publish(self.request)

    def play(self, service, timeout=5.):
        """Let a paused player go on; a camera without such a service does not need it."""
        client = self.create_client(SetBool, service)
        if client.wait_for_service(timeout):
            rclpy.spin_until_future_complete(
                self, client.call_async(SetBool.Request(data=True)), timeout_sec=timeout)

    def on_status(self, message):
        """Take the answer from a table that is newer than the request."""
        stamp = message.header.stamp.sec * 10 ** 9 + message.header.stamp.nanosec
        if not self.sent or stamp < self.sent:
            return
        for entry in message.status:
            if entry.name == self.request.id and entry.message in ('tracked', 'refused'):
                reasons = [pair.value for pair in entry.values if pair.key == 'reason']
                self.answer = entry.message, ''.join(reasons)
                return


def parse_box(text):
    """Return x, y, width and height of `x,y,width,height`."""
    values = tuple(float(part) for part in text.split(','))
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f'a box is x,y,width,height in pixels, got {text!r}')
    return values


def main():
    """Start the target; return the exit code."""
    parser = argparse.ArgumentParser(description='Start a target of the tracker node.')
    parser.add_argument('--id', default='target', help='its id (%(default)s)')
    parser.add_argument('--box', type=parse_box, required=True, help='x,y,width,height in pixels')
    parser.add_argument('--play', default='', help='service of a paused camera_player to call '
                        'when the target is tracked')
    parser.add_argument('--timeout', type=float, default=60., help='seconds (%(default)s)')
    options = parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    node = StartTarget(options.id, options.box)
    end, resend = time.monotonic() + options.timeout, 0.
    try:
        while node.answer is None and time.monotonic() < end:
            if time.monotonic() >= resend:
                node.send()
                resend = time.monotonic() + (2. if node.sent else .1)
            rclpy.spin_once(node, timeout_sec=.1)
        state, reason = node.answer or ('not answered', f'within {options.timeout:g} s')
        print(f'{options.id}: {state}{f": {reason}" * bool(reason)}', flush=True)
        if state == 'tracked' and options.play:
            node.play(options.play)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0 if state == 'tracked' else 1


if __name__ == '__main__':
    sys.exit(main())
