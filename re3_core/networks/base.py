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

"""What every tracker network is: crops and state in, boxes and state out."""

from typing import NamedTuple

from torch import nn, Tensor


class Crops(NamedTuple):
    """
    What a network sees of N targets: uint8 RGB, see `re3_core.crops.crop_batch`.

    `previous` (N, 3, Sp, Sp) is cut from the frame before, `current` (N, 3, Sc, Sc) from this
    frame, both around the target's last known box.
    """

    previous: Tensor
    current: Tensor


class Prediction(NamedTuple):
    """
    What a network says of N targets.

    `boxes` (N, 4) is `xyxy` in coordinates of the current crop's region (0 and 1 are its
    sides); `score` (N,) is the logit of "this box is right", NaN if the network has none.
    """

    boxes: Tensor
    score: Tensor


class TrackerNetwork(nn.Module):
    """
    Base of the networks; the state is a tuple of tensors, batch first, possibly empty.

    Subclasses set `name`, `previous_crop` and `current_crop` (CropSpec), keep the keyword
    arguments that rebuild them in `config`, and implement `start` and `step`.
    """

    name = ''

    def __init__(self, config):
        super().__init__()
        self.config = dict(config)

    def start(self, crops):
        """See a target for the first time; return (Prediction, state)."""
        raise NotImplementedError

    def step(self, crops, state):
        """Follow targets by one frame; return (Prediction, state)."""
        raise NotImplementedError
