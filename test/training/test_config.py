# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Settings: stages, errors by name, overrides, what may change between a run and its resume."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from training.config import (
    Augmentation,
    BoxJitter,
    Config,
    differences,
    dump_config,
    load_config,
    OptimizerConfig,
    parse_settings,
    present_names,
    run_command,
    SettingsOptions,
    Source,
    Stage,
)
from training.train import TrainOptions

CONFIGS = sorted((Path(__file__).parents[2] / 'config' / 'training').glob('*.yaml'))


def written(tmp_path, text):
    path = tmp_path / 'some.yaml'
    path.write_text(text)
    return path


def test_stages_follow_each_other():
    config = Config(stages=(Stage(2, 2, 64), Stage(0, 4, 32), Stage(3, 8, 16, .5)))
    assert [config.stage_at(i).unroll for i in range(7)] == [2, 2, 8, 8, 8, 8, 8]
    assert config.iterations == 5


def test_without_a_file_there_are_defaults():
    assert load_config() == Config()


def test_a_dump_reads_back_the_same(tmp_path):
    config = load_config(written(tmp_path, """
        stages: [{iterations: 4, copies: 2}]
        optimizer: {lr: 1e-4, groups: [{pattern: bias, lr_ratio: 2}]}
        augment: {jitter: {shift: 0.5}}
        network: {width: 0.5, fc: [4, 4], recurrent: true}
        frozen: []
        """))
    assert config.stages[0].clips == 32 and config.optimizer.lr == 1e-4
    assert config.augment.jitter.shift == .5 and config.network == {
        'width': .5, 'fc': [4, 4], 'recurrent': True}
    assert load_config(written(tmp_path, dump_config(config))) == config


def test_options_replace_the_settings_of_the_file(tmp_path):
    path = written(tmp_path, 'data: [{kind: cache, path: a}, {kind: cache, path: b}]\nseed: 3')
    options = parse_settings(TrainOptions, [
        '--config', str(path), '--data.1.path', '/c', '--data.0.weight', '.5',
        '--optimizer.lr=1e-4', '--no-compile', '--augment.jitter.scale', '.5', '--minutes', '2'])
    assert options.minutes == 2
    assert options.settings == Config(
        data=(Source('cache', path='a', weight=.5), Source('cache', path='/c')), seed=3,
        optimizer=OptimizerConfig(lr=1e-4),
        augment=Augmentation(jitter=BoxJitter(.08, .5)))


def test_a_resumed_run_has_its_own_settings(tmp_path):
    (tmp_path / 'config.yaml').write_text('seed: 7')
    options = parse_settings(TrainOptions, [
        '--resume', f'--output={tmp_path}', '--optimizer.lr', '.5'])
    assert options.settings.seed == 7 and options.settings.optimizer.lr == .5


def test_old_options_still_work_with_a_warning(capsys):
    assert present_names(['--changed', '--rate=2', '-x'], {
        '--changed': '--force', '--rate': '--lr'}) == ['--force', '--lr=2', '-x']
    assert '--changed is deprecated, use --force' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['2026', '007', '2026-01-05', '1_000', '12:30', 'on the desk',
                                  'a %d'])
def test_folders_may_have_any_name(tmp_path, name):
    config = load_config(written(tmp_path, f'data: [{{kind: videos, path: {name}}}]'))
    assert config.data[0].path == name


@pytest.mark.parametrize('text, error', [
    ('rate: 1', 'rate: no such setting'),
    ('optimizer: {speed: 1}', 'optimizer.speed: no such setting'),
    ('stages: [{iterations: 1}, {unrol: 2}]',
     r'stages.1.iterations: .*required.*stages.1.unrol: no such setting'),
    ('stages: [{unroll: 2}]', 'stages.0.iterations: .*required'),
    ('stages: 5', 'stages: .* valid tuple, got .5'),
    ('stages: [{iterations: 1, unroll: 1}]', 'stages.0.unroll: .*greater than or equal to 2'),
    ('stages: [{iterations: 1, scheduled_sampling: 2}]', 'less than or equal to 1, got .2'),
    ('stages: [{iterations: 1, batch: 10, copies: 3}]', 'batch must be a multiple'),
    ('stages: []', 'at least one iteration'),
    ('data: []', 'data: .*at least 1 item'),
    ('data: [{kind: cache, path: x, strides: []}]', 'data.0.strides: .*at least 1 item'),
    ('frozen: backbone', "frozen: .* valid tuple, got 'backbone'"),
    ('seed: a', "seed: .*valid integer.*, got 'a'"),
    ('seed: 1.5', 'seed: .*valid integer'),
    ('compile: 7', 'compile: .*valid boolean.*, got .7'),
    ('precision: float16', "precision: .*'bfloat16', got 'float16'"),
    ('optimizer: {lr: fast}', "optimizer.lr: .*valid number.*, got 'fast'"),
    ('optimizer: {name: lamb}', "optimizer.name: .*'sgd', got 'lamb'"),
    ('optimizer: {schedule: none}', "optimizer.schedule: .*'cosine'"),
    ('optimizer: {ema_decay: 1}', 'optimizer.ema_decay: .*less than 1'),
    ('optimizer: {groups: [{pattern: "("}]}', 'pattern must be a regular expression'),
    ('loss: {l1: -1}', 'loss.l1: .*greater than or equal to 0'),
    ('augment: {limits: x}', "augment.limits: .*'re3' or 'goturn'"),
    ('augment: {jitter: {min_scale: 1.1}}', 'augment.jitter.min_scale: .*less than or equal to 1'),
    ('augment: {max_size_ratio: .5}', 'augment.max_size_ratio: .*greater than or equal to 1'),
    ('augment: [1]', 'augment: '),
    ('validate_every: 0', 'validate_every: .*greater than or equal to 1'),
    ('data: [{kind: films}]', "data.0.kind: .*'simulated'.*got 'films'"),
    ('data: [{kind: videos}]', "data of kind 'videos' needs a path"),
    ('data: [{kind: cache, path: x, clips: 3}]', "'cache' has no setting 'clips'; it has .*path"),
    ('data: [{kind: simulated, clip: 3}]', 'data.0.clip: no such setting'),
    ('[1, 2]', 'must be a mapping of settings'),
    ('a: [', 'not YAML'),
])
def test_mistakes_are_named(tmp_path, text, error):
    with pytest.raises(ValueError, match=error) as found:
        load_config(written(tmp_path, text))
    assert '\n' not in str(found.value) or 'not YAML' in error


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.yaml'):
        load_config(tmp_path / 'missing.yaml')


def test_differences_name_what_changes_the_result():
    config = Config()
    text = dump_config(config)
    assert differences(text, config) == []
    assert differences(text, replace(config, log_every=3, cache='/x')) == []
    faster = replace(config, optimizer=replace(config.optimizer, lr=1.), network={'width': .5})
    assert differences(text, faster) == ["network: {}, now {'width': '0.5'}",
                                         'optimizer.lr: 0.0005, now 1.0']
    longer = replace(config, stages=(*config.stages[:2], Stage(90, 8, 16, .8), Stage(1)))
    assert differences(text, longer) == ['number of stages: 3, now 4',
                                         'stages.2.iterations: 100, now 90']
    renamed = text.replace('copies', 'times').replace('lookalike_prob', 'twins')
    assert differences(renamed, config) == []


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    config = load_config(path)
    # A stage that continues from another run has the network's name first.
    assert f'{path.stem}_'.startswith(f'{config.model}_') and config.data


def test_errors_and_interrupts_of_commands(capsys):
    def run(error):
        def fail(options):
            raise error
        return run_command(SettingsOptions, fail, [])
    assert run(cv2.error('OpenCV(5) in\n> Overload resolution failed:\n')) == 1
    assert capsys.readouterr().err == 'error: OpenCV(5) in > Overload resolution failed:\n'
    assert run(MemoryError()) == 1
    assert capsys.readouterr().err == 'error: MemoryError\n'
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ''
