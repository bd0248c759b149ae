# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Tracking metrics in plain numpy: OTB, LaSOT, confidence.

Boxes are `xyxy` pixels, one row per frame; a row of NaN in the truth means that the target is
absent there, and such frames count nowhere; a row of NaN among the predictions is a missing box,
whose overlap is 0. Definitions follow the public toolkit got10k 0.1.3, so that figures can be
compared with published ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from re3_core.boxes import iou, xyxy_to_cxcywh

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)
ERROR_THRESHOLDS = np.arange(51)
NORMALIZED_THRESHOLDS = np.linspace(0, .5, 51)
SUCCESS_IOU = .5


class OnePass(NamedTuple):
    """
    The three curves of a one-pass evaluation.

    `success` (21,) over `OVERLAP_THRESHOLDS`, `precision` (51,) over `ERROR_THRESHOLDS` in
    pixels, `normalized` (51,) over `NORMALIZED_THRESHOLDS` in target sizes (LaSOT).
    """

    success: np.ndarray
    precision: np.ndarray
    normalized: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the success curve; a perfect tracker has 20/21."""
        return float(self.success.mean())

    @property
    def sr_50(self) -> float:
        """Share of frames with an overlap above .5."""
        return float(self.success[10])

    @property
    def sr_75(self) -> float:
        """Share of frames with an overlap above .75."""
        return float(self.success[15])

    @property
    def precision_20(self) -> float:
        """Share of frames with the center within 20 pixels."""
        return float(self.precision[20])

    @property
    def normalized_precision(self) -> float:
        """Mean of the normalized precision curve."""
        return float(self.normalized.mean())


class OnePassRun(NamedTuple):
    """
    S starts over T frames.

    `boxes` (S, T, 4) `xyxy` and `confidences` (S, T) are NaN after a failure of the tracker, whose
    reason is in `errors` (S,), '' for none.
    """

    boxes: np.ndarray
    confidences: np.ndarray
    errors: tuple[str, ...]

    @classmethod
    def joined(cls, runs: Sequence[OnePassRun]) -> OnePassRun:
        """Return the starts of several runs as one."""
        return cls(np.concatenate([run.boxes for run in runs]),
                   np.concatenate([run.confidences for run in runs]),
                   tuple(error for run in runs for error in run.errors))


def _checked(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.asarray(predicted, float), np.asarray(truth, float)
    if predicted.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != 4:
        raise ValueError('predicted and true boxes must both have shape (frames, 4), got '
                         f'{predicted.shape} and {truth.shape}')
    return predicted, truth


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the overlap (T,) of boxes (T, 4) with the truth (T, 4), NaN where absent."""
    predicted, truth = _checked(predicted, truth)
    return np.where(np.isnan(truth).any(1), np.nan, np.nan_to_num(iou(predicted, truth)))


def center_offsets(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the center's offset from the truth (T, 2) in pixels, NaN where absent."""
    predicted, truth = _checked(predicted, truth)
    offsets = xyxy_to_cxcywh(predicted)[:, :2] - xyxy_to_cxcywh(truth)[:, :2]
    offsets[np.isnan(predicted).any(1) & ~np.isnan(truth).any(1)] = np.inf
    return offsets


def success_curve(overlap: np.ndarray) -> np.ndarray:
    """Return the share of frames whose overlap (T,) is above each threshold (strictly), (21,)."""
    overlap = _visible(overlap)
    return (overlap[:, None] > OVERLAP_THRESHOLDS).mean(0)


def precision_curve(errors: np.ndarray,
                    thresholds: np.ndarray = ERROR_THRESHOLDS) -> np.ndarray:
    """Return the share of frames whose error (T,) is at most each threshold, (thresholds,)."""
    errors = _visible(errors)
    return (errors[:, None] <= thresholds).mean(0)


def _visible(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError('no frame to evaluate: the target is absent in all of them')
    return values


def one_pass(predicted: np.ndarray, truth: np.ndarray) -> OnePass:
    """
    Return the OnePass curves of one sequence; boxes (T, 4) both.

    As in the OTB toolkits the first box is the given one, whatever the tracker returns. The
    normalized error divides by the true size, at least one pixel (LaSOT).
    """
    predicted, truth = _checked(predicted, truth)
    predicted = np.vstack((truth[:1], predicted[1:]))
    offsets = center_offsets(predicted, truth)
    size = np.maximum(truth[:, 2:] - truth[:, :2], 1)
    return OnePass(success_curve(overlaps(predicted, truth)),
                   precision_curve(np.linalg.norm(offsets, axis=1)),
                   precision_curve(np.linalg.norm(offsets / size, axis=1),
                                   NORMALIZED_THRESHOLDS))


def mean_one_pass(results: Iterable[OnePass]) -> OnePass:
    """Return the mean of OnePass curves, every sequence (or run) weighing the same."""
    return OnePass(*(np.mean(curves, axis=0) for curves in zip(*results, strict=True)))


def scale_jitter(boxes: np.ndarray) -> float:
    """
    Return the root mean square of the second difference of the log scale of boxes (T, 4).

    The scale is the root of the area; a steady growth has no jitter. NaN without three boxes in
    a row that have an area.
    """
    size = np.asarray(boxes, float)[:, 2:] - np.asarray(boxes, float)[:, :2]
    with np.errstate(invalid='ignore', divide='ignore'):
        scale = np.log(np.where((size > 0).all(1), size.prod(1), np.nan)) / 2
    changes = np.diff(scale, 2)
    changes = changes[np.isfinite(changes)]
    return float(np.sqrt((changes ** 2).mean())) if len(changes) else float('nan')


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the mean of `first` - `second`, (N,) both, and its standard error."""
    difference = np.asarray(first, float) - np.asarray(second, float)
    error = difference.std(ddof=1) / len(difference) ** .5 if len(difference) > 1 else np.nan
    return float(difference.mean()), float(error)


def spread(values: ArrayLike) -> dict[str, float]:
    """
    Return how a figure varies over repeated runs (N,), without those that lack it (NaN).

    `mean`, `std` (the sample standard deviation), `low` and `high`; NaN without any.
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return dict.fromkeys(('mean', 'std', 'low', 'high'), float('nan'))
    return {'mean': float(known.mean()), 'std': float(known.std(ddof=1)) if known[1:].size else 0.,
            'low': float(known.min()), 'high': float(known.max())}


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """
    Return the area under the ROC curve of `scores` (N,) that predict `positive` (N,), 0 to 1.

    Equals the chance that a random positive has a higher score than a random negative, ties
    counting half; NaN if one of the two kinds is missing.
    """
    scores, positive = np.asarray(scores, float), np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return float('nan')
    negatives = np.sort(scores[~positive])
    below, up_to = (np.searchsorted(negatives, scores[positive], side)
                    for side in ('left', 'right'))
    return float((below + up_to).mean() / (2 * len(negatives)))


def calibration(confidences: np.ndarray, overlap: np.ndarray,
                bins: int = 10) -> tuple[dict[str, np.ndarray], float]:
    """
    Compare `confidences` (N,) in 0..1 with the true overlaps (N,), in equal-width bins.

    :return: by name (bins,) arrays, NaN where a bin is empty: mean `confidence`, share of `good`
        boxes (overlap > .5), mean `overlap`, `count` of frames; and the expected calibration
        error: a confidence predicts the overlap, so it is the mean absolute difference, weighted
        by count
    """
    confidences, overlap = np.asarray(confidences, float), np.asarray(overlap, float)
    index = np.clip((confidences * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)

    def per_bin(values: np.ndarray) -> np.ndarray:
        total = np.bincount(index, weights=values, minlength=bins)
        return np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)

    confidence, met = per_bin(confidences), per_bin(overlap)
    error = float(np.nansum(np.abs(confidence - met) * count) / len(confidences))
    return {'confidence': confidence, 'good': per_bin(overlap > SUCCESS_IOU), 'overlap': met,
            'count': count}, error
