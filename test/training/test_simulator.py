# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The simulator: replay, boxes against masks, occlusion, sizes and sources."""

import dataclasses

import cv2
import numpy as np
import pytest
from training.config import SceneConfig
from training.data.cache import FrameCache
from training.simulator import ProceduralMaterial, Simulator
from training.simulator.__main__ import main
from training.simulator.material import blob, Cutout, tidy
from training.simulator.scene import (
    bend_fields,
    bounded_path,
    color_table,
    crossing_lookalike,
    displacements,
    size_path,
    smooth_displacements,
    target_actor,
)
from training.simulator.sprites import blend, Layer, Sprite, streak, visible_fraction, Window

SIZE = (96, 128)
STILL = np.zeros(2)


def rng(*seed):
    """Return a generator."""
    return np.random.default_rng(seed)


def turned(angle, scale, shift):
    """Return a (2, 3) map that turns, scales and shifts."""
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    return np.array(((cosine, -sine, shift[0]), (sine, cosine, shift[1])))


def drawn_box(layer):
    """Return the tight box of what a layer shows by more than a half."""
    y, x = np.nonzero(layer.image[..., 3] > 127)
    return np.array((x.min() + layer.x, y.min() + layer.y,
                     x.max() + layer.x + 1, y.max() + layer.y + 1))


def disc(side=61):
    """Return a sprite of a disc, and its image."""
    image = rng(1).integers(0, 255, (side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), side // 2 - 2, 255, -1)
    return image, mask


def solid(x, y, width, height):
    """Return an opaque white layer."""
    return Layer(np.full((height, width, 4), 255, np.uint8), x, y)


def test_sequences_can_be_replayed():
    """The same seed gives the same clip, another one another."""
    simulator = Simulator(ProceduralMaterial(SIZE), SIZE)
    first, again, other = (simulator.sample(rng(seed), 6) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    np.testing.assert_array_equal(first.visible, again.visible)
    assert not np.array_equal(first.boxes, other.boxes)


@pytest.mark.parametrize('seed', range(6))
def test_sequences_are_sound(seed):
    """Frames, boxes and visible fractions are as promised; the first frame shows the target."""
    clip = Simulator(ProceduralMaterial(SIZE), SIZE).sample(rng(seed), 8)
    assert clip.frames.shape == (8, *SIZE, 3) and clip.frames.dtype == np.uint8
    assert clip.boxes.shape == (8, 4) and clip.visible.shape == (8,)
    assert (clip.boxes[:, 2:] > clip.boxes[:, :2]).all()
    assert ((clip.visible >= 0) & (clip.visible <= 1)).all()
    assert clip.present.all() and np.isfinite(clip.visible).all()
    assert clip.visible[0] >= 0.6


@pytest.mark.parametrize('angle,scale', [(0, 1), (0.4, 1.7), (-1.2, 0.6), (2.0, 0.23)])
def test_box_is_tight_around_what_is_drawn(angle, scale):
    """The box computed from the outline is that of the drawn pixels, to a pixel."""
    sprite = Sprite(*disc())
    matrix = turned(angle, scale, (20.3, 31.7))
    layer = sprite.draw(matrix, None, STILL, None)
    np.testing.assert_allclose(sprite.box(matrix), drawn_box(layer), atol=1.0)


def test_box_of_an_undistorted_rectangle_is_exact():
    """A mask that covers columns 3..12 and rows 5..9 has the box 3, 5, 13, 10."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 3:13] = 255
    sprite = Sprite(np.zeros((20, 30, 3), np.uint8), mask)
    # The border that the sprite adds shifts its points; by the offset of the outline.
    shift = np.array((2.5, 4.5)) - sprite.outline.min(axis=0)
    matrix = np.column_stack((np.eye(2), shift))
    np.testing.assert_allclose(sprite.box(matrix), (3, 5, 13, 10))


@pytest.mark.parametrize('seed', range(5))
def test_box_follows_deformation(seed):
    """Bent sprites have a tight box too."""
    sprite = Sprite(*disc(), bend_fields(rng(seed)))
    matrix, pose = turned(0.3, 1.2, (20, 10)), np.array((1.2, -0.8))
    layer = sprite.draw(matrix, pose, STILL, None)
    np.testing.assert_allclose(sprite.box(matrix, pose), drawn_box(layer), atol=2.0)
    flat = sprite.box(matrix, STILL)
    assert np.abs(flat - sprite.box(matrix, pose)).max() > 0.3


def test_edges_are_soft_and_free_of_the_old_background():
    """Across the edge of a sprite the opacity rises over a few pixels, colors stay its own."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:] = (200, 40, 40)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    layer = Sprite(image, mask).draw(turned(0, 1, (0, 0)), None, STILL, None)
    row = layer.image[layer.image.shape[0] // 2]
    assert ((row[:, 3] > 5) & (row[:, 3] < 250)).sum() >= 2
    frame = np.zeros((60, 60, 3), np.uint8)
    frame[:] = (40, 40, 200)
    blend(frame, layer)
    between = frame.reshape(-1, 3).astype(float) @ (1, 0, 1)
    np.testing.assert_allclose(between, 240, atol=4)


def test_visible_fraction_of_layers():
    """What other layers cover and what the border cuts off is not visible."""
    target = solid(10, 10, 20, 10)
    assert visible_fraction(target, [], SIZE) == 1
    half = solid(10, 10, 10, 10)
    assert visible_fraction(target, [half], SIZE) == pytest.approx(0.5)
    assert visible_fraction(target, [half, half], SIZE) == pytest.approx(0.5)
    assert visible_fraction(target, [half, solid(20, 5, 10, 50)], SIZE) == 0
    assert visible_fraction(target, [solid(100, 10, 10, 10)], SIZE) == 1
    assert visible_fraction(solid(-15, 10, 20, 10), [], SIZE) == pytest.approx(0.25)
    assert visible_fraction(solid(-50, 10, 20, 10), [], SIZE) == 0


def test_streak_spreads_along_the_motion_only():
    """A point becomes a line as long as the motion; the light in it stays."""
    image = np.zeros((41, 41, 4), np.uint8)
    image[20, 20] = 240
    line = streak(image, np.array((16.0, 0)))
    rows, columns = np.nonzero(line[..., 0])
    assert set(rows) == {20}
    assert 12 <= np.ptp(columns) <= 17 and abs(columns.mean() - 20) <= 1
    assert line[..., 0].sum() == pytest.approx(240, rel=0.1)
    assert streak(image, np.array((1.0, 1.0))) is image


def test_occluders_hide_targets_and_their_absence_does_not():
    """Without occluders, distractors and border the target is always fully visible."""
    quiet = SceneConfig(occlusion_prob=0, leaving_prob=0, lookalike_prob=0, max_distractors=0,
                        largest=0.3)
    hiding = dataclasses.replace(quiet, occlusion_prob=1)
    lowest = {}
    for name, config in (('quiet', quiet), ('hiding', hiding)):
        simulator = Simulator(ProceduralMaterial(SIZE), SIZE, config=config)
        clips = [simulator.sample(rng(seed), 24) for seed in range(12)]
        # What lies outside of the frame is not an occluder's work.
        inside = [((clip.boxes[:, :2] >= 0) & (clip.boxes[:, 2:] <= SIZE[::-1])).all(axis=1)
                  for clip in clips]
        lowest[name] = [clip.visible[rows].min() for clip, rows in zip(clips, inside, strict=True)
                        if rows.any()]
    assert min(lowest['quiet']) > 0.97
    assert np.mean(np.array(lowest['hiding']) < 0.7) >= 0.5


def test_hidden_targets_are_out_of_sight_for_many_frames_and_move_on():
    """Most targets have five frames in a row of which nothing is visible."""
    quiet = SceneConfig(occlusion_prob=0, leaving_prob=0, lookalike_prob=0, max_distractors=0,
                        largest=0.2)
    longest, moved = {0: [], 1: []}, []
    for prob, found in longest.items():
        simulator = Simulator(ProceduralMaterial(SIZE), SIZE, config=dataclasses.replace(
            quiet, hiding_prob=prob, smooth_motion_prob=prob))
        for seed in range(10):
            clip = simulator.sample(rng(seed), 48)
            hidden = clip.visible < 0.05
            runs = ''.join('#' if one else ' ' for one in hidden).split()
            found.append(max(map(len, runs), default=0))
            moved.extend(np.abs(np.diff(clip.boxes, axis=0)).max(axis=1)[hidden[1:]])
    assert max(longest[0]) == 0
    assert np.mean(np.array(longest[1]) >= 5) >= 0.5
    assert np.median(moved) > 0.2


def test_crossing_lookalikes_meet_the_target_at_its_size():
    """The look-alike comes as near as half a target, and is elsewhere at other times."""
    material, config = ProceduralMaterial(SIZE), SceneConfig()
    for seed in range(10):
        draw = rng(seed)
        cutout = material.cutout(draw)
        target = target_actor(draw, cutout, 48, SIZE, config)
        other = crossing_lookalike(draw, target, cutout)
        distance = np.abs((other.centers - target.centers) / target.sides).max(axis=1)
        ratio = other.sides / target.sides
        assert distance.min() < 1 and distance.max() > 1
        assert (0.8 < ratio[distance.argmin()]).all() and (ratio[distance.argmin()] < 1.25).all()


def test_smooth_motion_can_be_predicted():
    """The velocity of the next frame differs little from that of this one."""
    for seed in range(10):
        moves = smooth_displacements(rng(seed), 40)[1:]
        change = np.linalg.norm(np.diff(moves, axis=0), axis=1)
        assert change.mean() < 0.5 * np.linalg.norm(moves, axis=1).mean()
        assert np.abs(moves).max() <= 1


def test_target_can_be_found_in_the_frames():
    """The pixels of the box in a clean clip are the object's: it differs from the background."""
    class White(ProceduralMaterial):

        def background(self, generator):
            return np.zeros((*self.size, 3), np.uint8)

        def cutout(self, generator):
            return Cutout(np.full((60, 40, 3), 255, np.uint8), np.full((60, 40), 255, np.uint8))

    config = SceneConfig(occlusion_prob=0, lookalike_prob=0, max_distractors=0, blur_prob=0,
                         jpeg_prob=0, morph_prob=0, leaving_prob=0)
    clip = Simulator(White(SIZE), SIZE, config=config).sample(rng(5), 12)
    for frame, box in zip(clip.frames, clip.boxes, strict=True):
        brightness = frame.sum(axis=2).astype(float)
        y, x = np.nonzero(brightness > (brightness.min() + brightness.max()) / 2)
        found = np.array((x.min(), y.min(), x.max() + 1, y.max() + 1))
        shown = np.clip(box, 0, (*SIZE[::-1], *SIZE[::-1]))
        # Blur by motion fades the outermost pixels.
        np.testing.assert_allclose(found, shown, atol=4)


def test_sizes_stay_between_the_limits():
    """Over many scenes no target is smaller or larger than configured, and they vary."""
    config = SceneConfig(smallest=10, largest=0.5)
    simulator = Simulator(ProceduralMaterial((48, 64)), SIZE, config=config)
    sides = []
    for seed in range(25):
        boxes = simulator.sample(rng(seed), 2).boxes
        sides.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))
    # Turned objects have larger boxes.
    assert np.min(sides) >= 9 and np.max(sides) <= 0.5 * 96 * 1.25 * 1.5
    assert np.max(sides) > 3 * np.min(sides)


def test_steps_are_at_most_one_side():
    """Fast motion reaches up to one side of the box per frame, not more."""
    moves = np.concatenate([displacements(rng(seed), 32) for seed in range(200)])
    assert np.abs(moves).max() == pytest.approx(1, abs=0.15) and np.abs(moves).max() <= 1
    assert np.median(np.linalg.norm(moves, axis=1)) < 0.2


def test_paths_turn_round_at_the_border():
    """An object that moves on and on stays inside."""
    moves = np.tile((0.4, 0.3), (100, 1))
    path = bounded_path(rng(0), moves, np.full((100, 2), 20.0), SIZE, 0.5)
    assert (path >= 10 - 1e-9).all() and (path <= np.array(SIZE[::-1]) - 10 + 1e-9).all()
    assert np.ptp(path[:, 0]) > 60


def test_zoom_has_a_limit():
    """The size changes by at most the given ratio, apart from the aspect."""
    for seed in range(30):
        path = size_path(rng(seed), 32, 0.0, 3.0)
        assert np.ptp(path.mean(axis=1)) <= np.log(3) + 1e-9
        np.testing.assert_array_equal(path[0], 0)


def test_blobs_fill_their_box():
    """Random shapes touch all four sides of their mask."""
    for seed in range(20):
        mask = blob(rng(seed), 40, 30) > 0
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


def test_tidy_masks_have_no_specks():
    """Specks and threads go, large parts stay."""
    mask = np.zeros((40, 40), np.uint8)
    mask[5:20, 5:20], mask[30, 30], mask[10, 20:39] = 255, 255, 255
    expected = np.zeros_like(mask)
    expected[5:20, 5:20] = 255
    np.testing.assert_array_equal(tidy(mask), expected)


def test_recoloring_keeps_the_outline():
    """Colors change, opacity and transparency do not."""
    sprite = Sprite(*disc())
    before = sprite.levels[0].copy()
    sprite.recolor(color_table(rng(2), 1.0))
    after = sprite.levels[0]
    np.testing.assert_array_equal(before[..., 3], after[..., 3])
    assert (after[..., :3] <= after[..., 3:]).all()
    assert not np.array_equal(before, after)


def test_windows_meet():
    """The common part of two rectangles may be empty."""
    assert Window(0, 0, 4, 4).meet(Window(2, 1, 9, 3)) == Window(2, 1, 4, 3)
    assert Window(0, 0, 4, 4).meet(Window(4, 0, 9, 3)).empty


def test_empty_sprites_are_refused():
    """A mask without a pixel makes no object."""
    with pytest.raises(ValueError, match='empty'):
        Sprite(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize('name', ['sheet.png', 'clips.mp4'])
def test_command_shows_sequences(name, tmp_path, capsys):
    """A contact sheet or a video is written; the seed repeats it."""
    arguments = ['--clips', '2', '--length', '3', '--size', '48', '64', '--output']
    assert main([*arguments, str(tmp_path / name)]) == 0
    assert '2 sequences of 3 frames' in capsys.readouterr().out
    capture = cv2.VideoCapture(str(tmp_path / name))
    assert capture.read()[0]
    assert main([*arguments, str(tmp_path / 'sheet.xyz')]) == 1
    assert 'cannot be written' in capsys.readouterr().err


def test_command_renders_a_cache_of_clips(tmp_path, capsys):
    """A folder becomes a cache; other settings need another folder."""
    arguments = ['--clips', '2', '--length', '3', '--size', '48', '64', '--processes', '1',
                 '--output', str(tmp_path / 'clips')]
    assert main(arguments) == 0
    cache = FrameCache(tmp_path / 'clips')
    assert len(cache.tracks) == 2 and cache.frames(1).shape == (3, 48, 64, 3)
    assert main([*arguments, '--seed', '5']) == 1
    assert 'other settings' in capsys.readouterr().err
