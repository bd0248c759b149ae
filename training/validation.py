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
