# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0


"""Re-detection of lost targets, with a network that detects red pixels."""

import numpy as np
import pytest
from re3_core import redetection, Tracker
from re3_core.boxes import iou
from re3_core.crops import CropSpec
from re3_core.networks import Prediction, TrackerNetwork
import torch

SIZE, SPEED = 20, 3
VISIBLE, HIDDEN = 4., -4.


class RedSquare(TrackerNetwork):
    """
    Find the red pixels of the current crop.

    It is confident if the target has its own size and at least half of it is in the crop. The
    memory counts the frames since the start without a detection.
    """

    name = 'red_square'
    previous_crop = CropSpec(16, 1.5)
    current_crop = CropSpec(50, 2.5)

    def __init__(self, has_confidence=True):
        super().__init__({})
        self.has_confidence = has_confidence
        self.visible_logit = VISIBLE

    def features(self, crops):
        return ((crops.current[:, 0] > 128) & (crops.current[:, 1] < 128),)

    def encode(self, features, reference):
        return features[0]

    def zero_memory(self, encoded):
        return (torch.zeros(len(encoded), 1),)

    def recur(self, encoded, memory):
        boxes, logits = zip(*map(self._find, encoded), strict=True)
        logits = torch.tensor(logits)
        memory = (memory[0] + (logits < 0)[:, None],)
        logits = logits if self.has_confidence else logits * np.nan
        return Prediction(torch.tensor(boxes), logits), memory

    def _find(self, red):
        rows, columns = torch.nonzero(red, as_tuple=True)
        if len(rows) < 130:     # of 400: the scale is that of the target's own size
            return (.3, .3, .7, .7), HIDDEN
        x, y, side = columns.float().mean() / 50 + .01, rows.float().mean() / 50 + .01, .2
        box = float(x - side), float(y - side), float(x + side), float(y + side)
        return box, self.visible_logit


def square(index, speed=SPEED):
    x = 20. + speed * index
    return np.array((x, 40., x + SIZE, 40. + SIZE))


def image_with(*boxes, size=(160, 320)):
    """Return a gray image with red squares."""
    frame = np.full((*size, 3), 90, np.uint8)
    for x1, y1, x2, y2 in np.rint(boxes).astype(int):
        frame[y1:y2, x1:x2] = (255, 0, 0)
    return frame


def start(**settings):
    tracker = Tracker(network=RedSquare(), device='cpu', lost_after=3, **settings)
    tracker.init('a', image_with(square(0)), square(0))
    for index in range(1, 10):
        tracker.update(image_with(square(index)))
    return tracker


def hide(tracker, frames):
    """Hide the target for some frames; return its Tracks."""
    return [tracker.update(image_with())['a'] for _ in range(frames)]


def frames_until_found(tracker, frame, most=60):
    for count in range(1, most + 1):
        if not tracker.update(frame)['a'].lost:
            return count
    return None


def test_target_that_reappears_elsewhere_is_found_by_redetection_only():
    place = np.array((240., 100., 240. + SIZE, 100. + SIZE))
    for candidates, expected in ((0, False), (6, True)):
        tracker = start(redetection_candidates=candidates)
        assert hide(tracker, 40)[-1].lost
        found = frames_until_found(tracker, image_with(place))
        assert (found is not None) is expected
        assert bool(iou(tracker.track('a').box, place) > .8) is expected
    # Then it is tracked as before.
    track = tracker.update(image_with(place + 4))['a']
    assert iou(track.box, place + 4) > .8 and track.confidence > .9 and not track.lost


def test_target_that_reappears_at_the_predicted_place_is_found_at_once():
    tracker = start()
    assert hide(tracker, 5)[-1].lost
    assert frames_until_found(tracker, image_with(square(15))) == redetection.FOUND_AFTER


def test_lost_target_has_the_predicted_box_and_a_low_confidence():
    tracker = start()
    tracks = hide(tracker, 60)
    assert [track.lost for track in tracks[:4]] == [False, False, True, True]
    assert max(track.confidence for track in tracks) <= tracker.lost_confidence
    lefts = np.array([track.box[0] for track in tracks[2:]])
    assert (np.diff(lefts) >= 0).all() and lefts[0] > square(10)[0]
    assert lefts[-1] < square(9)[0] + 10 * SPEED     # the velocity is damped
    np.testing.assert_allclose(tracks[-1].box[2:] - tracks[-1].box[:2], SIZE, atol=1)


def test_one_confident_frame_is_not_enough():
    tracker = start()
    hide(tracker, 10)
    for _ in range(3):      # something red appears for two frames
        flash = image_with(tracker.track('a').box)
        tracks = [tracker.update(flash)['a'] for _ in range(redetection.FOUND_AFTER - 1)]
        assert all(track.lost and track.confidence <= tracker.lost_confidence for track in tracks)
        assert hide(tracker, 1)[0].lost


def uncertain(tracker, confidence, frames):
    """Move the target back, detected with this confidence; return Tracks and true boxes."""
    first = tracker._targets['a'].steps
    tracker.network.visible_logit = float(np.log(confidence / (1 - confidence)))
    boxes = [square(2 * 9 - index) for index in range(first + 1, first + 1 + frames)]
    return [tracker.update(image_with(box))['a'] for box in boxes], boxes


def test_uncertain_target_is_tracked_on_and_found_at_its_last_box():
    tracker = start(redetection_candidates=1)    # it is not at the predicted place
    tracks, boxes = uncertain(tracker, .1, 7)
    assert [track.lost for track in tracks] == [False, False] + [True] * 5
    assert iou(tracks[1].box, boxes[1]) > .8                # while not lost
    assert tracks[-1].box[0] > square(11)[0]                # the prediction
    tracks, boxes = uncertain(tracker, .98, redetection.FOUND_AFTER)
    assert [track.lost for track in tracks] == [True, True, False]
    assert min(map(iou, [track.box for track in tracks], boxes)) > .8
    assert [track.confidence for track in tracks[:2]] == [tracker.lost_confidence] * 2


def test_target_that_was_never_confident_is_found_at_found_confidence():
    tracker = Tracker(network=RedSquare(), device='cpu', redetection_candidates=1)
    tracker.init('a', image_with(square(0)), square(0))
    lost = []
    for index in range(1, 19):      # it has left its first place
        tracker.network.visible_logit = -2. if index < 16 else 1.    # confidences .12, then .73
        lost.append(tracker.update(image_with(square(index)))['a'].lost)
    assert lost == [False] * 2 + [True] * 15 + [False]


def test_found_target_has_the_memory_of_the_keyframe():
    tracker = start()
    hide(tracker, 30)
    assert frames_until_found(tracker, image_with(square(60))) is not None
    assert float(tracker._targets['a'].state.memory[0]) == 0


@pytest.mark.parametrize('lost', [2, 7])
def test_all_targets_together_stay_below_the_limit(monkeypatch, lost):
    tracker = Tracker(network=RedSquare(), device='cpu', lost_after=1, redetection_candidates=4,
                      redetection_limit=5)
    ids = [str(number) for number in range(lost)]
    for name in ids:
        tracker.init(name, image_with(square(0)), square(0))
    tracker.update(image_with())
    sizes = []
    step = tracker.network.step
    monkeypatch.setattr(tracker.network, 'step', lambda crops, state: (
        sizes.append(len(crops.current)), step(crops, state))[1])
    for _ in range(20):
        tracker.update(image_with())
    assert set(sizes) == {lost + 5}
    used = [tracker._targets[name].num_searched for name in ids]
    assert sum(used) == 100 and max(used) - min(used) <= 1


def test_batched_equals_one_by_one_and_cameras_do_not_mix():
    wide = (160, 420)
    boxes = {'a': square(0), 'b': square(0) + (0, 60, 0, 60)}
    together, alone = (Tracker(network=RedSquare(), device='cpu', lost_after=2) for _ in 'ab')
    for tracker in (together, alone):
        tracker.init('a', image_with(boxes['a']), boxes['a'])
        tracker.init('b', image_with(boxes['b'], size=wide), boxes['b'])
    for index in range(50):
        shown = [] if index < 20 else [boxes['a'] + (100, 20, 100, 20)]
        frames = {'a': image_with(*shown), 'b': image_with(size=wide)}
        tracks = together.update_frames([(frame, [name]) for name, frame in frames.items()])
        for name, frame in frames.items():
            track = alone.update(frame, [name])[name]
            np.testing.assert_array_equal(track.box, tracks[name].box)
            assert (track.confidence, track.lost) == (tracks[name].confidence, tracks[name].lost)
    assert not tracks['a'].lost and tracks['b'].lost


def test_network_without_confidence_has_no_redetection():
    tracker = Tracker(network=RedSquare(has_confidence=False), device='cpu', lost_after=1)
    tracker.init('a', image_with(), (-15, 40, 5, 60))      # a quarter in the frame
    tracker.lost_confidence, tracker.found_confidence = .9, .95
    assert tracker.update(image_with())['a'].lost
    assert tracker._targets['a'].keyframe is None
    np.testing.assert_allclose(tracker.update(image_with())['a'].box, (-10, 40, 10, 60), atol=.01)


def test_redetection_may_be_switched_while_running():
    tracker = start(redetection_candidates=0)
    hide(tracker, 20)
    place = np.array((240., 100., 240. + SIZE, 100. + SIZE))
    assert frames_until_found(tracker, image_with(place), most=20) is None
    tracker.redetection_candidates = 8
    assert frames_until_found(tracker, image_with(place)) is not None


def test_restart_ends_the_redetection():
    tracker = start()
    assert hide(tracker, 10)[-1].lost
    box = (200, 20, 220, 40)
    assert not tracker.init('a', image_with(box), box).lost
    assert iou(tracker.update(image_with(box))['a'].box, np.array(box)) > .9


def test_the_first_search_region_is_the_extrapolated_box():
    arguments = square(0)[None], np.array([[4., 0.]]), np.array([3])
    sizes = np.array([[160, 320]])
    found = redetection.candidate_boxes(*arguments, np.array([5]), sizes, 4)
    np.testing.assert_allclose(found[:, 0], redetection.extrapolate(*arguments, sizes))
    assert len(np.unique(found[0], axis=0)) == 4


def test_a_large_limit_gives_no_target_more_than_its_search_regions():
    assert redetection.allocate_budget(np.array([3, 0]), 4, 32).tolist() == [4, 4]
    assert redetection.allocate_budget(np.array([3, 0, 0]), 4, 2).tolist() == [0, 1, 1]


def test_window_grows_to_the_frame_and_stays_in_it():
    frames = np.array([1, 10, 1000])
    boxes = np.repeat(square(0)[None], 3, 0)
    sizes = np.array([[160, 320]] * 3)
    found = redetection.search_windows(boxes, frames, sizes)
    assert (np.diff(found[:, 2] - found[:, 0]) > 0).all()
    assert found[2].tolist() == [0, 0, 320, 160]
    # Half a box and a tenth more in each frame, from the center on.
    np.testing.assert_allclose(found[:2], [(18, 38, 42, 62), (0, 20, 60, 80)])


def test_points_fill_the_window_evenly_over_calls():
    window = np.array([[100., 50., 200., 150.]])
    points = np.concatenate([redetection.sample_points(window, np.array([used]), 8)[0]
                             for used in range(0, 64, 8)])
    cells = ((points - (100, 50)) // 25).astype(int)
    counts = np.bincount(cells[:, 0] * 4 + cells[:, 1], minlength=16)
    assert counts.sum() == 64 and counts.min() >= 2


def test_velocity_follows_the_motion_and_skips_gaps():
    velocity = np.zeros((1, 2))
    for index in range(30):
        velocity = redetection.update_velocities(
            velocity, square(index)[None], square(index + 1)[None], np.ones(1))
    np.testing.assert_allclose(velocity, [(SPEED, 0)], atol=.01)
    after_gap = redetection.update_velocities(
        np.zeros((1, 2)), square(0)[None], square(20)[None], np.full(1, 20))
    np.testing.assert_allclose(after_gap, [(SPEED, 0)], atol=.01)


FAR = np.array((240., 100., 240. + SIZE, 100. + SIZE))


@pytest.fixture
def lost_and_searched_far_away(monkeypatch):
    """Return a lost target at `square(9)` whose only search region elsewhere is FAR."""
    tracker = start(redetection_candidates=1)
    hide(tracker, 5)
    monkeypatch.setattr(redetection, 'candidate_boxes', lambda boxes, *_: np.tile(
        FAR, (len(boxes), 1, 1)))
    return tracker


def test_target_found_at_its_last_box_is_not_moved_to_a_candidate(lost_and_searched_far_away):
    tracker = lost_and_searched_far_away
    for count in range(redetection.FOUND_AFTER):
        assert (tracker._targets['a'].candidate is None) is (count == 0)
        track = tracker.update(image_with(square(9), FAR))['a']
    assert not track.lost and iou(track.box, square(9)) > .8
    assert tracker._targets['a'].candidate is None


@pytest.mark.parametrize('here, elsewhere, found', [
    (.9, .8, 'here'), (.57, .9, 'here'), (.5, .6, 'elsewhere'),     # first at the last box
    (.1, .5, ''), (.1, .57, 'elsewhere'), (.5, .55, ''),            # from found_confidence on
])
def test_candidate_is_confident_where_the_last_box_is_not(
        lost_and_searched_far_away, monkeypatch, here, elsewhere, found):
    tracker = lost_and_searched_far_away
    monkeypatch.setattr(tracker.network, '_find', lambda red: (
        (.3, .3, .7, .7), float(np.log(elsewhere / (1 - elsewhere))) if red[:, -1].any()
        else float(np.log(here / (1 - here)))))
    # A mark at the right border of the crop around FAR.
    mark = np.array((FAR[2] + 14, 90, FAR[2] + 20, 130))
    for _ in range(redetection.FOUND_AFTER):
        track = tracker.update(image_with(mark))['a']
    assert track.lost is not bool(found)
    assert bool(iou(track.box, FAR) > .8) is (found == 'elsewhere')


def test_keyframe_is_that_of_the_last_confident_frame():
    tracker = start()
    target = tracker._targets['a']
    assert target.keyframe.step == 9 and target.keyframe.previous is target.previous
    assert target.keyframe.state is target.state
    np.testing.assert_allclose(target.keyframe.velocity, (SPEED, 0), atol=.2)
    hide(tracker, 2)
    keyframe = tracker._targets['a'].keyframe
    assert keyframe is target.keyframe, 'frames of low confidence do not change it'
    hide(tracker, 1)
    target = tracker._targets['a']
    assert target.lost and target.keyframe.step == 9
    # It does not keep a batch of 16 alive.
    assert target.keyframe.previous.base is None and keyframe.previous.base is not None


def test_search_regions_get_crop_and_memory_of_the_keyframe(monkeypatch):
    tracker = start()
    hide(tracker, 5)
    keyframe, seen, step = tracker._targets['a'].keyframe, [], tracker.network.step
    monkeypatch.setattr(tracker.network, 'step', lambda crops, state: (
        seen.append((crops, state)), step(crops, state))[1])
    tracker.update(image_with())
    (crops, state), = seen
    assert state.memory[0][:, 0].tolist() == [5] + [0] * redetection.CANDIDATES
    assert (crops.previous[1:].numpy() == keyframe.previous).all()


def test_motion_is_extrapolated_from_the_frame_of_the_keyframe_on(monkeypatch):
    frames, boxes = [], redetection.candidate_boxes
    monkeypatch.setattr(redetection, 'candidate_boxes', lambda *arguments: (
        frames.append(arguments[2].tolist()), boxes(*arguments))[1])
    hide(start(), 5)
    assert frames == [[4], [5]]     # lost in the third


def test_search_restarts_with_each_loss():
    tracker = start()
    hide(tracker, 10)
    assert tracker._targets['a'].num_searched > 0
    assert frames_until_found(tracker, image_with(square(19))) is not None
    assert tracker._targets['a'].num_searched == 0


def test_extrapolated_center_stays_in_the_frame():
    boxes = redetection.extrapolate(
        np.repeat(square(0)[None], 2, 0), np.array([[50., 0.], [-50., -50.]]),
        np.array([30, 30]), np.array([[160, 320]] * 2))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centers, [(320, 50), (0, 0)])
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], SIZE)
