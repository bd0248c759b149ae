# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Bags and ROS: the same tracks as a running node, and images played from a bag."""

import sys

import pytest

pytest.importorskip('rosbags', reason='needs the extra bags')
from re3_ros.bag.__main__ import DONE, main  # noqa: E402
from re3_ros.bag.reader import Bag  # noqa: E402

FRAMES = 30
BOXES = {'cup': (40., 30., 80., 90.), 'dog': (90., 20., 140., 70.)}


@pytest.fixture(scope='module')
def serialization(ros):
    """Return rclpy.serialization."""
    return pytest.importorskip('rclpy.serialization')


def as_ros(serialization, recorded, kind):
    """Return a message of rosbags as one of rclpy."""
    from re3_ros.bag.message_types import to_cdr
    return serialization.deserialize_message(bytes(to_cdr(recorded)), kind)


def tracked_by_node(start_node, make_client, serialization, recording):
    """Return ({stamp: Detection2DArray}, last status) of a node that gets the same images."""
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2D
    with start_node('-r', '__ns:=/bag', process_every_frame=True) as node:
        client = make_client(namespace='/bag', depth=FRAMES).connect()

        def send(number):
            client.images.publish(as_ros(serialization, recording.image(number), Image))
        send(0)
        client.tracks_of(recording.stamp(0))
        for identity, box in BOXES.items():
            client.inits.publish(as_ros(
                serialization, recording.box(identity, box, 0), Detection2D))
            node.wait_for_log(f"target '{identity}' started")
        for number in range(1, FRAMES):
            send(number)
        client.tracks_of(recording.stamp(FRAMES - 1))
        assert len(client.tracks) == FRAMES
        return client.tracks, client.statuses[-1]


def test_tracks_are_those_of_the_node_to_the_bit(start_node, make_client, serialization, recording,
                                                 tiny_weights, tmp_path):
    """The random network loses its targets, so re-detection takes part."""
    from diagnostic_msgs.msg import DiagnosticArray
    from vision_msgs.msg import Detection2DArray
    tracks, status = tracked_by_node(start_node, make_client, serialization, recording)
    path = recording.record(frames=range(FRAMES), boxes=[
        (identity, box, 0) for identity, box in BOXES.items()])
    assert main(['track', str(path), '--init', 'topic', '--formats', 'bag', '--weights',
                 str(tiny_weights), '--device', 'cpu', '--output', str(tmp_path / 'out')]) == DONE
    with Bag(tmp_path / 'out/tracks') as bag:
        recorded = [serialization.deserialize_message(message.data, Detection2DArray)
                    for message in bag.messages({'/re3/tracks'})]
        last = [serialization.deserialize_message(message.data, DiagnosticArray)
                for message in bag.messages({'/re3/status'})][-1]
    by_stamp = {message.header.stamp.sec * 10**9 + message.header.stamp.nanosec: message
                for message in recorded}
    assert by_stamp == tracks
    assert sum(len(message.detections) for message in recorded) == 2 * (FRAMES - 1)
    assert last.status == status.status


@pytest.fixture
def player(start_process):
    """Return a context manager that plays a bag in a process of its own."""
    def play(path, *options, remap=()):
        return start_process([sys.executable, '-m', 're3_ros.bag', 'play', str(path), *options],
                             *remap)
    return play


@pytest.fixture
def listener(ros, make_client):
    """Return a client that collects the images and the clock of a player."""
    from rclpy.qos import QoSProfile
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image
    client = make_client(namespace='/listener')
    client.received, client.clock = [], []
    client.node.create_subscription(
        Image, '/camera/image_raw', client.received.append, QoSProfile(depth=100))
    client.node.create_subscription(
        Clock, '/clock', lambda message: client.clock.append(
            message.clock.sec * 10**9 + message.clock.nanosec),
        QoSProfile(depth=100, reliability=ros.qos.ReliabilityPolicy.BEST_EFFORT))
    return client


def stamps(messages):
    """Return the header stamps in nanoseconds."""
    return [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            for message in messages]


def test_play_publishes_what_was_recorded(listener, player, recording, serialization):
    from sensor_msgs.msg import Image
    path = recording.record(boxes=[('cup', BOXES['cup'], 3)])
    with player(path, '--wait-for-subscribers', '1', '--start', '.06', '--rate', '2') as process:
        assert process.wait_for_end() == DONE
        listener.wait_until(lambda: len(listener.received) == 10, 'all images')
    assert stamps(listener.received) == [recording.stamp(number) for number in range(2, 12)]
    assert listener.received[0] == as_ros(serialization, recording.image(2), Image)
    # On /clock it is the time of the recording.
    assert listener.clock and listener.clock == sorted(listener.clock)
    first = recording.first + recording.delay
    assert all(first <= clock <= recording.stamp(11) + recording.delay
               for clock in listener.clock)
    assert '11 messages published' in process.log


def test_play_starts_again_with_loop(listener, player, recording):
    path = recording.record(frames=range(5))
    with player(path, '--wait-for-subscribers', '1', '--loop', '--topic', recording.topic):
        listener.wait_until(lambda: len(listener.received) >= 12, 'the third round')
    every = [recording.stamp(number) for number in range(5)] * 3
    assert stamps(listener.received)[:12] == every[:12]


def test_tracks_play_beside_their_recording(listener, player, recording, tiny_weights, tmp_path):
    """The node's topics come as if it ran, the latched status even to late subscribers."""
    path = recording.record()
    assert main(['track', str(path), '--init', 'cup=40,30,40,60@0', '--formats', 'bag',
                 '--weights', str(tiny_weights), '--device', 'cpu', '--output',
                 str(tmp_path / 'out'), '--namespace', '/listener']) == DONE
    with player(path, str(tmp_path / 'out/tracks'), '--wait-for-subscribers', '1', '--loop'):
        listener.wait_until(lambda: len(listener.tracks) >= 10 and listener.statuses,
                            'tracks and status')
    assert set(listener.tracks) <= {recording.stamp(number) for number in range(12)}
    assert listener.statuses[0].status[0].name == 'cup'


def test_play_reports_errors_in_one_line(player, recording):
    path = recording.record()
    for options, error in ((['--topic', '/nothing'], 'there is no topic /nothing'),
                           (['--start', '99'], 'no messages in the chosen part')):
        with player(path, *options) as process:
            assert process.wait_for_end() == 1
        assert process.log.count('\n') == 1 and error in process.log
