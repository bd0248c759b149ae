# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Calibrate the score of `re3_lite`: `python -m training.calibrate --config FILE`.

The score's logit is a sum of what the memory says, of how alike the last box and the first one
look, and of a bias. Trained on the same clips as everything else, the memory is too sure of
itself on others, so its weight is given, not learned. The other two are fitted here, and then,
with these, what the change of area says. Both by cross-entropy against the overlap that the
tracker reaches on whole clips, not on the short ones of training. The results belong into
`re3_core.networks.re3_lite`.
"""

import argparse
from contextlib import contextmanager
import sys

import numpy as np
from re3_core import boxes as box_ops
from re3_core import scale_refinement, Tracker
from re3_core.networks import re3_lite
import torch
from torch.nn import functional
from tqdm import tqdm
from training.config import load_config
from training.metrics import roc_auc
from training.sources import DRAWN, make_source
from training.validation import fixed_clips


@contextmanager
def listening(network):
    """Give lists of what `network` hears of memory and likeness, in the order of its steps."""
    memory, alike, likeness = [], [], network.backbone_similarity

    def heard(features, reference):
        alike.append(float(result := likeness(features, reference)))
        return result
    network.backbone_similarity = heard
    handle = network.head.register_forward_hook(
        lambda module, inputs, prediction: memory.append(float(prediction.logits)))
    try:
        yield memory, alike
    finally:
        handle.remove()
        del network.backbone_similarity


def observe(tracker, clips):
    """
    Track clips; return the memory's logits, likenesses, changes of area and overlaps, each (N,).

    The tracker goes on when it has lost a target: that is what its score has to tell.
    """
    rows = []
    with listening(tracker.network) as (memory, alike):
        for clip in tqdm(clips, unit='clip'):
            frames = [np.ascontiguousarray(frame) for frame in clip.frames]
            tracker.init('it', frames[0], clip.boxes[0])
            first_area = box_ops.area(np.asarray(clip.boxes[0], float))
            for frame, truth in zip(frames[1:], clip.boxes[1:], strict=True):
                memory.clear()
                alike.clear()
                box = tracker.update(frame)['it'].box
                if np.isfinite(truth).all():
                    # What follows the first step of an update is the return to the first state.
                    change = scale_refinement.abs_log_area_ratio(box.astype(float), first_area)
                    rows.append((memory[0], alike[0], change, box_ops.iou(box, truth)))
    return tuple(np.array(rows).T)


def fit(known, values, overlap):
    """Return weight and bias so that `known + weight * values + bias` is the overlap's logit."""
    known, inputs, targets = (torch.from_numpy(array) for array in (known, values, overlap))
    found = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([found], max_iter=200, line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(
            known + found[0] * inputs + found[1], targets)
        value.backward()
        return value
    optimizer.step(loss)
    return tuple(found.tolist())


def main(arguments=None):
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.calibrate', description='Calibrate the score of re3_lite.')
    parser.add_argument('--config', help='training configuration: its data are used')
    parser.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', dest='overrides',
                        help='settings that replace those of the file')
    parser.add_argument('--weights', help='weights file; default: the packaged ones')
    parser.add_argument('--memory-weight', type=float, default=re3_lite.LSTM_WEIGHT,
                        help='weight of what the memory says (default: %(default)s)')
    parser.add_argument('--clips', type=int, default=100, help='clips to track')
    parser.add_argument('--length', type=int, default=32, help='frames of each')
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, options.overrides)
        clips = fixed_clips(make_source(config.data or (DRAWN,), config.cache), options.clips,
                            options.length)
        tracker = Tracker(re3_lite.Re3LiteNet.name, weights=options.weights,
                          redetection_candidates=0)
        memory, alike, change, overlap = observe(tracker, clips)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    weight, bias = fit(options.memory_weight * memory, alike, overlap)
    logit = np.minimum(options.memory_weight * memory + weight * alike + bias,
                       memory + re3_lite.LSTM_MARGIN)
    slope, area_logit_bias = fit(logit, change, overlap)
    print(f'LSTM_WEIGHT, SIMILARITY_WEIGHT, CONFIDENCE_BIAS = {options.memory_weight:g}, '
          f'{weight:.2f}, {bias:.2f}')
    print(f'AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS = {-slope:.2f}, {area_logit_bias:.2f}')
    print('ROC-AUC of an overlap above .5: ' + ', '.join(
        f'{name} {roc_auc(values, overlap > .5):.3f}' for name, values in (
            ('memory', memory), ('likeness', alike), ('both', logit),
            ('with the area', logit + slope * change))))
    return 0


if __name__ == '__main__':
    sys.exit(main())
