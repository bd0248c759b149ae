# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the bookkeeping of targets, with a tracker that follows a bright square."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from re3_core.boxes import iou
from re3_core.tracker import Track
from re3_ros.frame_buffer import Frame
from re3_ros.messages import Request
from re3_ros.targets import CameraTargets, RequestError, Settings

PERIOD = 33_000_000
SIZE = 12
START = 1_000 * PERIOD


class SquareTracker:
    """Follow bright squares: look for bright pixels in a window of twice the last box."""

    def __init__(self):
        self.boxes = {}
        self.forwards = 0

    def init(self, key, frame, box):
        self.boxes[key] = np.array(box, np.float32)
        return Track(self.boxes[key], 1., False)

    def remove(self, key):
        del self.boxes[key]

    def update(self, frame, keys):
        return self.update_frames([(frame, keys)])

    def update_frames(self, frames):
        self.forwards += 1
        return {key: self.look(key, frame) for frame, keys in frames for key in keys}

    def look(self, key, frame):
        x1, y1, x2, y2 = self.boxes[key]
        w, h = (x2 - x1) / 2, (y2 - y1) / 2
        left, top = max(0, int(x1 - w)), max(0, int(y1 - h))
        window = frame[top:int(y2 + h), left:int(x2 + w), 0]
        rows, columns = np.nonzero(window > 128)
        if not len(rows):
            return Track(self.boxes[key], 0., True)
        x, y = left + columns.mean() + .5, top + rows.mean() + .5
        self.boxes[key] = np.array((x - w, y - h, x + w, y + h), np.float32)
        return Track(self.boxes[key], .9, False)


def square_at(index, speed=4):
    """Return the `xyxy` box of the moving square in a frame."""
    x = 20 + speed * index
    return np.array((x, 30., x + SIZE, 30. + SIZE))


def pixels(index, speed=4, size=(80, 320), visible=True):
    """Return a black image with the moving square."""
    rgb = np.zeros((*size, 3), np.uint8)
    x, y = square_at(index, speed)[:2].astype(int)
    if visible:
        rgb[y:y + SIZE, x:x + SIZE] = 255
    return rgb


class Camera:
    """A camera's targets with a tracker of its own, driven frame by frame as the node does."""

    def __init__(self, **settings):
        values = {'max_targets': 4, 'association_iou': .3, 'drop_after': 0, 'catch_up_frames': 5,
                  'init_buffer_seconds': 1., 'init_buffer_bytes': 10 ** 9, 'refuse_old': False}
        self.tracker = SquareTracker()
        self.targets = CameraTargets(self.tracker, Settings(**{**values, **settings}), 'cam')
        self.index = -1

    def stamp(self, index):
        return START + index * PERIOD

    def step(self, rgb=None, **kwargs):
        """Process the next frame; return {id: Target} of what would be published."""
        self.index += 1
        rgb = pixels(self.index, **kwargs) if rgb is None else rgb
        message = SimpleNamespace(data=rgb.tobytes(), header=None)
        frame = Frame(self.index, self.stamp(self.index), message, rgb.shape[:2], lambda _: rgb)
        keys = self.targets.begin_frame(frame)
        tracks = self.tracker.update_frames([(frame.rgb(), keys)]) if keys else {}
        return {target.id: target for target in self.targets.end_frame(tracks)}

    def steps(self, count, **kwargs):
        for _ in range(count):
            shown = self.step(**kwargs)
        return shown

    def init(self, identity, box, index=None, detected=False, class_id=''):
        stamp = 0 if index is None else self.stamp(index)
        box = None if box is None else np.array(box, float)
        self.targets.request(Request(identity, box, class_id), stamp, detected)

    def detect(self, *boxes, index=None):
        requests = [Request('', np.array(box, float), '') for box in boxes]
        return self.targets.detections(requests, 0 if index is None else self.stamp(index))

    def events(self):
        events, self.targets.events = self.targets.events, []
        return [(event.id, event.kind) for event in events]

    def overlap(self, target):
        return float(iou(target.track.box.astype(float), square_at(self.index)))


@pytest.fixture
def camera():
    return Camera()


def test_box_on_the_newest_frame_is_followed(camera):
    camera.step()
    camera.init('a', square_at(0))
    shown = camera.steps(10)
    assert camera.overlap(shown['a']) > .9
    assert camera.events() == [('a', 'started')]


def test_late_box_starts_on_its_own_frame():
    """A box 300 ms old: on the newest frame the object is long out of it."""
    camera = Camera()
    camera.steps(20)
    camera.init('late', square_at(10), index=10)
    camera.init('naive', square_at(10))
    shown = camera.steps(3)
    assert camera.overlap(shown['late']) > .9
    assert shown['naive'].state == 'lost'


def test_catching_up_is_bounded_and_hides_what_is_behind():
    camera = Camera(catch_up_frames=3)
    camera.step()
    camera.init('other', square_at(0))
    camera.steps(19)
    camera.init('late', square_at(10), index=10)
    forwards = camera.tracker.forwards
    assert 'late' not in camera.step()
    assert camera.tracker.forwards - forwards == 3 + 1
    # 9 frames behind, 1 more with each step, 3 caught up each time.
    seen = [set(camera.step()) for _ in range(4)]
    assert all('other' in ids for ids in seen)
    assert ['late' in ids for ids in seen] == [False, False, True, True]
    assert camera.overlap(camera.step()['late']) > .9


def test_box_just_ahead_of_its_image_waits(camera):
    camera.steps(5)
    camera.init('soon', square_at(6), index=6)
    assert camera.step() == {}
    shown = camera.step()
    assert camera.overlap(shown['soon']) == 1.
    assert camera.overlap(camera.step()['soon']) > .9


def test_stamp_between_two_frames_takes_the_nearest(camera):
    camera.steps(5)
    camera.targets.request(Request('near', square_at(3), ''), camera.stamp(3) + PERIOD // 3)
    shown = camera.steps(2)
    assert camera.overlap(shown['near']) > .9


@pytest.mark.parametrize('offset, text', [
    (-2_000_000_000, 's older than the newest image'),
    (5_000_000_000, 's newer than the newest image'),
])
def test_stamp_out_of_reach(offset, text):
    camera = Camera()
    camera.steps(5)
    request = Request('far', square_at(4), '')
    camera.targets.request(request, camera.stamp(4) + offset)
    (warning,) = camera.targets.warnings
    assert text in str(warning) and 'used on the newest' in str(warning)
    assert camera.overlap(camera.step()['far']) > .9
    camera.targets.settings.refuse_old = True
    with pytest.raises(ValueError, match=text):
        camera.targets.request(request, camera.stamp(4) + offset)


def test_boxes_before_the_first_image(camera):
    camera.init('early', square_at(0))
    camera.init('stamped', square_at(0), index=-50)
    camera.init('early', square_at(0))          # replaces the first
    camera.init('outside', (500, 500, 510, 510))
    shown = camera.step()
    assert set(shown) == {'early', 'stamped'}
    (warning,) = camera.targets.warnings
    assert 'outside' in str(warning)


def test_boxes_that_wait_are_bounded_and_can_be_withdrawn(camera):
    for number in range(4):
        camera.init(f'early {number}', square_at(0))
    with pytest.raises(ValueError, match='4 boxes already wait'):
        camera.init('one more', square_at(0))
    camera.init('early 1', None)
    assert set(camera.step()) == {'early 0', 'early 2', 'early 3'}


def test_old_detections_do_not_wait(camera):
    for shift in range(10):
        assert camera.detect(square_at(5 * shift)) == []
    (target,) = camera.step().values()
    np.testing.assert_array_equal(target.track.box, square_at(45))


def test_same_id_restarts_and_keeps_the_class(camera):
    camera.step()
    camera.init('a', square_at(0), class_id='cup')
    camera.step()
    camera.init('a', square_at(1))
    assert camera.step()['a'].class_id == 'cup'
    assert camera.events() == [('a', 'started'), ('a', 'restarted')]


def test_numbers_avoid_ids_that_are_taken(camera):
    camera.step()
    camera.init('2', (200, 10, 210, 20))
    camera.init('', square_at(0))
    camera.init('', (100, 10, 110, 20))
    assert list(camera.targets.targets) == ['2', '1', '3']
    camera.init('3', None)
    camera.init('', (100, 10, 110, 20))
    assert list(camera.targets.targets) == ['2', '1', '4']      # never used again


def test_detection_of_a_tracked_target_changes_nothing(camera):
    camera.step()
    camera.init('a', square_at(0))
    camera.step()
    box = camera.targets.targets['a'].track.box
    assert camera.detect(square_at(1) + 2) == []
    assert camera.targets.targets['a'].track.box is box
    assert list(camera.targets.targets) == ['a']


def test_users_box_without_id_restarts_what_it_overlaps(camera):
    camera.step()
    camera.init('a', square_at(0))
    camera.init('', square_at(0) + 2)
    assert list(camera.targets.targets) == ['a']
    assert camera.targets.targets['a'].track.box[0] == 22


def test_late_detection_is_compared_with_where_targets_were(camera):
    """A fast target is far from where the detector saw it, yet no second one appears."""
    camera.step()
    camera.init('a', square_at(0))
    camera.steps(15)
    assert float(iou(square_at(5), square_at(15))) == 0
    camera.detect(square_at(5), index=5)
    assert list(camera.targets.targets) == ['a']
    camera.detect(square_at(5))
    assert list(camera.targets.targets) == ['a', '1']


def test_late_detection_knows_targets_that_are_younger_than_it(camera):
    camera.steps(10)
    camera.init('a', square_at(9))
    camera.detect(square_at(8), index=8)
    assert list(camera.targets.targets) == ['a']


def test_lost_found_and_dropped():
    camera = Camera(drop_after=3)
    camera.step()
    camera.init('a', square_at(0))
    camera.steps(2)
    assert camera.step(visible=False)['a'].state == 'lost'
    camera.steps(2, visible=False)
    assert camera.step()['a'].state == 'tracked'
    assert camera.events() == [('a', 'started'), ('a', 'lost'), ('a', 'found')]
    camera.steps(4, visible=False)
    assert camera.events() == [('a', 'lost'), ('a', 'removed')]
    assert not camera.targets.targets and not camera.tracker.boxes


def test_detection_restarts_a_lost_target(camera):
    camera.step()
    camera.init('a', square_at(0))
    camera.step(visible=False)
    camera.detect(square_at(0) + 1)
    assert camera.targets.targets['a'].state == 'tracked'
    assert camera.events() == [('a', 'started'), ('a', 'lost'), ('a', 'found')]


@pytest.mark.parametrize('seen', [7, 8])
def test_recording_does_not_depend_on_when_a_box_comes(seen):
    """The target is lost from frame 8 on; the boxes come ahead of their frame, with it or late."""
    results = []
    for delay in (-2, 0, 6):
        camera = Camera(every_frame=True, catch_up_frames=1)
        camera.step()
        camera.init('a', square_at(0))
        for now in range(1, 20):
            shown = camera.step(visible=now not in (8, 9, 10))
            if now == seen + delay:
                camera.detect(square_at(seen) + 1, (250, 30, 262, 42), index=seen)
                camera.detect(index=seen + 1)
        results.append({key: (target.state, *target.track.box) for key, target in shown.items()})
    assert set(results[0]) == {'a', '1'}
    assert results[0] == results[1] == results[2]


def test_limit_of_targets(camera):
    camera.step()
    for number in range(4):
        camera.init(f'{number}', square_at(10 * number))
    with pytest.raises(ValueError, match='max_targets'):
        camera.init('4', square_at(0))
    camera.init('3', square_at(0))      # a restart is no new one
    (error,) = camera.detect((250, 50, 260, 60))
    assert 'max_targets' in str(error)


@pytest.mark.parametrize('identity, text', [('', 'needs the id'), ('b', "cannot remove 'b'")])
def test_removal_needs_a_target(camera, identity, text):
    with pytest.raises(ValueError, match=text):
        camera.init(identity, None)


@pytest.mark.parametrize('box', [(400, 30, 420, 50), (20, 90, 30, 99), (-20, 0, -5, 20)])
def test_box_outside_the_image(camera, box):
    camera.step()
    with pytest.raises(ValueError, match='outside the frame'):
        camera.init('a', box)


def test_image_size_changes(camera):
    camera.step()
    camera.init('a', square_at(0))
    camera.init('gone', (200, 60, 210, 70))
    camera.step()
    large = np.kron(pixels(1), np.ones((2, 2, 1), np.uint8))
    shown = camera.step(large)
    assert list(shown) == ['a']
    np.testing.assert_allclose(shown['a'].track.box, 2 * square_at(1), atol=2)
    (warning,) = camera.targets.warnings
    assert 'from 320 x 80 to 640 x 160: 1 targets go on' in str(warning)
    assert ('gone', 'removed') in camera.events()


def test_frames_are_discarded_after_a_pause(camera):
    camera.step()
    camera.init('a', square_at(0))
    camera.step()
    camera.targets.discard_frames()
    assert list(camera.step()) == ['a']
    camera.targets.reset()
    assert camera.step() == {} and not camera.tracker.boxes


def test_damaged_frame_does_not_stop_the_catching_up(camera):
    camera.steps(10)
    for frame in camera.targets.frames:
        if frame.index == 7:
            def fail(_):
                raise ValueError('damaged')
            frame._convert, frame._rgb = fail, None
    camera.init('late', square_at(5), index=5)
    shown = camera.steps(2)
    assert camera.overlap(shown['late']) > .8
    assert 'damaged' in str(camera.targets.warnings[0])


def answers(camera):
    """Return the {id: (kind, text)} of the answers to requests on init so far."""
    events, camera.targets.events = camera.targets.events, []
    return {event.id: (event.kind, event.text) for event in events if event.requested}


def test_every_request_is_answered(camera):
    camera.step()
    camera.init('a', square_at(0))
    assert answers(camera) == {'a': ('started', '')}
    camera.init('a', square_at(0))
    assert answers(camera) == {'a': ('restarted', '')}
    with pytest.raises(RequestError, match="refusing box of 'b': box .* lies outside the frame"):
        camera.init('b', (500, 500, 520, 520))
    kind, text = answers(camera)['b']
    assert kind == 'refused' and 'lies outside the frame' in text
    with pytest.raises(RequestError):
        camera.init('nobody', None)
    assert answers(camera)['nobody'][0] == 'refused'


def test_each_refusal_has_another_number_in_the_status_table(camera):
    camera.step()
    tables = []
    for _ in range(2):
        with pytest.raises(RequestError):
            camera.init('a', (500, 500, 520, 520))
        camera.init('b', square_at(0))
        tables.append([row.values for row in camera.targets.take_events(1.)[1]])
    (first, target), (second, _) = tables
    assert (first['number'], second['number']) == ('1', '2')
    assert first['reason'] == second['reason'] and target == {}
    # The table published again for another reason does not renumber.
    assert camera.targets.status_rows()[0].values == second


def test_request_that_waits_is_answered_with_its_image(camera):
    camera.init('early', square_at(0))
    camera.init('outside', (500, 500, 520, 520))
    assert answers(camera) == {}
    camera.step()
    found = answers(camera)
    assert found['early'] == ('started', '') and found['outside'][0] == 'refused'


def test_request_that_waits_is_refused_by_reset(camera):
    camera.init('early', square_at(0))
    camera.targets.reset()
    assert answers(camera) == {'early': ('refused', 'by reset')}


def test_boxes_of_a_detector_are_no_requests(camera):
    camera.step()
    camera.init('a', square_at(0), detected=True)
    with pytest.raises(RequestError):
        camera.init('b', (500, 500, 520, 520), detected=True)
    assert answers(camera) == {}


@pytest.mark.parametrize('error', [
    cv2.error('no'), OSError('no'), MemoryError('no'), RuntimeError('no'), ValueError('no')])
def test_tracker_that_fails_in_init_does_not_lose_the_others(camera, error):
    start = camera.tracker.init

    def init(key, frame, box):
        if key.endswith('/bad'):
            raise error
        return start(key, frame, box)
    camera.tracker.init = init
    camera.init('bad', square_at(0))
    camera.init('good', square_at(0))
    camera.step()                       # both waited for this image
    assert set(camera.targets.targets) == {'good'}
    assert answers(camera)['bad'] == ('refused', "refusing box of 'bad': no")
    requests = [Request(name, np.array(square_at(0), float), '') for name in ('bad', 'other')]
    (refusal,) = camera.targets.detections(requests)
    assert 'refusing box of' in str(refusal)
    assert set(camera.targets.targets) == {'good', 'other'}
    assert set(camera.step()) == {'good', 'other'}


def test_tracker_that_fails_while_catching_up_does_not_lose_the_others(camera):
    camera.steps(5)
    camera.init('good', square_at(4))
    camera.step()
    camera.init('late', square_at(2), index=2)

    def fail(frame, keys):
        raise cv2.error('no')
    camera.tracker.update = fail
    assert 'good' in camera.step()
    assert any(isinstance(warning, cv2.error) for warning in camera.targets.warnings)


def test_number_of_a_box_that_waits_is_not_given_away(camera):
    camera.step()
    camera.init('1', square_at(1), index=1)     # a frame ahead
    camera.init('', (100, 30, 120, 50))
    camera.step()
    assert set(camera.targets.targets) == {'1', '2'}


@pytest.mark.parametrize('stamp', [0, 10 ** 18])
def test_box_starts_on_the_newest_of_equal_stamps(camera, stamp):
    camera.stamp = lambda index: stamp
    for _ in range(20):
        camera.step()
    camera.init('a', square_at(19), index=0)
    shown = camera.steps(5)
    assert camera.overlap(shown['a']) > .9 and not shown['a'].track.lost
    assert len(camera.targets.frames) == 1
