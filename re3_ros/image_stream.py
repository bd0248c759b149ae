# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One camera's image messages to frames, without ROS imports: checks, order and time jumps."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from re3_core.io.drawing import draw_track
from re3_ros.diagnostics import Arrival, PublicationId, StreamMonitor, UNKNOWN
from re3_ros.frame_buffer import Frame
from re3_ros.messages import check_text, compressed_size, image_size, ImageError, stamp_of
from re3_ros.targets import CameraTargets, Target


def annotated_image(frame: Frame, targets: Iterable[Target]) -> np.ndarray:
    """Return a copy of a frame, H x W x 3 uint8 RGB, with boxes, ids and confidences drawn in."""
    rgb = frame.rgb().copy()
    for target in targets:
        text = f'{target.id} {target.track.confidence:.2f}'
        draw_track(rgb, target.track.box, text, target.track.lost)
    return rgb


class ImageStream:
    """
    Turn the image messages of one camera into frames for its targets.

    `frame_id` is that of the last accepted image.
    """

    def __init__(self, targets: CameraTargets, parameters: Any, compressed: bool,
                 convert: Callable[[Any], np.ndarray]) -> None:
        """
        Start without images.

        :param targets: the camera's targets; removed or kept (`on_time_jump`) if time jumps.
        :param parameters: `max_image_pixels`, `on_time_jump` and `process_every_frame` by name.
        :param compressed: whether the messages are `sensor_msgs/CompressedImage`.
        :param convert: turns a message into H x W x 3 uint8 RGB.
        """
        self.monitor = StreamMonitor()
        self.frame_id = ''
        self._targets = targets
        self._parameters = parameters
        self._size_of = compressed_size if compressed else image_size
        self._convert = convert
        self._index = 0

    def receive(self, message: Any, now: int, at: float | None = None, busy: float = 0.,
                sequence: PublicationId = UNKNOWN) -> tuple[Frame, bool]:
        """
        Check an image message and return its (Frame, whether its stamp jumped back).

        Its pixels are converted only if there is a target.

        :param now: nanoseconds, the time of an image without a stamp.
        :param at: when it arrived, in seconds of a steady clock.
        :param busy, sequence: as in `StreamMonitor.on_image`.
        :raises ImageError: it cannot be used.
        """
        stamp = stamp_of(message.header) or now
        size = self._check(message, sequence)
        # The images of a bag wait in a queue: their times of arrival mean nothing.
        every = self._parameters['process_every_frame']
        arrival = self.monitor.on_image(stamp, busy, sequence, None if every else at)
        if arrival in (Arrival.OUT_OF_ORDER, Arrival.OUTLIER):
            raise ImageError(arrival.name, arrival.value)
        jumped = arrival == Arrival.CLOCK_RESET
        if jumped:
            self._targets.time_jumped(self._parameters['on_time_jump'] == 'keep')
        frame = Frame(self._index, stamp, message, size, self._convert)
        if self._targets.targets:
            frame.rgb()
        self._index += 1
        self.frame_id = message.header.frame_id
        return frame, jumped

    def _check(self, message: Any, sequence: PublicationId) -> tuple[int, int]:
        """Return the (height, width) of an image message; ImageError if it cannot be used."""
        try:
            check_text('frame_id', message.header.frame_id)
            return self._size_of(message, self._parameters['max_image_pixels'])
        except ImageError:
            self.monitor.on_invalid_image(sequence)
            raise
