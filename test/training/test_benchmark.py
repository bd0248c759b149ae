# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark: it measures and prints the tables of the documentation."""

import json
import subprocess
import sys

import numpy as np
import pytest
from training import benchmark, engine_benchmark


def test_figures_of_training(tiny_config, tmp_path, capsys):
    path = tmp_path / 'out.json'
    assert benchmark.main([
        '--config', str(tiny_config), '--unroll', '2', '--batch', '2', '--iterations', '1',
        '--precision', 'float32', '--device', 'cpu', '--cache', str(tmp_path),
        '--json', str(path)]) == 0
    report = json.loads(path.read_text())
    assert set(report['training']) == {'convolutions frozen', 'all trained'}
    for speeds in report['training'].values():
        assert min(speeds.values()) > 0 and speeds['waiting for data'] < 1
        # The parts add up: no part of an iteration is faster than the whole.
        assert speeds['whole iteration'] <= min(
            speeds[part] for part in ('rollout', 'forward', 'backward', 'step'))
    table = capsys.readouterr().out
    assert '| frames/s | convolutions frozen | all trained |' in table
    assert '| whole iteration | ' in table


# Engines ---------------------------------------------------------------------------------------


def test_engines_are_compared_with_each_other(tmp_path, capsys):
    path, document = tmp_path / 'out.json', tmp_path / 'performance.md'
    document.write_text('# Speed\n\n<!-- engines -->\nold\n<!-- /engines -->\n\nMore.\n')
    assert benchmark.main([
        '--engines', 'torch', '--engine-threads', '1', '--targets', '1', '2', '--opencv', 'kcf',
        '--json', str(path), '--document', str(document)]) == 0
    report = json.loads(path.read_text())
    assert list(report['engines']) == ['OpenCV kcf', 'torch float32', 'torch bfloat16']
    for by_threads in report['engines'].values():
        figures = by_threads['1']
        assert set(figures['processor']) == set(figures['elapsed']) == {'1', '2'}
        assert min(figures['processor'].values()) > 0
        assert figures['lost'] == {'1': 0, '2': 0}
    table = capsys.readouterr().out
    assert '| 1 thread, ms per frame | 1 target | 2 targets |' in table
    text = document.read_text()
    assert text.startswith('# Speed\n\n<!-- engines -->\n') and text.endswith('\n\nMore.\n')
    assert table.strip() in text and 'old' not in text


def figures(milliseconds):
    times = {'1': milliseconds / 1e3}
    return {'import': .1, 'load': .2, 'memory': 150., 'processor': times, 'elapsed': times,
            'lost': {'1': 0}}


def test_speeds_are_multiples_of_that_of_nanotrack():
    tables = engine_benchmark.engine_tables({
        'engines': {'OpenCV nano': {'1': figures(6.)}, 'openvino int8': {'1': figures(3.)}},
        'engine_sizes': {'openvino int8': {'packages': 321.4}}})
    assert '| OpenCV nano | 6.0 (1.0x) |' in tables
    assert '| openvino int8 | 3.0 (2.0x) |' in tables
    assert '| openvino int8 | 0.10 | 0.20 | 150 | 321 |' in tables


def test_a_busy_machine_is_named():
    busy = figures(6.)
    busy['elapsed'] = {'1': .012}
    table = engine_benchmark.speed_table({'torch float32': {'1': busy}}, '1')
    assert 'had 50% of a core' in table


def test_engines_without_a_result_are_named(capsys):
    assert benchmark.main(['--engines', 'fastest']) == 1
    assert 'engines must be of all, torch' in capsys.readouterr().err
    report = engine_benchmark.measure_engines(
        [], ['best'], [1], [1], {'model': None, 'weights': None, 'device': 'cpu',
                                 'opencv_models': None})
    assert "unknown OpenCV tracker 'best'" in report['engines_failed']['OpenCV best']


def test_targets_of_the_engines_stay_in_the_image():
    image, boxes = engine_benchmark.scene()
    frames = engine_benchmark.moving_frames(image, 20)
    assert len(np.unique(boxes, axis=0)) == len(boxes) == 72
    moves = set()
    for frame in frames:
        x1, y1, x2, y2 = boxes[0].astype(int)
        moves |= {(x, y) for x in range(0, 13) for y in range(0, 7) if (
            frame[y1 + y:y2 + y, x1 + x:x2 + x] == image[y1:y2, x1:x2]).all()}
    assert moves == {(2 * step, step) for step in range(engine_benchmark.TURN + 1)}
    assert (boxes[:, 2:] + (12, 6) <= engine_benchmark.FRAME[::-1]).all()


def test_only_the_engine_of_torch_imports_torch():
    code = ('import sys, training.engine_worker, re3_core\n'
            'assert "torch" not in sys.modules')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_size_of_packages_has_that_of_their_dependencies():
    alone = engine_benchmark.installed_size(['packaging'])
    assert 0 < alone < engine_benchmark.installed_size(['packaging', 'onnxruntime'])


def test_the_document_needs_a_place_for_the_tables(tmp_path):
    path = tmp_path / 'performance.md'
    path.write_text('# Speed\n')
    with pytest.raises(ValueError, match='needs a line <!-- engines -->'):
        engine_benchmark.update_document(path, 'table')
    assert path.read_text() == '# Speed\n'
