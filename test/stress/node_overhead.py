# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what the node adds to the time of the tracker, per image.

    PYTHONPATH=test:$PYTHONPATH python -m stress.node_overhead

in the environment of scripts/in_env.sh, see docs/performance.md. The node runs in this process and
is given images as its subscription gives them: checks, conversion of pixels, messages and their
publication are measured; the transport of images between processes is not. Processor times, so
other load hardly changes them.
"""

import argparse
from dataclasses import dataclass
import time

import numpy as np
import rclpy
from re3_ros.diagnostics import UNKNOWN
from re3_ros.messages import fill_image
from re3_ros.node import TrackerNode
from sensor_msgs.msg import Image
from stress.scene import LENGTH, Scene
from vision_msgs.msg import Detection2D

SIZES = {'640 x 480': (480, 640), '1920 x 1080': (1080, 1920)}
ENCODINGS = 'rgb8', 'bgr8'
WARM_UP = 4         # images after the first one that are not measured


class TimedNode(TrackerNode):
    """A tracker node that adds up the processor time of its tracker."""

    tracker_time = 0.

    def _update(self, work):
        began = time.process_time()
        try:
            return super()._update(work)
        finally:
            self.tracker_time += time.process_time() - began

    def process(self, message):
        """Process an image; return the seconds of the node with its tracker, and of the latter."""
        [camera] = self._cameras
        began, before = time.process_time(), self.tracker_time
        self._on_image(camera, message, UNKNOWN)
        return time.process_time() - began, self.tracker_time - before

    def start_targets(self, boxes):
        """Start targets at `xyxy` boxes in the last image."""
        [camera] = self._cameras
        for index, (x1, y1, x2, y2) in enumerate(boxes):
            message = Detection2D(id=f'target{index}')
            message.bbox.center.position.x = (x1 + x2) / 2
            message.bbox.center.position.y = (y1 + y2) / 2
            message.bbox.size_x, message.bbox.size_y = x2 - x1, y2 - y1
            self._on_init(camera, message)


@dataclass(frozen=True)
class Figures:
    """Milliseconds: of the first image with targets, and the means of the tracker and the node."""

    first: float
    median: float
    tracker: float
    node: float


def measure(engine, size, encoding, targets, images):
    """Return the Figures of a node that has just been activated."""
    rclpy.init(args=['node_overhead', '--ros-args', '-p', f'engine:={engine}'])
    node = TimedNode()
    try:
        if not node.start():
            raise SystemExit('the node cannot be started')
        scene, times = Scene(size, targets), []
        for index in range(images + WARM_UP + 2):
            message = fill_image(Image(), scene.pixels(index % LENGTH), encoding)
            message.header.stamp = node.get_clock().now().to_msg()
            times.append(node.process(message))
            if index == 0:
                node.start_targets(scene.boxes(0))
    finally:
        node.destroy_node()
        rclpy.shutdown()
    totals, tracker = 1e3 * np.array(times[1:]).T
    return Figures(totals[0], np.median(totals[1:]), tracker[1 + WARM_UP:].mean(),
                   (totals - tracker)[1 + WARM_UP:].mean())


def main():
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--engine', default='auto')
    parser.add_argument('--targets', type=int, nargs='+', default=[1, 8])
    parser.add_argument('--images', type=int, default=60)
    options = parser.parse_args()
    print('| images | targets | tracker, ms | node on top, ms | first image / median |')
    print('|---|---|---|---|---|')
    for name, size in SIZES.items():
        for encoding in ENCODINGS:
            for targets in options.targets:
                found = measure(options.engine, size, encoding, targets, options.images)
                print(f'| {name} {encoding} | {targets} | {found.tracker:.1f} | {found.node:.2f} '
                      f'| {found.first / found.median:.1f} |', flush=True)


if __name__ == '__main__':
    main()
