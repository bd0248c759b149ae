# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of the trainer share: tiny networks, clips, configurations."""

import os
from pathlib import Path

import numpy as np
import pytest
from re3_core.networks import GoturnLiteNet, Re3LiteNet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
import torch
from training.simulator import ProceduralMaterial, Simulator
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Random features of this backbone differ enough for boxes that move.
TINY = {'width': .25, 'embedding': 8, 'hidden': 16, 'backbone': 'efficientnet_lite0',
        'aspect': .5}


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Add in the same order as the processes that the tests start, with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def network():
    """Return a tiny re3_lite whose boxes really move, but not wildly."""
    torch.manual_seed(0)
    network = Re3LiteNet(**TINY).eval()
    torch.nn.init.normal_(network.head.votes.weight, std=.05)
    return network


@pytest.fixture
def memoryless():
    torch.manual_seed(0)
    return GoturnLiteNet(width=.25, embedding=8, fc=(32,), backbone='efficientnet_lite0').eval()


@pytest.fixture(scope='session')
def clips():
    """Four clips of five simulated frames, 90 x 120 pixels."""
    simulator = Simulator(ProceduralMaterial((90, 120)), (90, 120))
    return [simulator.sample(np.random.default_rng(seed), 5) for seed in range(4)]


@pytest.fixture
def environment():
    """Environment variables for processes that are to find the packages, with one thread."""
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory):
    """Write a configuration that trains a tiny network within seconds; return its path."""
    folder = tmp_path_factory.mktemp('tiny')
    drawn = {'kind': 'simulated', 'length': 6, 'size': [60, 80], 'processes': 1}
    settings = {
        'network': TINY, 'init_from': '', 'frozen': [], 'precision': 'float32',
        'data': [{**drawn, 'clips': 12}], 'validation': [{**drawn, 'clips': 2, 'seed': 3}],
        'validation_clips': 2, 'validation_length': 4, 'cache': str(folder / 'cache'),
        'stages': [{'iterations': 3, 'unroll': 2, 'batch': 8},
                   {'iterations': 3, 'unroll': 4, 'batch': 4, 'scheduled_sampling': .5}],
        'optimizer': {'lr': .001, 'warmup': 2}, 'log_every': 1, 'checkpoint_every': 2,
        'validate_every': 100}
    path = folder / 'tiny.yaml'
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def logged():
    """Return a function that reads one curve of a run's TensorBoard: {iteration: value}."""
    def read(output, name):
        events = EventAccumulator(str(Path(output) / 'tensorboard'))
        events.Reload()
        return {event.step: event.value for event in events.Scalars(name)}
    return read
