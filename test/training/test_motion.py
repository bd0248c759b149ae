# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from re3_core import boxes as box_ops
from re3_core.crops import CropSpec
import torch
from training import augment
from training.config import Augmentation, BoxJitter

CROP = CropSpec(227, 2.)
FRAME = (240, 320)
GOTURN = BoxJitter(1 / 5, 1 / 15)


def moved(boxes, rng, limits, jitter=GOTURN, frame=FRAME, min_coverage=.7):
    augmentation = Augmentation(limits=limits, min_coverage=min_coverage)
    return augment.jittered(boxes, frame, rng, augmentation, CROP, jitter)


@pytest.fixture
def rng():
    return np.random.default_rng(800)


@pytest.fixture
def boxes(rng):
    """2000 boxes of many sizes, all inside the frame."""
    size = rng.uniform(4, 100, (2000, 2))
    corner = rng.uniform(0, 1, (2000, 2)) * (np.array(FRAME[::-1]) - size)
    return np.concatenate((corner, corner + size), 1)


def test_shifted_boxes_stay_in_frame_and_context_window(boxes, rng):
    shifted = moved(boxes, rng, 'goturn')
    assert (shifted[:, :2] >= -1e-9).all()
    assert (shifted[:, 2:] <= np.array(FRAME[::-1]) + 1e-9).all()
    old, new = box_ops.xyxy_to_cxcywh(boxes), box_ops.xyxy_to_cxcywh(shifted)
    assert (abs(new[:, :2] - old[:, :2]) <= old[:, 2:] + 1e-9).all()


def test_scale_stays_in_its_limits_and_reaches_them(boxes, rng):
    model = BoxJitter(1 / 5, .5)
    old = box_ops.xyxy_to_cxcywh(boxes)[:, 2:]
    for limits in ('goturn', 're3'):
        new = moved(boxes, rng, limits, model, min_coverage=0)
        ratio = box_ops.xyxy_to_cxcywh(new)[:, 2:] / old
        assert ratio.min() == pytest.approx(0.6) and ratio.max() == pytest.approx(1.4)


def test_moves_follow_the_laplace_distribution(rng):
    # A small box in the middle of a huge frame: no limit cuts the distribution but the window.
    boxes = np.tile([[5000., 5000., 5100., 5050.]], (20000, 1))
    new = box_ops.xyxy_to_cxcywh(moved(boxes, rng, 'goturn', frame=(10000, 10000)))
    move = (new[:, :2] - [5050, 5025]) / [100, 50]
    # Mean absolute deviation of Laplace(b) cut at 1: b - exp(-1/b) / (1 - exp(-1/b)).
    expected = 0.2 - np.exp(-5) / (1 - np.exp(-5))
    np.testing.assert_allclose(abs(move).mean(0), expected, rtol=0.03)
    np.testing.assert_allclose(abs(new[:, 2:] / [100, 50] - 1).mean(0), 1 / 15, rtol=0.04)
    assert abs(np.corrcoef(move.T)[0, 1]) < 0.03


def test_box_larger_than_the_frame_is_shifted_into_it(rng):
    boxes = np.array([[-50., -50., 500., 400.]])
    shifted = moved(boxes, rng, 'goturn')
    assert (shifted >= 0).all() and (shifted <= [320, 240, 320, 240]).all()


def test_jitter_keeps_the_target_in_the_crop(boxes, rng):
    jittered = moved(boxes, rng, 're3')
    assert (augment.covered_fraction(boxes, jittered, CROP) >= 0.7).all()
    center = box_ops.xyxy_to_cxcywh(jittered)[:, :2]
    assert (center >= boxes[:, :2]).all() and (center <= boxes[:, 2:]).all()
    assert (abs(jittered - boxes).max(1) > 0).all()


def test_jitter_of_a_target_at_the_border_keeps_the_center_in_the_frame(rng):
    boxes = np.tile([[-30., 100., 40., 150.]], (500, 1))
    center = box_ops.xyxy_to_cxcywh(moved(boxes, rng, 're3', min_coverage=0))
    assert (center[:, 0] >= 0).mean() > 0.98


def test_same_seed_same_boxes(boxes):
    for limits in ('goturn', 're3'):
        first, again, other = (moved(boxes, np.random.default_rng(seed), limits)
                               for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_pull_stops_at_the_first_box_that_shows_enough():
    target = np.array([[100., 100., 140., 120.]])
    box = target + 200
    pulled = augment.pull_boxes(box, target, .7, CROP)
    expected = box
    while augment.covered_fraction(target, expected, CROP)[0] < 0.7:
        expected = 0.9 * expected + 0.1 * target
    np.testing.assert_allclose(pulled, expected, atol=1e-9)


@pytest.mark.parametrize('least', [0.25, 0.7, 1.0])
def test_pull_of_any_box_shows_enough(boxes, rng, least):
    wild = boxes[rng.permutation(len(boxes))] + rng.normal(0, 1000, boxes.shape)
    pulled = augment.pull_boxes(wild, boxes, least, CROP)
    assert (augment.covered_fraction(boxes, pulled, CROP) >= least - 1e-9).all()


def test_pull_leaves_boxes_that_show_enough(boxes):
    np.testing.assert_array_equal(augment.pull_boxes(boxes, boxes, .7, CROP), boxes)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e30])
def test_pull_turns_a_useless_prediction_into_the_target(value):
    target = np.array([[1., 2., 30., 40.], [5., 5., 9., 9.]])
    pulled = augment.pull_boxes(np.array([[value, 0, 1, 1], [5., 5., 9., 9.]]), target,
                                .7, CROP)
    np.testing.assert_array_equal(pulled, target)


def test_pull_of_tensors_equals_pull_of_arrays(boxes, rng):
    wild = boxes + rng.normal(0, 60, boxes.shape)
    wild[3] = np.nan
    pulled = augment.pull_boxes(torch.from_numpy(wild), torch.from_numpy(boxes), .7, CROP)
    expected = augment.pull_boxes(wild, boxes, .7, CROP)
    np.testing.assert_allclose(pulled.numpy(), expected, rtol=1e-12)
