# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A node that plays a video file, a folder of images or a camera device as a ROS camera."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
import csv
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from re3_core.io.files import atomic_write
from re3_core.io.video import open_source, video_writer
from re3_ros.declare import warn_of_unknown_parameters, warn_of_unused_sections
from re3_ros.messages import fill_compressed, fill_image
from re3_ros.programs import ignore_shutdown, init_ros
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

# Name, default, description, and the range or the allowed texts.
PARAMETERS = (
    ('video', '', 'Video file, folder of images, or number of a camera device.', None),
    ('start', 0, 'First frame to play, 0 is the first of the file.', (0, 2**31 - 1)),
    ('end', 0, 'Frame after the last one to play; 0 plays to the end.', (0, 2**31 - 1)),
    ('rate', 0.0, 'Frames per second; 0 takes that of the file or camera.', (0.0, 1000.0)),
    ('loop', False, 'Begin again after the last frame.', None),
    ('paused', False, 'Publish the first frame again and again until ~/play is called.', None),
    ('wait_for_subscribers', 0, 'Publish nothing before that many have subscribed.', (0, 100)),
    ('frame_id', 'camera', 'frame_id of the image headers.', None),
    ('encoding', 'rgb8', 'Encoding of raw images.', ('rgb8', 'bgr8', 'mono8')),
    ('image_transport', 'raw', 'What to publish.', ('raw', 'compressed', 'both')),
    ('jpeg_quality', 90, 'Quality of compressed images.', (1, 100)),
    ('reliability', 'reliable', 'QoS of the images.', ('reliable', 'best_effort')),
    ('depth', 5, 'QoS depth of the images.', (1, 1000)),
    ('stamps_file', '', 'CSV file for the frame number and stamp of each image sent.', None),
    ('record_file', '', 'mp4 file for the frames as they were sent.', None),
)
PATHS = ('video', 'stamps_file', 'record_file')
# For the last images to reach slow subscribers.
FLUSH_TIMEOUT = Duration(seconds=5)


def _describe(description: str, limits: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if limits is None:
        return descriptor
    if isinstance(limits[0], str):
        descriptor.additional_constraints = f'Must be one of: {", ".join(limits)}.'
    elif isinstance(limits[0], int):
        descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1])]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=limits[0], to_value=limits[1])]
    return descriptor


def declare_parameters(node: Node) -> dict[str, Any]:
    """
    Declare `PARAMETERS` on a node and return their values by name.

    Raises ValueError, or rclpy's own exceptions for types and ranges, naming the parameter.
    """
    values: dict[str, Any] = {}
    for name, default, description, limits in PARAMETERS:
        value = node.declare_parameter(name, default, _describe(description, limits)).value
        if limits and isinstance(limits[0], str) and value not in limits:
            raise ValueError(f'parameter {name} must be one of {", ".join(limits)}, got {value!r}')
        values[name] = os.path.expanduser(value) if name in PATHS else value
    if not values['video']:
        raise ValueError('parameter video is empty: give a file, a folder of images or the '
                         'number of a camera')
    return values


class ImageSender:
    """Publishes frames on `image_raw` and `image_raw/compressed` as the parameters ask."""

    def __init__(self, node: Node, values: dict[str, Any]) -> None:
        """Create the publishers on `node`; `values` comes from `declare_parameters`."""
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=values['depth'],
                         reliability=ReliabilityPolicy[values['reliability'].upper()])
        self._frame_id = values['frame_id']
        # Pairs of a publisher and the function that makes its message from RGB.
        self._outputs: list[tuple[Any, Callable[[np.ndarray], Any]]] = []
        if values['image_transport'] in ('raw', 'both'):
            self._outputs.append((
                node.create_publisher(Image, 'image_raw', qos),
                lambda rgb: fill_image(Image(), rgb, values['encoding'])))
        if values['image_transport'] in ('compressed', 'both'):
            self._outputs.append((
                node.create_publisher(CompressedImage, 'image_raw/compressed', qos),
                lambda rgb: fill_compressed(CompressedImage(), rgb, values['jpeg_quality'])))

    def subscribers(self) -> int:
        """Return the number of subscriptions of all outputs together."""
        return sum(publisher.get_subscription_count() for publisher, _ in self._outputs)

    def prepare(self, rgb: np.ndarray) -> list[Any]:
        """Return the messages for a frame (H x W x 3 uint8 RGB), which `send` then publishes."""
        return [fill(rgb) for _, fill in self._outputs]

    def send(self, messages: Sequence[Any], stamp: Any) -> None:
        """Publish prepared messages with the header stamp `stamp` (builtin_interfaces/Time)."""
        for (publisher, _), message in zip(self._outputs, messages, strict=True):
            message.header.stamp = stamp
            message.header.frame_id = self._frame_id
            publisher.publish(message)

    def flush(self) -> None:
        """Wait until reliable subscribers have the last images, FLUSH_TIMEOUT at most."""
        for publisher, _ in self._outputs:
            publisher.wait_for_all_acked(FLUSH_TIMEOUT)


class CameraPlayer(Node):
    """
    Publishes frames as a camera driver does, `/camera/image_raw` without remapping.

    A frame of a file is prepared ahead of its time and stamped when it is published; one of a
    camera device is stamped when the device gives it. The service `~/play` (std_srvs/SetBool)
    starts and pauses the video. The future `finished` is done after the last frame.
    """

    def __init__(self, **options: Any) -> None:
        """
        Open the video.

        :raises ValueError: a parameter that is not allowed, or a file without frames.
        :raises FileNotFoundError: no such video.
        """
        super().__init__('camera_player', namespace='camera', **options)
        self._values = values = declare_parameters(self)
        self._source = open_source(values['video'], values['start'], values['end'] or None)
        if values['record_file'] and not self._source.live:
            raise ValueError('parameter record_file is for camera devices only')
        self._rate = values['rate'] or self._source.rate
        self._sender = ImageSender(self, values)
        self._playing = self._source.live or not values['paused']
        self._stamps: list[tuple[int, int]] = []
        self._files = ExitStack()
        self._record: Callable[[np.ndarray], object] | None = None
        # The frame published last and the one after it, each as (number, messages).
        self._current: tuple[int, list[Any]] | None = None
        self._ahead = None if self._source.live else self._next()
        self.finished = Future()
        self.create_service(SetBool, '~/play', self._on_play)
        self.create_timer(1 / self._rate, self._tick)

    def _next(self) -> tuple[int, list[Any]] | None:
        """Return the next frame as (number, messages), or None after the last one."""
        rgb = self._source.read()
        if rgb is None and self._values['loop']:
            self._source.rewind()
            rgb = self._source.read()
        return None if rgb is None else (self._source.index, self._sender.prepare(rgb))

    def _tick(self) -> None:
        waiting = self._current is None
        if waiting and self._sender.subscribers() < self._values['wait_for_subscribers']:
            return
        if self._source.live:
            self._play_camera()
        elif waiting or self._playing:
            self._play_ahead()
        else:
            self._send(self.get_clock().now())

    def _play_camera(self) -> None:
        rgb = self._source.read()
        stamp = self.get_clock().now()
        if rgb is None:
            self._finish('no more frames from the camera')
            return
        self._current = self._source.index, self._sender.prepare(rgb)
        self._send(stamp)
        if self._values['record_file']:
            self._write_record(rgb)

    def _play_ahead(self) -> None:
        if self._ahead is None:
            self._finish('end of the video')
            return
        self._current = self._ahead
        self._send(self.get_clock().now())
        self._ahead = self._next()

    def _send(self, stamp: Any) -> None:
        assert self._current is not None
        number, messages = self._current
        self._sender.send(messages, stamp.to_msg())
        self._stamps.append((number, stamp.nanoseconds))

    def _write_record(self, rgb: np.ndarray) -> None:
        if self._record is None:
            writer = video_writer(self._values['record_file'], self._rate)
            self._record = self._files.enter_context(writer)
        self._record(rgb)

    def _on_play(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = request.data or not self._source.live
        response.message = '' if response.success else 'a camera device cannot be paused'
        self._playing = request.data or self._source.live
        return response

    def _finish(self, reason: str) -> None:
        if not self.finished.done():
            self.get_logger().info(f'{len(self._stamps)} images published: {reason}')
            self.finished.set_result(True)

    def close(self) -> None:
        """Wait for slow subscribers, write the files, close the video."""
        with ignore_shutdown(self.context):
            self._sender.flush()
        self._files.close()
        self._source.release()
        if self._values['stamps_file']:
            write_stamps(self._values['stamps_file'], self._stamps)


def write_stamps(path: Path | str, stamps: Iterable[tuple[int, int]]) -> None:
    """Write (frame number, stamp in nanoseconds) pairs as CSV with a heading."""
    with atomic_write(Path(path)) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(('frame', 'stamp_ns'))
        writer.writerows(stamps)


def read_stamps(path: Path | str) -> list[tuple[int, int]]:
    """Return the (frame number, stamp in nanoseconds) pairs of a file by `write_stamps`."""
    with open(path, newline='', encoding='utf-8') as file:
        return [(int(row['frame']), int(row['stamp_ns'])) for row in csv.DictReader(file)]


def main(args: Sequence[str] | None = None) -> int:
    """Play until the end of the video or an interrupt; returns the exit code."""
    player = None
    try:
        with ignore_shutdown():
            init_ros('camera_player', args)
            player = CameraPlayer()
            warn_of_unknown_parameters(player)
            warn_of_unused_sections(player, sys.argv if args is None else args)
            rclpy.spin_until_future_complete(player, player.finished)
    except Exception as error:
        print(f'camera_player: {error}', file=sys.stderr)
        return 1
    finally:
        if player is not None:
            player.close()
            player.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
