# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The node with inputs that people have met in the field: answers, stamps, cameras, hints."""

from types import SimpleNamespace

import numpy as np
import pytest

BOX = (40., 30., 80., 90.)
OUTSIDE = (500., 500., 520., 520.)


def table(client):
    """Return the last status message as {id: (state, level, reason)}."""
    if not client.statuses:
        return {}
    return {entry.name: (entry.message, entry.level, next(
        (pair.value for pair in entry.values if pair.key == 'reason'), ''))
        for entry in client.statuses[-1].status}


def test_every_request_has_an_answer_in_the_status_table(client):
    client.track()
    client.init('cup', OUTSIDE)
    client.wait_until(lambda: 'cup' in table(client), 'the answer')
    state, level, reason = table(client)['cup']
    assert (state, level) == ('refused', b'\x02') and 'lies outside the frame' in reason
    client.init('cup', BOX)
    client.wait_until(lambda: table(client)['cup'][0] == 'tracked', 'the answer')
    # A restart is answered too, though nothing changes in the table.
    client.statuses.clear()
    client.init('cup', BOX)
    client.wait_until(lambda: client.statuses, 'the answer')
    assert table(client)['cup'][0] == 'tracked'
    # Of the refused restart of a target both the refusal and its state are there.
    client.init('cup', OUTSIDE)
    client.wait_until(lambda: len(client.statuses[-1].status) == 2, 'the answer')
    assert [entry.message for entry in client.statuses[-1].status] == ['refused', 'tracked']
    client.init('x' * 200, BOX)
    client.wait_until(lambda: 'x' * 200 in table(client), 'the answer')
    client.init('nobody', None)
    client.wait_until(lambda: 'nobody' in table(client), 'the answer')
    assert 'no such target' in table(client)['nobody'][2]


def test_refusals_leave_the_table_after_ten_seconds(client):
    client.init('gone', (*BOX[:2], *BOX[:2]))
    client.init('gone', OUTSIDE)
    client.track()
    client.wait_until(lambda: table(client).get('gone', ('',))[0] == 'refused', 'the refusal')
    client.wait_until(lambda: 'gone' not in table(client), 'its end')


def test_each_refused_box_is_logged_with_its_id(client, shared_node):
    client.track()
    for name in ('first', 'second'):
        client.init(name, OUTSIDE)
        shared_node.wait_for_log(f"refusing box of '{name}'")


def test_image_that_opencv_cannot_process_is_refused(client, shared_node):
    client.start_target('cup', BOX)
    client.send(np.zeros((1, 40_000, 3), np.uint8), encoding='mono8')
    shared_node.wait_for_log('longer than the 32766 pixels allowed')
    assert list(client.track()) == ['cup']


def test_constant_stamps_are_logged_once_and_boxes_start_on_the_newest_image(
        start_node, make_client):
    with start_node('-r', '__ns:=/constant', lost_confidence=0.0) as node:
        client = make_client(namespace='/constant').connect()
        stamp = client.stamp
        client.wait_until(lambda: client.send(stamp=stamp)
                          and 'images all have the same stamp' in node.log, 'the warning')
        client.init('cup', BOX, stamp=stamp)
        client.wait_until(lambda: table(client).get('cup', ('',))[0] == 'tracked', 'the target')
        client.wait_until(lambda: client.send(stamp=stamp) and stamp in client.tracks
                          and [track.id for track in client.tracks[stamp].detections] == ['cup'],
                          'its tracks')
        assert node.log.count('images all have the same stamp') == 1


def test_status_is_true_in_every_lifecycle_state(start_node, make_client):
    from std_srvs.srv import SetBool, Trigger

    def state(expected):
        """Wait until the table, as a late subscriber receives it, has cup in a state."""
        late = make_client(namespace='/latched')
        late.wait_until(lambda: late.statuses and table(late).get('cup', ('none',))[0] == expected,
                        f'cup to be {expected}')
    with start_node('-r', '__ns:=/latched', lost_confidence=0.0):
        client = make_client(namespace='/latched').connect()
        client.start_target('cup', BOX)
        state('tracked')
        assert client.call(SetBool, 'tracker/enable', data=False).success
        state('paused')
        assert client.call(SetBool, 'tracker/enable', data=True).success
        state('tracked')
        assert client.transition('deactivate', 'inactive')
        state('paused')
        assert client.call(Trigger, 'tracker/reset').success
        state('removed')
        assert client.transition('activate', 'active')
        state('none')
        client.connect()
        client.start_target('cup', BOX)
        assert client.transition('deactivate', 'inactive')
        assert client.transition('cleanup', 'unconfigured')
        client.wait_until(lambda: table(client)['cup'][0] == 'removed', 'the removal of cup')
        assert 'cleaned up' in table(client)['cup'][2]


def test_box_that_names_no_camera_or_several_is_refused(start_node, make_client):
    with start_node('-r', '__ns:=/pair', cameras='[front, rear]', lost_confidence=0.0) as node:
        front = make_client(namespace='/pair', camera='front').connect()
        rear = make_client(namespace='/pair', camera='rear').connect()
        shared = make_client(namespace='/pair')
        shared.wait_until(shared.inits.get_subscription_count, 'the shared init topic')
        shared.frame_id = ''
        shared.init('early', BOX)       # before the cameras have a frame_id
        node.wait_for_log("refusing box of 'early': its frame_id '' names no camera")
        front.frame_id = rear.frame_id = 'optical'
        front.track()
        rear.track()
        shared.frame_id = 'optical'
        shared.init('cup', BOX)
        node.wait_for_log("refusing box of 'cup': its frame_id 'optical' is ambiguous, it names "
                          'front, rear')
        shared.wait_until(lambda: set(table(shared)) == {'early', 'cup'}, 'the refusals')
        assert table(shared)['cup'][0] == 'refused'
        shared.detect(('dog', BOX))
        node.wait_for_log("detections: refusing box of '': its frame_id 'optical' is ambiguous")
        shared.frame_id = 'rear'
        shared.init('cup', BOX)
        rear.track_until(lambda tracks: 'cup' in tracks, 'cup in the rear')
        assert front.track() == {}
        shared.wait_until(lambda: set(table(shared)) == {'early'}, 'the end of the refusal')


@pytest.mark.parametrize('names', [
    ['', 'front'], ['1st'], ['é'], ['a b'], ['/front'], ['front', 'front'], ['_x']])
def test_camera_names_that_are_no_topic_names_are_refused(names):
    from re3_ros.parameters import camera_names
    with pytest.raises(ValueError, match='cameras must'):
        camera_names(names)


def test_hints_when_no_image_arrives(start_node, make_client):
    with start_node('-r', '__ns:=/hint', frame_timeout=.5, cameras='[front, rear]',
                    **{'front.image_transport': 'compressed'}) as node:
        watcher = make_client(namespace='/hint')
        from sensor_msgs.msg import Image
        watcher.node.create_subscription(
            Image, 'tracker/debug/rear/image', lambda message: None, 1)
        node.wait_for_log('no image on /hint/rear/image')
        node.wait_for_log('nobody publishes there (camera running? topic name right?)')
        assert '/hint/tracker/debug' not in node.log
        make_client(namespace='/hint', camera='rear', transport='compressed')
        node.wait_for_log('/hint/rear/image/compressed has images: set rear.image_transport to '
                          'compressed')
        make_client(namespace='/hint', camera='front')
        node.wait_for_log('/hint/front/image has images: set front.image_transport to raw')


def test_silence_counts_from_when_a_publisher_appeared():
    from re3_ros.camera import Camera
    warnings = []
    camera = SimpleNamespace(
        topic='/image', _opened=100., _publishers_since=None, _warned=set(),
        reliability='reliable',
        health=SimpleNamespace(last_frame=None, clocks=SimpleNamespace(stamp_problem='')),
        monitor=SimpleNamespace(loss=lambda: 0., skipped=0, lost=0),
        _parameters={'frame_timeout': 5., 'process_every_frame': False},
        _no_image_hint=lambda: 'hint', _wanted='auto', _offered=lambda: ['reliable'],
        _warn_once=lambda what, text: warnings.append(text))
    camera.frame_age = lambda now: Camera.frame_age(camera, now)
    Camera.match_publisher_qos(camera, 110.)      # the camera has just started
    Camera.check_stream(camera, 111.)
    assert warnings == []
    Camera.check_stream(camera, 115.5)
    assert warnings == ['no image on /image for 5.5 s: hint']


def test_misspelt_parameters_and_nodes_are_named(start_node, tmp_path):
    (tmp_path / 'own.yaml').write_text('/**: {ros__parameters: {lost_afer: 4}}')
    (tmp_path / 'other.yaml').write_text('/re3/traker: {ros__parameters: {lost_after: 4}}')
    with start_node('--params-file', tmp_path / 'own.yaml', '--params-file',
                    tmp_path / 'other.yaml') as node:
        node.wait_for_log('active, waiting')
        assert 'unknown parameter lost_afer is ignored, did you mean lost_after?' in node.log
        assert ('other.yaml has parameters for /re3/traker, none of them for /re3/tracker, did '
                'you mean /re3/traker?') in node.log
        assert node.log.count('did you mean') == 2


@pytest.mark.parametrize('text, matches', [
    ('/**: {p}', True), ('/re3/tracker: {p}', True), ('re3: {{tracker: {p}}}', True),
    ('tracker: {p}', True), ('/*/tracker: {p}', True), ('/**/tracker: {p}', True),
    ('/re3/other: {p}', False), ('/tracker2: {p}', False),
    ('other: {p}\ntracker: {p}', True), ('', True), ('[', True),
    ('/**: {{ros__parameters: {{cameras: !!python/tuple [a, b]}}}}', True),
    ('/other: {{ros__parameters: {{cameras: !!python/tuple [a, b]}}}}', False)])
def test_sections_of_parameters_files(tmp_path, text, matches):
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from re3_ros.declare import warn_of_unused_sections
    (tmp_path / 'params.yaml').write_text(text.format(p='{ros__parameters: {a: 1}}'))
    lines = []
    node = SimpleNamespace(get_fully_qualified_name=lambda: '/re3/tracker',
                           get_logger=lambda: SimpleNamespace(warning=lines.append))
    warn_of_unused_sections(node, ['--ros-args', '--params-file', str(tmp_path / 'params.yaml')])
    assert bool(lines) is not matches


def test_target_on_which_the_tracker_fails_does_not_lose_the_others(ros):
    import cv2
    from re3_ros.node import TrackerNode

    def update_frames(frames):
        if any('cam/bad' in keys for _, keys in frames):
            raise cv2.error('no')
        return {key: 'track' for _, keys in frames for key in keys}
    removed = []
    camera = SimpleNamespace(targets=SimpleNamespace(
        remove=lambda identity, reason: removed.append((identity, reason))))
    node = SimpleNamespace(_update_frames=update_frames)
    work = [(camera, None, ['cam/a', 'cam/bad']), (camera, None, ['cam/b'])]
    assert set(TrackerNode._update(node, work)) == {'cam/a', 'cam/b'}
    assert removed == [('bad', 'tracking failed: no')]
    with pytest.raises(cv2.error):      # nothing can be tracked: keep the targets
        TrackerNode._update(node, [(camera, None, ['cam/bad'])])
    assert len(removed) == 1
