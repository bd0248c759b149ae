# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Batches: what chance decides about clips, and how processes share it."""

from dataclasses import replace

import numpy as np
import pytest
from re3_core.boxes import xyxy_to_cxcywh
import torch
from training.batches import last_known, make_batch, Move, Noise
from training.config import Config, Stage
from training.loader import Loader
from training.motion import covered_fraction

CPU = torch.device('cpu')
STILL = Noise(start=Move(), both=Move(), mirror=0., gain=0., grey=0.)


def batch_of(clips, noise=STILL, seed=0, **options):
    generators = [np.random.default_rng([seed, index]) for index in range(len(clips))]
    return make_batch(clips, generators, noise, 2., CPU, **options)


def truth_of(clips):
    return torch.from_numpy(np.stack([clip.boxes for clip in clips], 1))


def test_without_noise_both_crops_are_cut_at_the_true_box_of_the_frame_before(clips):
    batch, truth = batch_of(clips), truth_of(clips)
    assert torch.equal(batch.given[0], truth[0])
    assert torch.equal(batch.given[1:], truth[:-1])
    assert torch.equal(batch.before, batch.given)
    assert torch.equal(batch.gain, torch.ones(4, 3)) and not batch.mirrored.any()


def test_noise_moves_both_crops_together(clips):
    batch, truth = batch_of(clips, replace(STILL, both=Move(.1, .1))), truth_of(clips)
    assert torch.equal(batch.given[0], truth[0])
    assert (batch.given[1:] != truth[:-1]).any(-1).all()
    assert torch.equal(batch.before, batch.given)


def test_separate_crops_are_the_true_box_before_and_a_moved_one_now(clips):
    batch, truth = batch_of(clips, replace(STILL, separate=1.)), truth_of(clips)
    assert torch.equal(batch.before[1:], truth[:-1])
    shift = xyxy_to_cxcywh(batch.given[1:])[..., :2] - xyxy_to_cxcywh(truth[1:])[..., :2]
    assert (shift.abs() <= xyxy_to_cxcywh(truth[1:])[..., 2:] / 2 + 1e-3).all()
    assert (shift != 0).any(-1).float().mean() > .9


def test_foreseeing_moves_the_current_crop_to_where_the_target_will_be(clips):
    clip = clips[0]
    jumping = replace(clip, boxes=clip.boxes + np.array([[0], [0], [60], [60], [0]], np.float32))
    foreseen = batch_of([jumping], replace(STILL, foresee=True, least_covered=.7))
    truth = truth_of([jumping])
    assert torch.equal(foreseen.before[1:], truth[:-1])
    assert (covered_fraction(truth[1:], foreseen.given[1:]) >= .7 - 1e-4).all()
    assert not torch.equal(foreseen.given[2], foreseen.before[2])


def test_eleven_copies_are_one_true_pair_and_ten_synthetic_ones(clips):
    goturn = replace(STILL, separate=10 / 11, limits='goturn')
    pair = replace(clips[1], frames=clips[1].frames[:2], boxes=clips[1].boxes[:2],
                   visible=clips[1].visible[:2])
    for seed in range(20):
        batch = batch_of([pair], goturn, seed, copies=11)
        truth = truth_of([pair])
        assert torch.equal(batch.before[1], truth[0].expand(11, 4))
        true_pairs = (batch.given[1] == truth[0]).all(-1)
        assert true_pairs.tolist() == [True] + [False] * 10
        moved = batch.given[1, 1:]
        assert len(moved.unique(dim=0)) == 10
        assert (moved[:, :2] >= -1e-3).all()
        assert (moved[:, 2:] <= torch.tensor([120., 90.]) + 1e-3).all()


def test_own_rows_start_from_their_first_box(clips):
    batch = batch_of(clips, replace(STILL, start=Move(.1, .1), separate=1.), own=1.)
    assert batch.any_own and batch.own.all()
    assert torch.equal(batch.given[1], batch.given[0])
    assert torch.equal(batch.before[1], batch.given[0])
    assert not torch.equal(batch.given[0], truth_of(clips)[0])


def test_a_second_look_is_at_a_box_that_is_wrong_and_own_predictions_follow(clips):
    looks = [True, False, True, False]
    batch = batch_of(clips, replace(STILL, relapse=Move(.1, .3, .5, 2.)), second_looks=looks)
    truth = truth_of(clips)
    assert batch.second_look.tolist() == looks and batch.own.tolist() == looks
    assert torch.equal(batch.given[0], truth[0])
    assert torch.equal(batch.given[1, 1::2], truth[0, 1::2])
    assert torch.equal(batch.before[1, ::2], batch.given[1, ::2])
    factors = (xyxy_to_cxcywh(batch.given[1]) / xyxy_to_cxcywh(truth[1]))[::2, 2:]
    assert (factors != 1).all() and (factors > .49).all() and (factors < 2.01).all()


def test_a_second_look_may_come_some_frames_later(clips):
    def drawn(gap, second_looks):
        config = Config(stages=(Stage(1, 2, 40, gap=gap, second_looks=second_looks),))
        return Loader(config, Source(clips), 2., CPU).get(0, 0)
    for batch in (drawn(3, 0.), drawn(0, 1.)):
        assert_pairs(batch, clips, {1})
    assert_pairs(drawn(3, 1.), clips, {1, 2, 3, 4})


def assert_pairs(batch, clips, expected):
    """Assert which frames, counted from the first one, are the second ones of a batch's clips."""
    known = {tuple(clip.boxes[0].tolist()): clip for clip in clips}
    found = set()
    for first, second in zip(batch.boxes[0].tolist(), batch.boxes[1].tolist(), strict=True):
        boxes = known[tuple(first)].boxes.tolist()
        found.add(boxes.index(second))
    assert found == expected


def test_crops_are_shaken_as_often_as_asked(clips):
    assert not batch_of(clips).shake.any()
    batch = batch_of(clips * 50, replace(STILL, shaken=.5), own=1.)
    assert .4 < (batch.shake != 0).any(-1).float().mean() < .6
    assert .1 < batch.shake[batch.shake != 0].abs().mean() < .3


def test_absent_targets_leave_the_last_known_box(clips):
    boxes = clips[0].boxes.copy()
    boxes[2:4] = np.nan
    batch = batch_of([replace(clips[0], boxes=boxes)])
    assert torch.isfinite(batch.given).all()
    assert torch.equal(batch.held[3], batch.boxes[1]) and batch.boxes[2:4].isnan().all()
    with pytest.raises(ValueError, match='begin with its target in sight'):
        last_known(boxes[2:])


def test_unknown_visibility_counts_as_visible(clips):
    unknown = replace(clips[0], visible=np.full(5, np.nan, np.float32))
    assert (batch_of([unknown]).visible == 1).all()


@pytest.mark.parametrize('settings, text', [
    ({'separate': 1.5}, 'separate must be a share'), ({'limits': 'none'}, 'limits must be one'),
    ({'largest_change': .5}, 'largest_change'), ({'both': (-1, 0)}, 'must not be negative'),
    ({'both': (0, .1, 1.1, 2)}, '1 must lie between min_scale and max_scale')])
def test_wrong_noise_is_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        Noise(**{name: Move(*value) if name == 'both' else value
                 for name, value in settings.items()})


class Source:
    """Give the clips that the tests made, in an order that only the generator decides."""

    def __init__(self, clips):
        self.clips = clips

    def sample(self, rng, length):
        clip = self.clips[int(rng.integers(len(self.clips)))]
        return replace(clip, frames=clip.frames[:length], boxes=clip.boxes[:length],
                       visible=clip.visible[:length])


def loader_of(clips, rank=0, world=1, accumulate=1, copies=1):
    config = Config(stages=(Stage(3, 2, 8, .5, copies=copies, accumulate=accumulate),
                            Stage(2, 4, 8, 1.)))
    return Loader(config, Source(clips), 2., CPU, rank, world)


def assert_equal_rows(one, other):
    for name in ('boxes', 'given', 'before', 'shake', 'own', 'second_look', 'mirrored', 'gain'):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_batch_depends_on_nothing_but_its_place(clips):
    straight, resumed = loader_of(clips), loader_of(clips)
    batches = [straight.get(iteration, 0) for iteration in range(5)]
    assert len(batches[-1].boxes) == 4 and len(batches[0].boxes) == 2
    assert not torch.equal(batches[0].given, batches[1].given)
    for iteration in (2, 3, 4):
        assert_equal_rows(batches[iteration], resumed.get(iteration, 0))


@pytest.mark.parametrize('world, accumulate', [(2, 1), (1, 2), (2, 2)])
def test_processes_and_parts_share_one_batch(clips, world, accumulate):
    whole = loader_of(clips, copies=2).get(1, 0)
    loaders = [loader_of(clips, rank, world, accumulate, copies=2) for rank in range(world)]
    parts = [loaders[rank].get(1, part) for part in range(accumulate) for rank in range(world)]
    for name, axis in (('boxes', 1), ('given', 1), ('own', 0), ('gain', 0)):
        joined = torch.cat([getattr(part, name) for part in parts], axis)
        assert torch.equal(joined, getattr(whole, name))


def test_a_batch_that_cannot_be_shared_is_refused(clips):
    with pytest.raises(ValueError, match='8 clips cannot be shared by 3 processes'):
        loader_of(clips, 0, 3)
