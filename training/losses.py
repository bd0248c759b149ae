# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Losses of an unroll, for predictions in coordinates of the region that was searched."""

from dataclasses import dataclass

from re3_core import boxes as box_ops
import torch
from torch.nn import functional

# A target hidden beyond this counts less for the box, which nobody can see, ...
HALF_HIDDEN = .5
# ... but never less than this: following behind an occluder is to be learned.
LEAST_WEIGHT = .1


@dataclass(frozen=True)
class LossWeights:
    """
    How much each part counts.

    `l1`: sum of the four absolute corner differences, in units of the region (Re3 paper: 10);
    `giou`: 1 - generalised IoU (Rezatofighi et al. 2019); `score`: cross-entropy between the
    score and the overlap reached.
    """

    l1: float = 10.
    giou: float = 0.
    score: float = 0.


def generalised_iou(a, b):
    """Return the generalised IoU (...), -1..1, of `xyxy` boxes (..., 4), pair by pair."""
    hull = torch.cat((torch.minimum(a[..., :2], b[..., :2]),
                      torch.maximum(a[..., 2:], b[..., 2:])), -1)
    hull_area = box_ops.area(hull).clamp(min=1e-9)
    shared = box_ops.intersection(a, b)
    union = (box_ops.area(a) + box_ops.area(b) - shared).clamp(min=1e-9)
    return shared / union - (hull_area - union) / hull_area


def unroll_loss(prediction, targets, visible, weights):
    """
    Return the loss (scalar) and its parts (dict of floats' tensors, for logging).

    :param prediction: Prediction with boxes (T, B, 4) and score (T, B).
    :param targets: true boxes (T, B, 4) in the same coordinates, NaN where there is no target.
    :param visible: visible fraction of the target (T, B).
    :param weights: LossWeights.
    """
    present = torch.isfinite(targets).all(-1)
    targets = torch.where(present[..., None], targets, prediction.boxes.detach())
    share = present * (visible / HALF_HIDDEN).clamp(LEAST_WEIGHT, 1)
    share = share / share.sum().clamp(min=1)
    corner = ((prediction.boxes - targets).abs().sum(-1) * share).sum()
    giou = ((1 - generalised_iou(prediction.boxes, targets)) * share).sum()
    overlap = box_ops.iou(prediction.boxes.detach(), targets) * present
    parts = {'l1': corner, 'giou': giou,
             'overlap': overlap.sum() / present.sum().clamp(min=1)}
    loss = weights.l1 * corner + weights.giou * giou
    if weights.score:
        hidden = visible < LEAST_WEIGHT
        parts['score'] = functional.binary_cross_entropy_with_logits(
            prediction.score, overlap * ~hidden)
        loss = loss + weights.score * parts['score']
    parts['loss'] = loss
    return loss, {name: value.detach() for name, value in parts.items()}
