# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Validation: the tracker follows the same few clips again and again during training."""

import numpy as np
from re3_core import boxes as box_ops
from training.metrics import success_curve

# Far from the seeds of training clips, which begin with the run's seed.
SEED = 10 ** 6


def fixed_clips(source, count, length):
    """Draw the clips to validate on: the same at every validation and in every run."""
    return [source.sample(np.random.default_rng([SEED, index]), length)
            for index in range(count)]


def validation_auc(tracker, clips):
    """Track all clips side by side from their first true boxes; return the mean success AUC."""
    overlaps = [[] for _ in clips]
    tracker.reset()
    for index, clip in enumerate(clips):
        tracker.init(str(index), np.ascontiguousarray(clip.frames[0]), clip.boxes[0])
    for t in range(1, len(clips[0])):
        frames = [(np.ascontiguousarray(clip.frames[t]), [str(index)])
                  for index, clip in enumerate(clips)]
        tracks = tracker.update_frames(frames)
        for index, clip in enumerate(clips):
            if np.isfinite(clip.boxes[t]).all():
                overlaps[index].append(box_ops.iou(tracks[str(index)].box, clip.boxes[t]))
    return float(np.mean([success_curve(np.array(some)).mean() for some in overlaps if some]))
