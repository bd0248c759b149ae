# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tracks as `foxglove_msgs/ImageAnnotations`, where that package is installed."""

import importlib
from types import ModuleType
from typing import Any, Mapping

from rclpy.node import Node
from rclpy.qos import QoSProfile
from re3_ros.messages import read_box
from vision_msgs.msg import Detection2DArray

# Red, green, blue from 0 to 1.
TRACKED, LOST, TEXT_BACKGROUND = (.13, .72, .84), (.96, .65, .14), (0., 0., 0.)
THICKNESS, FONT_SIZE = 3., 16.    # pixels of the image


def find_messages() -> ModuleType | None:
    """Return the module `foxglove_msgs.msg`, or None where it is not installed."""
    try:
        return importlib.import_module('foxglove_msgs.msg')
    except ImportError:
        return None


class Annotations:
    """
    Publishes the tracks of a camera for Foxglove's image panel, while somebody subscribes.

    :param node: the page's node.
    :param topic: name of the topic.
    :param messages: the module `foxglove_msgs.msg`.
    """

    def __init__(self, node: Node, topic: str, messages: ModuleType) -> None:
        self._messages = messages
        self._publisher = node.create_publisher(
            messages.ImageAnnotations, topic, QoSProfile(depth=1))

    def publish(self, tracks: Detection2DArray, states: Mapping[str, str]) -> None:
        """Publish the boxes of the tracks; `states` maps ids to `tracked` or `lost`."""
        if self._publisher.get_subscription_count():
            self._publisher.publish(self.build(tracks, states))

    def build(self, tracks: Detection2DArray, states: Mapping[str, str]) -> Any:
        """Return the ImageAnnotations of the tracks."""
        message = self._messages.ImageAnnotations()
        for track in tracks.detections:
            color = self._color(LOST if states.get(track.id) == 'lost' else TRACKED)
            x1, y1, x2, y2 = map(float, read_box(track.bbox))
            message.points.append(self._messages.PointsAnnotation(
                timestamp=track.header.stamp, type=self._messages.PointsAnnotation.LINE_LOOP,
                points=[self._messages.Point2(x=x, y=y) for x, y in (
                    (x1, y1), (x2, y1), (x2, y2), (x1, y2))],
                outline_color=color, thickness=THICKNESS))
            score = track.results[0].hypothesis.score if track.results else 0.
            message.texts.append(self._messages.TextAnnotation(
                timestamp=track.header.stamp, position=self._messages.Point2(x=x1, y=y1),
                text=f'{track.id} {score:.2f}', font_size=FONT_SIZE, text_color=color,
                background_color=self._color(TEXT_BACKGROUND)))
        return message

    def _color(self, rgb: tuple[float, float, float]) -> Any:
        red, green, blue = rgb
        return self._messages.Color(r=red, g=green, b=blue, a=1.)
