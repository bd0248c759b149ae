# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One camera of the node: its topics, its subscription that follows the publishers, its health."""

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
import rclpy.subscription
from re3_ros import diagnostics, qos
from re3_ros.declare import Parameters
from re3_ros.diagnostics import CameraHealth, UNKNOWN
from re3_ros.frame_buffer import Frame
from re3_ros.image_stream import annotated_image, ImageStream
from re3_ros.messages import (
    compressed_to_rgb,
    fill_compressed,
    fill_image,
    fill_track,
    MAX_TEXT,
)
from re3_ros.targets import CameraTargets, Event, LOST, REMOVED, StatusRow, Target, TRACKED
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

# Deep enough that no box of a burst is lost while the network is busy with the first ones.
REQUEST_DEPTH = 100
TRACKS_DEPTH = 10
# Warnings that are not repeated when images stop and arrive again.
STICKY_WARNINGS = {'loss', 'missed', 'stamps'}
# State of targets that are kept while no images are processed.
PAUSED = 'paused'
# For subscribers to receive the last status table.
FLUSH_TIMEOUT = Duration(seconds=1)
# rclpy of Iron and later hands over the publisher's sequence number with each message.
HAS_MESSAGE_INFO = hasattr(rclpy.subscription, 'MessageInfo')


def status_message(rows: list[StatusRow], stamp: Any, camera: str = '',
                   frame_id: str = '') -> DiagnosticArray:
    """Return the status table as a message."""
    message = DiagnosticArray(status=[
        DiagnosticStatus(
            level=bytes([row.level]), name=row.id[:MAX_TEXT], message=row.state,
            hardware_id=camera,
            values=[KeyValue(key=key, value=value) for key, value in row.values.items()])
        for row in rows])
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    return message


class Camera:
    """
    One camera's topics and targets.

    The publishers live as long as the object, the subscriptions from `open` to `close`.
    """

    def __init__(self, node: LifecycleNode, name: str, targets: CameraTargets,
                 parameters: Parameters, convert: Callable[..., np.ndarray]) -> None:
        """
        Create the publishers.

        :param node: the lifecycle node.
        :param name: the camera's name, '' for the only one.
        :param targets: its `re3_ros.targets.CameraTargets`.
        :param parameters: `re3_ros.declare.Parameters`.
        :param convert: turns a `sensor_msgs/Image` into RGB, as `re3_ros.messages.image_to_rgb`.
        """
        self.name = name
        self.targets = targets
        self.health = CameraHealth()
        self.pending: Frame | None = None
        self.reliability = 'best_effort'
        self.busy_before = 0.
        self.paused = True
        self._node = node
        self._parameters = parameters
        self._prefix = f'{name}/' if name else ''
        self.init_topic = node.resolve_topic_name(f'{self._prefix}init')
        self.detections_topic = node.resolve_topic_name(f'{self._prefix}detections')
        self._compressed = parameters.of_camera(name, 'image_transport') == 'compressed'
        self.stream = ImageStream(targets, parameters, self._compressed,
                                  compressed_to_rgb if self._compressed else convert)
        self.monitor = self.stream.monitor
        self._opened = 0.
        self._publishers_since: float | None = None
        self._warned: set[str] = set()
        self._messages: dict[str, Detection2D] = {}
        self._subscriptions: list[Any] = []
        self._images: Any = None
        self._resolve_topic()
        self._create_publishers()

    # ---- topics ----

    def _resolve_topic(self) -> None:
        """Set the image topic as image_transport does: expand and remap, then append."""
        base = self._node.resolve_topic_name(f'{self._prefix}image')
        self.topic, self._sibling = base, f'{base}/compressed'
        if self._compressed:
            self.topic, self._sibling = self._sibling, self.topic
        every = self._parameters['process_every_frame']
        self._wanted, self._depth = qos.declare_image_overrides(
            self._node, self.topic,
            self._parameters.of_camera(self.name, 'image_reliability'),
            qos.QUEUE_OF_EVERY_FRAME if every else 1)

    def _create_publishers(self) -> None:
        node, overrides = self._node, QoSOverridingOptions.with_default_policies()
        self._tracks = node.create_lifecycle_publisher(
            Detection2DArray, f'{self._prefix}tracks', QoSProfile(depth=TRACKS_DEPTH),
            qos_overriding_options=overrides)
        # Not a lifecycle publisher: what is latched must be true in every lifecycle state.
        self._status = node.create_publisher(
            DiagnosticArray, f'{self._prefix}status', qos.latched_profile())
        self._debug = node.create_lifecycle_publisher(
            Image, f'~/debug/{self._prefix}image', QoSProfile(depth=1))
        self._debug_compressed = node.create_lifecycle_publisher(
            CompressedImage, f'~/debug/{self._prefix}image/compressed', QoSProfile(depth=1))

    def destroy(self, monotonic: float) -> None:
        """Remove the targets, publish that and destroy the publishers."""
        self.targets.reset('the node was cleaned up')
        self.publish_events(monotonic)
        self._status.wait_for_all_acked(FLUSH_TIMEOUT)
        self._node.destroy_publisher(self._status)
        for publisher in (self._tracks, self._debug, self._debug_compressed):
            self._node.destroy_lifecycle_publisher(publisher)

    def open(self, on_image: Callable[..., None], on_init: Callable[..., None],  # noqa: A003
             on_detections: Callable[..., None], monotonic: float) -> None:
        """
        Subscribe.

        :param on_image: called with (camera, message, sequence), see `StreamMonitor.on_image`.
        :param on_init: called with (camera, Detection2D).
        :param on_detections: called with (camera, Detection2DArray).
        :param monotonic: the time in seconds, from which silence counts.
        """
        self._opened, self._publishers_since = monotonic, None
        self._on_image = self._image_callback(on_image)
        overrides = QoSOverridingOptions.with_default_policies()
        for kind, topic, callback in ((Detection2D, 'init', on_init),
                                      (Detection2DArray, 'detections', on_detections)):
            self._subscriptions.append(self._node.create_subscription(
                kind, f'{self._prefix}{topic}',
                lambda message, callback=callback: callback(self, message),
                QoSProfile(depth=REQUEST_DEPTH), qos_overriding_options=overrides))
        self._subscribe_images(qos.select_reliability(self._wanted, self._offered()))

    def _image_callback(self, on_image: Callable[..., None]) -> Callable[..., None]:
        if not HAS_MESSAGE_INFO:
            return lambda message: on_image(self, message, UNKNOWN)

        def with_info(message: Any, info: Any) -> None:
            publisher, number = info['publisher_gid'], info['publication_sequence_number']
            known = publisher is not None and number is not None
            on_image(self, message, (publisher['data'], number) if known else UNKNOWN)
        return with_info

    def close(self) -> None:
        """Unsubscribe and discard frames and timing; the targets stay."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        self._subscriptions.clear()
        self._images = None
        self.targets.refused.clear()
        self.pause(True)

    def pause(self, paused: bool) -> None:
        """
        Pause or go on, and publish the status table; the targets stay.

        Frames and timing are discarded, as the next image will not follow the last one.
        """
        self.pending = None
        self.targets.discard_frames()
        self.monitor.restart()
        self.health.clear()
        self.paused = paused
        self.publish_status()

    # ---- quality of service ----

    def _publishers(self, topic: str = '') -> list[tuple[str, str]]:
        """Return (reliability, type name) of all publishers of a topic ('': the image topic)."""
        return [(qos.publisher_reliability(info), info.topic_type)
                for info in self._node.get_publishers_info_by_topic(topic or self.topic)]

    def _offered(self) -> list[str]:
        return [reliability for reliability, _ in self._publishers()]

    def _subscribe_images(self, reliability: str) -> None:
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        kind = CompressedImage if self._compressed else Image
        self.reliability = reliability
        self._images = self._node.create_subscription(
            kind, self.topic, self._on_image, qos.image_profile(reliability, self._depth))

    def match_publisher_qos(self, monotonic: float) -> None:
        """Subscribe as the publishers offer, if that has changed; without any nothing changes."""
        offered = self._offered()
        if not offered:
            self._publishers_since = None
        elif self._publishers_since is None:
            self._publishers_since = monotonic
        reliability = qos.select_reliability(self._wanted, offered)
        if offered and reliability != self.reliability:
            self._node.get_logger().info(f'{self.topic}: subscribing {reliability}, as the '
                                         'publishers offer')
            self._subscribe_images(reliability)

    def check_stream(self, monotonic: float) -> None:
        """Log once when images are lost or missing, with remedies, and when they are back."""
        silent = min(self.frame_age(monotonic),
                     monotonic - (self._publishers_since or self._opened))
        if silent > self._parameters['frame_timeout']:
            hint = self._no_image_hint()
            self._warn_once(hint, f'no image on {self.topic} for {silent:.1f} s: {hint}')
        elif self.health.last_frame and self._warned - STICKY_WARNINGS:
            self._warned &= STICKY_WARNINGS
            self._node.get_logger().info(f'{self.topic}: images arrive again')
        loss = self.monitor.loss()
        if loss >= diagnostics.LOSS_WARN_RATIO:
            self._warn_once('loss', diagnostics.loss_hint(
                self.topic, loss, self.reliability, self._compressed))
        missed = self.monitor.skipped + self.monitor.lost
        if missed and self._parameters['process_every_frame']:
            self._warn_once('missed', diagnostics.overflow_hint(self.topic, missed, self._depth))
        stamps = self.health.clocks.stamp_problem
        if stamps:
            self._warn_once('stamps', f'{self.topic}: {stamps}; boxes start on the newest image, '
                            'whatever their stamp')

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._node.get_logger().warning(text)

    def _no_image_hint(self) -> str:
        kind = 'sensor_msgs/msg/' + ('CompressedImage' if self._compressed else 'Image')
        others = [topic for topic, types in self._node.get_topic_names_and_types()
                  if kind in types and topic != self.topic and self._is_foreign(topic)]
        parameter = f'{self.name}.image_transport' if self.name else 'image_transport'
        sibling = self._sibling if self._is_foreign(self._sibling) else ''
        return diagnostics.no_image_hint(self._publishers(), self.reliability, self._compressed,
                                         sorted(others), sibling, parameter)

    def _is_foreign(self, topic: str) -> bool:
        """Return whether a topic has publishers other than this node."""
        own = self._node.get_name(), self._node.get_namespace()
        return any((info.node_name, info.node_namespace) != own
                   for info in self._node.get_publishers_info_by_topic(topic))

    def frame_age(self, monotonic: float) -> float:
        """Return the seconds since the last image, or since the subscription."""
        return monotonic - (self.health.last_frame or self._opened)

    # ---- images ----

    def accept(self, frame: Frame) -> None:
        """Make a Frame the pending one."""
        if self.pending is not None:
            self.monitor.skipped += 1
        self.pending = frame

    def take_pending(self) -> Frame:
        """Return the pending Frame, which is no longer pending."""
        frame, self.pending = self.pending, None
        assert frame is not None
        return frame

    def matches(self, frame_id: str) -> bool:
        """Return whether `frame_id` names this camera: its name, or its images' frame_id."""
        return frame_id != '' and frame_id in (self.name, self.stream.frame_id)

    # ---- results ----

    def publish_tracks(self, frame: Frame, targets: list[Target]) -> None:
        """Publish targets with the image's header."""
        self._tracks.publish(Detection2DArray(
            header=frame.header,
            detections=[self._message_of(target, frame.header) for target in targets]))
        if self._debug.get_subscription_count():
            self._debug.publish(fill_image(
                Image(header=frame.header), annotated_image(frame, targets)))
        if self._debug_compressed.get_subscription_count():
            self._debug_compressed.publish(fill_compressed(
                CompressedImage(header=frame.header), annotated_image(frame, targets)))

    def _message_of(self, target: Target, header: Any) -> Detection2D:
        """Return a target's Detection2D; each target's is made once and then rewritten."""
        message = self._messages.get(target.id)
        if message is None:
            message = self._messages[target.id] = Detection2D(
                results=[ObjectHypothesisWithPose()])
        fill_track(message, header, target)
        return message

    def publish_events(self, monotonic: float) -> None:
        """Log the targets' events; publish the status table if there is news for it."""
        events, rows = self.targets.take_events(monotonic)
        for event in events:
            self._log_event(event)
            if event.kind == REMOVED:
                self._messages.pop(event.id, None)
        if rows is not None:
            self.publish_status(rows)

    def _log_event(self, event: Event) -> None:
        logger = self._node.get_logger()
        where = f'{self.name}/' if self.name else ''
        text = f'target {where}{event.id!r} {event.kind}' + (f': {event.text}' * bool(event.text))
        if event.kind == 'lost':
            logger.warning(text)
        elif event.kind in ('restarted', 'refused'):    # often; logged where it was refused
            logger.debug(text)
        else:
            logger.info(text)

    def publish_status(self, rows: list[StatusRow] | None = None) -> None:
        """Publish the latched table of the targets' states, by default as they are now."""
        rows = self.targets.status_rows() if rows is None else rows
        if self.paused:
            rows = [row._replace(level=diagnostics.WARN, state=PAUSED)
                    if row.state in (TRACKED, LOST) else row for row in rows]
        self._status.publish(status_message(
            rows, self._node.get_clock().now().to_msg(), self.name, self.stream.frame_id))

    def diagnostics(self, monotonic: float) -> DiagnosticStatus:
        """Return the camera's DiagnosticStatus."""
        age = self.frame_age(monotonic)
        states = [target.state for target in self.targets.targets.values()]
        level, text = diagnostics.diagnostic_level(
            self.health, self.monitor, states, self._parameters, age)
        values = diagnostics.diagnostic_values(self.health, self.monitor, states, age)
        values |= {'image_topic': self.topic, 'reliability': self.reliability,
                   'publishers': str(len(self._publishers())),
                   'buffered_images': str(len(self.targets.frames)),
                   'buffered_megabytes': f'{self.targets.frames.nbytes / 1e6:.1f}'}
        name = self._node.get_fully_qualified_name()[1:]
        return DiagnosticStatus(
            level=bytes([level]), name=f'{name}: {self.name or "camera"}', message=text,
            hardware_id=self.topic,
            values=[KeyValue(key=key, value=value) for key, value in values.items()])
