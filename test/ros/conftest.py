# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The node in a process of its own, and clients that talk to it over real ROS 2 transport.

Clients wait for conditions, never for fixed times.
"""

import os

import numpy as np
import pytest

SIZE = (120, 160)


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Return the path of weights of a tiny network: it keeps boxes where they are, confidently."""
    from re3_core import save_network
    from re3_core.networks.re3_lite import Re3LiteNet
    import torch
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    network = Re3LiteNet(width=.25, embedding=8, hidden=16)
    with torch.no_grad():
        network.confidence[-1].bias.fill_(2.)
    save_network(network, path)
    return path


@pytest.fixture(scope='session')
def ros():
    """Make rclpy ready in this process, on a domain and transport shared with the nodes."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
    from re3_ros.demo.processes import find_config, isolate_ros_domain
    before = dict(os.environ)
    isolate_ros_domain(os.environ, int(os.environ['ROS_DOMAIN_ID']), find_config())
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


@pytest.fixture
def make_client(ros):
    """Return a function that makes `CameraClient`s, closed at the end of the test."""
    from stress.camera_client import CameraClient
    clients = []

    def make(**kwargs):
        clients.append(CameraClient(**kwargs))
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

    def pixels(self, number, size=SIZE):
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
        rgb = self.pixels(number)
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
