# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Calibrating the confidence."""

import re

import numpy as np
import pytest
from re3_core import save_network, Tracker
from re3_core.networks import re3_lite, Re3LiteNet
import torch
from training import calibrate


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_fit_finds_the_weight_and_the_bias():
    rng = np.random.default_rng(0)
    known, similarity = rng.normal(0, 1, 500), rng.uniform(0, 1, 500)
    found = calibrate.fit(known, similarity, sigmoid(known + 4 * similarity - 2))
    assert found == pytest.approx((4, -2), abs=.01)


def test_observed_parts_add_up_to_the_confidence_of_the_tracker(network, clips):
    tracker = Tracker(network=network, device='cpu', redetection_candidates=0)
    memory, similarity, change, overlap = calibrate.observe(tracker, clips[:2])
    assert len(memory) == len(similarity) == len(change) == len(overlap) == 8
    assert similarity[0] == pytest.approx(1, abs=1e-5), 'the first crop is compared with itself'
    assert (similarity[1:4] < 1).all()
    tracker.init('it', clips[0].frames[0], clips[0].boxes[0])
    for row in range(4):
        confidence = tracker.update(clips[0].frames[row + 1])['it'].confidence
        mixed = (re3_lite.LSTM_WEIGHT * memory[row] + re3_lite.SIMILARITY_WEIGHT * similarity[row]
                 + re3_lite.CONFIDENCE_BIAS)
        logit = (min(mixed, memory[row] + re3_lite.LSTM_MARGIN)
                 - re3_lite.AREA_LOGIT_WEIGHT * change[row] + re3_lite.AREA_LOGIT_BIAS)
        assert sigmoid(logit) == pytest.approx(confidence, abs=1e-4)


def test_the_command_prints_what_belongs_into_the_network(tiny_config, tmp_path, capsys):
    torch.manual_seed(0)
    save_network(Re3LiteNet(width=.25, embedding=8, fc6=32, hidden=16), tmp_path / 'weights')
    assert calibrate.main([
        '--config', str(tiny_config), '--weights', str(tmp_path / 'weights'), '--clips', '3',
        '--length', '6', '--lstm-weight', '.2']) == 0
    output = capsys.readouterr().out
    assert re.match(r'LSTM_WEIGHT, SIMILARITY_WEIGHT, CONFIDENCE_BIAS = '
                    r'0.2, -?\d+\.\d\d, -?\d+\.\d\d', output)
    assert re.search(r'\nAREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS = -?\d+\.\d\d, -?\d+\.\d\d\n', output)


def test_a_missing_file_is_named(tiny_config, capsys):
    assert calibrate.main(['--config', str(tiny_config), '--weights', 'none',
                           '--length', '6']) == 1
    assert 'none' in capsys.readouterr().err
