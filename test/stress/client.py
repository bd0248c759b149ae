# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What talks to the node: sends boxes, records tracks, status and diagnostics."""

from collections import namedtuple
import time

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from re3_ros.messages import fill_box, read_box, stamp_of
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

PATIENCE = 180
# What nothing comes of is sent again: a server, for one, may answer before it knows where the
# client listens.
AGAIN = 5
DEPTH = 1000

# Tracks of one image: its stamp and the time of arrival in nanoseconds, {id: `xyxy` box}.
Arrival = namedtuple('Arrival', 'stamp at boxes')


def header_of(stamp, frame_id=''):
    """Return a header with a stamp in nanoseconds."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return header


def detection(identity, box, stamp=0):
    """Return the Detection2D of an `xyxy` box; without a box it removes the target."""
    message = Detection2D(id=identity, header=header_of(stamp))
    if box is not None:
        fill_box(message.bbox, box)
    return message


class Client:
    """Detector and controller in one, for one camera of the node."""

    def __init__(self, camera='', executor=None):
        """
        Create the topics.

        :param camera: name of the camera, if the node has several.
        :param executor: another client's `executor`: whoever waits, both take in what comes.
        """
        prefix = f'{camera}/' if camera else ''
        self._node = rclpy.create_node(f'client_{time.monotonic_ns()}', namespace='/re3')
        self.executor = executor or rclpy.executors.SingleThreadedExecutor()
        self.executor.add_node(self._node)
        self.inits = self.publisher(Detection2D, f'{prefix}init')
        self.detections = self.publisher(Detection2DArray, f'{prefix}detections')
        self.arrivals = []
        self.states = {}
        self.figures = {}
        self.level = None
        self._camera = camera or 'camera'
        self._tracks = f'/re3/{prefix}tracks'
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for kind, topic, callback, profile in (
                (Detection2DArray, self._tracks, self._on_tracks, QoSProfile(depth=DEPTH)),
                (DiagnosticArray, f'{prefix}status', self._on_status, latched),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=10))):
            self._node.create_subscription(kind, topic, callback, profile)

    def publisher(self, kind, topic, depth=DEPTH):
        """Return a reliable publisher on a topic of the node's namespace."""
        return self._node.create_publisher(kind, topic, QoSProfile(depth=depth))

    def _on_tracks(self, message):
        boxes = {entry.id: read_box(entry.bbox) for entry in message.detections}
        self.arrivals.append(Arrival(stamp_of(message.header), time.time_ns(), boxes))

    def _on_status(self, message):
        self.states = {status.name: status.message for status in message.status}

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name.endswith(f': {self._camera}'):
                self.level = status.level[0]
                self.figures = {entry.key: entry.value for entry in status.values}

    # ---- waiting ----

    def spin(self, seconds):
        """Take in what comes for that long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def wait_until(self, condition, what, patience=PATIENCE):
        """Take in what comes until `condition()` is true; RuntimeError if it never is."""
        end = time.monotonic() + patience
        while not (result := condition()):
            if time.monotonic() > end:
                raise RuntimeError(f'waited {patience} s in vain for {what}')
            self.executor.spin_once(timeout_sec=.02)
        return result

    def connect(self, *publishers):
        """
        Wait until the node hears this client, reliably, and is heard.

        :param publishers: further ones that the node must hear.
        """
        for publisher in (self.inits, self.detections, *publishers):
            self.wait_until(lambda publisher=publisher: self._is_heard(publisher),
                            f'a subscriber of {publisher.topic_name}')
        self.wait_until(lambda: self._node.count_publishers(self._tracks), 'the tracks')
        return self

    def _is_heard(self, publisher):
        """Tell whether a publisher has reliable listeners; the node follows what is offered."""
        listeners = self._node.get_subscriptions_info_by_topic(publisher.topic_name)
        return publisher.get_subscription_count() and any(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in listeners)

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

    def init(self, identity, box, stamp=0):
        """Publish a box on `init`; without a box the target is removed."""
        self.inits.publish(detection(identity, box, stamp))

    def start_targets(self, boxes):
        """
        Start a target at each box of the newest image and wait until all are tracked.

        Sent again where nothing comes of it: a node that has just started may not hear yet.
        """
        names = [f'target {number}' for number in range(len(boxes))]
        message = Detection2DArray(detections=[
            detection(name, box) for name, box in zip(names, boxes, strict=True)])
        sent = []

        def tracked():
            if not sent or time.monotonic() - sent[-1] > AGAIN:
                self.detections.publish(message)
                sent.append(time.monotonic())
            return self.arrivals and set(names) <= set(self.arrivals[-1].boxes)
        self.wait_until(tracked, f'{len(names)} targets')

    def call(self, kind, service, **fields):
        """Call a service of the node and return its response; call again if none comes."""
        client = self._node.create_client(kind, f'tracker/{service}')
        self.wait_until(client.service_is_ready, f'service {service}')
        calls = []

        def answered():
            if not calls or time.monotonic() - calls[-1][1] > AGAIN:
                calls.append((client.call_async(kind.Request(**fields)), time.monotonic()))
            return next((future.result() for future, _ in calls if future.done()), None)
        response = self.wait_until(answered, f'an answer of {service}')
        self._node.destroy_client(client)
        return response

    def start_afresh(self):
        """Let the node forget targets, buffered images and latencies."""
        self.call(Trigger, 'reset')
        self.call(SetBool, 'enable', data=False)
        self.call(SetBool, 'enable', data=True)
        self.arrivals.clear()

    def close(self):
        """Leave."""
        self.executor.remove_node(self._node)
        self._node.destroy_node()
