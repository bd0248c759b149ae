# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
vision_msgs (4.0 and later) to requests and from tracks, without ROS imports.

A `Detection2D` gives the centre and the full size of a box in pixels, the left edge of the
leftmost pixel being 0.
"""

import math
from typing import NamedTuple

import numpy as np
from re3_ros.problem_log import Fault

# No image is that large; beyond it coordinates lose their fraction in 32-bit floats.
MAX_COORDINATE = 1e6


class DetectionError(Fault):
    """A detection message that cannot be used."""


class Request(NamedTuple):
    """
    What a detection asks for: follow `box` (4,) `xyxy` pixels, or forget the target if None.

    `id` may be empty; `class_id` is echoed with the track.
    """

    id: str  # noqa: A003
    box: np.ndarray | None
    class_id: str


def read_detection(detection, max_id_length):
    """
    Turn a `vision_msgs/Detection2D` into a Request.

    A box with both sizes zero asks to remove the target. A rotated box is replaced by the
    upright one around it. Raises DetectionError naming what is wrong.
    """
    identity = _check_text('id', detection.id, max_id_length)
    results = detection.results
    class_id = _check_text('class_id', results[0].hypothesis.class_id if results else '',
                           max_id_length)
    return Request(identity, _read_box(detection.bbox, identity), class_id)


def _check_text(name, text, max_length):
    """Return a string that is safe to keep, to log and to send again."""
    if len(text) > max_length:
        raise DetectionError(f'long {name}', f'{name} {text[:16]!r}... has {len(text)} '
                             f'characters, at most {max_length} are allowed')
    if '\ufffd' in text:    # what rclpy puts for bytes that are no character
        raise DetectionError(f'{name} bytes', f'{name} {text!r} is not UTF-8')
    if not text.isprintable():
        raise DetectionError(f'unprintable {name}', f'{name} {text!r} is not printable')
    return text


def _read_box(bbox, identity):
    """Return the `xyxy` box (4,), or None for the zero size that means removal."""
    x, y, theta = bbox.center.position.x, bbox.center.position.y, bbox.center.theta
    width, height = bbox.size_x, bbox.size_y
    text = (f'box of {identity!r} with centre ({x:.6g}, {y:.6g}) and size {width:.6g} x '
            f'{height:.6g}')
    if not all(map(math.isfinite, (x, y, width, height, theta))):
        raise DetectionError('not finite', f'{text}, angle {theta:.6g}: all must be finite')
    if width == 0 and height == 0:
        return None
    if width <= 0 or height <= 0:
        raise DetectionError('size', f'{text}: the size must be positive (or 0 x 0 to remove it)')
    if max(abs(x), abs(y), width, height) > MAX_COORDINATE:
        raise DetectionError('huge', f'{text} exceeds {MAX_COORDINATE:.0f} pixels')
    if theta:
        cosine, sine = abs(math.cos(theta)), abs(math.sin(theta))
        width, height = width * cosine + height * sine, width * sine + height * cosine
    return np.array((x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def fill_box(bbox, box):
    """Put an `xyxy` box (4,) into a `vision_msgs/BoundingBox2D`."""
    x1, y1, x2, y2 = map(float, box)
    bbox.center.position.x = (x1 + x2) / 2
    bbox.center.position.y = (y1 + y2) / 2
    bbox.size_x = x2 - x1
    bbox.size_y = y2 - y1


def fill_track(detection, header, target):
    """
    Put a `re3_ros.targets.Target` into a `vision_msgs/Detection2D` with one result.

    :param header: header of the image that the track belongs to.
    """
    detection.header = header
    detection.id = target.id
    fill_box(detection.bbox, target.track.box)
    hypothesis = detection.results[0].hypothesis
    hypothesis.class_id = target.class_id
    hypothesis.score = target.track.confidence


def read_box(bbox):
    """Return the upright `xyxy` box (4,) of a `vision_msgs/BoundingBox2D`, as it is."""
    half_width, half_height = bbox.size_x / 2, bbox.size_y / 2
    x, y = bbox.center.position.x, bbox.center.position.y
    return np.array((x - half_width, y - half_height, x + half_width, y + half_height))
