# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A tiny network of random weights, and random frames."""

import numpy as np
import pytest
from re3_core.crops import crop_batch
from re3_core.engines.torch_engine import TorchEngine
from re3_core.networks import Re3LiteNet
import torch


@pytest.fixture(scope='session')
def network():
    torch.manual_seed(0)
    network = Re3LiteNet(width=.25, embedding=8, hidden=16,
                         backbone='efficientnet_lite0', aspect=.5)
    with torch.no_grad():
        network.head.votes.weight.normal_(0, .2)    # boxes that really move
    return network


class TensorEngine(TorchEngine):
    """Runs on a CPU, but crops by torch as on a GPU."""

    def load_frame(self, frame):
        return torch.from_numpy(np.array(frame))

    def crop(self, frames, regions, size):
        return crop_batch(frames, regions, size)


@pytest.fixture(scope='session')
def engine_class():
    """Return a function that gives the class of engines that crop by torch or by OpenCV."""
    return lambda tensors: TensorEngine if tensors else TorchEngine


@pytest.fixture(scope='session')
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(40)]
