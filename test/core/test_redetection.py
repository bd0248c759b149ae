# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0


"""The search for lost targets, with a network that knows red from other colours."""

import numpy as np
import pytest
from re3_core import redetection, Tracker
from re3_core.boxes import iou
from re3_core.crops import CropSpec
from re3_core.networks import Prediction, TrackerNetwork
import torch

SIZE, SPEED = 20, 3
GOOD, BAD = 4., -4.


class RedSquare(TrackerNetwork):
    """
    Find the red pixels of the current crop.

    The score is good if the target's size and half of it are in sight. The memory counts the
    frames since the start in which nothing was seen.
    """

    name = 'red_square'
    previous_crop = CropSpec(16, 1.5)
    current_crop = CropSpec(50, 2.5)

    def __init__(self, scored=True):
        super().__init__({})
        self.scored = scored
        self.good = GOOD

    def features(self, crops):
        return ((crops.current[:, 0] > 128) & (crops.current[:, 1] < 128),)

    def encode(self, features, reference):
        return features[0]

    def zero_memory(self, encoded):
        return (torch.zeros(len(encoded), 1),)

    def recur(self, encoded, memory):
        boxes, scores = zip(*map(self._find, encoded), strict=True)
        scores = torch.tensor(scores)
        memory = (memory[0] + (scores < 0)[:, None],)
        return Prediction(torch.tensor(boxes), scores if self.scored else scores * np.nan), memory

    def _find(self, red):
        rows, columns = torch.nonzero(red, as_tuple=True)
        if len(rows) < 130:     # of 400: the scale is that of the target's own size
            return (.3, .3, .7, .7), BAD
        x, y, side = columns.float().mean() / 50 + .01, rows.float().mean() / 50 + .01, .2
        return (float(x - side), float(y - side), float(x + side), float(y + side)), self.good


def square(index, speed=SPEED):
    x = 20. + speed * index
    return np.array((x, 40., x + SIZE, 40. + SIZE))


def picture(*boxes, size=(160, 320)):
    """Return a grey image with red squares."""
    frame = np.full((*size, 3), 90, np.uint8)
    for x1, y1, x2, y2 in np.rint(boxes).astype(int):
        frame[y1:y2, x1:x2] = (255, 0, 0)
    return frame


def start(**settings):
    tracker = Tracker(network=RedSquare(), device='cpu', lost_after=3, **settings)
    tracker.init('a', picture(square(0)), square(0))
    for index in range(1, 10):
        tracker.update(picture(square(index)))
    return tracker


def hide(tracker, frames):
    """Hide the target for some frames; return its Tracks."""
    return [tracker.update(picture())['a'] for _ in range(frames)]


def frames_until_found(tracker, frame, most=60):
    for count in range(1, most + 1):
        if not tracker.update(frame)['a'].lost:
            return count
    return None


def test_target_that_comes_out_elsewhere_is_found_with_the_search_only():
    place = np.array((240., 100., 240. + SIZE, 100. + SIZE))
    for candidates, expected in ((0, False), (6, True)):
        tracker = start(redetection_candidates=candidates)
        assert hide(tracker, 40)[-1].lost
        found = frames_until_found(tracker, picture(place))
        assert (found is not None) is expected
        assert bool(iou(tracker.track('a').box, place) > .8) is expected
    # It is a target like any other again.
    track = tracker.update(picture(place + 4))['a']
    assert iou(track.box, place + 4) > .8 and track.confidence > .9 and not track.lost


def test_target_that_comes_out_where_its_motion_leads_is_found_at_once():
    tracker = start()
    assert hide(tracker, 5)[-1].lost
    assert frames_until_found(tracker, picture(square(15))) == redetection.FOUND_AFTER


def test_lost_target_is_shown_where_its_motion_leads_with_a_low_score():
    tracker = start()
    tracks = hide(tracker, 60)
    assert [track.lost for track in tracks[:4]] == [False, False, True, True]
    assert max(track.confidence for track in tracks) <= tracker.lost_confidence
    lefts = np.array([track.box[0] for track in tracks[2:]])
    assert (np.diff(lefts) >= 0).all() and lefts[0] > square(10)[0]
    assert lefts[-1] < square(9)[0] + 10 * SPEED     # the velocity fades out
    np.testing.assert_allclose(tracks[-1].box[2:] - tracks[-1].box[:2], SIZE, atol=1)


def test_one_good_look_is_not_enough():
    tracker = start()
    hide(tracker, 10)
    for _ in range(3):      # something red flashes up where the target may be, and is gone
        flash = picture(tracker.track('a').box)
        tracks = [tracker.update(flash)['a'] for _ in range(redetection.FOUND_AFTER - 1)]
        assert all(track.lost and track.confidence <= tracker.lost_confidence for track in tracks)
        assert hide(tracker, 1)[0].lost


def doubt(tracker, score, frames):
    """Let the network see the target turn back, with this score; return Tracks and true boxes."""
    first = tracker._targets['a'].steps
    tracker.network.good = float(np.log(score / (1 - score)))
    boxes = [square(2 * 9 - index) for index in range(first + 1, first + 1 + frames)]
    return [tracker.update(picture(box))['a'] for box in boxes], boxes


def test_target_in_doubt_is_followed_on_and_found_where_it_is():
    tracker = start(redetection_candidates=1)    # where the motion leads it is not to be seen
    tracks, boxes = doubt(tracker, .1, 7)
    assert [track.lost for track in tracks] == [False, False] + [True] * 5
    assert iou(tracks[1].box, boxes[1]) > .8                # where it is, while not lost
    assert tracks[-1].box[0] > square(11)[0]                # then where its motion led
    tracks, boxes = doubt(tracker, .98, redetection.FOUND_AFTER)
    assert [track.lost for track in tracks] == [True, True, False]
    assert min(map(iou, [track.box for track in tracks], boxes)) > .8
    assert [track.confidence for track in tracks[:2]] == [tracker.lost_confidence] * 2


def test_target_that_comes_back_by_itself_needs_its_usual_score():
    tracker = start(redetection_candidates=1)
    doubt(tracker, .1, 7)
    tracks, boxes = doubt(tracker, .8, 3)       # enough at any other time, but it was .98
    assert all(track.lost for track in tracks) and tracker.found_confidence < .8
    assert iou(tracks[-1].box, boxes[-1]) > .8
    assert not doubt(tracker, .9, redetection.FOUND_AFTER)[0][-1].lost


def test_target_that_was_in_doubt_from_the_start_is_found_at_the_found_score():
    tracker = Tracker(network=RedSquare(), device='cpu', redetection_candidates=1)
    tracker.init('a', picture(square(0)), square(0))
    lost = []
    for index in range(1, 19):      # where it started it is no longer to be seen
        tracker.network.good = -2. if index < 16 else 1.    # scores of .12, then .73
        lost.append(tracker.update(picture(square(index)))['a'].lost)
    assert lost == [False] * 2 + [True] * 15 + [False]


def test_nothing_seen_while_lost_stays_in_the_memory():
    tracker = start()
    hide(tracker, 30)
    assert frames_until_found(tracker, picture(square(60))) is not None
    assert float(tracker._targets['a'].state.memory[0]) == 0


@pytest.mark.parametrize('lost', [2, 7])
def test_all_targets_together_stay_below_the_limit(monkeypatch, lost):
    tracker = Tracker(network=RedSquare(), device='cpu', lost_after=1, redetection_candidates=4,
                      redetection_limit=5)
    ids = [str(number) for number in range(lost)]
    for name in ids:
        tracker.init(name, picture(square(0)), square(0))
    tracker.update(picture())
    sizes = []
    step = tracker.network.step
    monkeypatch.setattr(tracker.network, 'step', lambda crops, state: (
        sizes.append(len(crops.current)), step(crops, state))[1])
    for _ in range(20):
        tracker.update(picture())
    assert set(sizes) == {lost + 5}
    tried = [tracker._targets[name].num_searched for name in ids]
    assert sum(tried) == 100 and max(tried) - min(tried) <= 1


def test_batched_equals_one_by_one_and_cameras_do_not_mix():
    wide = (160, 420)
    boxes = {'a': square(0), 'b': square(0) + (0, 60, 0, 60)}
    together, alone = (Tracker(network=RedSquare(), device='cpu', lost_after=2) for _ in 'ab')
    for tracker in (together, alone):
        tracker.init('a', picture(boxes['a']), boxes['a'])
        tracker.init('b', picture(boxes['b'], size=wide), boxes['b'])
    for index in range(50):
        shown = [] if index < 20 else [boxes['a'] + (100, 20, 100, 20)]
        frames = {'a': picture(*shown), 'b': picture(size=wide)}
        tracks = together.update_frames([(frame, [name]) for name, frame in frames.items()])
        for name, frame in frames.items():
            track = alone.update(frame, [name])[name]
            np.testing.assert_array_equal(track.box, tracks[name].box)
            assert (track.confidence, track.lost) == (tracks[name].confidence, tracks[name].lost)
    assert not tracks['a'].lost and tracks['b'].lost


def test_network_without_scores_is_not_searched_for():
    tracker = Tracker(network=RedSquare(scored=False), device='cpu', lost_after=1)
    tracker.init('a', picture(), (-15, 40, 5, 60))      # a quarter in sight
    tracker.lost_confidence, tracker.found_confidence = .9, .95
    assert tracker.update(picture())['a'].lost
    assert tracker._targets['a'].keyframe is None
    np.testing.assert_allclose(tracker.update(picture())['a'].box, (-10, 40, 10, 60), atol=.01)


def test_search_may_be_switched_while_running():
    tracker = start(redetection_candidates=0)
    hide(tracker, 20)
    place = np.array((240., 100., 240. + SIZE, 100. + SIZE))
    assert frames_until_found(tracker, picture(place), most=20) is None
    tracker.redetection_candidates = 8
    assert frames_until_found(tracker, picture(place)) is not None


def test_starting_anew_ends_the_search():
    tracker = start()
    assert hide(tracker, 10)[-1].lost
    box = (200, 20, 220, 40)
    assert not tracker.init('a', picture(box), box).lost
    assert iou(tracker.update(picture(box))['a'].box, np.array(box)) > .9


def test_window_grows_to_the_frame_and_stays_in_it():
    frames = np.array([1, 10, 1000])
    boxes = np.repeat(square(0)[None], 3, 0)
    sizes = np.array([[160, 320]] * 3)
    found = redetection.search_windows(boxes, np.zeros((3, 2)), frames, sizes)
    assert (np.diff(found[:, 2] - found[:, 0]) > 0).all()
    assert found[2].tolist() == [0, 0, 320, 160]
    moving = redetection.search_windows(boxes, np.full((3, 2), 5.), frames, sizes)
    assert moving[1, 2] > found[1, 2]


def test_places_fill_the_window_evenly_call_after_call():
    window = np.array([[100., 50., 200., 150.]])
    points = np.concatenate([redetection.sample_points(window, np.array([tried]), 8)[0]
                             for tried in range(0, 64, 8)])
    cells = ((points - (100, 50)) // 25).astype(int)
    counts = np.bincount(cells[:, 0] * 4 + cells[:, 1], minlength=16)
    assert counts.sum() == 64 and counts.min() >= 2


def test_velocity_follows_the_motion_and_skips_gaps():
    velocity = np.zeros(2)
    for index in range(30):
        velocity = redetection.update_velocity(velocity, square(index), square(index + 1))
    np.testing.assert_allclose(velocity, (SPEED, 0), atol=.01)
    after_gap = redetection.update_velocity(np.zeros(2), square(0), square(20), 20)
    np.testing.assert_allclose(after_gap, (SPEED, 0), atol=.01)
