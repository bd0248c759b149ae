# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The node over real transport: boxes in, tracks out."""

import numpy as np
import pytest
from re3_core.boxes import iou
from re3_core.weights import weights_path

BOX = (40., 30., 80., 90.)
OTHER = (100., 20., 150., 60.)
SIZE = (120, 160)


def box_of(detection):
    """Return a Detection2D's `xyxy` box."""
    from re3_ros.messages import read_box
    return read_box(detection.bbox)


def test_every_image_has_tracks_even_without_targets(client):
    stamp = client.send()
    message = client.tracks_of(stamp)
    assert message.detections == []
    assert message.header == client.header(stamp)


def test_box_becomes_track_with_the_image_header(client):
    client.init('cup', BOX, class_id='mug')
    client.track_until(lambda tracks: 'cup' in tracks, 'cup')
    stamp = client.send()
    message = client.tracks_of(stamp)
    (track,) = message.detections
    assert message.header == track.header == client.header(stamp)
    assert track.id == 'cup'
    (result,) = track.results
    assert result.hypothesis.class_id == 'mug'
    assert 0 <= result.hypothesis.score <= 1
    np.testing.assert_allclose(box_of(track), BOX, atol=5)


def test_same_id_starts_anew_elsewhere(client):
    client.start_target('cup', BOX)
    client.init('cup', OTHER)
    tracks = client.track_until(lambda tracks: box_of(tracks['cup'])[0] > 90, 'cup to move')
    assert list(tracks) == ['cup']


def test_class_survives_a_box_without_class(client):
    client.start_target('cup', BOX, class_id='mug')
    client.init('cup', OTHER)
    tracks = client.track_until(lambda tracks: box_of(tracks['cup'])[0] > 90, 'cup to move')
    assert tracks['cup'].results[0].hypothesis.class_id == 'mug'


def test_empty_ids_get_numbers(client):
    client.init('', BOX)
    client.init('', OTHER)
    tracks = client.track_until(lambda tracks: len(tracks) == 2, 'two targets')
    assert all(identity.isdigit() for identity in tracks)


def test_zero_size_removes(client):
    client.start_target('cup', BOX)
    client.start_target('dog', OTHER)
    client.init('cup', None)
    tracks = client.track_until(lambda tracks: 'cup' not in tracks, 'cup to go')
    assert list(tracks) == ['dog']


def test_box_of_a_user_without_id_moves_the_target_under_it(client):
    client.start_target('cup', BOX)
    moved = (50., 30., 90., 90.)
    client.init('', moved)
    tracks = client.track_until(lambda tracks: box_of(tracks['cup'])[0] > 45, 'cup to move')
    assert list(tracks) == ['cup']


def test_detector_may_go_on_publishing(client):
    client.start_target('cup', BOX)
    client.detect(('', BOX), ('', OTHER))
    tracks = client.track_until(lambda tracks: len(tracks) == 2, 'a second target')
    new = next(identity for identity in tracks if identity != 'cup')
    for _ in range(5):
        client.detect(('', (42., 31., 82., 91.)), ('', (101., 20., 151., 60.)))
        assert set(client.track()) == {'cup', new}


def test_detection_that_overlaps_does_not_restart_what_is_tracked(client):
    client.start_target('cup', BOX)
    client.detect(('', (55., 30., 95., 90.)), ('mark', OTHER))
    tracks = client.track_until(lambda tracks: 'mark' in tracks, 'the detections to arrive')
    np.testing.assert_allclose(box_of(tracks['cup']), BOX, atol=5)


def test_two_boxes_of_one_new_object_make_one_target(client):
    client.detect(('', BOX), ('', (41., 31., 81., 91.)), ('mark', OTHER))
    tracks = client.track_until(lambda tracks: 'mark' in tracks, 'the detections to arrive')
    assert len(tracks) == 2


def test_lost_target_is_found_by_a_detection(client):
    client.start_target('cup', BOX)
    assert client.set_parameters(
        found_confidence=1.0, lost_confidence=1.0, lost_after=1).successful
    client.track_until(lambda _: states(client).get('cup') == 'lost', 'cup to be lost')
    assert client.set_parameters(lost_confidence=0.0, lost_after=5).successful
    client.detect(('', (45., 30., 85., 90.)))
    tracks = client.track_until(lambda _: states(client).get('cup') == 'tracked', 'cup')
    assert list(tracks) == ['cup']
    assert client.set_parameters(found_confidence=0.5).successful


def test_lost_target_is_found_by_the_search(client):
    client.start_target('cup', BOX)
    assert client.set_parameters(
        found_confidence=1.0, lost_confidence=1.0, lost_after=1).successful
    client.track_until(lambda _: states(client).get('cup') == 'lost', 'cup to be lost')
    assert client.set_parameters(redetection_candidates=3, redetection_limit=8).successful
    assert not client.set_parameters(redetection_limit=0).successful
    # Where any look is good the search ends, and with the same id.
    assert client.set_parameters(
        lost_confidence=0.0, found_confidence=0.0, lost_after=5).successful
    tracks = client.track_until(lambda _: states(client).get('cup') == 'tracked', 'cup')
    assert list(tracks) == ['cup']
    assert client.set_parameters(found_confidence=0.5).successful


def test_status_is_latched(client, make_client):
    client.start_target('cup', BOX)
    late = make_client()
    late.wait_until(lambda: states(late) == {'cup': 'tracked'}, 'the state of cup')
    client.init('cup', None)
    late.wait_until(lambda: states(late) == {'cup': 'removed'}, 'the removal of cup')


def states(client):
    """Return {id: state} of the last status message."""
    if not client.statuses:
        return {}
    return {status.name: status.message for status in client.statuses[-1].status}


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8'])
def test_encodings(client, encoding):
    client.start_target('cup', BOX)
    assert list(client.track(encoding=encoding)) == ['cup']


def test_diagnostics(client):
    client.start_target('cup', BOX)
    values = client.wait_until(lambda: figures(client).get('targets_tracked') == '1'
                               and figures(client), 'diagnostics of the target')
    assert float(values['processing_ms_mean']) > 0
    assert int(values['frames_processed']) >= 1
    assert values['reliability'] == 'reliable'
    # The test's stamps are not the time: no latency is made up from them.
    assert values['clock'] != 'ok' and values['pipeline_latency_ms_mean'] == 'nan'


def figures(client):
    """Return the values of the tracker's last diagnostics."""
    if not client.diagnostics:
        return {}
    status, = client.diagnostics[-1].status
    return {pair.key: pair.value for pair in status.values}


def test_debug_image_shows_the_tracks(client):
    from re3_ros.messages import image_to_rgb
    from sensor_msgs.msg import Image
    received = {}
    client.node.create_subscription(
        Image, 'tracker/debug/image',
        lambda message: received.update({message.header.stamp.nanosec: message}), 10)
    client.init('cup', BOX)
    client.track_until(lambda tracks: received and 'cup' in tracks, 'a debug image')
    header = client.header(client.send(np.zeros((120, 160, 3), np.uint8)))
    message = client.wait_until(lambda: received.get(header.stamp.nanosec), 'the debug image')
    assert message.header == header
    assert image_to_rgb(message).any()


@pytest.mark.parametrize('model', ['re3_lite', 'goturn_lite'])
def test_packaged_networks_follow_many_targets(start_node, make_client, model):
    """Two patches that stand out move, each its own way; the same topics whatever the network."""
    background = np.full((*SIZE, 3), 90, np.uint8)
    patch = np.kron(np.random.default_rng(3).integers(0, 255, (6, 6, 3), np.uint8),
                    np.ones((5, 5, 1), np.uint8))

    def scene(step):
        frame = background.copy()
        for x, y in corners(step):
            frame[y:y + 30, x:x + 30] = patch
        return frame

    def corners(step):
        return (20 + 2 * step, 15), (110 - 2 * step, 75)
    with start_node('-r', f'__ns:=/{model}', model=model, weights=weights_path(model)) as node:
        client = make_client(namespace=f'/{model}').connect()
        stamp = client.send(scene(0))
        for name, (x, y) in zip('ab', corners(0), strict=True):
            client.init(name, (x, y, x + 30, y + 30), stamp=stamp)
        client.wait_until(lambda: len(client.track(scene(0))) == 2, 'both targets')
        for step in range(1, 16):
            tracks = client.track(scene(step))
        node.wait_for_log(f'network {model}')
    for name, (x, y) in zip('ab', corners(15), strict=True):
        assert iou(box_of(tracks[name]), np.array([x, y, x + 30., y + 30.])) > .3
        assert 0 <= tracks[name].results[0].hypothesis.score <= 1
