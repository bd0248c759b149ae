# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Averaging weights files."""

import pytest
from re3_core import load_network, save_network
from re3_core.networks import Re3LiteNet
import torch
from training.average import main

TINY = {'width': .25, 'embedding': 8, 'hidden': 16}


def saved(path, **config):
    network = Re3LiteNet(**{**TINY, **config})
    save_network(network, path, dtype=torch.float32)
    return network


def test_average_is_the_mean_of_all_weights(tmp_path):
    first, second = (saved(tmp_path / name) for name in 'ab')
    assert main([str(tmp_path / 'a'), str(tmp_path / 'b'), '--output', str(tmp_path / 'c')]) == 0
    mean = load_network(weights=tmp_path / 'c').state_dict()
    for name, value in first.state_dict().items():
        expected = (value + second.state_dict()[name]) / 2
        torch.testing.assert_close(mean[name], expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize('other, text', [
    ('missing', 'no weights file'), ('wider', "'hidden': 24")])
def test_files_that_cannot_be_averaged_are_named(tmp_path, capsys, other, text):
    saved(tmp_path / 'a')
    saved(tmp_path / 'wider', hidden=24)
    assert main([str(tmp_path / 'a'), str(tmp_path / other), '--output', str(tmp_path / 'c')]) == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / 'c').exists()
