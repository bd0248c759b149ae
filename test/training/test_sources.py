# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Sources of clips: data sets are named by their folders; what is made of them is kept."""

from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from re3_core.weights import load_network
import torch
from training.config import load_config, SceneConfig, Source
from training.data.sources import make_source
from training.rollout import Unroll
from training.train import main, Trainer
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Make a folder of annotated videos and one of images with boxes."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for name in ('One', 'Two'):
        (root / 'videos' / name / 'img').mkdir(parents=True)
        for number in range(8):
            image = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (96, 72))
            cv2.imwrite(str(root / 'videos' / name / 'img' / f'{number:04}.jpg'), image)
        (root / 'videos' / name / 'groundtruth_rect.txt').write_text(
            '\n'.join(f'{20 + 2 * t},20,24,30' for t in range(8)))
    (root / 'images').mkdir()
    boxes = {'small.png': [[30, 20, 30, 30]], 'large.png': [[2, 2, 90, 20], [10, 10, 20, 20]]}
    for name in boxes:
        image = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (96, 72))
        cv2.imwrite(str(root / 'images' / name), image)
    (root / 'images' / 'boxes.json').write_text(json.dumps(
        {name: {'boxes': some} for name, some in boxes.items()}))
    return root


def source_of(tmp_path, *sources):
    return make_source(sources, str(tmp_path))


def draw(source, count, length, seed=0):
    return [source.sample(np.random.default_rng([seed, i]), length) for i in range(count)]


def test_videos_are_decoded_once(data, tmp_path):
    description = Source('videos', path=str(data / 'videos'), strides=(2,))
    clip = draw(source_of(tmp_path, description), 1, 4)[0]
    assert np.allclose(np.diff(clip.boxes[:, 0]), 4)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob('videos-*')}
    again = draw(source_of(tmp_path, description), 1, 4)[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob('videos-*')} == made
    assert len(made) == 1 and np.array_equal(again.frames, clip.frames)


def test_images_are_clips_of_one_image_without_large_objects(data, tmp_path):
    clips = draw(source_of(tmp_path, Source('images', path=str(data / 'images'))), 20, 2)
    assert {tuple(clip.boxes[0]) for clip in clips} == {(30, 20, 60, 50), (10, 10, 30, 30)}
    for clip in clips:
        assert np.array_equal(*clip.frames) and np.array_equal(*clip.boxes)


def test_simulated_clips_are_rendered_once_for_each_setting(data, tmp_path):
    plain = Source('simulated', clips=2, length=3, size=(60, 80), processes=1)
    one = draw(source_of(tmp_path, plain), 1, 3)[0]
    again = draw(source_of(tmp_path, replace(plain, strides=(1, 2))), 1, 3)[0]
    assert np.array_equal(one.frames, again.frames) and one.frames.shape == (3, 60, 80, 3)
    assert len(list(tmp_path.glob('clips-*'))) == 1
    for changes in ({'seed': 1}, {'scene': SceneConfig(largest=.2)},
                    {'images': str(data / 'images'), 'videos': str(data / 'videos')}):
        found = draw(source_of(tmp_path, replace(plain, **changes)), 1, 3)[0]
        assert not np.array_equal(one.frames, found.frames)
    assert len(list(tmp_path.glob('clips-*'))) == 4


def test_a_rendered_cache_is_a_source(data, tmp_path):
    plain = Source('simulated', clips=2, length=3, size=(60, 80), processes=1)
    one = draw(source_of(tmp_path, plain), 1, 3)[0]
    folder, = tmp_path.glob('clips-*')
    found = draw(source_of(tmp_path / 'other', Source('cache', path=str(folder))), 1, 3)[0]
    assert np.array_equal(one.frames, found.frames)


def test_weights_are_how_often_a_source_is_drawn(data, tmp_path):
    source = source_of(tmp_path, Source('images', path=str(data / 'images'), weight=.25),
                       Source('videos', path=str(data / 'videos'), weight=.75))
    still = [np.array_equal(*clip.boxes) for clip in draw(source, 400, 2)]
    assert np.mean(still) == pytest.approx(.25, abs=.08)


@pytest.mark.parametrize('kind, path, settings, error', [
    ('videos', 'images', {}, 'images, not videos'),
    ('images', 'videos', {}, 'videos, not images'),
    ('videos', 'plain', {}, 'have no boxes to learn from'),
    ('images', 'images', {'max_box_ratio': .1}, 'no image has a box of at most'),
    ('videos', 'missing', {}, 'missing: no such folder'),
    ('videos', 'videos', {'format': 'x'}, 'must be auto or one of'),
])
def test_mistakes_are_named(data, tmp_path, kind, path, settings, error):
    (data / 'plain' / 'a' / 'img').mkdir(parents=True, exist_ok=True)
    for number in range(2):
        cv2.imwrite(str(data / 'plain' / 'a' / 'img' / f'{number}.png'), np.zeros((9, 9, 3)))
    with pytest.raises(ValueError, match=error):
        source_of(tmp_path, Source(kind, path=str(data / path), **settings))


SIMULATED = {'kind': 'simulated', 'clips': 2, 'length': 8, 'size': [60, 80], 'processes': 1}
COMPACT = {'width': .25, 'embedding': 8}
ALEXNET = {'crop_size': 67, 'channels': [4, 4, 4, 4, 4]}
CASES = {
    're3_lite': ({**COMPACT, 'hidden': 8}, 8),
    'goturn_lite': ({**COMPACT, 'fc': [16]}, 22),
    're3': ({**ALEXNET, 'skips': [2, 2, 2], 'fc': 16, 'hidden': 8}, 4),
    'goturn': ({**ALEXNET, 'fc': [16, 16], 'dropout': 0.}, 22),
}
FOLDERS = {'videos': 'videos', 'images': 'images', 'panned': 'images'}


def shipped(model, data, cache):
    """Write a shipped configuration in small for the tests' data; return its path."""
    network, batch = CASES[model]
    # With all values as texts, as the file has them.
    settings = yaml.load((ROOT / f'config/training/{model}.yaml').read_text(), yaml.BaseLoader)
    settings.update({
        'network': network, 'init_from': '', 'cache': str(cache), 'validation': [SIMULATED],
        'validation_clips': 1, 'validation_length': 2, 'compile': False, 'precision': 'float32',
        'stages': [{**stage, 'iterations': 1, 'unroll': min(4, int(stage['unroll'])),
                    'batch': batch} for stage in settings['stages'][:2]],
        'data': [{**SIMULATED, 'weight': source['weight']} if source['kind'] == 'simulated' else {
            **source, 'path': str(data / FOLDERS[source['kind']]), 'format': 'auto'}
            for source in settings['data']]})
    path = cache.parent / f'{model}.yaml'
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.parametrize('model', CASES)
def test_shipped_configurations_train(model, data, tmp_path, logged):
    output = tmp_path / 'run'
    path = shipped(model, data, tmp_path / 'cache')
    assert main(['--config', str(path), '--output', str(output)]) == 0
    assert np.isfinite(list(logged(output, 'train/norm').values())).all()
    assert load_network(weights=output / 'last.safetensors').name == model


def test_goturn_learns_from_the_sum_over_a_true_pair_and_ten_synthetic_ones(data, tmp_path):
    config = load_config(shipped('goturn', data, tmp_path / 'cache'))
    run = Trainer(config, tmp_path, torch.device('cpu'))
    for group in run.optimizer.param_groups:
        group['lr'] = 0.
    run.train_step()
    found = run.network.output.weight.grad.clone()
    seen = run.rollout
    assert seen.regions.shape == (1, 22, 4)
    centered = torch.isclose(seen.targets, torch.tensor([.25, .25, .75, .75]), atol=.02).all(-1)
    assert 1 <= centered.sum() <= 4             # the true pairs, in which little moves
    run.network.zero_grad()
    boxes = Unroll(run.network)(seen).boxes
    (10 * (boxes - seen.targets)).abs().sum().backward()
    assert torch.allclose(run.network.output.weight.grad, found, rtol=1e-4, atol=1e-4)
    groups = run.optimizer.param_groups
    assert [group['initial_lr'] for group in groups] == pytest.approx([2e-5, 1e-5])
    assert [group['weight_decay'] for group in groups] == [0, 5e-4]
