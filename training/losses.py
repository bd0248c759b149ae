# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Losses of an unroll, for predictions in coordinates of the search region."""

from __future__ import annotations

from re3_core import boxes as box_ops
from re3_core.networks import Prediction
import torch
from torch import Tensor
from torch.nn import functional
from training.config import LossWeights

# The overlap with a target of which less is visible is no reason for confidence.
MIN_VISIBLE = .1


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalized IoU (...), -1..1, of `xyxy` boxes (..., 4), pair by pair."""
    hull = torch.cat((torch.minimum(a[..., :2], b[..., :2]),
                      torch.maximum(a[..., 2:], b[..., 2:])), -1)
    hull_area = box_ops.area(hull).clamp(min=1e-9)
    shared = box_ops.intersection(a, b)
    union = (box_ops.area(a) + box_ops.area(b) - shared).clamp(min=1e-9)
    return shared / union - (hull_area - union) / hull_area


def unroll_loss(prediction: Prediction, targets: Tensor, visible: Tensor, weights: LossWeights,
                tracked_boxes: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """
    Return the loss (scalar, a mean over all T x B time steps) and its parts, for logging.

    A mean over time steps, those without a target included, so that the mean of the losses of
    two halves of a batch is the loss of the whole.

    :param prediction: boxes (T, B, 4) and logits (T, B)
    :param targets: true boxes (T, B, 4) in the same coordinates, nan where there is no target
    :param visible: visible fraction of the target (T, B)
    :param tracked_boxes: boxes (T, B, 4) that the tracker makes of the predicted ones, whose
        overlap the confidence predicts; None: the same
    """
    tracked_boxes = prediction.boxes if tracked_boxes is None else tracked_boxes
    present = torch.isfinite(targets).all(-1)                           # (T, B)
    targets = torch.where(present[..., None], targets, prediction.boxes.detach())
    weight = present * _visibility_weight(targets, visible, weights)
    l1 = ((prediction.boxes - targets).abs().sum(-1) * weight).mean()
    giou = ((1 - generalized_iou(prediction.boxes, targets)) * weight).mean()
    overlap = box_ops.iou(tracked_boxes.detach(), targets) * present    # (T, B)
    parts = {'l1': l1, 'giou': giou, 'overlap': overlap.sum() / present.sum().clamp(min=1)}
    loss = weights.l1 * l1
    if weights.giou:
        loss = loss + weights.giou * giou
    if weights.confidence:
        # No credit for the overlap with an invisible target: that is luck.
        parts['confidence'] = functional.binary_cross_entropy_with_logits(
            prediction.logits, overlap * (visible >= MIN_VISIBLE))
        loss = loss + weights.confidence * parts['confidence']
    parts['loss'] = loss
    return loss, {name: value.detach() for name, value in parts.items()}


def _visibility_weight(targets: Tensor, visible: Tensor, weights: LossWeights) -> Tensor:
    """Return the weights (T, B) of time steps by the fraction of the target in the crop."""
    if not weights.occlusion_weighting:
        return torch.ones_like(visible)
    crop = torch.zeros_like(targets)
    crop[..., 2:] = 1
    inside = box_ops.intersection(targets, crop) / box_ops.area(targets).clamp(min=1e-9)
    return (visible * inside / weights.occlusion_weighting).clamp(weights.hidden_weight, 1)
