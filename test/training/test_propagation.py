# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Filling in boxes between key frames, with trackers that a test directs."""

import numpy as np
import pytest
from re3_core.boxes import iou
from re3_core.tracker import Track as TrackerTrack
from training.labels.effort import count_key_frames, main
from training.labels.propagation import (
    blend,
    change_frame,
    corrected,
    interpolate,
    Key,
    occluded_frames,
    Propagation,
    Track,
    UNCERTAIN,
)

COUNT = 21
TRUTH = np.array([(10. + 3 * t, 20., 40. + 3 * t, 60.) for t in range(COUNT)])
# A frame that holds its number, so that a tracker can look up the truth.
FRAMES = [np.full((8, 8, 3), t, np.uint8) for t in range(COUNT)]


class Drifting:
    """A tracker that follows the truth, and stands still after some frames."""

    def __init__(self, good=COUNT, fails=False):
        self.good, self.fails, self.updates, self.started = good, fails, 0, []

    def reset(self):
        self.box = None

    def init(self, target_id, frame, box):
        if self.fails:
            raise ValueError('a box that it does not like')
        self.steps, self.box = 0, np.array(box)
        self.last = int(frame[0, 0, 0])
        self.started.append(self.last)

    def update(self, frame):
        self.updates += 1
        self.steps += 1
        number = int(frame[0, 0, 0])
        if self.steps <= self.good:
            self.box = self.box + TRUTH[number] - TRUTH[self.last]
        self.last = number
        confidence = .9 if self.steps <= self.good else .2
        return {'target': TrackerTrack(self.box.astype(np.float32), confidence,
                                       confidence < .5)}


def fill(keys, tracker=None, frames=FRAMES):
    """Return the Track for keys, and the propagation."""
    tracker = tracker or Drifting()
    propagation = Propagation(frames, lambda: tracker)
    for _ in propagation.update(keys):
        pass
    return propagation.result(keys), propagation


def key(t):
    """Return a Key with the true box."""
    return Key(tuple(TRUTH[t].tolist()))


def test_one_key_fills_both_directions():
    track, _ = fill({10: key(10)})
    np.testing.assert_allclose(track.boxes, TRUTH, atol=1e-4)
    assert (track.confidence >= UNCERTAIN).all()


def test_a_lost_track_is_replaced_by_that_from_the_other_side():
    track, _ = fill({0: key(0), 20: key(20)}, Drifting(good=12))
    assert iou(track.boxes, TRUTH).min() > .95
    single, _ = fill({0: key(0)}, Drifting(good=12))
    assert iou(single.boxes, TRUTH).min() < .5
    assert (single.confidence[14:] < UNCERTAIN).all()


def test_where_both_tracks_are_lost_it_is_uncertain():
    track, _ = fill({0: key(0), 20: key(20)}, Drifting(good=3))
    assert (track.confidence[:4] >= UNCERTAIN).all()
    assert (track.confidence[17:] >= UNCERTAIN).all()
    assert (track.confidence[8:13] < UNCERTAIN).all()


def test_small_disagreement_is_blended_by_distance():
    still = np.tile((10., 10., 30., 30.), (5, 1))
    forward = Track(still, np.full(5, .9))
    backward = Track(still + (4, 0, 4, 0), np.full(5, .9))
    boxes = blend(forward, backward).boxes
    np.testing.assert_allclose(boxes[:, 0], (10, 11, 12, 13, 14), atol=.3)
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], 20, atol=1e-6)


def test_drift_is_taken_back_evenly():
    """A box that grows by a tenth in each frame, of a target that does not."""
    truth = np.tile((10., 10., 30., 30.), (6, 1))
    grown = truth.copy()
    grown[:, 2:] = 10 + 20 * 1.1 ** np.arange(6)[:, None]
    np.testing.assert_allclose(corrected(grown, truth[5], np.linspace(0, 1, 6)), truth, atol=1.1)
    np.testing.assert_allclose(corrected(grown, truth[5], np.linspace(0, 1, 6))[[0, 5]],
                               truth[[0, 5]], atol=1e-6)
    far = truth[5] + 100
    np.testing.assert_array_equal(corrected(grown, far, np.linspace(0, 1, 6)), grown)


def test_the_change_is_where_the_tracks_meet():
    overlap = np.array([1., .9, .2, .1, .9, .1, 0, 0, 0])
    assert change_frame(np.full(9, .8), np.full(9, .8), overlap) == 4
    assert change_frame(np.full(9, .9), np.full(9, .1), np.ones(9)) == 7


def test_absence_lasts_until_the_next_key():
    track, _ = fill({0: key(0), 5: Key(None), 12: key(12)})
    assert np.isnan(track.boxes[5:12]).all()
    np.testing.assert_allclose(track.boxes[:5], TRUTH[:5], atol=1e-4)
    np.testing.assert_allclose(track.boxes[12:], TRUTH[12:], atol=1e-4)
    nothing, _ = fill({4: Key(None)})
    assert np.isnan(nothing.boxes).all()


def test_occlusion_lasts_until_the_next_key():
    keys = {0: key(0), 3: Key(key(3).box, True), 6: key(6)}
    assert np.flatnonzero(occluded_frames(keys, COUNT)).tolist() == [3, 4, 5]


def test_only_what_a_new_key_changes_is_tracked():
    tracker = Drifting()
    propagation = Propagation(FRAMES, lambda: tracker)
    keys = {0: key(0), 20: key(20)}
    for _ in propagation.update(keys):
        pass
    assert tracker.updates == 40 and tracker.started == [0, 20]
    keys[5] = key(5)
    assert [total for _, total in propagation.update(keys)] == [20] * 20
    assert tracker.updates == 60 and tracker.started == [0, 20, 5, 5]
    np.testing.assert_allclose(propagation.result(keys).boxes, TRUTH, atol=1e-4)


def test_a_cancelled_update_keeps_what_was_tracked():
    tracker = Drifting()
    propagation = Propagation(FRAMES, lambda: tracker)
    keys = {0: key(0)}
    for done, _ in propagation.update(keys):
        if done == 7:
            break
    assert np.isnan(propagation.result(keys).boxes).all()
    assert [total for _, total in propagation.update(keys)] == [13] * 13
    np.testing.assert_allclose(propagation.result(keys).boxes, TRUTH, atol=1e-4)


def test_a_key_that_is_removed_leaves_no_trace():
    keys = {0: key(0), 20: key(20)}
    before, propagation = fill(keys, Drifting(good=5))
    for some in ({**keys, 9: key(9)}, keys):
        for _ in propagation.update(some):
            pass
    np.testing.assert_array_equal(propagation.result(keys).boxes, before.boxes)


def test_a_tracker_that_fails_holds_the_box_without_confidence():
    track, _ = fill({0: key(0)}, Drifting(fails=True))
    np.testing.assert_allclose(track.boxes, np.tile(TRUTH[0], (COUNT, 1)))
    assert (track.confidence[1:] == 0).all()


def test_linear_interpolation():
    boxes = interpolate({0: key(0), 10: key(10), 15: Key(None)}, COUNT)
    np.testing.assert_allclose(boxes[:11], TRUTH[:11])
    np.testing.assert_allclose(boxes[11:15], np.tile(TRUTH[10], (4, 1)))
    assert np.isnan(boxes[15:]).all()


def test_key_frames_are_set_where_the_box_is_worst():
    truth = np.concatenate((np.tile((0., 0., 10., 10.), (20, 1)),
                            np.tile((40., 0., 50., 10.), (20, 1))))
    asked = []

    def fill_in(keys):
        asked.append(sorted(keys))
        return interpolate(keys, 40)
    count, mean = count_key_frames(truth, fill_in, .8, 30)
    assert mean >= .8 and count == len(asked[-1]) <= 4
    assert asked[0] == [0] and asked[1][1] >= 20
    assert count_key_frames(truth, lambda keys: np.zeros((40, 4)), .8, 5)[0] == 5


def test_effort_command(tmp_path, capsys):
    import cv2
    for t, box in enumerate(TRUTH[:6]):
        image = np.zeros((90, 120, 3), np.uint8)
        x1, y1, x2, y2 = box.astype(int).tolist()
        image[y1:y2, x1:x2] = np.random.default_rng(0).integers(0, 255, (y2 - y1, x2 - x1, 3))
        path = tmp_path / 'walk/img' / f'{t}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    (tmp_path / 'walk/groundtruth_rect.txt').write_text(''.join(
        f'{x1},{y1},{x2 - x1},{y2 - y1}\n' for x1, y1, x2, y2 in TRUTH[:6]))
    assert main([str(tmp_path), '--methods', 'linear', 'propagation']) == 0
    output = capsys.readouterr().out
    assert '| walk | 6 |' in output and 'linear interpolation' in output
    assert main([str(tmp_path), '--methods', 'magic']) == 1
    assert 'must be some of' in capsys.readouterr().err


@pytest.mark.parametrize('count', [1, 2])
def test_adjacent_keys(count):
    track, _ = fill({t: key(t) for t in range(count)}, frames=FRAMES[:count])
    np.testing.assert_allclose(track.boxes, TRUTH[:count])
