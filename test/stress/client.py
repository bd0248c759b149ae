# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Detector and controller of the tests: sends boxes, records tracks, status and diagnostics."""

from collections import namedtuple
import time

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from re3_ros.messages import fill_box, read_box, stamp_of
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

PATIENCE = 180
# Seconds after which a request without effect is sent again.
RESEND_AFTER = 5
DEPTH = 1000

# Tracks of one image: its stamp and the time of arrival in nanoseconds, {id: `xyxy` box}.
Arrival = namedtuple('Arrival', 'stamp at boxes')


def header_of(stamp, frame_id=''):
    """Return a header with a stamp in nanoseconds."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return header


def detection(identity, box, stamp=0, frame_id='', class_id=''):
    """Return the Detection2D of an `xyxy` box; without a box it removes the target."""
    message = Detection2D(id=identity, header=header_of(stamp, frame_id))
    if class_id:
        message.results = [ObjectHypothesisWithPose()]
        message.results[0].hypothesis.class_id = class_id
    if box is not None:
        fill_box(message.bbox, box)
    return message


class Client:
    """Detector and controller in one, for one camera of the node."""

    def __init__(self, camera='', executor=None, namespace='/re3'):
        """
        Create the topics.

        :param camera: name of the camera, if the node has several.
        :param executor: another client's `executor`, to receive messages for both.
        :param namespace: namespace of the node.
        """
        self.prefix = f'{camera}/' if camera else ''
        self.node = rclpy.create_node(f'client_{time.monotonic_ns()}', namespace=namespace)
        self.executor = executor or rclpy.executors.SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.inits = self.publisher(Detection2D, f'{self.prefix}init')
        self.detections = self.publisher(Detection2DArray, f'{self.prefix}detections')
        self.arrivals = []
        self.states = {}
        self.figures = {}
        self.level = None
        self._camera = camera or 'camera'
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for kind, topic, callback, profile in (
                (Detection2DArray, f'{self.prefix}tracks', self.on_tracks,
                 QoSProfile(depth=DEPTH)),
                (DiagnosticArray, f'{self.prefix}status', self.on_status, latched),
                (DiagnosticArray, '/diagnostics', self.on_diagnostics, QoSProfile(depth=10))):
            self.node.create_subscription(kind, topic, callback, profile)

    def publisher(self, kind, topic, depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE):
        """Return a publisher on a topic of the node's namespace."""
        return self.node.create_publisher(
            kind, topic, QoSProfile(depth=depth, reliability=reliability))

    def on_tracks(self, message):
        """Record tracks."""
        boxes = {entry.id: read_box(entry.bbox) for entry in message.detections}
        self.arrivals.append(Arrival(stamp_of(message.header), time.time_ns(), boxes))

    def on_status(self, message):
        """Record the status table."""
        self.states = {status.name: status.message for status in message.status}

    def on_diagnostics(self, message):
        """Record the camera's diagnostics."""
        for status in message.status:
            if status.name.endswith(f': {self._camera}'):
                self.level = status.level[0]
                self.figures = {entry.key: entry.value for entry in status.values}

    # ---- waiting ----

    def spin(self, seconds):
        """Process messages for some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def wait_until(self, condition, what, patience=PATIENCE):
        """
        Process messages until `condition()` is true; return its result.

        :raises TimeoutError: it is still false after `patience` seconds.
        """
        end = time.monotonic() + patience
        while not (result := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f'waited {patience} s for {what}')
            self.executor.spin_once(timeout_sec=.02)
        return result

    def connect(self, *publishers):
        """
        Wait until the node subscribes to this client, reliably if it is, and publishes tracks.

        :param publishers: further ones that the node must subscribe to.
        """
        for publisher in (self.inits, self.detections, *publishers):
            self.wait_until(lambda publisher=publisher: self._is_connected(publisher),
                            f'a subscriber of {publisher.topic_name}')
        self.wait_until(lambda: self.node.count_publishers(f'{self.prefix}tracks'), 'the tracks')
        return self

    def _is_connected(self, publisher):
        """Return whether a subscriber asks for what a publisher offers; the node follows it."""
        listeners = self.node.get_subscriptions_info_by_topic(publisher.topic_name)
        return publisher.get_subscription_count() and any(
            info.qos_profile.reliability == publisher.qos_profile.reliability
            for info in listeners)

    def next_tracks(self, count=1):
        """Wait for the tracks of `count` more images; return the last Arrival."""
        goal = len(self.arrivals) + count
        self.wait_until(lambda: len(self.arrivals) >= goal, 'tracks')
        return self.arrivals[-1]

    def next_figures(self):
        """Wait for diagnostics that are made after now; return them as {name: text}."""
        for _ in range(2):
            self.figures = {}
            self.wait_until(lambda: self.figures, 'diagnostics')
        return self.figures

    # ---- requests ----

    def init(self, identity, box, **kwargs):
        """Publish a box on `init`, see `detection`; without a box the target is removed."""
        self.inits.publish(detection(identity, box, **kwargs))

    def start_targets(self, boxes):
        """
        Start a target at each box of the newest image and wait until all are tracked.

        The boxes are sent again while they have no effect: a node that has just started may not
        be connected yet.
        """
        names = [f'target {number}' for number in range(len(boxes))]
        message = Detection2DArray(detections=[
            detection(name, box) for name, box in zip(names, boxes, strict=True)])
        sent = []

        def tracked():
            if not sent or time.monotonic() - sent[-1] > RESEND_AFTER:
                self.detections.publish(message)
                sent.append(time.monotonic())
            return self.arrivals and set(names) <= set(self.arrivals[-1].boxes)
        self.wait_until(tracked, f'{len(names)} targets')

    def call(self, kind, service, **fields):
        """
        Call a service and return its response; call again if none comes.

        A server may answer before it is connected to the client. Calls are answered in order:
        with the response to the last one no other can have an effect any more. `repeated` is set
        if there was more than one.
        """
        client = self.node.create_client(kind, service)
        self.wait_until(client.service_is_ready, f'service {service}')
        calls = []

        def answered():
            if not calls or time.monotonic() - calls[-1][1] > RESEND_AFTER * len(calls):
                calls.append((client.call_async(kind.Request(**fields)), time.monotonic()))
            return calls[-1][0].result()
        response = self.wait_until(answered, f'a response of {service}')
        self.repeated = len(calls) > 1
        self.node.destroy_client(client)
        return response

    def start_afresh(self):
        """Have the node remove targets, buffered images and latencies."""
        self.call(Trigger, 'tracker/reset')
        self.call(SetBool, 'tracker/enable', data=False)
        self.call(SetBool, 'tracker/enable', data=True)
        self.arrivals.clear()

    def close(self):
        """Destroy the client's node."""
        self.executor.remove_node(self.node)
        self.node.destroy_node()
