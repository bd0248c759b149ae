# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark: it measures and prints the tables of the documentation."""

import json

import pytest
from training import benchmark


def test_figures_of_training_and_tracking(tiny_config, tmp_path, capsys):
    path = tmp_path / 'out.json'
    assert benchmark.main([
        '--config', str(tiny_config), '--unroll', '2', '--batch', '2', '--iterations', '1',
        '--frames', '1', '--targets', '1', '2', '--opencv', 'mil', '--precision', 'float32',
        '--device', 'cpu', '--cache', str(tmp_path), '--json', str(path)]) == 0
    report = json.loads(path.read_text())
    assert set(report['training']) == {'convolutions frozen', 'all trained'}
    for speeds in report['training'].values():
        assert min(speeds.values()) > 0 and speeds['waiting for data'] < 1
        # The parts add up: no part of an iteration is faster than the whole.
        assert speeds['whole iteration'] <= min(
            speeds[part] for part in ('rollout', 'forward', 'backward', 'step'))
    assert list(report['tracking']) == ['re3_lite float32', 'OpenCV mil']
    table = capsys.readouterr().out
    assert '| whole iteration | ' in table and '| re3_lite float32 | ' in table
    assert '| ms per frame (times the first) | 1 target | 2 targets |' in table


def test_tables_have_ratios_to_ours():
    report = {'machine': {'cpu': 'C', 'gpu': None, 'cores': 2, 'threads': 1, 'torch': '2',
                          'opencv': '4'}, 'precision': 'float32', 'training': {},
              'tracking': {'ours': {1: 10., 8: 20.}, 'other': {1: 5., 8: 40.}}}
    lines = benchmark.report_tables(report).splitlines()
    assert lines[0].startswith('C, 2 cores, 1 threads')
    assert '| ours | 10.0 (1.0x) | 20.0 (1.0x) |' in lines
    assert '| other | 5.0 (0.5x) | 40.0 (2.0x) |' in lines


def test_unknown_trackers_are_named(capsys):
    assert benchmark.main(['--iterations', '0', '--frames', '1', '--targets', '1', '--device',
                           'cpu', '--opencv', 'best']) == 1
    assert "unknown OpenCV tracker 'best'" in capsys.readouterr().err


def test_boxes_are_inside_of_the_frame():
    boxes = benchmark.spread_boxes(64)
    assert boxes.shape == (64, 4) and (boxes >= 0).all()
    assert (boxes[:, 2:] <= benchmark.FRAME[::-1]).all()
    assert boxes[:, 2] - boxes[:, 0] == pytest.approx(benchmark.SIDE)
