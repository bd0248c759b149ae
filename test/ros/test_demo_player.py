# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The camera player as a process of its own, received over real topics."""

import os
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from re3_core.io.video import open_source  # noqa: E402
from re3_ros.demo import player as camera_player  # noqa: E402
from re3_ros.demo.processes import find_config, isolate_ros_domain  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from stress.node_process import RosProcess  # noqa: E402

COUNT = 8
PATIENCE = 180


def frame(number):
    """Return an RGB frame whose red is its number and whose channels differ."""
    return np.dstack([np.full((30, 40), value, np.uint8) for value in (20 * number, 100, 250)])


def number_of(rgb):
    return round(float(rgb[..., 0].mean()) / 20)


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.fixture
def folder(tmp_path):
    """Return a folder of images, which unlike a video are kept to the last bit."""
    images = tmp_path / 'images'
    images.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(images / f'{number:03}.png'), frame(number)[..., ::-1])
    return images


class Listener:
    """A node that keeps the images that it receives."""

    def __init__(self, kind, topic):
        self.images = []
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node('listener', context=self._context)
        self.node.create_subscription(kind, topic, self.images.append, 100)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def spin_until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, 'timeout'
            self._executor.spin_once(timeout_sec=0.1)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def own_domain():
    """Set the demo's transport and a domain of this process, until the end of the test."""
    before = dict(os.environ)
    isolate_ros_domain(os.environ, int(os.environ['ROS_DOMAIN_ID']), find_config())
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def listen(own_domain):
    """Return a function that makes a Listener, closed at the end of the test."""
    made = []

    def make(kind=Image, topic='/camera/image_raw'):
        made.append(Listener(kind, topic))
        return made[-1]

    yield make
    for listener in made:
        listener.close()


@pytest.fixture
def player(own_domain, tmp_path):
    """Return a context manager that runs the camera player with parameters."""
    def run(program=('-m', 're3_ros.demo.player'), **parameters):
        parameters = {'rate': 50.0, 'depth': 100, 'wait_for_subscribers': 1, **parameters}
        return RosProcess(tmp_path / 'player.txt', [sys.executable, *program], **parameters)
    return run


@pytest.mark.parametrize('encoding, order', [('rgb8', (0, 1, 2)), ('bgr8', (2, 1, 0))])
def test_all_frames_arrive_in_order_with_their_stamps(
        folder, listen, player, tmp_path, encoding, order):
    listener = listen()
    log = tmp_path / 'stamps.csv'
    with player(video=folder, encoding=encoding, frame_id='lens', stamps_file=log) as process:
        listener.spin_until(lambda: len(listener.images) == COUNT)
        assert process.wait_for_end() == 0
    for number, image in enumerate(listener.images):
        assert (image.height, image.width, image.step) == (30, 40, 120)
        assert (image.encoding, image.header.frame_id) == (encoding, 'lens')
        pixels = np.frombuffer(image.data, np.uint8).reshape(30, 40, 3)
        assert (pixels[..., order] == frame(number)).all()
    stamps = [stamp_of(image) for image in listener.images]
    assert stamps == sorted(set(stamps))
    assert camera_player.read_stamps(log) == list(enumerate(stamps))


def test_compressed_images(folder, listen, player):
    listener = listen(CompressedImage, '/camera/image_raw/compressed')
    with player(video=folder, image_transport='compressed') as process:
        listener.spin_until(lambda: len(listener.images) == COUNT)
        assert process.wait_for_end() == 0
    for number, image in enumerate(listener.images):
        assert 'jpeg' in image.format
        decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(decoded.astype(int) - frame(number)).max() < 10


def numbers(listener):
    return [number_of(np.frombuffer(image.data, np.uint8).reshape(30, 40, 3))
            for image in listener.images]


def test_paused_video_repeats_its_first_frame_until_it_is_played(folder, listen, player):
    listener = listen()
    play = listener.node.create_client(SetBool, '/camera/camera_player/play')
    with player(video=folder, paused='true', start=2) as process:
        listener.spin_until(lambda: len(listener.images) > 4 and play.service_is_ready())
        assert set(numbers(listener)) == {2}
        play.call_async(SetBool.Request(data=True))
        listener.spin_until(lambda: number_of_last(listener) == COUNT - 1)
        assert process.wait_for_end() == 0
    received = numbers(listener)
    assert received[received.count(2) - 1:] == list(range(2, COUNT))
    stamps = [stamp_of(image) for image in listener.images]
    assert stamps == sorted(set(stamps))


def number_of_last(listener):
    return numbers(listener)[-1]


def test_loop_plays_until_an_interrupt_which_is_no_error(folder, listen, player):
    listener = listen()
    with player(video=folder, loop='true', end=3) as process:
        listener.spin_until(lambda: len(listener.images) >= 8)
        assert process.end() == 0, process.log
    assert numbers(listener)[:8] == [0, 1, 2, 0, 1, 2, 0, 1]


OVERTAKEN = """
import sys
import rclpy
from re3_ros.demo import player as camera_player
call = camera_player.ImageSender.{method}
def overtaken(*arguments):
    rclpy.shutdown()
    call(*arguments)
camera_player.ImageSender.{method} = overtaken
sys.exit(camera_player.main(sys.argv))
"""


@pytest.mark.parametrize('method, sent', [('send', 0), ('flush', COUNT)])
def test_shutdown_in_the_middle_is_no_error(folder, player, tmp_path, method, sent):
    program, log = OVERTAKEN.format(method=method), tmp_path / 'stamps.csv'
    with player(('-c', program), video=folder, stamps_file=log,
                wait_for_subscribers=0) as process:
        assert process.wait_for_end() == 0, process.log
    assert 'Traceback' not in process.log
    assert len(camera_player.read_stamps(log)) == sent


class FakeCamera:
    """A camera device that gives a few frames and fails."""

    live, rate = True, 50.0

    def __init__(self):
        self.index = -1

    def read(self):
        if self.index + 1 == COUNT:
            return None
        self.index += 1
        return frame(self.index)

    def release(self):
        self.index = None


def test_camera_is_recorded_as_it_was_published(own_domain, tmp_path, monkeypatch):
    camera = FakeCamera()
    monkeypatch.setattr(camera_player, 'open_source', lambda *arguments: camera)
    context = Context()
    rclpy.init(context=context)
    overrides = {'video': '0', 'record_file': str(tmp_path / 'camera.mp4'),
                 'stamps_file': str(tmp_path / 'stamps.csv')}
    node = camera_player.CameraPlayer(context=context, parameter_overrides=[
        Parameter(name, value=value) for name, value in overrides.items()])
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.spin_until_future_complete(node.finished, PATIENCE)
    assert node.finished.done()
    node.close()
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    assert camera.index is None
    stamps = camera_player.read_stamps(tmp_path / 'stamps.csv')
    assert [number for number, _ in stamps] == list(range(COUNT))
    recording = open_source(tmp_path / 'camera.mp4')
    assert recording.properties() == ((40, 30), COUNT)
    assert number_of(recording.read()) == 0


@pytest.mark.parametrize('parameters, error', [
    ({'video': 'missing.mp4'}, 'no video at missing.mp4'),
    ({'encoding': 'yuv'}, 'encoding must be one of rgb8, bgr8, mono8'),
    ({'rate': -1.0}, 'rate out of range')])
def test_bad_parameters_end_with_one_clear_line(folder, player, parameters, error):
    with player(**{'video': folder, **parameters}) as process:
        assert process.wait_for_end() == 1
    assert error in process.log
    assert 'Traceback' not in process.log
