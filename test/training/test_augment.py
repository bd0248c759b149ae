# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Batches: augmentation of clips, and how processes share it."""

from dataclasses import replace

import numpy as np
import pytest
from re3_core.boxes import xyxy_to_cxcywh
from re3_core.crops import CropSpec
import torch
from training.augment import covered_fraction, last_known, make_batch
from training.config import Augmentation, BoxJitter, Config, Stage
from training.train import TrainingBatches

CPU = torch.device('cpu')
CROP = CropSpec(112, 2.)
STILL = Augmentation(start_jitter=BoxJitter(), jitter=BoxJitter(), mirror_prob=0.,
                     color_jitter=0., grayscale_prob=0.)


def batch_of(clips, augment=STILL, seed=0, **options):
    generators = [np.random.default_rng([seed, index]) for index in range(len(clips))]
    return make_batch(clips, generators, augment, CROP, **options)


def truth_of(clips):
    return torch.from_numpy(np.stack([clip.boxes for clip in clips], 1))


def test_without_noise_both_crops_are_cut_at_the_true_box_of_the_frame_before(clips):
    batch, truth = batch_of(clips), truth_of(clips)
    assert torch.equal(batch.search_boxes[0], truth[0])
    assert torch.equal(batch.search_boxes[1:], truth[:-1])
    assert torch.equal(batch.template_boxes, batch.search_boxes)
    assert torch.equal(batch.gain, torch.ones(4, 3)) and not batch.mirrored.any()


def test_noise_moves_both_crops_together(clips):
    batch, truth = batch_of(clips, replace(STILL, jitter=BoxJitter(.1, .1))), truth_of(clips)
    assert torch.equal(batch.search_boxes[0], truth[0])
    assert (batch.search_boxes[1:] != truth[:-1]).any(-1).all()
    assert torch.equal(batch.template_boxes, batch.search_boxes)


def test_separate_crops_are_the_true_box_before_and_a_moved_one_now(clips):
    batch, truth = batch_of(clips, replace(STILL, pair_prob=1.)), truth_of(clips)
    assert torch.equal(batch.template_boxes[1:], truth[:-1])
    shift = xyxy_to_cxcywh(batch.search_boxes[1:])[..., :2] - xyxy_to_cxcywh(truth[1:])[..., :2]
    assert (shift.abs() <= xyxy_to_cxcywh(truth[1:])[..., 2:] / 2 + 1e-3).all()
    assert (shift != 0).any(-1).float().mean() > .9


def test_target_from_next_frame_moves_the_current_crop_to_where_the_target_will_be(clips):
    clip = clips[0]
    jumping = replace(clip, boxes=clip.boxes + np.array([[0], [0], [60], [60], [0]], np.float32))
    batch = batch_of([jumping], replace(STILL, target_from_next_frame=True, min_coverage=.7))
    truth = truth_of([jumping])
    assert torch.equal(batch.template_boxes[1:], truth[:-1])
    assert (covered_fraction(truth[1:], batch.search_boxes[1:], CROP) >= .7 - 1e-4).all()
    assert not torch.equal(batch.search_boxes[2], batch.template_boxes[2])


def test_eleven_copies_are_one_true_pair_and_ten_synthetic_ones(clips):
    goturn = replace(STILL, pair_prob=10 / 11, limits='goturn')
    pair = replace(clips[1], frames=clips[1].frames[:2], boxes=clips[1].boxes[:2],
                   visible=clips[1].visible[:2])
    for seed in range(20):
        batch = batch_of([pair], goturn, seed, copies=11)
        truth = truth_of([pair])
        assert torch.equal(batch.template_boxes[1], truth[0].expand(11, 4))
        true_pairs = (batch.search_boxes[1] == truth[0]).all(-1)
        assert true_pairs.tolist() == [True] + [False] * 10
        moved = batch.search_boxes[1, 1:]
        assert len(moved.unique(dim=0)) == 10
        assert (moved[:, :2] >= -1e-3).all()
        assert (moved[:, 2:] <= torch.tensor([120., 90.]) + 1e-3).all()


def test_own_rows_start_from_their_first_box(clips):
    batch = batch_of(clips, replace(STILL, start_jitter=BoxJitter(.1, .1), pair_prob=1.),
                     scheduled_sampling=1.)
    assert batch.any_free_running and batch.free_running.all()
    assert torch.equal(batch.search_boxes[1], batch.search_boxes[0])
    assert torch.equal(batch.template_boxes[1], batch.search_boxes[0])
    assert not torch.equal(batch.search_boxes[0], truth_of(clips)[0])


def test_absent_targets_leave_the_last_known_box(clips):
    boxes = clips[0].boxes.copy()
    boxes[2:4] = np.nan
    batch = batch_of([replace(clips[0], boxes=boxes)])
    assert torch.isfinite(batch.search_boxes).all()
    assert torch.equal(batch.last_known_boxes[3], batch.boxes[1])
    assert batch.boxes[2:4].isnan().all()
    with pytest.raises(ValueError, match='must be visible in the first frame'):
        last_known(boxes[2:])


def test_unknown_visibility_counts_as_visible(clips):
    unknown = replace(clips[0], visible=np.full(5, np.nan, np.float32))
    assert (batch_of([unknown]).visible == 1).all()


class Source:
    """Give the clips that the tests made, in an order that only the generator decides."""

    def __init__(self, clips):
        self.clips = clips

    def sample(self, rng, length):
        clip = self.clips[int(rng.integers(len(self.clips)))]
        return replace(clip, frames=clip.frames[:length], boxes=clip.boxes[:length],
                       visible=clip.visible[:length])


def loader_of(clips, rank=0, world=1, copies=1):
    config = Config(stages=(Stage(3, 2, 8, .5, copies=copies), Stage(2, 4, 8, 1.)))
    return TrainingBatches(config, Source(clips), CROP, CPU, rank, world)


def assert_equal_rows(one, other):
    for name in ('boxes', 'search_boxes', 'template_boxes', 'free_running', 'mirrored', 'gain'):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_batch_depends_on_nothing_but_its_place(clips):
    straight, resumed = loader_of(clips), loader_of(clips)
    batches = [straight[iteration] for iteration in range(5)]
    assert len(batches[-1].boxes) == 4 and len(batches[0].boxes) == 2
    assert not torch.equal(batches[0].search_boxes, batches[1].search_boxes)
    for iteration in (2, 3, 4):
        assert_equal_rows(batches[iteration], resumed[iteration])


@pytest.mark.parametrize('world', [2, 4])
def test_processes_share_one_batch(clips, world):
    whole = loader_of(clips, copies=2)[1]
    parts = [loader_of(clips, rank, world, copies=2)[1] for rank in range(world)]
    for name, axis in (('boxes', 1), ('search_boxes', 1), ('free_running', 0), ('gain', 0)):
        joined = torch.cat([getattr(part, name) for part in parts], axis)
        assert torch.equal(joined, getattr(whole, name))


def test_a_batch_that_cannot_be_shared_is_refused(clips):
    with pytest.raises(ValueError, match='8 clips cannot be shared by 3 processes'):
        loader_of(clips, 0, 3)
