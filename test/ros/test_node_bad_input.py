# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Any bad input: the node logs the reason and continues with the other targets."""

import numpy as np
import pytest

GOOD = (100., 20., 150., 60.)
BAD_BOXES = {
    'nan': (float('nan'), 0, 10, 10, 'must be finite'),
    'infinite': (0, 0, float('inf'), 10, 'must be finite'),
    'negative size': (50, 50, -20, 10, 'size must be positive'),
    'no area': (50, 50, 20, 0, 'size must be positive'),
    'outside': (500, 500, 20, 20, 'lies outside the frame'),
    'huge': (50, 50, 1e9, 10, 'exceeds'),
}


def corrupt(message, **fields):
    """Set fields of an image message."""
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def name_frame(message, frame_id):
    """Set the frame_id of an image message."""
    message.header.frame_id = frame_id
    return message


def cut(message, number):
    """Take bytes from the end of an image message's data."""
    del message.data[-number:]
    return message


BAD_IMAGES = {
    'encoding': (lambda m: corrupt(m, encoding='32FC1'), "unknown image encoding '32FC1'"),
    'step': (lambda m: corrupt(m, step=10), 'image step 10 is less than'),
    'size': (lambda m: cut(m, 7), 'bytes of data, but step'),
    'empty': (lambda m: cut(corrupt(m, width=0, height=0), len(m.data)), 'empty image'),
    'frame_id': (lambda m: name_frame(m, 'f' * 1000), 'of 1000 characters, at most 256'),
    'too large': (lambda m: corrupt(m, width=60000, height=60000), 'is larger than'),
}


@pytest.fixture
def busy(client):
    """Return the client, with one target that has nothing to do with what is wrong."""
    client.start_target('good', GOOD)
    return client


@pytest.mark.parametrize('name', BAD_IMAGES)
def test_bad_image_is_named_and_skipped(busy, shared_node, name):
    change, text = BAD_IMAGES[name]
    bad = change(busy.image())
    busy.images.publish(bad)
    shared_node.wait_for_log(text)
    assert list(busy.track()) == ['good']
    assert bad.header.stamp.nanosec not in {stamp % 10 ** 9 for stamp in busy.tracks}


@pytest.mark.parametrize('name', BAD_BOXES)
def test_bad_box_is_named_and_refused(busy, shared_node, name):
    x, y, width, height, text = BAD_BOXES[name]
    message = busy.detection(f'bad {name}', None)
    message.bbox.center.position.x, message.bbox.center.position.y = float(x), float(y)
    message.bbox.size_x, message.bbox.size_y = float(width), float(height)
    for _ in range(3):
        busy.inits.publish(message)
    shared_node.wait_for_log(text)
    assert list(busy.track()) == ['good']
    # One line per kind of fault, however often it is made.
    assert shared_node.log.count(f'bad {name}') <= 1


def test_bad_box_among_good_detections(busy):
    busy.detect(('bad', (float('nan'), 0, 10, 10)), ('new', (20., 20., 60., 60.)))
    busy.track_until(lambda tracks: set(tracks) == {'good', 'new'}, 'the good detection')


@pytest.mark.parametrize('identity, text', [
    ('x' * 200, 'at most 64 are allowed'), ('line\nbreak', 'is not printable')])
def test_bad_id(busy, shared_node, identity, text):
    busy.init(identity, (20., 20., 60., 60.))
    shared_node.wait_for_log(text)
    assert list(busy.track()) == ['good']


def test_id_that_is_not_utf8(busy, shared_node):
    from rclpy.serialization import serialize_message
    message = serialize_message(busy.detection('ABCD', (20., 20., 60., 60.)))
    busy.inits.publish(message.replace(b'ABCD', b'\xff\xfe\xc3\x28'))
    shared_node.wait_for_log('is not UTF-8')
    assert list(busy.track()) == ['good']


def test_removal_of_nobody(busy, shared_node):
    busy.init('', None)
    shared_node.wait_for_log('it needs the id')
    busy.init('nobody', None)
    shared_node.wait_for_log("cannot remove 'nobody'")
    assert list(busy.track()) == ['good']


def test_image_size_changes(busy, shared_node):
    before = busy.track()['good'].bbox
    large = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    after = busy.track(large)['good'].bbox
    shared_node.wait_for_log('image size changed from 160 x 120 to 320 x 240')
    assert after.size_x == pytest.approx(2 * before.size_x, rel=.2)
    assert after.center.position.x == pytest.approx(2 * before.center.position.x, abs=10)
    assert list(busy.track()) == ['good']


def test_time_jumps_back(busy, shared_node):
    busy.stamp -= 10_000_000_000
    busy.send()
    assert busy.track() == {}
    shared_node.wait_for_log('image stamps jumped back; targets removed')


def test_image_with_a_stray_stamp_is_ignored(busy, shared_node):
    for stray in (5, 2 ** 60):
        busy.send(stamp=stray)
        shared_node.wait_for_log('image stamp is far from those before it')
        assert list(busy.track()) == ['good']


def test_image_with_a_stamp_ahead_of_the_time_that_passed(busy, shared_node):
    jumps = shared_node.log.count('image stamps jumped')
    busy.send(stamp=busy.stamp + 1000 * 10 ** 9)
    assert list(busy.track()) == ['good']
    assert shared_node.log.count('image stamps jumped') == jumps


def test_image_out_of_order_is_ignored(busy, shared_node):
    busy.send(stamp=busy.stamp - 100_000_000)
    shared_node.wait_for_log('older than the one before it')
    assert list(busy.track()) == ['good']


def test_limits_before_and_after_the_first_image(start_node, make_client):
    with start_node('-r', '__ns:=/limited', max_targets=2) as node:
        client = make_client(namespace='/limited').connect()
        client.init('early', (40., 30., 80., 90.))
        client.init('outside', (400., 30., 480., 90.))
        client.init('third', (10., 30., 50., 90.))
        node.wait_for_log("refusing box of 'third'")
        assert list(client.track()) == ['early']
        node.wait_for_log('lies outside the frame')
        client.detect(('a', (90., 10., 120., 40.)), ('b', (130., 10., 155., 40.)))
        node.wait_for_log("refusing target 'b'")
        assert set(client.track()) == {'early', 'a'}


def test_limits_set_by_parameters(start_node, make_client):
    with start_node('-r', '__ns:=/bounds', max_image_pixels=120 * 160, max_id_length=8,
                    init_buffer_megabytes=1, init_buffer_seconds=60.,
                    diagnostics_period=.1) as node:
        client = make_client(namespace='/bounds').connect()
        client.init('too long', (40., 30., 80., 90.))
        client.init('much too long', (40., 30., 80., 90.))
        node.wait_for_log('at most 8 are allowed')
        client.send(np.zeros((121, 160, 3), np.uint8))
        node.wait_for_log('larger than the 19200 pixels allowed')
        for _ in range(30):     # of 58 kB
            assert list(client.track()) == ['too long']
        client.diagnostics.clear()
        client.wait_until(lambda: client.diagnostics, 'diagnostics')
        figures = {entry.key: entry.value for entry in client.diagnostics[-1].status[0].values}
        assert .9 <= float(figures['buffered_megabytes']) <= 1
        assert int(figures['buffered_images']) == 17
