# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The tracker's contract, with a tiny network of random weights."""

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.crops import crop_batch
from re3_core.networks import Crops, GoturnLiteNet, Prediction, TrackerNetwork
from re3_core.tracker import clip_box, MIN_SIDE
import torch


class Scripted(TrackerNetwork):
    """Predict a fixed box in region coordinates and given logits."""

    name = 'scripted'
    previous_crop = GoturnLiteNet.previous_crop
    current_crop = GoturnLiteNet.current_crop

    def __init__(self, box=(.3, .3, .7, .7), logits=()):
        super().__init__({})
        self.box, self.logits = box, list(logits)

    def features(self, crops):
        return (crops.current.float().mean((1, 2, 3))[:, None],)

    def encode(self, features, reference):
        return features[0]

    def recur(self, encoded, memory):
        logit = self.logits.pop(0) if self.logits else float('nan')
        count = len(encoded)
        return Prediction(torch.tensor([self.box]).repeat(count, 1),
                          torch.full((count,), logit)), memory


BOXES = {'a': (10, 10, 60, 70), 'b': (140, 90, 158, 119), 'c': (0, 0, 160, 120),
         'd': (-20, 50, 10, 80)}


def test_batched_equals_one_by_one(network, frames):
    together, alone = Tracker(network=network), Tracker(network=network)
    for name, box in BOXES.items():
        together.init(name, frames[0], box)
        alone.init(name, frames[0], box)
    for frame in frames[1:]:    # beyond the reset after 32 frames
        tracks = together.update(frame)
        assert tuple(tracks) == tuple(BOXES)
        for name in BOXES:
            track = alone.update(frame, [name])[name]
            np.testing.assert_allclose(track.box, tracks[name].box, atol=1e-2)
            assert track.confidence == pytest.approx(tracks[name].confidence, abs=1e-3)


def test_many_targets_go_through_the_network_in_parts(network, frames, monkeypatch):
    def run():
        tracker = Tracker(network=network)
        for name, box in BOXES.items():
            tracker.init(name, frames[0], box)
        return [tracker.update(frame) for frame in frames[1:34]]

    def counted(self, crops, state):
        sizes.add(len(crops.current))
        return step(self, crops, state)

    whole, sizes, step = run(), set(), TrackerNetwork.step
    monkeypatch.setattr(TrackerNetwork, 'step', counted)
    monkeypatch.setattr('re3_core.engines.torch_engine.MAX_CPU_BATCH', 3)
    for tracks, expected in zip(run(), whole, strict=True):
        for name, track in tracks.items():
            np.testing.assert_allclose(track.box, expected[name].box, atol=1e-2)
    assert sizes == {2}


def test_targets_of_two_cameras_share_a_batch(network, frames):
    apart = Tracker(network=network)
    both = Tracker(network=network)
    wide = np.ascontiguousarray(np.concatenate(frames[:2], 1))
    for tracker in (apart, both):
        tracker.init('a', frames[0], BOXES['a'])
        tracker.init('b', wide, BOXES['b'])
    expected = {**apart.update(frames[1], ['a']), **apart.update(wide, ['b'])}
    for name, track in both.update_frames([(frames[1], ['a']), (wide, ['b'])]).items():
        np.testing.assert_allclose(track.box, expected[name].box, atol=1e-2)


def test_memory_is_reset_every_32nd_frame(network, frames):
    tracker = Tracker(network=network)
    tracker.init('a', frames[0], BOXES['a'])
    first = tracker._targets['a'].initial_state
    for frame in frames[1:33]:
        track = tracker.update(frame)['a']
    box = tracker._targets['a'].box
    crops = Crops(*(crop_batch([frames[32]], spec.region(box[None]), spec.size)
                    for spec in (network.previous_crop, network.current_crop)))
    with torch.inference_mode():
        _, expected = tracker.network.step(crops, first)
    for mine, theirs in zip(tracker._targets['a'].state.memory, expected.memory, strict=True):
        torch.testing.assert_close(mine, theirs)
    np.testing.assert_allclose(track.box, box, rtol=1e-6)


def test_reset_can_be_switched_off(network, frames):
    kept, reset = Tracker(network=network, reset_every=0), Tracker(network=network, reset_every=4)
    for tracker in (kept, reset):
        tracker.init('a', frames[0], BOXES['a'])
        for frame in frames[1:5]:
            tracker.update(frame)
    assert not torch.equal(kept._targets['a'].state.memory[1],
                           reset._targets['a'].state.memory[1])


@pytest.mark.parametrize('box', [
    (0, 0, 1, 1), (-50, -50, 5, 5), (159.5, 119.5, 300, 300), (50, 50, 50.001, 50.001),
    (-1000, -1000, 1000, 1000),
])
def test_odd_targets_never_fail(network, frames, box):
    tracker = Tracker(network=network)
    tracker.init('odd', frames[0], box)
    for frame in frames[1:6]:
        track = tracker.update(frame)['odd']
        assert np.isfinite(track.box).all() and 0 <= track.confidence <= 1


@pytest.mark.parametrize('box, expected', [
    ((50, 50, 49, 51), (47.5, 48.5, 51.5, 52.5)),                    # corners swapped, tiny
    ((-100, 10, -80, 30), (-10, 10, 10, 30)),                        # left of the frame
    ((-1e6, -1e6, 1e6, 1e6), (-150, -75, 150, 75)),                  # huge
])
def test_boxes_are_clipped(box, expected):
    assert clip_box(np.array(box, float), (100, 200)).tolist() == pytest.approx(expected)


def test_collapsing_network_leaves_a_smallest_box(frames):
    tracker = Tracker(network=Scripted(box=(.5, .5, .5, .5)))
    tracker.init('a', frames[0], (40, 40, 80, 80))
    x1, y1, x2, y2 = tracker.update(frames[1])['a'].box
    assert (x2 - x1, y2 - y1) == (MIN_SIDE, MIN_SIDE)


def test_prediction_that_is_not_finite_keeps_the_box_with_confidence_zero(frames):
    tracker = Tracker(network=Scripted(box=(float('nan'),) * 4, logits=[0., 0.]))
    tracker.init('a', frames[0], (40, 40, 80, 80))
    track = tracker.update(frames[1])['a']
    assert track.box.tolist() == [40, 40, 80, 80] and track.confidence == 0


def test_lost_and_found_with_hysteresis(frames):
    # Of the start; one low, high, three low, middle, high.
    logits = [9, -9, 9, -9, -9, -9, 0, 9]
    tracker = Tracker(network=Scripted(logits=logits), lost_confidence=.3, found_confidence=.7,
                      lost_after=3, redetection_candidates=0)
    tracker.init('a', frames[0], (40, 40, 80, 80))
    lost = [tracker.update(frame)['a'].lost for frame in frames[1:8]]
    assert lost == [False, False, False, False, True, True, False]


@pytest.mark.parametrize('found, lost', [(.5, [False, True, False]), (.6, [False, True, True])])
def test_a_target_is_lost_below_lost_confidence_and_found_from_found_confidence_on(
        frames, found, lost):
    tracker = Tracker(network=Scripted(logits=[9, 0, -9, 0]), lost_confidence=.5,
                      found_confidence=found, lost_after=1, redetection_candidates=0)
    tracker.init('a', frames[0], (40, 40, 80, 80))
    tracks = [tracker.update(frame)['a'] for frame in frames[1:4]]
    assert tracks[0].confidence == .5
    assert [track.lost for track in tracks] == lost


def test_confidence_without_one_of_the_network_is_the_part_in_the_frame(frames):
    tracker = Tracker(network=Scripted(box=(-.1, .3, .3, .7)))
    tracker.init('a', frames[0], (0, 40, 40, 80))
    assert tracker.update(frames[1])['a'].confidence == pytest.approx(.5, abs=.01)


def test_remove_and_reset(network, frames):
    tracker = Tracker(network=network)
    for name, box in BOXES.items():
        tracker.init(name, frames[0], box)
    tracker.remove('b')
    assert tracker.ids == ('a', 'c', 'd') and tuple(tracker.update(frames[1])) == tracker.ids
    with pytest.raises(KeyError, match="no target 'b'; there are: a, c, d"):
        tracker.remove('b')
    tracker.reset()
    assert tracker.update(frames[2]) == {}


def test_restart_replaces_the_target(network, frames):
    tracker = Tracker(network=network)
    tracker.init('a', frames[0], BOXES['a'])
    tracker.update(frames[1])
    assert tracker.init('a', frames[1], (5, 5, 25, 25)).box.tolist() == [5, 5, 25, 25]
    assert tracker.ids == ('a',)


@pytest.mark.parametrize('target_id, frame, box, text', [
    ('', None, None, 'non-empty string'),
    (7, None, None, 'non-empty string'),
    ('a', np.zeros((5, 5), np.uint8), (0, 0, 2, 2), r'H x W x 3 uint8 RGB.*uint8 \(5, 5\)'),
    ('a', np.zeros((5, 5, 3)), (0, 0, 2, 2), 'got float64'),
    ('a', np.zeros((0, 5, 3), np.uint8), (0, 0, 2, 2), 'got uint8'),
    ('a', np.zeros((5, 5, 3), np.uint8), (7, 7, 9, 9), 'outside the frame'),
])
def test_bad_arguments_are_refused_by_name(network, target_id, frame, box, text):
    tracker = Tracker(network=network)
    with pytest.raises(ValueError, match=text):
        tracker.init(target_id, frame, box)
    assert tracker.ids == ()


def test_bad_frame_leaves_the_targets_as_they_were(network, frames):
    tracker = Tracker(network=network)
    before = tracker.init('a', frames[0], BOXES['a'])
    with pytest.raises(ValueError, match='frame must be'):
        tracker.update(np.zeros((4, 4), np.uint8))
    assert np.array_equal(tracker.track('a').box, before.box)
    assert 'a' in tracker.update(frames[1])


@pytest.mark.parametrize('settings, text', [
    ({'device': 'tpu'}, "auto, cpu, cuda or cuda:N, got 'tpu'"),
    ({'precision': 'int8'}, 'float32, bfloat16, float16'), ({'engine': 'tvm'}, 'openvino'),
])
def test_bad_settings_are_refused_by_name(network, settings, text):
    with pytest.raises(ValueError, match=text):
        Tracker(network=network, **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has CUDA')
def test_missing_cuda_is_a_clear_error(network):
    with pytest.raises(ValueError, match='torch finds no CUDA device'):
        Tracker(network=network, device='cuda')


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_half_precision_stays_close(network, frames, precision):
    exact = Tracker(network=network)
    half = Tracker(network=network, precision=precision)
    for tracker in (exact, half):
        tracker.init('a', frames[0], BOXES['a'])
    expected, actual = exact.update(frames[1])['a'], half.update(frames[1])['a']
    np.testing.assert_allclose(actual.box, expected.box, atol=2)


def test_confidence_is_that_of_the_network(frames):
    network = Scripted(box=(.2, .2, .8, .8), logits=[9., 1., -.1, 0.])
    tracker = Tracker(network=network, lost_confidence=.4, lost_after=1, redetection_candidates=0)
    assert tracker.init('a', frames[0], BOXES['a']).confidence == 1
    # Whatever the size: sides grow by half in each frame.
    tracks = [tracker.update(frames[0])['a'] for _ in range(3)]
    assert [track.confidence for track in tracks] == pytest.approx(
        [1 / (1 + np.exp(-logit)) for logit in (1., -.1, 0.)])
    assert np.diff([track.box[2] - track.box[0] for track in tracks]).min() > 10


def test_networks_without_memory_are_not_reset(frames, monkeypatch):
    tracker = Tracker(network=Scripted(), reset_every=2)
    tracker.init('a', frames[0], BOXES['a'])
    steps, step = [], tracker.network.step
    monkeypatch.setattr(tracker.network, 'step', lambda *inputs: (
        steps.append(1), step(*inputs))[1])
    for frame in frames[1:5]:
        tracker.update(frame)
    assert len(steps) == 4
