# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of reading detection messages, without ROS."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from re3_ros.messages import DetectionError, fill_box, read_box, read_detection


def detection(identity='cup', box=(20., 30., 10., 40.), theta=0., class_id=None):
    """Return what looks like a vision_msgs/Detection2D, of center and size."""
    position = SimpleNamespace(x=box[0], y=box[1])
    bbox = SimpleNamespace(center=SimpleNamespace(position=position, theta=theta),
                           size_x=box[2], size_y=box[3])
    results = [] if class_id is None else [
        SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id, score=.5))]
    return SimpleNamespace(id=identity, bbox=bbox, results=results)


def test_box_and_class():
    request = read_detection(detection(class_id='mug'), 64)
    assert (request.id, request.class_id) == ('cup', 'mug')
    np.testing.assert_allclose(request.box, (15, 10, 25, 50))


def test_zero_size_means_removal():
    assert read_detection(detection(box=(20., 30., 0., 0.)), 64).box is None


def test_turned_box_becomes_the_upright_one_around_it():
    request = read_detection(detection(theta=math.pi / 2), 64)
    np.testing.assert_allclose(request.box, (0, 25, 40, 35))
    request = read_detection(detection(box=(0., 0., 2., 2.), theta=math.pi / 4), 64)
    np.testing.assert_allclose(request.box, np.array((-1, -1, 1, 1)) * math.sqrt(2))


@pytest.mark.parametrize('kind, fields', [
    ('not finite', {'box': (math.nan, 0., 1., 1.)}),
    ('not finite', {'box': (0., 0., math.inf, 1.)}),
    ('not finite', {'theta': math.nan}),
    ('size', {'box': (0., 0., -1., 1.)}),
    ('size', {'box': (0., 0., 1., 0.)}),
    ('huge', {'box': (0., 0., 1e7, 1.)}),
    ('huge', {'box': (-1e300, 0., 1., 1.)}),
    ('long id', {'identity': 'x' * 65}),
    ('long class_id', {'class_id': 'x' * 65}),
    ('id bytes', {'identity': 'a\ufffd'}),
    ('unprintable id', {'identity': 'a\x1b[2J'}),
    ('unprintable class_id', {'class_id': 'a\nb'}),
])
def test_bad_detection(kind, fields):
    with pytest.raises(DetectionError) as raised:
        read_detection(detection(**fields), 64)
    assert raised.value.kind == kind


def test_box_there_and_back():
    bbox = detection().bbox
    fill_box(bbox, np.array((1, 2, 5, 10), np.float32))
    assert (bbox.center.position.x, bbox.size_y) == (3., 8.)
    assert isinstance(bbox.size_x, float)       # rclpy takes no numpy numbers
    np.testing.assert_allclose(read_box(bbox), (1, 2, 5, 10))
