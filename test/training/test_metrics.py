# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Metrics: anchors of the public definitions, and equality with a second implementation."""

import math

import numpy as np
import pytest
from re3_core.boxes import xyxy_to_xywh
from training import metrics


def _boxes(rng, count):
    corner = rng.uniform(-20, 80, (count, 2))
    return np.hstack((corner, corner + rng.uniform(5, 60, (count, 2))))


def _moved(rng, boxes, by):
    return boxes + rng.normal(0, by, boxes.shape)


def _plain_iou(a, b):
    """One pair of `xywh` boxes, written out as the OTB scripts do."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    shared = max(right - left, 0) * max(bottom - top, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _plain_one_pass(predicted, truth):
    """One-pass figures with loops over frames and thresholds; boxes `xywh`."""
    pairs = list(zip([truth[0], *predicted[1:]], truth, strict=True))
    success = [sum(_plain_iou(p, t) > step / 20 for p, t in pairs) / len(pairs)
               for step in range(21)]
    shift = [((p[0] + (p[2] - 1) / 2) - (t[0] + (t[2] - 1) / 2),
              (p[1] + (p[3] - 1) / 2) - (t[1] + (t[3] - 1) / 2)) for p, t in pairs]
    precision = [sum(math.hypot(*s) <= limit for s in shift) / len(pairs) for limit in range(51)]
    relative = [math.hypot(x / max(t[2], 1), y / max(t[3], 1))
                for (x, y), t in zip(shift, truth, strict=True)]
    normalized = [sum(r <= limit / 100 for r in relative) / len(pairs) for limit in range(51)]
    return success, precision, normalized


def test_perfect_tracker_has_auc_20_of_21_and_everything_else_full():
    truth = _boxes(np.random.default_rng(0), 30)
    result = metrics.one_pass(truth, truth)
    assert result.auc == pytest.approx(20 / 21)


def test_thresholds_are_strict_for_overlap_and_inclusive_for_distance():
    assert metrics.success_curve([.5])[10] == 0
    assert metrics.success_curve([.5])[9] == 1
    assert metrics.precision_curve([20.])[20] == 1
    assert metrics.precision_curve([20.])[19] == 0


def test_first_box_is_the_given_one():
    truth = np.tile([10., 10., 30., 30.], (4, 1))
    predicted = truth.copy()
    predicted[0] += 100
    assert metrics.one_pass(predicted, truth).auc == pytest.approx(20 / 21)


@pytest.mark.parametrize('seed', range(5))
def test_curves_equal_a_plain_implementation(seed):
    rng = np.random.default_rng(seed)
    truth = _boxes(rng, 40)
    predicted = _moved(rng, truth, 8)
    predicted[:, 2:] = np.maximum(predicted[:, 2:], predicted[:, :2] + 1)
    result = metrics.one_pass(predicted, truth)
    expected = _plain_one_pass(xyxy_to_xywh(predicted), xyxy_to_xywh(truth))
    for curve, plain in zip(result, expected, strict=True):
        np.testing.assert_allclose(curve, plain, atol=1e-12)


def test_normalized_precision_divides_by_the_true_size_per_axis():
    truth = np.array([[0., 0., 100., 10.]] * 2)
    predicted = truth + [[0, 0, 0, 0], [20., 2., 20., 2.]]
    error = math.hypot(.2, .2)
    expected = 1 + (np.linspace(0, .5, 51) >= error)
    np.testing.assert_allclose(metrics.one_pass(predicted, truth).normalized, expected / 2)


def test_absent_frames_do_not_count():
    rng = np.random.default_rng(1)
    truth = _boxes(rng, 20)
    predicted = _moved(rng, truth, 5)
    expected = metrics.one_pass(predicted[:15], truth[:15])
    truth[15:] = np.nan
    for curve, other in zip(metrics.one_pass(predicted, truth), expected, strict=True):
        np.testing.assert_array_equal(curve, other)


def test_wrong_shapes_and_absent_targets_are_named():
    with pytest.raises(ValueError, match=r'\(frames, 4\).*\(2, 4\).*\(3, 4\)'):
        metrics.overlaps(np.zeros((2, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match='absent in all'):
        metrics.success_curve([np.nan])


def test_sequences_weigh_the_same_in_the_mean():
    good, bad = np.tile([0., 0., 10., 10.], (2, 1)), np.tile([0., 0., 10., 10.], (50, 1))
    missed = bad + 100
    mean = metrics.mean_one_pass([metrics.one_pass(good, good), metrics.one_pass(missed, bad)])
    assert mean.auc == pytest.approx((20 / 21 + 20 / 21 / 50) / 2)


def test_success_rates_are_points_of_the_success_curve():
    truth = np.tile([0., 0., 10., 10.], (4, 1))
    predicted = truth + [[0, 0, 0, 0], [0, 0, -2, 0], [0, 0, -4, 0], [0, 0, -6, 0]]
    result = metrics.one_pass(predicted, truth)     # overlaps 1, .8, .6, .4
    assert (result.sr_50, result.sr_75) == (.75, .5)


def test_roc_auc_equals_counting_pairs_with_ties():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 6, 60) / 5, rng.random(60) < .4
    pairs = [(p > n) + .5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert metrics.roc_auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert metrics.roc_auc([.9, .1], [True, False]) == 1
    assert math.isnan(metrics.roc_auc([.9, .1], [True, True]))


def test_calibration_bins_and_error():
    result, error = metrics.calibration([.05, .05, .95, 1.], [.9, .1, .9, .7], bins=10)
    np.testing.assert_array_equal(result['count'], [2] + [0] * 8 + [2])
    np.testing.assert_allclose(result['good'][[0, 9]], [.5, 1])
    np.testing.assert_allclose(result['overlap'][[0, 9]], [.5, .8])
    assert np.isnan(result['good'][1:9]).all()
    assert error == pytest.approx((.45 * 2 + .175 * 2) / 4)


def test_spread_over_repeated_runs():
    assert metrics.spread([1., 2., 3.]) == {'mean': 2, 'std': 1, 'low': 1, 'high': 3}
    assert metrics.spread([.4, float('nan')]) == {'mean': .4, 'std': 0, 'low': .4, 'high': .4}
    assert np.isnan(list(metrics.spread([float('nan')]).values())).all()


def test_scale_jitter_is_zero_for_steady_growth_and_counts_the_reversals():
    scale = 1.02 ** np.arange(30)
    growing = np.stack((-20 * scale, -10 * scale, 20 * scale, 10 * scale), 1)
    assert metrics.scale_jitter(growing) == pytest.approx(0, abs=1e-9)
    shaking = growing * np.where(np.arange(30) % 2, 1.1, 1)[:, None]
    assert metrics.scale_jitter(shaking) == pytest.approx(2 * math.log(1.1))
    missing = shaking.copy()
    missing[12] = np.nan
    assert metrics.scale_jitter(missing) == pytest.approx(2 * math.log(1.1))
    assert math.isnan(metrics.scale_jitter(growing[:2]))


def test_paired_difference_and_its_standard_error():
    mean, error = metrics.paired_difference([.5, .6, .9], [.4, .5, .5])
    assert mean == pytest.approx(.2)
    assert error == pytest.approx(np.std([.1, .1, .4], ddof=1) / 3 ** .5)
    assert math.isnan(metrics.paired_difference([.5], [.4])[1])
