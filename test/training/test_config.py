# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Settings: stages, errors by name, overrides, what may change between a run and its resume."""

from dataclasses import replace
from pathlib import Path

import pytest
from training.config import Config, differences, dump_config, load_config, Stage

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
    config = load_config(None, ['stages=[{iterations: 4, copies: 2}]', 'optimizer.rate=1e-4',
                                'optimizer.groups=[{match: bias, rate: 2}]',
                                'noise.both.shift=0.5', 'network.width=0.5', 'frozen=[]'])
    assert config.stages[0].clips == 32 and config.optimizer.rate == 1e-4
    assert config.noise.both.shift == .5 and config.network == {'width': .5}
    assert load_config(written(tmp_path, dump_config(config))) == config


def test_overrides_reach_into_lists(tmp_path):
    path = written(tmp_path, 'data: [{kind: pool, path: a}, {kind: pool, path: b}]')
    config = load_config(path, ['data.1.path=/c', 'data.0.share=.5'])
    assert config.data == ({'kind': 'pool', 'path': 'a', 'share': .5},
                           {'kind': 'pool', 'path': '/c'})


@pytest.mark.parametrize('text, error', [
    ('rate: 1', r"the configuration has unknown settings \['rate'\]; known are .*'optimizer'"),
    ('optimizer: {speed: 1}', r"optimizer has unknown settings \['speed'\]; known .*'rate'"),
    ('stages: [{iterations: 1}, {unrol: 2}]', r"stages, entry 1 has unknown .*'unrol'"),
    ('stages: [{unroll: 2}]', 'stages, entry 0.*iterations'),
    ('stages: 5', 'stages must be a list, got 5'),
    ('stages: [{iterations: 1, unroll: 1}]', 'unroll must be at least 2 frames, got 1'),
    ('stages: [{iterations: 1, own: 2}]', 'own must be a share of 0..1, got 2'),
    ('stages: [{iterations: 1, batch: 10, copies: 3}]', 'batch must be a multiple'),
    ('stages: []', 'at least one iteration'),
    ('frozen: backbone', "frozen must be a list, got 'backbone'"),
    ('seed: a', "seed must be of type int, got 'a'"),
    ('seed: true', 'seed must be of type int, got True'),
    ('compile: 1', 'compile must be of type bool, got 1'),
    ('precision: float16', "precision must be one of .*'bfloat16'.*got 'float16'"),
    ('optimizer: {rate: fast}', "rate must be of type float, got 'fast'"),
    ('optimizer: {kind: lamb}', "kind must be one of .*'sgd'.*got 'lamb'"),
    ('optimizer: {schedule: none}', "schedule must be one of .*'cosine'"),
    ('optimizer: {ema: 1}', 'ema must be at least 0 and below 1'),
    ('optimizer: {groups: [{match: "("}]}', 'match must be a regular expression'),
    ('loss: {l1: -1}', 'loss: weights must not be negative'),
    ('noise: {limits: x}', 'noise: limits must be one of'),
    ('noise: [1]', 'noise must be a mapping of settings, got'),
    ('validate_every: 0', 'validate_every must be at least 1'),
    ('[1, 2]', 'must be a mapping of settings'),
    ('a: [', 'not YAML'),
])
def test_mistakes_are_named(tmp_path, text, error):
    with pytest.raises(ValueError, match=error):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize('override, error', [
    ('seed', "must read name=value, got 'seed'"), ('seed.x=1', 'seed.x: there is no such place'),
    ('data.0.path=x', 'data.0.path: there is no such place'),
    ('data.x.path=1', 'numbered from 0'), ('sed=1', "unknown settings \\['sed'\\]")])
def test_mistakes_in_overrides_are_named(tmp_path, override, error):
    path = written(tmp_path, 'data: []\nseed: 2')
    with pytest.raises(ValueError, match=error):
        load_config(path, [override])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.yaml'):
        load_config(tmp_path / 'missing.yaml')


def test_differences_name_what_changes_the_result():
    config = Config()
    text = dump_config(config)
    assert differences(text, config) == []
    assert differences(text, replace(config, log_every=3, cache='/x')) == []
    faster = replace(config, optimizer=replace(config.optimizer, rate=1.), network={'width': .5})
    assert differences(text, faster) == ["network: {}, now {'width': 0.5}",
                                         'optimizer.rate: 0.0005, now 1.0']
    longer = replace(config, stages=(*config.stages[:2], Stage(90, 8, 16, .8), Stage(1)))
    assert differences(text, longer) == ['number of stages: 3, now 4',
                                         'stages.2.iterations: 100, now 90']
    assert differences(text.replace('seed: 0', 'unheard_of: 0').replace('copies', 'times'),
                       config) == []


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    config = load_config(path)
    assert config.model == path.stem and config.data
