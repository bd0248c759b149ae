# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The occlusion benchmark: occluders, figures, and the command."""

import json

import cv2
import numpy as np
import pytest
from re3_core.weights import save_network
from training import occlusion
from training.data.base import Sequence
from training.occlusion import (
    add_occluder,
    AFTER,
    BEFORE,
    OcclusionEvent,
    score_event,
    sequence_events,
    SLIDE,
)
from training.simulator import ProceduralMaterial, Simulator

LENGTH = 6
COUNT = BEFORE + LENGTH + AFTER
BLUE = (0, 0, 255)


def moving(count=COUNT, speed=1., name='square'):
    """Return a Sequence of a blue square on noise without blue."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (100, 160, 3), dtype=np.uint8)
    ground[..., 2] = 0
    x = 20 + speed * np.arange(count)
    boxes = np.stack((x, np.full(count, 40.), x + 16, np.full(count, 56.)), 1)
    frames = np.repeat(ground[None], count, 0)
    for frame, (x1, y1, x2, y2) in zip(frames, boxes.round().astype(int), strict=True):
        frame[y1:y2, x1:x2] = BLUE
    return Sequence(name, frames, boxes, np.ones(count))


def blue(frame):
    return int((frame == BLUE).all(-1).sum())


def test_the_occluder_hides_the_target_and_changes_nothing_before_and_after():
    original = moving()
    event = add_occluder(original, LENGTH)
    frames = event.sequence.frames
    assert len(event.sequence) == COUNT and event.hidden == range(BEFORE, BEFORE + LENGTH)
    seen = np.array([blue(frames[t]) for t in range(COUNT)])
    assert (seen[list(event.hidden)] == 0).all()
    assert seen[BEFORE - 1] < 256 and seen[event.hidden.stop] < 256     # it slides
    for t in (0, BEFORE - SLIDE, event.hidden[-1] + SLIDE, COUNT - 1):
        np.testing.assert_array_equal(frames[t], original.frames[t])
    assert blue(original.frames[BEFORE]) == 256      # the frames themselves stay as they are


def test_the_occluder_is_the_same_every_time_and_another_for_another_name():
    first, again, other = (add_occluder(moving(name=name), LENGTH).sequence.frames[BEFORE]
                           for name in ('a', 'a', 'b'))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize('change', ['absent', 'everywhere'])
def test_targets_that_cannot_be_hidden_are_left_out(change):
    sequence = moving()
    if change == 'absent':
        sequence.boxes[BEFORE + 2] = np.nan
    else:
        sequence.boxes[:] = (5, 5, 155, 95)
    assert add_occluder(sequence, LENGTH) is None


def event_of(boxes, hidden):
    return OcclusionEvent(Sequence('event', [None] * len(boxes), boxes, np.ones(len(boxes))),
                          hidden)


def test_figures_of_one_hidden_target():
    boxes = np.tile((0., 0., 10., 10.), (12, 1))
    event = event_of(boxes, range(3, 7))
    away = boxes + 50
    #                 0  1  2  3  4  5  6  7  8  9 10 11     hidden: 3 to 6
    lost = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0], bool)
    expected = {'found': True, 'frames_until_found': 4., 'false_redetections': 1,
                'tracked_while_hidden': .5, 'never_lost': False}
    assert score_event(event, boxes, lost) == expected
    elsewhere = score_event(event, away, lost)
    assert not elsewhere['found'] and np.isnan(elsewhere['frames_until_found'])
    assert elsewhere['false_redetections'] == 2
    blind = score_event(event, boxes, np.zeros(12, bool))
    assert blind['never_lost'] and blind['tracked_while_hidden'] == 1
    assert blind['false_redetections'] == 0
    total = occlusion.summarize([expected, elsewhere])
    assert total['events'] == 2 and total['found'] == .5
    assert total['frames_until_found'] == 4 and total['false_redetections'] == 1.5


def test_figures_of_a_target_that_is_never_hidden():
    boxes = np.tile((0., 0., 10., 10.), (4, 1))
    boxes[3] = np.nan
    found = score_event(event_of(boxes, range(0)), np.nan_to_num(boxes, nan=7.),
                                  np.array([False, True, False, False]))
    assert found == {'auc': pytest.approx(20 / 21), 'lost': .25, 'false_redetections': 0}


def test_clips_are_drawn_without_other_occlusions():
    assert occlusion.SCENES.occlusion_prob == occlusion.SCENES.leaving_prob == 0
    simulator = Simulator(ProceduralMaterial((60, 80)), (60, 80), config=occlusion.SCENES)
    clip = simulator.sample(np.random.default_rng(1), 4)
    assert clip.present.all()


def test_command_compares_with_and_without_search(memoryless, tmp_path, capsys):
    weights = tmp_path / 'tiny.safetensors'
    save_network(memoryless, weights)
    sequence = moving(COUNT + 4)
    boxes = sequence.boxes
    folder = tmp_path / 'data' / 'square' / 'img'
    folder.mkdir(parents=True)
    for number, frame in enumerate(sequence.frames):
        cv2.imwrite(str(folder / f'{number:04}.png'), frame[..., ::-1])
    np.savetxt(folder.parent / 'groundtruth_rect.txt',
               np.c_[boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], delimiter=',')
    output = tmp_path / 'out.json'
    status = occlusion.main([
        '--model', 'goturn_lite', '--weights', str(weights), '--device', 'cpu', '--clips', '1',
        '--size', '60', '80', '--hidden', str(LENGTH), '--each', '2', '--candidates', '0', '2',
        '--dataset', str(folder.parents[1]), '--json', str(output)])
    assert status == 0
    report = json.loads(output.read_text())
    assert set(report) <= {f'simulated, hidden for {LENGTH}', 'simulated, never hidden',
                           f'data, hidden for {LENGTH}', 'data, never hidden'}
    hidden = report[f'data, hidden for {LENGTH}']
    assert list(hidden) == ['no re-detection', 're-detection, 2 places']
    assert hidden['no re-detection']['events'] == 2
    assert 0 < report['data, never hidden']['no re-detection']['auc'] < 1
    assert '| data, never hidden | 1 | re-detection, 2 places |' in capsys.readouterr().out


def test_command_names_what_is_missing(tmp_path, capsys):
    assert occlusion.main(['--clips', '0', '--dataset', str(tmp_path / 'nowhere')]) == 1
    assert 'nowhere' in capsys.readouterr().err


def test_sequences_give_events_spread_over_their_length():
    sequence = moving(COUNT + 20)
    events = sequence_events([sequence], LENGTH, 3)
    assert [event.sequence.name for event in events] == ['square@0', 'square@10', 'square@20']
    np.testing.assert_array_equal(events[1].sequence.boxes[0], sequence.boxes[10])
    np.testing.assert_array_equal(events[1].sequence.frames[0], sequence.frames[10])
    assert sequence_events([sequence], LENGTH + 21, 3) == []
