# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The dense backbone comes closer to its teacher, and the file it leaves starts a training."""

import numpy as np
import pytest
from re3_core.networks import Re3LiteNet
from re3_core.networks.backbone import CompactBackbone
from re3_core.weights import load_network, read_metadata, save_network
import torch
from training import distill
from training.pretrained import BACKBONE, load_backbone


@pytest.fixture
def teacher(monkeypatch):
    """Put a random teacher in the place of the one that a package brings."""
    torch.manual_seed(0)
    monkeypatch.setattr(distill, 'imagenet_state', CompactBackbone().state_dict)
    monkeypatch.setattr(distill.torch, 'compile', lambda module, **options: module)


def test_a_student_is_trained_and_written(teacher, tiny_config, tmp_path, capsys):
    output, before = tmp_path / 'dense' / 'backbone.safetensors', tmp_path / 'before.safetensors'
    trained = Re3LiteNet(embedding=8, hidden=8, backbone='efficientnet_lite0')
    save_network(trained, before, dtype=torch.float32)
    assert distill.main(['--config', str(tiny_config), '--output', str(output), '--batch', '8',
                         '--iterations', '25', '--into', str(before)]) == 0
    network = load_network(weights=output.parent / 're3_lite.safetensors')
    assert torch.allclose(network.head.up.weight, trained.head.up.weight, atol=1e-3)
    again = Re3LiteNet(embedding=8, hidden=8)
    for path in (output, output.parent / 're3_lite.safetensors'):
        load_backbone(again, path)
        assert torch.equal(again.backbone.layers[3].weight, network.backbone.layers[3].weight)
    assert read_metadata(output)['model'] == BACKBONE
    printed = capsys.readouterr()
    assert 'unexplained fraction of the variance at stride 4, 8, 16' in printed.out
    assert '0/25: ' in printed.err and '20/25: ' in printed.err


def test_errors_fall(teacher):
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 3, 32, 32), np.uint8))
    distillation = distill.Distillation(torch.device('cpu'), 30, 2e-3)
    first = distillation.evaluate([crops])
    for _ in range(30):
        distillation.train_step(crops)
    assert (distillation.evaluate([crops]) < .8 * first).all()


def test_missing_data_is_reported(tmp_path, capsys):
    assert distill.main(['--config', str(tmp_path / 'none.yaml')]) == 1
    assert 'none.yaml' in capsys.readouterr().err
