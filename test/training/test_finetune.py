# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Fine-tuning: what is held out, when it ends, and that it never ends worse than it began."""

import copy
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from re3_core import load_network, save_network, Tracker
from re3_core.io.images import read_image, save_image
from re3_core.io.video import VideoFile
from re3_core.weights import read_metadata
from safetensors.torch import load_file
import torch
from training import finetune
from training.data.base import LabeledTrack, LabeledVideo
from training.finetune import FinetuneOptions, FineTuner, has_confidence, main, split_videos

SIZE = (90, 120)


def write_walk(folder, seed, count=16):
    """Write an OTB sequence of a textured square that walks over a textured ground."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (*SIZE, 3), np.uint8)
    texture = rng.integers(120, 255, (24, 24, 3), np.uint8)
    lines = []
    x, y = rng.integers(10, 50, 2)
    for t in range(count):
        image = ground.copy()
        left, top = int(x + 2 * t), int(y + (t % 4))
        image[top:top + 24, left:left + 24] = texture
        save_image(folder / 'img' / f'{t:04d}.png', image)
        lines.append(f'{left},{top},24,24\n')
    (folder / 'groundtruth_rect.txt').write_text(''.join(lines))


@pytest.fixture
def walks(tmp_path):
    """Return a folder with four short labeled sequences."""
    for number in range(4):
        write_walk(tmp_path / 'labels' / f'walk{number}', number)
    return tmp_path / 'labels'


@pytest.fixture
def weights(network, tmp_path):
    """Return a weights file of a tiny network with random weights."""
    save_network(network, tmp_path / 'tiny.safetensors')
    return tmp_path / 'tiny.safetensors'


def arguments(walks, weights, *further):
    """Return a command line that takes seconds."""
    return ['--data', str(walks), '--output', str(walks.parent / 'out'), '--weights',
            str(weights), '--iterations', '30', '--batch', '4', '--unroll', '4',
            '--validate-every', '10', '--lr', '3e-3', '--simulated-clips', '2', '--threads', '1',
            '--device', 'cpu', *further]


def test_the_held_out_part_improves_and_all_results_are_written(walks, weights, capsys):
    assert main(arguments(walks, weights)) == 0
    out = walks.parent / 'out'
    report = json.loads((out / 'report.json').read_text())
    assert report['improved'] and report['after'] > report['before'] + .01
    assert report['history'][0] == [0, pytest.approx(report['before'])]
    assert report['split'].startswith('1 of 4 sequences choose the weights and measure them')
    assert len(report['sequences']) == 1
    text = capsys.readouterr().out
    assert '| AUC before | AUC after' in text and 'weights:=' in text
    # The written weights are those that were measured.
    sequences = [finetune.sequences_in(cache) for cache in [finetune.cache_parts(
        split_videos(finetune.read_dataset(walks)).measuring, out / 'again', 960)]][0]
    again = finetune.evaluate_network(load_network(weights=out / 'weights.safetensors'),
                                      sequences, torch.device('cpu'))
    assert again.auc == pytest.approx(report['after'])
    assert (out / 'before_after.png').stat().st_size > 5000
    assert f'{report["after"]:.3f}' in (out / 'report.md').read_text()
    video = VideoFile(out / 'before_after.mp4')
    assert video.properties() == ((2 * (SIZE[1] + 2), SIZE[0]), 16)
    video.release()
    assert read_image(out / 'before_after.jpg').shape == (3 * SIZE[0], 2 * (SIZE[1] + 2), 3)
    # The export is of the same weights.
    tracker = Tracker(weights=out / 'onnx', engine='onnxruntime', device='cpu')
    assert tracker.engine == 'onnxruntime'
    assert not (out / 'work').exists()


def test_without_improvement_the_original_weights_are_returned(walks, weights, capsys):
    assert main(arguments(walks, weights, '--lr', '0', '--patience', '1', '--no-export')) == 0
    out = walks.parent / 'out'
    assert (out / 'weights.safetensors').read_bytes() == weights.read_bytes()
    report = json.loads((out / 'report.json').read_text())
    assert not report['improved'] and report['after'] == report['before']
    # It ended after the first validation that brought nothing.
    assert [iteration for iteration, _ in report['history']] == [0, 10]
    assert 'the result is the original weights' in capsys.readouterr().out


def test_a_single_sequence_is_split_by_time(tmp_path, weights):
    write_walk(tmp_path / 'labels' / 'walk', 0, 30)
    report = finetune.finetune(FinetuneOptions(
        data=str(tmp_path / 'labels'), output=str(tmp_path / 'out'), weights=weights,
        iterations=2, batch=2, unroll=4, simulated_clips=2, validate_every=2, threads=1,
        device='cpu', export=False))
    assert report['split'].startswith('the last 9 of 30 frames of the only sequence choose')
    assert list(report['sequences']) == ['walk']


def video(name, count, boxes=None):
    """Return a labeled video without files."""
    boxes = np.tile((1., 2., 30., 40.), (count, 1)) if boxes is None else boxes
    return LabeledVideo(name, ['x'] * count, tracks=(LabeledTrack('', boxes),))


@pytest.mark.parametrize(('count', 'sizes'), [(10, [6, 2, 2]), (6, [4, 1, 1]), (5, [4, 1, 1]),
                                              (2, [1, 1, 1])])
def test_split_by_sequence_keeps_whole_sequences_apart(count, sizes):
    videos = [video(str(number), 5) for number in range(count)]
    split = split_videos(videos)
    assert [len(parts) for parts in split[:3]] == sizes
    separate = count >= 6
    assert (split.choosing == split.measuring) is not separate
    held_out = split.choosing + (split.measuring if separate else [])
    names = [part[0].name for part in split.training + held_out]
    assert sorted(names) == sorted(str(number) for number in range(count))
    assert ('looks a little better' in split.description) is not separate
    assert split_videos(videos) == split
    assert any(split_videos(videos, seed) != split for seed in range(1, 9))


def test_other_sequences_measure_than_those_that_choose(walks, weights, monkeypatch):
    """What helps only the sequences that choose the weights is no improvement."""
    for number in range(4, 6):
        write_walk(walks / f'walk{number}', number)
    split = split_videos(finetune.read_dataset(walks))
    chosen, measured = split.choosing[0][0].name, split.measuring[0][0].name
    evaluate, calls = finetune.evaluate_network, []

    def evaluation(network, sequences, device):
        """Each call is better than the one before for one sequence, and worse for the other."""
        (name,) = {sequence.name for sequence in sequences}
        calls.append(name)
        change = .1 if name == chosen else -.1
        result = evaluate(network, sequences, device)
        return result._replace(curves=[curve._replace(
            success=np.full(21, .5 + change * len(calls))) for curve in result.curves])
    monkeypatch.setattr(finetune, 'evaluate_network', evaluation)
    assert main(arguments(walks, weights, '--iterations', '1', '--no-export')) == 0
    # At first, after a step, before and after, with the shares of the new weights in between.
    assert calls == [chosen, chosen, measured, *[chosen] * len(finetune.SHARES), measured]
    report = json.loads((walks.parent / 'out/report.json').read_text())
    assert not report['improved'] and list(report['sequences']) == [measured]


def test_an_interrupted_run_is_continued_by_the_same_command(walks, weights, monkeypatch, capsys):
    command = arguments(walks, weights, '--no-export', '--iterations', '20')
    assert main(command) == 0
    out = walks.parent / 'out'
    expected = json.loads((out / 'report.json').read_text())
    whole, metadata = load_file(result := out / 'weights.safetensors'), read_metadata(result)
    shutil.rmtree(out)
    save = FineTuner.save

    def interrupted(tuner):
        save(tuner)
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(FineTuner, 'save', interrupted)
        assert main(command) == 130
    # Not with other options or labels, nor while another process works on it.
    assert main([*command, '--lr', '1e-4']) == 1
    assert 'has not ended, with other lr; remove it' in capsys.readouterr().err
    with finetune.locked(out / 'work'):
        assert main(command) == 1
    assert 'open in another program' in capsys.readouterr().err
    assert main(command) == 0
    assert 'continued after 10 steps' in capsys.readouterr().out
    assert json.loads((out / 'report.json').read_text()) == expected
    # Not byte by byte: the order of the metadata in a file is random.
    continued = load_file(result)
    assert read_metadata(result) == metadata and continued.keys() == whole.keys()
    assert all(torch.equal(continued[name], value) for name, value in whole.items())
    assert not (out / 'work').exists()
    # A run that has ended is not one to continue.
    assert main(command) == 1
    assert 'name another --output' in capsys.readouterr().err


def test_a_run_that_was_killed_while_decoding_is_started_again(walks, weights, monkeypatch):
    def kill(*arguments):
        raise KeyboardInterrupt
    command = arguments(walks, weights, '--no-export', '--iterations', '1')
    with monkeypatch.context() as patch:
        patch.setattr(finetune, 'write_material', kill)
        assert main(command) == 130
    assert main(command) == 0
    assert (walks.parent / 'out/weights.safetensors').is_file()


def test_data_without_boxes_is_refused(tmp_path, capsys, weights):
    with pytest.raises(ValueError, match='no video has a target'):
        split_videos([video('a', 3, np.full((3, 4), np.nan)), video('b', 1)])
    late = np.full((10, 4), np.nan)
    late[8:] = 1, 2, 30, 40
    with pytest.raises(ValueError, match='too short to hold a part out'):
        split_videos([video('a', 10, late)])
    save_image(tmp_path / 'images/a.png', np.zeros((9, 9, 3), np.uint8))
    assert main(['--data', str(tmp_path / 'images'), '--output', str(tmp_path / 'out')]) == 1
    assert 'images, but fine-tuning needs videos' in capsys.readouterr().err
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/letter').touch()
    assert main(['--data', str(tmp_path), '--output', str(tmp_path / 'full')]) == 1
    assert 'name another --output' in capsys.readouterr().err
    assert main(['--data', str(tmp_path), '--output', str(tmp_path / 'x'), '--model', 'yolo']) == 1
    assert '--model must be one of' in capsys.readouterr().err


def test_a_failed_run_leaves_no_caches(walks, weights, monkeypatch):
    def fail(*arguments, **options):
        raise ValueError('disk is full')
    monkeypatch.setattr(finetune, 'train', fail)
    assert main(arguments(walks, weights)) == 1
    assert list((walks.parent / 'out').iterdir()) == []


def test_patience_counts_validations_since_the_best():
    tuner = object.__new__(FineTuner)
    tuner.patience = 2
    for values, finished in (((.5, .6), False), ((.5, .6, .55), False), ((.5, .6, .5, .59), True),
                             ((.5, .4, .4), True)):
        tuner.history = list(enumerate(values))
        assert tuner.finished is finished


def test_networks_without_confidence_learn_none(memoryless, network):
    assert has_confidence(network) and has_confidence(memoryless)
    recur = memoryless.recur

    def without(encoded, memory):
        prediction, memory = recur(encoded, memory)
        return prediction._replace(logits=torch.full_like(prediction.logits, torch.nan)), memory
    memoryless.recur = without      # as the networks of the papers
    assert not has_confidence(memoryless)


def test_pieces_start_with_a_box_and_cover_the_sequence():
    boxes = np.tile((1., 2., 30., 40.), (100, 1))
    boxes[30:40] = np.nan
    sequence = finetune.LabeledSequence('walk', list(range(100)), boxes, np.ones(100))
    pieces = finetune.pieces_of(sequence)
    assert [piece.frames for piece in pieces] == [
        list(range(40)), list(range(40, 70)), list(range(70, 100))]
    assert all(np.isfinite(piece.boxes[0]).all() for piece in pieces)
    for count, expected in ((29, [29]), (30, [30]), (70, [40, 30])):
        short = finetune.LabeledSequence('walk', list(range(count)), boxes[:count],
                                         np.ones(count))
        assert list(map(len, finetune.pieces_of(short))) == expected


def test_the_best_share_of_the_new_weights_is_taken(network, tmp_path, monkeypatch):
    """The network is one between the old and the new weights, or the old one."""
    new = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter += 1
    save_network(new, tmp_path / 'best.safetensors')
    stored = load_network(weights=tmp_path / 'best.safetensors')
    name, old = next(iter(network.named_parameters()))
    for share, auc in ((1., .7), (.5, .7), (None, .6)):
        tuner = object.__new__(FineTuner)
        tuner.output, tuner.held_out, tuner.device = tmp_path, [], None
        tuner.history = [(0, .6)]

        def evaluation(candidate, sequences, device, share=share, auc=auc):
            moved = float((candidate.get_parameter(name) - old).mean().detach())
            good = share is not None and abs(moved - share) < .01
            return SimpleNamespace(auc=auc if good else .5)
        monkeypatch.setattr(finetune, 'evaluate_network', evaluation)
        chosen = finetune.chosen_network(network, tuner)
        if share is None:
            assert chosen is None
        else:
            expected = old + share * (stored.get_parameter(name) - old)
            assert torch.allclose(chosen.get_parameter(name), expected, atol=2e-3)
