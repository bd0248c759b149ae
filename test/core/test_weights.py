# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights files: there and back, and every way in which they can be wrong."""

import json
import os

import pytest
from re3_core import available_models, load_network, save_network, Tracker
from re3_core.networks import GoturnLiteNet, NETWORKS, Re3LiteNet
from re3_core.weights import LEGACY_NAMES, read_metadata, weights_path
from safetensors.torch import load_file, save_file
import torch

TINY = {'width': .25, 'embedding': 8, 'hidden': 16}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'tiny.safetensors'
    network = Re3LiteNet(**TINY)
    save_network(network, path, {'source': 'a test'}, dtype=torch.float32)
    return network, path


def rewrite(path, change, metadata=None):
    """Change a weights file's tensors by a function, and its metadata by a dict."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {**read_metadata(path), **(metadata or {})})


def test_saved_network_is_loaded(saved):
    network, path = saved
    loaded = load_network(weights=path)
    assert loaded.config == network.config and not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert read_metadata(path)['source'] == 'a test'


def test_half_precision_file_loads_as_float32(saved, tmp_path):
    path = tmp_path / 'half.safetensors'
    save_network(saved[0], path)
    assert path.stat().st_size < .6 * saved[1].stat().st_size
    assert {value.dtype for value in load_network(weights=path).parameters()} == {torch.float32}


def test_failed_save_leaves_the_old_file(saved, monkeypatch):
    network, path = saved
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError('disk full')
    monkeypatch.setattr('re3_core.weights.save_file', fail)
    with pytest.raises(OSError, match='disk full'):
        save_network(network, path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_files_of_earlier_releases_load(tmp_path):
    def rename(tensors):
        for old, new in LEGACY_NAMES.items():
            for name in [name for name in tensors if name.startswith(new)]:
                tensors[old + name[len(new):]] = tensors.pop(name)
    network, path = GoturnLiteNet(width=.25, embedding=8, fc=(16,)), tmp_path / 'old.safetensors'
    save_network(network, path, dtype=torch.float32)
    rewrite(path, rename)
    assert {name.split('.')[0] for name in load_file(path)} >= {'matcher', 'head'}
    assert not any(name.startswith('correlation') for name in load_file(path))
    for name, value in load_network(weights=path).state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_path_that_is_not_utf8_is_named(saved, tmp_path):
    path = tmp_path / os.fsdecode(b'\xff.safetensors')
    path.write_bytes(saved[1].read_bytes())
    for action in (lambda: Tracker(weights=path), lambda: save_network(saved[0], path)):
        with pytest.raises(ValueError, match=r'xff.safetensors: the path is not UTF-8'):
            action()


@pytest.mark.parametrize('change, text', [
    (lambda tensors: tensors.pop('head.up.bias'), 'missing: head.up.bias'),
    (lambda tensors: tensors.update(extra=torch.zeros(1)), 'not of this network: extra'),
    (lambda tensors: tensors.update({'head.up.bias': torch.zeros(3)}),
     r'head.up.bias has shape \(3,\), not \(128,\)'),
])
def test_file_that_does_not_fit_is_explained(saved, change, text):
    rewrite(saved[1], change)
    with pytest.raises(ValueError, match=text):
        load_network(weights=saved[1])


@pytest.mark.parametrize('metadata, text', [
    ({'model': 'yolo'}, "model must be one of .*re3_lite.*, got 'yolo'"),
    ({'model': 're3_conv'}, "model must be one of .*re3_lite, got 're3_conv'"),
    ({'config': json.dumps({'depth': 3})}, 'config that does not fit re3_lite.*depth'),
    ({'config': '{'}, 'config that does not fit re3_lite'),
])
def test_metadata_that_is_wrong_is_explained(saved, metadata, text):
    rewrite(saved[1], lambda tensors: None, metadata)
    with pytest.raises(ValueError, match=text):
        load_network(weights=saved[1])


def test_first_generation_of_re3_lite_is_refused(saved):
    config = {'width': .25, 'embedding': 8, 'fc6': 32, 'hidden': 16, 'peephole': 'full'}
    rewrite(saved[1], lambda tensors: None, {'config': json.dumps(config)})
    for load in (load_network, Tracker):
        with pytest.raises(ValueError) as error:
            load(weights=saved[1])
        assert str(error.value) == (
            f'{saved[1]} belongs to the first generation of re3_lite, which this release no '
            'longer runs; use the packaged weights, or fine-tune or train new ones')


def test_file_of_another_model_is_refused(saved):
    with pytest.raises(ValueError, match="holds weights of model 're3_lite', not of 're3'"):
        load_network('re3', saved[1])


def test_file_without_metadata_points_to_the_converter(tmp_path):
    path = tmp_path / 'plain.safetensors'
    save_file({'a': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match='re3_core.convert'):
        load_network(weights=path)


def test_pickles_are_never_read(tmp_path):
    path = tmp_path / 'weights.pt'
    torch.save({'a': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match='not a safetensors file'):
        load_network(weights=path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.safetensors'):
        Tracker(weights=tmp_path / 'nowhere.safetensors')


def test_written_files_can_be_read_by_everyone(saved):
    assert saved[1].stat().st_mode & 0o777 == 0o644


def test_models_without_packaged_weights_name_the_ways_to_get_them():
    assert available_models() == tuple(sorted(NETWORKS))
    with pytest.raises(FileNotFoundError, match="no weights for model 're3'.*re3_core.convert"):
        weights_path('re3')
    with pytest.raises(ValueError, match="model must be one of .*got 'kcf'"):
        Tracker('kcf')
