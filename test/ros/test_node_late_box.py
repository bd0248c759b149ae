# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A slow detector's box, with the shipped network on a moving object."""

import cv2
import numpy as np
from re3_core.boxes import iou

PERIOD = 33_333_333
# 9 frames, 300 ms, between the image and the box that a detector found in it.
SEEN, ARRIVES, LAST = 3, 12, 45


def texture(seed, height, width, cell):
    """Return a smooth random image."""
    grid = np.random.default_rng(seed).integers(
        0, 255, (height // cell + 2, width // cell + 2, 3), np.uint8)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


BACKGROUND = texture(1, 240, 640, 24) // 2
OBJECT = texture(2, 60, 60, 10) // 4 * 3 + 60


def box_at(number):
    """Return where the object is in a frame, `xyxy`: it moves by its own size in 10 frames."""
    return np.array((40. + 6 * number, 90., 100. + 6 * number, 150.))


def pixels(number):
    """Return a frame."""
    rgb = BACKGROUND.copy()
    x1, y1, x2, y2 = box_at(number).astype(int)
    rgb[y1:y2, x1:x2] = OBJECT
    return rgb


def test_late_box_finds_its_object_where_the_naive_start_fails(start_node, make_client):
    from re3_ros.messages import read_box
    with start_node('-r', '__ns:=/late', weights="''") as node:
        client = make_client(namespace='/late').connect()
        first = client.stamp + PERIOD
        for number in range(LAST + 1):
            if number == ARRIVES:
                client.init('late', box_at(SEEN), stamp=first + SEEN * PERIOD)
                client.init('naive', box_at(SEEN))
                node.wait_for_log("target 'late' started")
                node.wait_for_log("target 'naive' started")
            message = client.tracks_of(client.send(pixels(number)))
        overlap = {track.id: float(iou(read_box(track.bbox), box_at(LAST)))
                   for track in message.detections}
    assert overlap['late'] > .5
    assert overlap.get('naive', 0) < .3
