# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One camera of the tracker as the page sees it: its images, tracks, states and diagnostics."""

from functools import partial
import math
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile
from re3_ros import qos
from re3_ros.messages import (
    compressed_size,
    compressed_to_rgb,
    fill_box,
    image_size,
    image_to_rgb,
    ImageError,
    read_box,
    stamp_of,
)
from re3_ros.web.annotations import Annotations, find_messages
from re3_ros.web.matching import TrackMatcher
from re3_web.source import Box, CameraState, ERROR, Frame, OK, Receiver, ShownTrack, WARN
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray

# Seconds without an image or tracks after which the page reports it.
IMAGE_TIMEOUT, TRACKS_TIMEOUT = 3., 3.
# States of a target that is there; other rows of the status are answers to requests.
STATES = ('tracked', 'lost', 'paused')
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class WebCamera:
    """
    The topics of one camera. All methods are called in the executor's thread, except `state`.

    :param node: the page's node, in the tracker's namespace.
    :param name: the camera's name, '' for one without.
    :param receiver: where frames and messages go.
    """

    def __init__(self, node: Node, name: str, receiver: Receiver) -> None:
        self.name = name
        self.image_topic = ''
        self._node, self._receiver = node, receiver
        self._matcher = TrackMatcher()
        self._states: dict[str, str] = {}
        self._answers: set[tuple[str, ...]] = set()    # id, answer, reason, number
        self._diagnostics = DiagnosticStatus()
        self._images: Any = None
        self._subscribed: tuple[str, str, str] | None = None    # topic, type, reliability
        self._since = 0.
        self._last_image = 0.
        self._bad_image = ''
        self._frame_id = ''
        prefix = f'{name}/' if name else ''
        foxglove = find_messages()
        self._annotations = foxglove and Annotations(node, f'{prefix}annotations', foxglove)
        self._init = node.create_publisher(Detection2D, f'{prefix}init', QoSProfile(depth=100))
        self._subscriptions = [
            node.create_subscription(Detection2DArray, f'{prefix}tracks', self._on_tracks,
                                     QoSProfile(depth=10)),
            node.create_subscription(DiagnosticArray, f'{prefix}status', self._on_status,
                                     qos.latched_profile())]

    # ---- requests ----

    def send_box(self, target_id: str, box: Box | None, stamp: int) -> None:
        """Publish a box on `init`, or the request to remove the target if it is None."""
        header = Header(frame_id=self._frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message = Detection2D(id=target_id, header=header)
        if box is not None:
            fill_box(message.bbox, box)
        self._init.publish(message)

    def watch(self, watched: bool) -> None:
        """Subscribe to the images as their publishers offer them, or unsubscribe."""
        wanted = self._wanted_subscription() if watched and self.image_topic else None
        if wanted == self._subscribed:
            return
        if self._images is not None:
            self._node.destroy_subscription(self._images)
            self._images = None
            self._matcher.forget_images()
        if wanted is not None:
            topic, kind, reliability = wanted
            self._images = self._node.create_subscription(
                CompressedImage if kind == COMPRESSED else Image, topic, self._on_image,
                qos.image_profile(reliability, 1))
            if self._subscribed is None:
                self._since = self._last_image = time.monotonic()
        self._subscribed = wanted

    def _wanted_subscription(self) -> tuple[str, str, str]:
        infos = self._node.get_publishers_info_by_topic(self.image_topic)
        if not infos and self._subscribed and self._subscribed[0] == self.image_topic:
            return self._subscribed    # wait for the camera to come back
        compressed = (any(info.topic_type == COMPRESSED for info in infos)
                      or self.image_topic.endswith('/compressed'))
        offered = [qos.publisher_reliability(info) for info in infos]
        return (self.image_topic, COMPRESSED if compressed else 'sensor_msgs/msg/Image',
                qos.select_reliability('auto', offered))

    # ---- messages ----

    def _on_image(self, message: Image | CompressedImage) -> None:
        now = time.monotonic()
        self._last_image = now
        stamp = stamp_of(message.header)
        self._frame_id = message.header.frame_id
        found = self._matcher.add_image(stamp, message, now)
        if found is not None:
            self._deliver(stamp, *found)

    def _on_tracks(self, message: Detection2DArray) -> None:
        stamp = stamp_of(message.header)
        shown = map(_shown, message.detections)
        # JSON has no other numbers; the tracker publishes none.
        tracks = tuple(track for track in shown if all(map(
            math.isfinite, (*track.box, track.confidence))))
        image = self._matcher.add_tracks(stamp, tracks, time.monotonic())
        self._deliver(stamp, image, tracks)
        if self._annotations:
            self._annotations.publish(message, self._states)

    def _deliver(self, stamp: int, image: Any, tracks: tuple[ShownTrack, ...]) -> None:
        age = (self._node.get_clock().now().nanoseconds - stamp) / 1e9
        # Clocks that do not fit together give no age.
        known_age = age if 0 <= age < 60 else None
        if image is None:
            self._receiver.offer(self.name, Frame(stamp, tracks, age=known_age))
            return
        try:
            size_of, convert = ((image_size, image_to_rgb) if isinstance(image, Image)
                                else (compressed_size, compressed_to_rgb))
            height, width = size_of(image)
        except ImageError as error:
            self._bad_image = str(error)
            return
        self._bad_image = ''
        self._receiver.offer(self.name, Frame(
            stamp, tracks, (width, height), partial(convert, image), age=known_age))

    def _on_status(self, message: DiagnosticArray) -> None:
        """Take over the states; report what changed and which boxes were refused."""
        states: dict[str, str] = {}
        answers: set[tuple[str, ...]] = set()
        for status in message.status:
            if status.message in STATES:
                states[status.name] = status.message
                continue
            values = {item.key: item.value for item in status.values}
            reason = values.get('reason', '')
            # By its number, a request refused again differs from a table published again.
            answer = status.name, status.message, reason, values.get('number', '')
            answers.add(answer)
            if answer not in self._answers:
                level = ERROR if status.level == DiagnosticStatus.ERROR else OK
                self._receiver.notice(level, f'{self._label(status.name)} {status.message}'
                                      + (f': {reason}' if reason else ''))
        for target_id, state in states.items():
            before = self._states.get(target_id)
            if state == 'lost' and before != 'lost':
                self._receiver.notice(WARN, f'{self._label(target_id)} lost')
            elif state == 'tracked' and before == 'lost':
                self._receiver.notice(OK, f'{self._label(target_id)} found again')
        self._states, self._answers = states, answers

    def _label(self, target_id: str) -> str:
        where = f' of camera {self.name}' if self.name else ''
        return (f'target {target_id!r}' if target_id else 'box without an id') + where

    def on_diagnostics(self, status: DiagnosticStatus) -> None:
        """Take over the tracker's diagnostics of this camera."""
        self._diagnostics = status
        self.image_topic = next(
            (item.value for item in status.values if item.key == 'image_topic'), '')

    # ---- state ----

    def state(self, tracker_alive: bool) -> CameraState:
        """Return what the page shows; may be called in any thread."""
        status = self._diagnostics
        return CameraState(
            self.name, self.image_topic, self._problems(tracker_alive),
            status.level[0] if tracker_alive else ERROR,
            status.message if tracker_alive else 'the tracker is gone',
            {item.key: item.value for item in status.values}, dict(self._states))

    def _problems(self, tracker_alive: bool) -> list[str]:
        if self._subscribed is None:
            return []
        now = time.monotonic()
        silent = now - self._last_image
        problems = []
        if silent > IMAGE_TIMEOUT:
            count = self._node.count_publishers(self._subscribed[0])
            camera = ('nobody publishes there' if not count else
                      'its publisher sends nothing, or uses another transport')
            problems.append(f'No image on {self._subscribed[0]} for {silent:.0f} s: {camera}.')
        elif self._bad_image:
            problems.append(f'The images cannot be shown: {self._bad_image}.')
        elif tracker_alive and 'disabled' not in self._diagnostics.message and (
                now - max(self._matcher.last_tracks, self._since) > TRACKS_TIMEOUT):
            problems.append('The tracker publishes no tracks for these images.')
        return problems


def _shown(detection: Detection2D) -> ShownTrack:
    results = detection.results
    x1, y1, x2, y2 = (round(float(side), 2) for side in read_box(detection.bbox))
    return ShownTrack(detection.id, (x1, y1, x2, y2),
                      round(results[0].hypothesis.score, 4) if results else 0.,
                      results[0].hypothesis.class_id if results else '')
