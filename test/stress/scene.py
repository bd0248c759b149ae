# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A drawn scene with moving targets, at any resolution, as image messages ready to be sent."""

import math
import struct

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from re3_ros.messages import fill_image
from sensor_msgs.msg import Image

# Images in the loop that the scene is; the motion is periodic.
LENGTH = 16
# A target moves by this share of its size to either side, slow enough for every second image
# to be skipped, or seven of eight.
SWING = 0.2
# Side of a target as a share of its cell, and at most of the image's height.
OF_CELL, OF_HEIGHT = 0.6, 1 / 7
# Of a serialized message the stamp is what follows the four bytes that name the byte order.
STAMP_AT = 4


def noise(rng, shape, cells):
    """Return smooth color noise, `shape` (height, width), of about `cells` blobs per side."""
    coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


class Scene:
    """
    Targets that swing in front of a background, each with a texture of its own.

    The same seed gives the same scene at every resolution.
    """

    def __init__(self, size, targets, seed=0):
        """
        Place the targets.

        :param size: (height, width) in pixels.
        :param targets: how many; they stand in a grid.
        """
        self.size = height, width = size
        rng = np.random.default_rng(seed)
        self._background = noise(rng, size, 12) // 3 + 60
        columns = math.ceil(math.sqrt(targets))
        cell = width / columns, height / math.ceil(targets / columns)
        side = min(OF_CELL * min(cell), OF_HEIGHT * height)
        self.side = max(8, round(side))
        self._textures = [noise(rng, (self.side, self.side), 5) for _ in range(targets)]
        self._centers = np.array([((index % columns + .5) * cell[0],
                                   (index // columns + .5) * cell[1])
                                  for index in range(targets)])
        self._phases = rng.uniform(0, 2 * np.pi, (targets, 2))

    def corners(self, position):
        """Return the upper left corners (N, 2) of the targets in the image at `position`."""
        angles = 2 * np.pi * position / LENGTH + self._phases
        corners = self._centers + SWING * self.side * np.sin(angles) - self.side / 2
        return corners.round().astype(int)

    def boxes(self, position):
        """Return the true `xyxy` boxes (N, 4) in the image at `position`."""
        corners = self.corners(position)
        return np.hstack([corners, corners + self.side]).astype(float)

    def pixels(self, position):
        """Return the image at `position`, H x W x 3 uint8 RGB."""
        rgb = self._background.copy()
        for (x, y), texture in zip(self.corners(position), self._textures, strict=True):
            rgb[y:y + self.side, x:x + self.side] = texture
        return rgb


class PrerenderedSequence:
    """
    The images of a scene as serialized `sensor_msgs/Image` messages, to be sent in a loop.

    A message of many megabytes is made once; only its stamp is written anew, so that the
    camera takes as little of the machine as a camera driver would.
    """

    def __init__(self, scene, frame_id, encoding='bgr8'):
        self._messages = []
        for position in range(LENGTH):
            message = fill_image(Image(), scene.pixels(position), encoding)
            message.header.frame_id = frame_id
            self._messages.append(bytearray(serialize_message(message)))

    def message(self, number, stamp):
        """Return the bytes of the image at `number`, stamped with `stamp` nanoseconds."""
        message = self._messages[number % LENGTH]
        struct.pack_into('<iI', message, STAMP_AT, *divmod(stamp, 1_000_000_000))
        return bytes(message)
