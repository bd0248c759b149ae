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

"""
OTB folders: `<Name>/img/*.jpg` and `<Name>/groundtruth_rect.txt`.

A folder may hold `video.mp4` in place of `img`. The target must be present in the first frame.
"""

from pathlib import Path

import numpy as np

from training.datasets.sequences import ImageFrames, read_boxes, Sequence, VideoFrames

TRUTH = 'groundtruth_rect.txt'
IMAGES = ('.jpg', '.jpeg', '.png')


def read_otb(path):
    """
    Return the list of Sequences in an OTB folder, by name; `path` may also be one sequence.

    Raises ValueError saying which file is missing or malformed.
    """
    path = Path(path)
    folders = [path] if (path / TRUTH).is_file() else sorted(
        folder for folder in path.glob('*') if (folder / TRUTH).is_file())
    if not folders:
        raise ValueError(f'{path}: no folder with a {TRUTH} in it')
    return [_read_sequence(folder) for folder in folders]


def _read_sequence(folder):
    boxes = read_boxes(folder / TRUTH)
    if not len(boxes) or np.isnan(boxes[0]).any():
        raise ValueError(f'{folder / TRUTH}: the target must have a box in the first frame')
    return Sequence(folder.name, _frames(folder, len(boxes)), boxes,
                    np.ones(len(boxes), np.float32))


def _frames(folder, count):
    if (folder / 'video.mp4').is_file():
        return VideoFrames(folder / 'video.mp4')
    paths = sorted(path for path in (folder / 'img').glob('*') if path.suffix.lower() in IMAGES)
    if len(paths) != count:
        raise ValueError(f'{folder}: {len(paths)} images in img, but {count} boxes in {TRUTH}')
    return ImageFrames(paths)
