# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Unrolling: what the network sees in training is what it sees in tracking."""

from dataclasses import replace

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.boxes import damp_scale
from re3_core.crops import crop_batch, CropSpec, decode
from re3_core.networks import Crops, GoturnLiteNet, Prediction, Re3Net, TrackerNetwork
import torch
from training.augment import covered_fraction, make_batch
from training.config import Augmentation, BoxJitter, LossWeights
from training.data.sources import Clip
from training.rollout import mirror_coordinates, Objective, roll_out, Unroll

CROP = CropSpec(112, 2.5)
STILL = Augmentation(start_jitter=BoxJitter(), jitter=BoxJitter(), min_coverage=0.,
                     max_size_ratio=1e9, mirror_prob=0., color_jitter=0., grayscale_prob=0.)


def batch_of(clips, augment=STILL, **options):
    generators = [np.random.default_rng(index) for index in range(len(clips))]
    return make_batch(clips, generators, augment, CROP, **options)


def mirror(clip):
    """Mirror frames and boxes left to right."""
    width, (x1, y1, x2, y2) = clip.frames[0].shape[1], clip.boxes.T
    return Clip([frame[:, ::-1] for frame in clip.frames],
                np.stack((width - x2, y1, width - x1, y2), 1), clip.visible)


def regions_at(boxes, crop):
    return crop.region(torch.as_tensor(boxes, dtype=torch.float32))


class Scripted(TrackerNetwork):
    """Always predict the same box in region coordinates."""

    previous_crop, current_crop = GoturnLiteNet.previous_crop, GoturnLiteNet.current_crop

    def __init__(self, box):
        super().__init__({})
        self.box = torch.tensor(box)

    def features(self, crops):
        return (crops.current.float().mean((1, 2, 3))[:, None],)

    def encode(self, features, reference):
        return features[0]

    def recur(self, encoded, memory):
        return Prediction(self.box.repeat(len(encoded), 1), torch.zeros(len(encoded))), memory


@pytest.fixture
def two_crops():
    """Return a tiny re3, which takes a crop of the previous frame, too."""
    torch.manual_seed(0)
    return Re3Net(crop_size=67, channels=(4, 4, 4, 4, 4), skips=(2, 2, 2), fc=16, hidden=8).eval()


@pytest.mark.parametrize('kind', ['network', 'two_crops'])
def test_true_crops_are_cut_where_the_target_was_in_the_frame_before(kind, clips, request):
    network = request.getfixturevalue(kind)
    seen = roll_out(network, batch_of(clips), STILL)
    boxes = np.stack([clip.boxes for clip in clips], 1)
    assert torch.allclose(seen.regions, regions_at(
        np.concatenate((boxes[:1], boxes[:-1])), network.current_crop))
    assert torch.allclose(decode(seen.targets, seen.regions), torch.from_numpy(boxes), atol=1e-3)
    frames = [clip.frames[3] for clip in clips]
    expected = crop_batch(frames, regions_at(boxes[2], network.current_crop),
                          network.current_crop.size)
    assert torch.equal(seen.crops.current.view(5, 4, *expected.shape[1:])[3], expected)
    frames = [clip.frames[2] for clip in clips]
    spec = network.previous_crop
    expected = crop_batch(frames, spec.region(boxes[2]), spec.size)
    assert torch.equal(seen.crops.previous.view(5, 4, *expected.shape[1:])[3], expected)


@pytest.mark.parametrize('kind', ['network', 'two_crops'])
def test_first_step_of_a_memory_is_the_first_frame_twice(kind, clips, request):
    network = request.getfixturevalue(kind)
    seen = roll_out(network, batch_of(clips), STILL)
    assert len(seen.regions) == 5
    frames = [clip.frames[0] for clip in clips]
    for crops, spec in zip(seen.crops, (network.previous_crop, network.current_crop),
                           strict=True):
        boxes = np.stack([clip.boxes[0] for clip in clips])
        assert torch.equal(crops[:4], crop_batch(frames, regions_at(boxes, spec), spec.size))


def test_networks_without_memory_start_at_the_first_pair(memoryless, clips):
    pairs = [replace(clip, frames=clip.frames[:2], boxes=clip.boxes[:2],
                     visible=clip.visible[:2]) for clip in clips]
    seen = roll_out(memoryless, batch_of(pairs), STILL)
    assert len(seen.regions) == len(seen.targets) == len(seen.visible) == 1
    current = crop_batch([clip.frames[1] for clip in clips], seen.regions[0], 112)
    assert torch.equal(seen.crops.current, current)
    assert Unroll(memoryless)(seen).boxes.shape == (1, 4, 4)


@pytest.mark.parametrize('kind', ['network', 'memoryless'])
def test_own_predictions_are_followed_as_the_tracker_does(kind, clips, request):
    network = request.getfixturevalue(kind)
    if kind == 'memoryless':
        torch.nn.init.normal_(network.head.box.weight, std=.05)
    seen = roll_out(network, batch_of(clips, scheduled_sampling=1.), STILL)
    with torch.no_grad():
        prediction = Unroll(network)(seen)
    tracker = Tracker(network=network, device='cpu')
    first = 5 - len(seen.regions)
    for row, clip in enumerate(clips):
        tracker.init('it', clip.frames[0], clip.boxes[0])
        moved = []
        for t in range(1, 5):
            before = tracker.track('it').box
            track = tracker.update(clip.frames[t])['it']
            place = t - first, row
            searched = regions_at(before, network.current_crop)
            assert torch.allclose(seen.regions[place], searched, atol=.05)
            predicted = decode(prediction.boxes[place], seen.regions[place]).numpy()
            assert damp_scale(predicted, before, network.scale_lr) == (
                pytest.approx(track.box, abs=.05))
            assert track.confidence == pytest.approx(
                torch.sigmoid(prediction.logits[place]).item(), abs=1e-3)
            moved.append(np.abs(track.box - before).max())
        assert max(moved) > .3, 'nothing moved, so nothing was tested'


def test_only_own_rows_follow_predictions(network, clips):
    batch = batch_of(clips)
    mixed = batch._replace(free_running=torch.tensor([True, False, True, False]),
                           any_free_running=True)
    given, followed = roll_out(network, batch, STILL), roll_out(network, mixed, STILL)
    assert torch.equal(given.regions[:, 1::2], followed.regions[:, 1::2])
    assert torch.equal(given.regions[:2], followed.regions[:2])
    assert not torch.isclose(given.regions[2:, ::2], followed.regions[2:, ::2]).all(-1).any()


def test_kept_features_give_the_same_predictions(network, clips):
    batch = batch_of(clips, scheduled_sampling=.5)
    seen, kept = (roll_out(network, batch, STILL, features_of)
                  for features_of in (None, network.features))
    assert seen.features == () and len(kept.features) == 3
    assert torch.allclose(Unroll(network)(seen).boxes, Unroll(network)(kept).boxes, atol=1e-6)


def test_mirrored_rows_equal_the_mirrored_clip(network, clips):
    width = clips[0].frames[0].shape[1]
    batch = batch_of(clips, replace(STILL, mirror_prob=1.), scheduled_sampling=1.)
    seen = roll_out(network, batch, STILL)
    flipped = roll_out(network, batch_of([mirror(clip) for clip in clips],
                                         scheduled_sampling=1.), STILL)
    assert batch.mirrored.all()
    assert torch.allclose(seen.targets, flipped.targets, atol=.02)
    back = torch.stack((width - flipped.regions[..., 2], flipped.regions[..., 1],
                        width - flipped.regions[..., 0], flipped.regions[..., 3]), -1)
    assert torch.allclose(seen.regions, back, atol=1.)
    difference = seen.crops.current.float() - flipped.crops.current.float()
    assert difference.abs().mean() < 2


def test_mirroring_coordinates_twice_changes_nothing():
    boxes, rows = torch.rand(3, 2, 4), torch.tensor([True, False])
    once = mirror_coordinates(boxes, rows)
    assert torch.equal(once[:, 1], boxes[:, 1])
    assert torch.allclose(once[:, 0, 0], 1 - boxes[:, 0, 2])
    assert torch.allclose(mirror_coordinates(once, rows), boxes)


def test_lost_boxes_are_pulled_until_the_crop_shows_the_target(clips):
    lost = Scripted([2.3, 2.3, 2.7, 2.7])
    augment = replace(STILL, min_coverage=.6, max_size_ratio=2.)
    batch = batch_of(clips, augment, scheduled_sampling=1.)
    seen = roll_out(lost, batch, augment)
    # The box that searches frame t + 1 was pulled to the target of frame t.
    size = seen.regions[..., 2:] - seen.regions[..., :2]
    boxes = torch.cat((seen.regions[..., :2] + .3 * size, seen.regions[..., 2:] - .3 * size), -1)
    covered = covered_fraction(batch.boxes[1:-1], boxes[1:], CROP)
    assert (covered >= .6 - 1e-3).all() and (covered < .95).any()


def test_foreseeing_pulls_the_current_crop_only(clips):
    lost = Scripted([2.3, 2.3, 2.7, 2.7])
    augment = replace(STILL, min_coverage=.6, target_from_next_frame=True)
    batch = batch_of(clips, augment, scheduled_sampling=1.)
    seen = roll_out(lost, batch, augment)
    inside = seen.targets.clamp(0, 1)
    shown = (inside[..., 2:] - inside[..., :2]).prod(-1) / (
        seen.targets[..., 2:] - seen.targets[..., :2]).prod(-1)
    assert (shown >= .6 - 1e-3).all()
    spec = lost.previous_crop
    away = decode(lost.box, seen.regions[0])          # where the network thought it was
    expected = crop_batch([clip.frames[1] for clip in clips], spec.region(away),
                          spec.size)
    assert torch.equal(seen.crops.previous.view(4, 4, *expected.shape[1:])[1], expected)


def test_boxes_without_numbers_become_the_truth(clips):
    broken = Scripted([float('nan')] * 4)
    for from_next_frame in (False, True):
        augment = replace(STILL, target_from_next_frame=from_next_frame)
        seen = roll_out(broken, batch_of(clips, augment, scheduled_sampling=1.), augment)
        assert torch.isfinite(seen.regions).all()


def test_absent_targets_have_no_target_box(network, clips):
    boxes = clips[0].boxes.copy()
    boxes[2] = np.nan
    gone = replace(clips[0], boxes=boxes)
    seen = roll_out(network, batch_of([gone], scheduled_sampling=1.), STILL)
    assert seen.targets[2].isnan().all() and torch.isfinite(seen.regions).all()
    assert torch.isfinite(seen.targets[3:]).all()


def test_colors_change_and_gray_has_none(network, clips):
    seen = roll_out(network, batch_of(clips, replace(STILL, grayscale_prob=1.)), STILL)
    assert (seen.crops.current.amax(1) - seen.crops.current.amin(1)).max() == 0
    bright = roll_out(network, batch_of(clips, replace(STILL, color_jitter=.5)), STILL)
    plain = roll_out(network, batch_of(clips), STILL)
    assert (bright.crops.current.float() - plain.crops.current.float()).abs().mean() > 2


def test_gradients_reach_every_part_through_time(network, clips):
    seen = roll_out(network, batch_of(clips, scheduled_sampling=.5), STILL)
    loss, _ = Objective(network.train(), LossWeights(l1=5., giou=1., confidence=.5))(seen)
    loss.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without
    assert network.lstm.layer1.weight_hidden.weight.grad.abs().max() > 0


def test_tensor_frames_of_the_device_give_the_same_roll_out(network, clips):
    batch = batch_of(clips[:2], scheduled_sampling=.5, copies=2)
    stacked = [torch.from_numpy(np.stack([clip.frames[t] for clip in clips[:2]]))
               for t in range(5)]
    lists, tensors = (roll_out(network, some, STILL)
                      for some in (batch, batch._replace(frames=stacked)))
    assert isinstance(tensors.crops, Crops)
    difference = lists.crops.current.float() - tensors.crops.current.float()
    assert difference.abs().mean() < 4
