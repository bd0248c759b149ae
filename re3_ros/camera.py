# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One camera of the node: its topics, its subscription that follows the publishers, its health."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
import rclpy.subscription
from re3_ros import health, qos, stream_watch
from re3_ros.detections import fill_track
from re3_ros.image_stream import annotated_image, ImageStream
from re3_ros.images import compressed_to_rgb, fill_compressed, fill_image
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

# Deep enough that no box of a burst is lost while the network is busy with the first ones.
REQUEST_DEPTH = 100
TRACKS_DEPTH = 10
# Complaints that stay said when images arrive again.
LASTING = {'loss', 'missed'}
# rclpy of Iron and later hands over the publisher's sequence number with each message.
HAS_MESSAGE_INFO = hasattr(rclpy.subscription, 'MessageInfo')


class Camera:
    """
    One camera's topics and targets.

    The publishers live as long as the object, the subscriptions from `open` to `close`.
    """

    def __init__(self, node, name, targets, parameters, convert):
        """
        Create the publishers.

        :param node: the lifecycle node.
        :param name: the camera's name, '' for the only one.
        :param targets: its `re3_ros.targets.CameraTargets`.
        :param parameters: `re3_ros.declare.Parameters`.
        :param convert: turns a `sensor_msgs/Image` into RGB, as `re3_ros.images.image_to_rgb`.
        """
        self.name = name
        self.targets = targets
        self.health = health.CameraHealth()
        self.pending = None
        self.reliability = 'best_effort'
        self.busy_before = 0.
        self._node = node
        self._parameters = parameters
        self._prefix = f'{name}/' if name else ''
        self.init_topic = node.resolve_topic_name(f'{self._prefix}init')
        self.detections_topic = node.resolve_topic_name(f'{self._prefix}detections')
        self._compressed = parameters.of_camera(name, 'image_transport') == 'compressed'
        self.stream = ImageStream(targets, parameters, self._compressed,
                                  compressed_to_rgb if self._compressed else convert)
        self.watch = self.stream.watch
        self._opened = 0.
        self._said = set()
        self._messages = {}
        self._subscriptions = []
        self._images = None
        self._resolve_topic()
        self._create_publishers()

    # ---- topics ----

    def _resolve_topic(self):
        """Find the image topic as image_transport does: expand and remap, then append."""
        base = self._node.resolve_topic_name(f'{self._prefix}image')
        self.topic = f'{base}/compressed' if self._compressed else base
        every = self._parameters['process_every_frame']
        self._wanted, self._depth = qos.declare_image_overrides(
            self._node, self.topic,
            self._parameters.of_camera(self.name, 'image_reliability'),
            qos.QUEUE_OF_EVERY_FRAME if every else 1)

    def _create_publishers(self):
        node, overrides = self._node, QoSOverridingOptions.with_default_policies()
        self._tracks = node.create_lifecycle_publisher(
            Detection2DArray, f'{self._prefix}tracks', QoSProfile(depth=TRACKS_DEPTH),
            qos_overriding_options=overrides)
        self._status = node.create_lifecycle_publisher(
            DiagnosticArray, f'{self._prefix}status', qos.latched_profile())
        self._debug = node.create_lifecycle_publisher(
            Image, f'~/debug/{self._prefix}image', QoSProfile(depth=1))
        self._debug_compressed = node.create_lifecycle_publisher(
            CompressedImage, f'~/debug/{self._prefix}image/compressed', QoSProfile(depth=1))

        self._own_images = (self._debug.topic_name, self._debug_compressed.topic_name)

    def destroy(self):
        """Destroy the publishers."""
        for publisher in (self._tracks, self._status, self._debug, self._debug_compressed):
            self._node.destroy_lifecycle_publisher(publisher)

    def open(self, on_image, on_init, on_detections, monotonic):  # noqa: A003
        """
        Subscribe.

        :param on_image: called with (camera, message, sequence), see `StreamWatch.arrived`.
        :param on_init: called with (camera, Detection2D).
        :param on_detections: called with (camera, Detection2DArray).
        :param monotonic: the time in seconds, from which silence counts.
        """
        self._opened = monotonic
        self._on_image = self._image_callback(on_image)
        overrides = QoSOverridingOptions.with_default_policies()
        for kind, topic, callback in ((Detection2D, 'init', on_init),
                                      (Detection2DArray, 'detections', on_detections)):
            self._subscriptions.append(self._node.create_subscription(
                kind, f'{self._prefix}{topic}',
                lambda message, callback=callback: callback(self, message),
                QoSProfile(depth=REQUEST_DEPTH), qos_overriding_options=overrides))
        self._subscribe_images(qos.reliability_to_ask(self._wanted, self._offered()))

    def _image_callback(self, on_image):
        if not HAS_MESSAGE_INFO:
            return lambda message: on_image(self, message, (None, 0))

        def with_info(message, info):
            publisher, number = info['publisher_gid'], info['publication_sequence_number']
            known = publisher is not None and number is not None
            on_image(self, message, (publisher['data'], number) if known else (None, 0))
        return with_info

    def close(self):
        """Unsubscribe, and forget what the pause makes worthless; the targets stay."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        self._subscriptions.clear()
        self._images = None
        self.pause()

    def pause(self):
        """Forget frames and timing, as the next image will not follow the last one."""
        self.pending = None
        self.targets.forget_frames()
        self.watch.restart()
        self.health.clear()

    # ---- quality of service ----

    def _publishers(self):
        """Return (reliability, type name) of all publishers of the image topic."""
        return [(qos.reliability_name(info), info.topic_type)
                for info in self._node.get_publishers_info_by_topic(self.topic)]

    def _offered(self):
        return [reliability for reliability, _ in self._publishers()]

    def _subscribe_images(self, reliability):
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        kind = CompressedImage if self._compressed else Image
        self.reliability = reliability
        self._images = self._node.create_subscription(
            kind, self.topic, self._on_image, qos.image_profile(reliability, self._depth))

    def follow_publishers(self):
        """Ask for what the publishers offer, if that has changed; none changes nothing."""
        offered = self._offered()
        reliability = qos.reliability_to_ask(self._wanted, offered)
        if offered and reliability != self.reliability:
            self._node.get_logger().info(f'{self.topic}: subscribing {reliability}, as the '
                                         'publishers offer')
            self._subscribe_images(reliability)

    def look_after_stream(self, monotonic):
        """Say once when images are lost or missing, with what helps, and when they are back."""
        silent = self.frame_age(monotonic)
        if silent > self._parameters['frame_timeout']:
            advice = self._silence()
            self._say_once(advice, f'no image on {self.topic} for {silent:.1f} s: {advice}')
        elif self.health.last_frame and self._said - LASTING:
            self._said &= LASTING
            self._node.get_logger().info(f'{self.topic}: images arrive again')
        loss = self.watch.loss()
        if loss >= stream_watch.WORTH_SAYING:
            self._say_once('loss', stream_watch.loss_advice(
                self.topic, loss, self.reliability, self._compressed))
        missed = self.watch.skipped + self.watch.lost
        if missed and self._parameters['process_every_frame']:
            self._say_once('missed', stream_watch.missed_advice(self.topic, missed, self._depth))

    def _say_once(self, what, text):
        if what not in self._said:
            self._said.add(what)
            self._node.get_logger().warning(text)

    def _silence(self):
        kind = 'sensor_msgs/msg/' + ('CompressedImage' if self._compressed else 'Image')
        others = [topic for topic, types in self._node.get_topic_names_and_types()
                  if kind in types and topic not in (self.topic, *self._own_images)
                  and self._node.count_publishers(topic)]
        return stream_watch.silence_advice(
            self._publishers(), self.reliability, kind, sorted(others))

    def frame_age(self, monotonic):
        """Return the seconds since the last image, or since the subscription."""
        return monotonic - (self.health.last_frame or self._opened)

    # ---- images ----

    def accept(self, frame):
        """Make a Frame the pending one."""
        if self.pending is not None:
            self.watch.skipped += 1
        self.pending = frame

    def take_pending(self):
        """Return the pending Frame, which is no longer pending."""
        frame, self.pending = self.pending, None
        return frame

    def is_called(self, frame_id):
        """Tell whether a message with this `frame_id` is meant for this camera."""
        return frame_id in (self.name, self.stream.frame_id)

    # ---- results ----

    def publish_tracks(self, frame, targets):
        """Publish targets (a list of `re3_ros.targets.Target`) with the image's header."""
        self._tracks.publish(Detection2DArray(
            header=frame.header,
            detections=[self._message_of(target, frame.header) for target in targets]))
        if self._debug.get_subscription_count():
            self._debug.publish(fill_image(
                Image(header=frame.header), annotated_image(frame, targets)))
        if self._debug_compressed.get_subscription_count():
            self._debug_compressed.publish(fill_compressed(
                CompressedImage(header=frame.header), annotated_image(frame, targets)))

    def _message_of(self, target, header):
        """Return a target's Detection2D; each target's is made once and then rewritten."""
        message = self._messages.get(target.id)
        if message is None:
            message = self._messages[target.id] = Detection2D(
                results=[ObjectHypothesisWithPose()])
        fill_track(message, header, target)
        return message

    def publish_events(self, stamp):
        """Log the targets' events and publish the latched table of states if it changed."""
        events, rows = self.targets.take_events()
        for event in events:
            self._log_event(event)
            if event.kind == 'removed':
                self._messages.pop(event.id, None)
        if rows is not None:
            self._publish_status(stamp, rows)

    def _log_event(self, event):
        logger = self._node.get_logger()
        where = f'{self.name}/' if self.name else ''
        text = f'target {where}{event.id!r} {event.kind}' + (f': {event.text}' * bool(event.text))
        if event.kind == 'restarted':     # as often as a detector names the target
            logger.debug(text)
        elif event.kind == 'lost':
            logger.warning(text)
        else:
            logger.info(text)

    def _publish_status(self, stamp, rows):
        message = DiagnosticArray(status=[
            DiagnosticStatus(
                level=bytes([row.level]), name=row.id, message=row.state, hardware_id=self.name,
                values=[KeyValue(key='reason', value=row.reason)] if row.reason else [])
            for row in rows])
        message.header.stamp = stamp
        message.header.frame_id = self.stream.frame_id
        self._status.publish(message)

    def diagnostics(self, monotonic):
        """Return the camera's DiagnosticStatus."""
        age = self.frame_age(monotonic)
        states = [target.state for target in self.targets.targets.values()]
        level, text = health.verdict(self.health, self.watch, states, self._parameters, age)
        values = health.figures(self.health, self.watch, states, age)
        values |= {'image_topic': self.topic, 'reliability': self.reliability,
                   'publishers': str(len(self._publishers())),
                   'buffered_images': str(len(self.targets.frames)),
                   'buffered_megabytes': f'{self.targets.frames.nbytes / 1e6:.1f}'}
        name = self._node.get_fully_qualified_name()[1:]
        return DiagnosticStatus(
            level=bytes([level]), name=f'{name}: {self.name or "camera"}', message=text,
            hardware_id=self.topic,
            values=[KeyValue(key=key, value=value) for key, value in values.items()])
