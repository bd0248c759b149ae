# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The caller's settings of torch, numpy and OpenCV: they change no result and are not changed."""

from contextlib import contextmanager, ExitStack
import random
import warnings

import cv2
import numpy as np
import pytest
from re3_core import Tracker
from re3_core.weights import load_network
import torch

BOX = (40., 30., 90., 80.)
# Networks with and without memory; crops cut by OpenCV as on a CPU, by torch as on a GPU.
RUNS = [('re3_lite', False), ('re3_lite', True), ('goturn_lite', False)]


@contextmanager
def setting(read, write, value):
    """Set a value, check in the end that it is still set, and restore the old one."""
    old = read()
    write(value)
    try:
        yield
        assert read() == value
    finally:
        write(old)


@contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
        assert torch.get_default_device() == torch.device(name)
    finally:
        torch.set_default_device(None)


@contextmanager
def autocast():
    with torch.autocast('cpu', torch.bfloat16):
        yield
        assert torch.is_autocast_enabled('cpu')


@contextmanager
def strict_numpy():
    with np.errstate(all='raise'), warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
        assert set(np.geterr().values()) == {'raise'}


SETTINGS = {
    'default dtype': lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    'default dtype of half precision': lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    'default device': lambda: default_device('meta'),
    'no grad': torch.no_grad,
    'grad': torch.enable_grad,
    'inference mode': torch.inference_mode,
    'autocast': autocast,
    'deterministic': lambda: setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True),
    'anomaly detection': torch.autograd.detect_anomaly,
    'numpy errors and warnings': strict_numpy,
    'OpenCV threads': lambda: setting(cv2.getNumThreads, cv2.setNumThreads, 1),
}


@pytest.fixture(scope='module')
def run(frames, engine_class):
    """Return a function that loads a packaged network and tracks for a few frames."""
    def track(model, tensors):
        engine = engine_class(tensors)(load_network(model), 'cpu')
        tracker = Tracker(engine=engine, lost_confidence=.6, found_confidence=.65, lost_after=1)
        tracker.init('a', frames[0], BOX)
        tracks = [tracker.update(frame)['a'] for frame in frames[1:4]]
        return [(*track.box.tolist(), track.confidence, track.lost) for track in tracks]
    return track


@pytest.fixture(scope='module')
def expected(run):
    return {(model, tensors): run(model, tensors) for model, tensors in RUNS}


@pytest.mark.filterwarnings('ignore:Anomaly Detection')
@pytest.mark.parametrize(('model', 'tensors'), RUNS)
@pytest.mark.parametrize('name', SETTINGS)
def test_settings_change_no_result_and_stay(run, expected, name, model, tensors):
    with SETTINGS[name]():
        found = run(model, tensors)
    assert found == expected[model, tensors]


def test_all_settings_at_once(run, expected):
    with ExitStack() as stack:
        for name in SETTINGS:
            if name not in ('grad', 'anomaly detection'):
                stack.enter_context(SETTINGS[name]())
        assert run('re3_lite', True) == expected['re3_lite', True]


def test_random_states_and_other_settings_are_not_changed(run):
    def state():
        return (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state()),
                torch.get_num_threads(), torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled,
                np.geterr(), np.get_printoptions(), cv2.getNumThreads(), cv2.useOptimized(),
                len(warnings.filters))
    before = state()
    run('re3_lite', False)
    run('goturn_lite', True)
    assert state() == before


def test_states_may_be_used_in_and_out_of_inference_mode(network, frames):
    """Test that the mode at `init` does not matter at `update`."""
    found = []
    for first, second in ((True, False), (False, True), (False, False)):
        tracker = Tracker(network=network, device='cpu', reset_every=2)
        with torch.inference_mode(first):
            tracker.init('a', frames[0], BOX)
        with torch.inference_mode(second):
            found.append([tracker.update(frame)['a'].box.tolist() for frame in frames[1:4]])
    assert found[0] == found[1] == found[2]
