# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Losses of an unroll, for predictions in coordinates of the region that was searched."""

from dataclasses import dataclass

from re3_core import boxes as box_ops
import torch
from torch.nn import functional

# However little of a target is seen, it counts this much: following what is hidden is learned.
LEAST_WEIGHT = .1


@dataclass(frozen=True)
class LossWeights:
    """
    How much each part of the loss counts.

    `l1`: sum of the four absolute corner differences, in units of the region (Re3 and GOTURN
    papers: 10); `giou`: 1 - generalised IoU (Rezatofighi et al. 2019); `score`: cross-entropy
    between the score and the overlap reached. Moments of which less than `half_hidden` of the
    target is seen count less, in proportion (0: all count alike, as in the papers). `sum`: add
    the moments of an iteration up, as Caffe's GOTURN does, instead of averaging.
    """

    l1: float = 10.
    giou: float = 0.
    score: float = 0.
    half_hidden: float = .5
    sum: bool = False  # noqa: A003

    def __post_init__(self):
        if min(self.l1, self.giou, self.score, self.half_hidden) < 0:
            raise ValueError(f'weights must not be negative, got {self}')


def generalised_iou(a, b):
    """Return the generalised IoU (...), -1..1, of `xyxy` boxes (..., 4), pair by pair."""
    hull = torch.cat((torch.minimum(a[..., :2], b[..., :2]),
                      torch.maximum(a[..., 2:], b[..., 2:])), -1)
    hull_area = box_ops.area(hull).clamp(min=1e-9)
    shared = box_ops.intersection(a, b)
    union = (box_ops.area(a) + box_ops.area(b) - shared).clamp(min=1e-9)
    return shared / union - (hull_area - union) / hull_area


def unroll_loss(prediction, targets, visible, weights, reached=None):
    """
    Return the loss (scalar, a mean over all T x B moments) and its parts (dict, for logging).

    A mean over moments, those without a target included, so that the mean of the losses of two
    halves of a batch is the loss of the whole.

    :param prediction: Prediction with boxes (T, B, 4) and score (T, B).
    :param targets: true boxes (T, B, 4) in the same coordinates, NaN where there is no target.
    :param visible: visible fraction of the target (T, B).
    :param weights: LossWeights.
    :param reached: boxes (T, B, 4) that the tracker makes of the predicted ones, by which the
        score is judged; None: the same.
    """
    reached = prediction.boxes if reached is None else reached
    present = torch.isfinite(targets).all(-1)
    targets = torch.where(present[..., None], targets, prediction.boxes.detach())
    share = present * _seen_share(targets, visible, weights.half_hidden)
    corner = ((prediction.boxes - targets).abs().sum(-1) * share).mean()
    giou = ((1 - generalised_iou(prediction.boxes, targets)) * share).mean()
    overlap = box_ops.iou(reached.detach(), targets) * present
    parts = {'l1': corner, 'giou': giou,
             'overlap': overlap.sum() / present.sum().clamp(min=1)}
    loss = weights.l1 * corner
    if weights.giou:
        loss = loss + weights.giou * giou
    if weights.score:
        # A box on a target that cannot be seen is luck, and no reason to be confident.
        parts['score'] = functional.binary_cross_entropy_with_logits(
            prediction.logits, overlap * (visible >= LEAST_WEIGHT))
        loss = loss + weights.score * parts['score']
    parts['loss'] = loss
    return loss, {name: value.detach() for name, value in parts.items()}


def _seen_share(targets, visible, half_hidden):
    """Return the weights (T, B) of moments by how much of the target the crop shows."""
    if not half_hidden:
        return torch.ones_like(visible)
    crop = torch.zeros_like(targets)
    crop[..., 2:] = 1
    inside = box_ops.intersection(targets, crop) / box_ops.area(targets).clamp(min=1e-9)
    return (visible * inside / half_hidden).clamp(LEAST_WEIGHT, 1)
