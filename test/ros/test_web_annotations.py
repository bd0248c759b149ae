# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tracks as annotations for Foxglove, with stand-ins for its messages."""

from types import SimpleNamespace

import numpy as np
import pytest


def message(*names, **defaults):
    """Return a stand-in for a message class that takes these fields only."""
    class Stand(SimpleNamespace):

        def __init__(self, **fields):
            assert set(fields) <= set(names)
            super().__init__(**{name: [] for name in names}, **defaults)
            vars(self).update(fields)
    return Stand


# The fields of foxglove_msgs.
POINTS = message('timestamp', 'type', 'points', 'outline_color', 'outline_colors', 'fill_color',
                 'thickness')
POINTS.LINE_LOOP = 2
MESSAGES = SimpleNamespace(
    ImageAnnotations=message('circles', 'points', 'texts'), PointsAnnotation=POINTS,
    TextAnnotation=message('timestamp', 'position', 'text', 'font_size', 'text_color',
                           'background_color'),
    Point2=message('x', 'y'), Color=message('r', 'g', 'b', 'a'))


class FakeNode:
    """Makes one publisher, with as many subscribers as a test sets."""

    def __init__(self):
        self.sent, self.subscribers = [], 0

    def create_publisher(self, kind, topic, profile):
        self.kind, self.topic = kind, topic
        return SimpleNamespace(publish=self.sent.append,
                               get_subscription_count=lambda: self.subscribers)


def test_annotations_are_published_while_somebody_subscribes():
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from re3_ros.web.annotations import Annotations, LOST, TRACKED
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
    tracks = Detection2DArray(detections=[
        Detection2D(id=name, results=[ObjectHypothesisWithPose()]) for name in ('cup', 'mug')])
    for number, track in enumerate(tracks.detections):
        track.header.stamp.sec = 17
        track.bbox.center.position.x, track.bbox.center.position.y = 50., 40.
        track.bbox.size_x, track.bbox.size_y = 20., 10.
        track.results[0].hypothesis.score = .5 + number / 4
    node = FakeNode()
    annotations = Annotations(node, 'annotations', MESSAGES)
    annotations.publish(tracks, {})
    assert node.sent == []
    node.subscribers = 1
    annotations.publish(tracks, {'cup': 'tracked', 'mug': 'lost'})
    sent, = node.sent
    assert [text.text for text in sent.texts] == ['cup 0.50', 'mug 0.75']
    for points, color in zip(sent.points, (TRACKED, LOST), strict=True):
        assert (points.type, points.timestamp.sec) == (POINTS.LINE_LOOP, 17)
        assert np.array_equal([(point.x, point.y) for point in points.points],
                              [(40, 35), (60, 35), (60, 45), (40, 45)])
        assert (points.outline_color.r, points.outline_color.g, points.outline_color.b) == color


def test_without_foxglove_there_are_none(monkeypatch):
    pytest.importorskip('rclpy', reason='needs ROS 2')
    import sys

    from re3_ros.web.annotations import find_messages
    monkeypatch.setitem(sys.modules, 'foxglove_msgs', None)
    assert find_messages() is None
    monkeypatch.setitem(sys.modules, 'foxglove_msgs', SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, 'foxglove_msgs.msg', MESSAGES)
    assert find_messages() is MESSAGES
