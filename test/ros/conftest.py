# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The node in a process of its own, and a client that talks to it over real ROS 2 transport.

Nothing here waits for a time to pass: a client waits for what it expects to see, and gives up
only after PATIENCE.
"""

import os
import time

import numpy as np
import pytest

PATIENCE = 180
# Not the domain of whoever else runs ROS here; above 101 the ports clash with ephemeral ones.
DOMAIN = 1 + os.getpid() % 100
SIZE = (120, 160)
RESEND_AFTER = 5


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Return the path of weights of a tiny random network: it keeps boxes where they are."""
    from re3_core import save_network
    from re3_core.networks.re3_lite import Re3LiteNet
    import torch
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(Re3LiteNet(width=.25, embedding=8, fc6=32, hidden=16), path)
    return path


@pytest.fixture(scope='session')
def ros():
    """Make rclpy ready in this process, on a domain and transport shared with the nodes."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
    from re3_ros.demo.processes import find_config, isolate_ros_domain
    before = dict(os.environ)
    isolate_ros_domain(os.environ, DOMAIN, find_config())
    os.environ['OMP_NUM_THREADS'] = '1'
    rclpy.init()
    # Keeps the DDS participant alive between tests: a new one takes seconds to be discovered.
    anchor = rclpy.create_node('anchor')
    yield rclpy
    anchor.destroy_node()
    rclpy.try_shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='session')
def start_process(ros, tmp_path_factory):
    """Return a context manager that runs a command, a list, as a node."""
    from stress.node_process import RosProcess

    def run(command, *arguments, **parameters):
        log = tmp_path_factory.mktemp('node') / 'log.txt'
        return RosProcess(log, command, arguments, **parameters)
    return run


@pytest.fixture(scope='session')
def start_node(start_process, tiny_weights):
    """Return a context manager that runs the tracker node, with parameters by keyword."""
    from re3_ros.demo.processes import find_command

    def run(*arguments, **parameters):
        parameters = {'weights': tiny_weights, 'device': 'cpu', **parameters}
        return start_process(find_command('tracker_node'), *arguments, **parameters)
    return run


class Client:
    """A camera, a detector and a controller in one, at `namespace`."""

    newest = 0      # stamp of the last image of any client

    def __init__(self, rclpy, namespace='/re3', image='image', reliable=True, transport='raw',
                 prefix='', depth=5):
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2D, Detection2DArray
        self.prefix = prefix
        self.node = rclpy.create_node(f'client_{time.monotonic_ns()}', namespace=namespace)
        self.executor = rclpy.executors.SingleThreadedExecutor()
        self.executor.add_node(self.node)
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.image_kind = Image if transport == 'raw' else CompressedImage
        topic = f'{prefix}{image}' + ('/compressed' if transport == 'compressed' else '')
        self.images = self.node.create_publisher(
            self.image_kind, topic, QoSProfile(depth=depth, reliability=policy))
        self.inits = self.node.create_publisher(Detection2D, f'{prefix}init', 10)
        self.detections = self.node.create_publisher(Detection2DArray, f'{prefix}detections', 10)
        self.tracks, self.statuses, self.diagnostics = {}, [], []
        self.node.create_subscription(
            Detection2DArray, f'{prefix}tracks', self._on_tracks, QoSProfile(depth=100))
        self.node.create_subscription(
            DiagnosticArray, f'{prefix}status', self.statuses.append,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)
        self.frame_id = f'{prefix}optical_frame'
        # Later than what a node saw of the clients before, but not by more than the time that
        # passed: that would look like a stray stamp.
        self.stamp = max(time.monotonic_ns(), Client.newest + 100_000_000)

    def _on_tracks(self, message):
        stamp = message.header.stamp
        self.tracks[stamp.sec * 1_000_000_000 + stamp.nanosec] = message

    def close(self):
        """Leave."""
        self.executor.remove_node(self.node)
        self.node.destroy_node()

    def wait_until(self, condition, what):
        """Spin until `condition()` is true; return what it returned."""
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, f'waited in vain for {what}'
            self.executor.spin_once(timeout_sec=.02)
        return result

    def connect(self):
        """
        Wait until the node listens to everything, as reliably as the camera publishes.

        And until it knows this client's ends too: they are announced in the order in which they
        were made, so a node that answers a service just made knows all those before.
        """
        def listens():
            listeners = self.node.get_subscriptions_info_by_topic(self.images.topic_name)
            return (any(info.qos_profile.reliability == self.images.qos_profile.reliability
                        for info in listeners)
                    and self.images.get_subscription_count()
                    and self.inits.get_subscription_count()
                    and self.detections.get_subscription_count()
                    and self.node.count_publishers(f'{self.prefix}tracks'))
        self.wait_until(listens, 'the node to subscribe')
        self.state()
        return self

    def header(self, stamp):
        """Return a header with a stamp in nanoseconds."""
        from std_msgs.msg import Header
        header = Header(frame_id=self.frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        return header

    def image(self, rgb=None, encoding='rgb8', stamp=None):
        """Return the next image message, 33 ms after the last one; gray noise without `rgb`."""
        from re3_ros.messages import fill_compressed, fill_image
        if stamp is None:
            self.stamp += 33_333_333
            stamp = Client.newest = self.stamp
        if rgb is None:
            rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
        message = self.image_kind(header=self.header(stamp))
        return (fill_image(message, rgb, encoding) if hasattr(message, 'encoding')
                else fill_compressed(message, rgb))

    def send(self, rgb=None, **kwargs):
        """Publish an image; return its stamp."""
        message = self.image(rgb, **kwargs)
        self.images.publish(message)
        return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec

    def send_and_arrive(self, rgb=None, **kwargs):
        """Publish an image; return its stamp once it has reached the node, reliably."""
        from rclpy.duration import Duration
        stamp = self.send(rgb, **kwargs)
        assert self.images.wait_for_all_acked(Duration(seconds=PATIENCE))
        return stamp

    def tracks_of(self, stamp):
        """Wait for the tracks of the image with this stamp."""
        return self.wait_until(lambda: self.tracks.get(stamp), f'tracks of {stamp}')

    def track(self, rgb=None, **kwargs):
        """
        Publish an image and return its tracks as {id: Detection2D}.

        Another follows if there is no answer: best effort may lose one.
        """
        sent = []

        def answered():
            if not sent or time.monotonic() - sent[-1][1] > RESEND_AFTER:
                sent.append((self.send(rgb, **kwargs), time.monotonic()))
            return next((self.tracks[stamp] for stamp, _ in sent if stamp in self.tracks), None)
        return by_id(self.wait_until(answered, 'tracks'))

    def track_until(self, condition, what):
        """Go on publishing images until the tracks {id: Detection2D} satisfy `condition`."""
        end = time.monotonic() + PATIENCE
        while not condition(tracks := self.track()):
            assert time.monotonic() < end, f'waited in vain for {what}; tracks: {set(tracks)}'
        return tracks

    def detection(self, identity, box, class_id='', stamp=0):
        """Return a Detection2D of an `xyxy` box; None removes."""
        from re3_ros.messages import fill_box
        from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose
        message = Detection2D(id=identity, header=self.header(stamp))
        if class_id:
            message.results = [ObjectHypothesisWithPose()]
            message.results[0].hypothesis.class_id = class_id
        if box is not None:
            fill_box(message.bbox, box)
        return message

    def init(self, identity, box, **kwargs):
        """Publish a box on `init`."""
        self.inits.publish(self.detection(identity, box, **kwargs))

    def detect(self, *detections, stamp=0):
        """Publish (id, box) pairs or messages on `detections`."""
        from vision_msgs.msg import Detection2DArray
        messages = [item if hasattr(item, 'bbox') else self.detection(*item)
                    for item in detections]
        self.detections.publish(Detection2DArray(header=self.header(stamp), detections=messages))

    def start_target(self, identity, box, **kwargs):
        """Start a target and wait until it is tracked; return its first track."""
        self.init(identity, box, **kwargs)
        return self.track_until(lambda tracks: identity in tracks, f'target {identity}')[identity]

    def call(self, kind, service, **fields):
        """
        Call a service and return its response; call again if none comes.

        A server may answer before it knows where the client listens. Calls are answered in
        order: with the answer to the last one none is left that could still have an effect.
        """
        client = self.node.create_client(kind, service)
        self.wait_until(client.service_is_ready, f'service {service}')
        calls = []

        def answered():
            if not calls or time.monotonic() - calls[-1][1] > RESEND_AFTER * len(calls):
                calls.append((client.call_async(kind.Request(**fields)), time.monotonic()))
            return calls[-1][0].result()
        response = self.wait_until(answered, f'an answer of {service}')
        self.repeated = len(calls) > 1
        self.node.destroy_client(client)
        return response

    def set_parameters(self, **values):
        """Set parameters of the tracker; return the list of results."""
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter
        parameters = [Parameter(name, value=value).to_parameter_msg()
                      for name, value in values.items()]
        return self.call(SetParametersAtomically, 'tracker/set_parameters_atomically',
                         parameters=parameters).result

    def state(self):
        """Return the label of the node's lifecycle state."""
        from lifecycle_msgs.srv import GetState
        return self.call(GetState, 'tracker/get_state').current_state.label

    def transition(self, name, goal):
        """Ask for a lifecycle transition; return whether the node is in the state `goal` now."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState
        number = getattr(Transition, f'TRANSITION_{name.upper()}')
        success = self.call(ChangeState, 'tracker/change_state',
                            transition=Transition(id=number)).success
        repeated = self.repeated
        # Asked twice, the second time fails because the first has succeeded.
        reached = self.state() == goal
        assert success == reached or repeated, (name, success, reached)
        return reached


def by_id(message):
    """Return a Detection2DArray as {id: Detection2D}."""
    return {detection.id: detection for detection in message.detections}


@pytest.fixture
def make_client(ros):
    """Return a function that makes clients, closed at the end of the test."""
    clients = []

    def make(**kwargs):
        clients.append(Client(ros, **kwargs))
        return clients[-1]
    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope='module')
def shared_node(start_node):
    """Run one node for all tests of a module: its targets are never lost."""
    with start_node(lost_confidence=0.0) as node:
        node.wait_for_log('active, waiting for images')
        yield node


@pytest.fixture
def client(shared_node, make_client):
    """Return a client of the shared node, which has forgotten its earlier targets."""
    from std_srvs.srv import Trigger
    client = make_client()
    client.connect()
    client.call(Trigger, 'tracker/reset')
    return client


class Recording:
    """Writes bags by rosbags; `record` returns the folder of one."""

    topic = '/camera/image_raw'
    first = 1_700_000_000_000_000_000
    period = 40_000_000
    # From the stamp of an image to the time at which it was recorded.
    delay = 3_000_000

    def __init__(self, folder):
        self._folder = folder

    def picture(self, number, size=SIZE):
        """Return an image, H x W x 3 uint8 RGB, of smooth noise that drifts."""
        height, width = size
        noise = np.random.default_rng(0).integers(0, 255, (15, 60, 3), np.uint8)
        return np.kron(noise, np.ones((8, 8, 1), np.uint8))[:height, 2 * number:2 * number + width]

    def stamp(self, number):
        """Return the stamp of an image in nanoseconds."""
        return self.first + number * self.period

    def image(self, number, encoding='rgb8', compressed=False):
        """Return the message of an image."""
        import cv2
        from re3_ros.bag import message_types as types
        rgb = self.picture(number)
        message = types.new(types.COMPRESSED_IMAGE if compressed else types.IMAGE)
        types.set_stamp(message.header.stamp, self.stamp(number))
        message.header.frame_id = 'optical_frame'
        if compressed:
            message.format = 'jpeg'
            message.data = cv2.imencode('.jpg', rgb[..., ::-1])[1].reshape(-1)
            return message
        pixels = np.ascontiguousarray(rgb[..., ::-1] if encoding == 'bgr8' else rgb)
        message.height, message.width = rgb.shape[:2]
        message.encoding, message.step = encoding, 3 * rgb.shape[1]
        message.data = pixels.reshape(-1)
        return message

    def box(self, identity, box, number):
        """Return a Detection2D of an `xyxy` box in an image."""
        from re3_ros.bag import message_types as types
        from re3_ros.messages import fill_box
        message = types.new(types.DETECTION)
        message.id = identity
        types.set_stamp(message.header.stamp, self.stamp(number))
        fill_box(message.bbox, box)
        return message

    def record(self, name='recording', frames=range(12), storage='mcap', compression='NONE',
               encoding='rgb8', compressed=False, boxes=(), topics=None, version=8):
        """
        Write a bag.

        :param frames: numbers of the images.
        :param compression: NONE, FILE, MESSAGE or STORAGE, as rosbags has it.
        :param boxes: (id, `xyxy` box, number of the image) on /re3/init.
        :param topics: of images.
        """
        from re3_ros.bag import message_types as types
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        path = self._folder / name
        writer = Writer(path, version=version, storage_plugin=StoragePlugin[storage.upper()])
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
        with writer:
            def connect(topic, kind):
                return writer.add_connection(topic, kind, typestore=types.typestore())
            kind = types.COMPRESSED_IMAGE if compressed else types.IMAGE
            images = [connect(topic, kind) for topic in topics or [self.topic]]
            inits = connect('/re3/init', types.DETECTION) if boxes else None
            for number in frames:
                received = self.stamp(number) + self.delay
                for connection in images:
                    writer.write(connection, received,
                                 types.to_cdr(self.image(number, encoding, compressed)))
                for box in boxes:
                    if box[2] == number:
                        writer.write(inits, received + 1_000_000, types.to_cdr(self.box(*box)))
        return path


@pytest.fixture
def recording(tmp_path):
    """Return a Recording that writes into a temporary folder."""
    pytest.importorskip('rosbags', reason='needs the extra bags')
    return Recording(tmp_path)
