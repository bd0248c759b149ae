# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""How images reach the node: quality of service, compression, cameras, and when none comes."""

import numpy as np
import pytest

BOX = (40., 30., 80., 90.)
SMALL = (120, 160)


def test_subscription_follows_the_publishers(start_node, make_client):
    with start_node('-r', '__ns:=/follow') as node:
        client = make_client(namespace='/follow', reliable=True).connect()
        client.init('cup', BOX)
        client.track_until(lambda tracks: 'cup' in tracks, 'cup')
        second = make_client(namespace='/follow', reliable=False).connect()
        node.wait_for_log('subscribing best_effort, as the publishers offer')
        second.stamp = client.stamp
        second.track_until(lambda tracks: 'cup' in tracks, 'tracks of the second camera')


def test_large_images_arrive_whole(start_node, make_client):
    """With default transports nine in ten of these are lost."""
    with start_node('-r', '__ns:=/large'):
        client = make_client(namespace='/large', reliable=False).connect()
        client.track(np.zeros((*SMALL, 3), np.uint8))
        for size in ((480, 640), (1080, 1920)):
            rgb = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
            for _ in range(20):
                assert client.tracks_of(client.send(rgb)).detections == []


def test_qos_override_and_incompatible_publisher(start_node, make_client):
    override = 'qos_overrides./override/image.subscription.reliability'
    with start_node('-r', '__ns:=/override', frame_timeout=.5, **{override: 'reliable'}) as node:
        make_client(namespace='/override', reliable=False)
        node.wait_for_log('the publisher offers best_effort, the subscription asks for reliable')


def test_silence_is_explained_and_its_end_told(start_node, make_client):
    with start_node('-r', '__ns:=/deaf', frame_timeout=.5) as node:
        make_client(namespace='/deaf', image='elsewhere')
        node.wait_for_log('topics with such images: /deaf/elsewhere')
        client = make_client(namespace='/deaf').connect()
        node.wait_for_log('the camera stands still')
        client.wait_until(lambda: client.track() == {} and 'images arrive again' in node.log,
                          'the line that images arrive again')


def test_wrong_transport_is_named(start_node, make_client):
    with start_node('-r', '__ns:=/kind', '-r', 'image:=/kind/image/compressed',
                    frame_timeout=1.0) as node:
        make_client(namespace='/kind', transport='compressed')
        node.wait_for_log('it carries sensor_msgs/msg/CompressedImage')


def test_compressed_on_a_remapped_topic(start_node, make_client):
    with start_node('-r', '__ns:=/jpeg', '-r', 'image:=/jpeg/camera/image_raw',
                    lost_confidence=0.0, image_transport='compressed') as node:
        client = make_client(namespace='/jpeg', image='camera/image_raw',
                             transport='compressed').connect()
        client.init('cup', BOX)
        client.track_until(lambda tracks: 'cup' in tracks, 'cup')
        for data, text in ((b'', 'empty compressed image'), (b'GIF89a', 'neither JPEG nor PNG'),
                           (b'\xff\xd8\xff\xe0', 'damaged JPEG')):
            bad = client.image()
            del bad.data[:]
            bad.data.frombytes(data)
            client.images.publish(bad)
            node.wait_for_log(text)
        cut = client.image()
        del cut.data[300:]
        client.images.publish(cut)
        assert list(client.track()) == ['cup']


def test_two_cameras_have_their_own_targets(start_node, make_client):
    from re3_ros.messages import fill_compressed
    from sensor_msgs.msg import CompressedImage
    with start_node('-r', '__ns:=/rig', cameras='[front, rear]', lost_confidence=0.0,
                    **{'rear.image_transport': 'compressed'}) as node:
        front = make_client(namespace='/rig', camera='front').connect()
        rear = make_client(namespace='/rig', camera='rear', transport='compressed').connect()
        front.init('cup', BOX)
        front.track_until(lambda tracks: 'cup' in tracks, 'cup in front')
        assert rear.track() == {}
        # By the shared topic, which knows the camera by the frame_id of its images or its name.
        shared = make_client(namespace='/rig')
        shared.wait_until(shared.inits.get_subscription_count, 'the shared init topic')
        shared.frame_id = 'rear/optical_frame'
        shared.init('cup', (10., 10., 50., 50.))
        shared.frame_id = 'front'
        shared.init('dog', (90., 10., 140., 50.))
        tracks = rear.track_until(lambda tracks: 'cup' in tracks, 'cup in the rear')
        assert list(tracks) == ['cup']
        assert tracks['cup'].bbox.center.position.x == pytest.approx(30, abs=5)
        tracks = front.track_until(lambda tracks: 'dog' in tracks, 'dog in front')
        assert set(tracks) == {'cup', 'dog'}
        shared.frame_id = 'nowhere'
        shared.init('cat', BOX)
        node.wait_for_log("'nowhere' names no camera")
        noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
        stamp = rear.stamp + 1
        rear.images.publish(fill_compressed(CompressedImage(header=rear.header(stamp)), noise))
        assert [d.id for d in rear.tracks_of(stamp).detections] == ['cup']
