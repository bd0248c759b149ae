# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Calibrate the confidence of `re3_lite`: `python -m training.calibrate --config FILE`.

The logit of the confidence is a sum of the LSTM's logit, of the similarity of the last box and
the first one, and of a bias. Trained on the same clips as everything else, the LSTM is
overconfident on others, so its weight is given, not learned. The other two are fitted here, and
then, with these, the effect of the change of area. Both by cross-entropy against the overlap
that the tracker reaches on whole clips, not on the short ones of training. The results belong
into `re3_core.networks.re3_lite`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
import sys

import numpy as np
from re3_core import boxes as box_ops
from re3_core import scale_refinement, Tracker
from re3_core.networks import re3_lite
import torch
from torch.nn import functional
from tqdm import tqdm
from training.config import run_command, SettingsOptions
from training.data.sources import Clip, make_source
from training.metrics import roc_auc, SUCCESS_IOU
from training.train import fixed_clips


def observe(tracker: Tracker, clips: Iterable[Clip]) -> tuple[np.ndarray, ...]:
    """
    Track clips; return LSTM logits, similarities, changes of area and overlaps, each (N,).

    The tracker goes on when it has lost a target: the confidence must cover failures, too.
    """
    network, rows = tracker.network, []
    lstm_logits: list[float] = []
    similarities: list[float] = []
    similarity = network.backbone_similarity

    def recorded(features: tuple, reference: tuple) -> torch.Tensor:
        similarities.append(float(result := similarity(features, reference)))
        return result
    network.backbone_similarity = recorded
    hook = network.head.register_forward_hook(
        lambda module, inputs, prediction: lstm_logits.append(float(prediction.logits)))
    for clip in tqdm(clips, unit='clip'):
        frames = [np.ascontiguousarray(frame) for frame in clip.frames]
        tracker.init('target', frames[0], clip.boxes[0])
        first_area = box_ops.area(np.asarray(clip.boxes[0], float))
        for frame, truth in zip(frames[1:], clip.boxes[1:], strict=True):
            lstm_logits.clear()
            similarities.clear()
            box = tracker.update(frame)['target'].box
            if np.isfinite(truth).all():
                # After the first step of an update comes the reset of the memory.
                change = scale_refinement.abs_log_area_ratio(box.astype(float), first_area)
                rows.append((lstm_logits[0], similarities[0], change, box_ops.iou(box, truth)))
    hook.remove()
    del network.backbone_similarity
    return tuple(np.array(rows).T)


def fit(known: np.ndarray, values: np.ndarray, overlap: np.ndarray) -> tuple[float, float]:
    """Return weight and bias so that `known + weight * values + bias` is the overlap's logit."""
    offset, inputs, targets = (torch.from_numpy(array) for array in (known, values, overlap))
    found = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([found], max_iter=200, line_search_fn='strong_wolfe')

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(
            offset + found[0] * inputs + found[1], targets)
        value.backward()
        return value
    optimizer.step(loss)
    weight, bias = found.tolist()
    return weight, bias


@dataclass(frozen=True)
class CalibrateOptions(SettingsOptions):
    """
    Calibrate the confidence of re3_lite on the data of a training configuration.

    :param weights: weights file (default: the packaged one)
    :param lstm_weight: weight of the LSTM's logit
    :param clips: clips to track
    :param length: frames of each
    """

    weights: str | None = None
    lstm_weight: float = re3_lite.LSTM_WEIGHT
    clips: int = 100
    length: int = 32


def calibrate(options: CalibrateOptions) -> None:
    """Run the command."""
    source = make_source(options.settings.data, options.settings.cache)
    clips = fixed_clips(source, options.clips, options.length)
    tracker = Tracker(re3_lite.Re3LiteNet.name, weights=options.weights,
                      engine='torch', redetection_candidates=0)
    lstm, similarity, change, overlap = observe(tracker, clips)
    weight, bias = fit(options.lstm_weight * lstm, similarity, overlap)
    logit = np.minimum(options.lstm_weight * lstm + weight * similarity + bias,
                       lstm + re3_lite.LSTM_MARGIN)
    slope, area_bias = fit(logit, change, overlap)
    print(f'LSTM_WEIGHT, SIMILARITY_WEIGHT, CONFIDENCE_BIAS = {options.lstm_weight:g}, '
          f'{weight:.2f}, {bias:.2f}')
    print(f'AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS = {-slope:.2f}, {area_bias:.2f}')
    print('ROC-AUC of an overlap above .5: ' + ', '.join(
        f'{name} {roc_auc(values, overlap > SUCCESS_IOU):.3f}' for name, values in (
            ('LSTM', lstm), ('similarity', similarity), ('both', logit),
            ('with the area', logit + slope * change))))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(CalibrateOptions, calibrate, arguments,
                       {'--memory-weight': '--lstm-weight'})


if __name__ == '__main__':
    sys.exit(main())
