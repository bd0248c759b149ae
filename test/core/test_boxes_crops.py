# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Boxes and crops: checks, coordinates and pixels."""

import cv2
import numpy as np
import pytest
from re3_core import boxes as box_ops
from re3_core.crops import crop_batch, CropSpec, decode, encode, region_of
import torch


def gradient_frame(height=60, width=80):
    """Return a frame whose red is the column and whose green is the row, times 2."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = 2 * np.arange(width)
    frame[..., 1] = 2 * np.arange(height)[:, None]
    return frame


@pytest.mark.parametrize('box, text', [
    ((1, 2, 3), 'four numbers'),
    ('abcd', 'four numbers'),
    ((1, 2, np.nan, 4), 'finite'),
    ((1, 2, np.inf, 4), 'finite'),
    ((5, 2, 5, 4), 'x1 < x2'),
    ((1, 5, 3, 4), 'x1 < x2'),
    ((80, 0, 90, 9), 'outside the frame of 80 x 60'),
    ((-9, 0, 0, 9), 'outside the frame'),
])
def test_bad_boxes_are_refused_by_name(box, text):
    with pytest.raises(ValueError, match=text):
        box_ops.check_box(box, (60, 80))


def test_box_reaching_over_the_border_is_allowed():
    assert box_ops.check_box((-9, -9, 1, 1), (60, 80)).tolist() == [-9, -9, 1, 1]


@pytest.mark.parametrize('there, back', [
    (box_ops.xyxy_to_cxcywh, box_ops.cxcywh_to_xyxy),
    (box_ops.xyxy_to_xywh, box_ops.xywh_to_xyxy),
])
@pytest.mark.parametrize('library', ['numpy', 'torch'])
def test_conversions_are_inverse(there, back, library):
    boxes = np.array([[[1., 2., 5., 9.]], [[-3., 0., 4., 1.]]])
    boxes = boxes if library == 'numpy' else torch.from_numpy(boxes)
    assert np.allclose(back(there(boxes)), boxes)


@pytest.mark.parametrize('other, overlap', [
    ((0, 0, 2, 2), 1),
    ((2, 0, 4, 2), 0),        # touching
    ((5, 5, 6, 6), 0),
    ((1, 1, 1, 1), 0),        # empty
    ((0, 0, 1, 2), .5),
    ((3, 3, 1, 1), 0),        # inside out
])
def test_iou(other, overlap):
    a, b = np.array([0., 0., 2., 2.]), np.array(other, float)
    assert box_ops.iou(a, b) == pytest.approx(overlap)
    assert float(box_ops.iou(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(overlap)


@pytest.mark.parametrize('library', [np.array, torch.tensor])
def test_damp_scale_keeps_the_centers(library):
    before = library([[0., 0., 10., 20.], [0., 0., 10., 20.]])
    boxes = library([[30., 30., 70., 50.], [0., 0., -5., 20.]])
    damped = np.asarray(box_ops.damp_scale(boxes, before, .5))
    np.testing.assert_allclose(damped[0], [40., 30., 60., 50.])
    assert np.isfinite(damped).all() and (damped[:, 2:] >= damped[:, :2]).all()
    assert box_ops.damp_scale(boxes, before, 1.) is boxes
    same_size = np.asarray(box_ops.damp_scale(boxes, before, 0.))
    np.testing.assert_allclose(same_size[0], [45, 30, 55, 50])


def test_centered_box_of_same_size_encodes_to_the_middle_half():
    box = np.array([30., 20., 50., 30.])
    region = region_of(box, 2.)
    coordinates = encode(box, region)
    assert np.allclose(10 * coordinates, (2.5, 2.5, 7.5, 7.5))
    assert np.allclose(decode(coordinates, region), box)


@pytest.mark.parametrize('library', [np.array, torch.tensor])
def test_a_region_is_nearer_to_a_square_at_the_same_area(library):
    boxes = library([[20., 10., 30., 50.], [0., 0., 40., 10.]])      # 10 x 40 and 40 x 10
    for aspect, width, height in ((1., 20, 80), (.5, 20 * 2 ** .5, 80 / 2 ** .5), (0., 40, 40)):
        regions = np.asarray(CropSpec(0, 2., aspect).region(boxes))
        np.testing.assert_allclose(regions[0], [25 - width / 2, 30 - height / 2,
                                                25 + width / 2, 30 + height / 2], rtol=1e-6)
        np.testing.assert_allclose(regions[1], [20 - height / 2, 5 - width / 2,
                                                20 + height / 2, 5 + width / 2], rtol=1e-6)


def test_crop_shows_the_region_at_its_place():
    frame = gradient_frame()
    crop = crop_batch([frame], np.array([[10, 5, 42, 37]]), 32)[0].numpy()
    assert np.array_equal(crop.transpose(1, 2, 0), frame[5:37, 10:42])


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy])
def test_region_from_right_to_left_is_mirrored(kind):
    frame = cv2.resize(gradient_frame()[::8, ::8], (80, 60))
    straight, mirrored = crop_batch(
        [kind(frame)] * 2, np.array([[-10, 5, 52, 37], [52, 5, -10, 37]], np.float32), 32)
    assert (straight.flip(-1).int() - mirrored.int()).abs().max() <= 4


def test_crop_of_half_the_scale_averages_pixels():
    frame = gradient_frame()
    crop = crop_batch([frame], np.array([[0, 0, 64, 60]]), 32)[0].numpy()
    assert crop[0, 0, 3] == pytest.approx((2 * 6 + 2 * 7) / 2, abs=1)


@pytest.mark.parametrize('region', [
    (3.3, 2.2, 75.8, 57.1),         # shrunk by four in both directions
    (75.8, 2.2, 3.3, 57.1),         # mirrored
    (20.4, 1.7, 31.9, 58.2),        # shrunk vertically only
    (2.6, 30.1, 77.3, 41.4),        # horizontally only
])
def test_shrunk_crops_show_every_place_where_it_is(region):
    x1, y1, x2, y2 = region
    crop = crop_batch([gradient_frame()], np.array([region]), 16)[0].numpy()
    ticks = (np.arange(16) + .5) / 16
    columns, rows = 2 * (x1 + ticks * (x2 - x1) - .5), 2 * (y1 + ticks * (y2 - y1) - .5)
    np.testing.assert_allclose(crop[0], np.tile(columns, (16, 1)), atol=1.5)
    np.testing.assert_allclose(crop[1], np.tile(rows[:, None], (1, 16)), atol=1.5)


def test_shrunk_crops_are_black_outside_of_the_frame_only():
    frame = np.full((61, 83, 3), 200, np.uint8)
    x1, y1, x2, y2 = region = np.array([-40., -30., 123., 91.])
    crop = crop_batch([frame], region[None], 16)[0, 0].numpy()
    ticks = np.arange(16) + .5
    columns, rows = x1 + ticks * (x2 - x1) / 16, y1 + ticks * (y2 - y1) / 16
    reach = 1.5 * (x2 - x1) / 16        # of the interpolation
    inside = np.outer((rows > reach) & (rows < 61 - reach),
                      (columns > reach) & (columns < 83 - reach))
    outside = (rows < -reach)[:, None] | (rows > 61 + reach)[:, None] \
        | (columns < -reach) | (columns > 83 + reach)
    assert inside.any() and (crop[inside] == 200).all()
    assert outside.any() and (crop[outside] == 0).all()


def test_fine_texture_is_averaged_in_shrunk_crops():
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[::2, ::2] = frame[1::2, 1::2] = 200       # a chessboard of single pixels
    crop = crop_batch([frame], np.array([[31.5, 20.5, 287.5, 220.5]]), 32)
    assert crop.min() >= 99 and crop.max() <= 101


def test_outside_of_the_frame_is_black():
    frame = np.full((60, 80, 3), 200, np.uint8)
    crop = crop_batch([frame], np.array([[-32, -32, 32, 32]]), 64)[0].numpy()
    assert (crop[:, 33:, 33:] == 200).all()
    assert (crop[:, :31] == 0).all() and (crop[:, :, :31] == 0).all()


@pytest.mark.parametrize('region', [
    (-500, -500, -400, -400),             # far away
    (10.2, 10.2, 10.4, 10.4),             # a fraction of a pixel
    (-1e5, -1e5, 1e5, 1e5),               # huge
    (79.9, 59.9, 200, 200),               # a corner's corner
])
def test_degenerate_regions_raise_no_error(region):
    crops = crop_batch([gradient_frame()], np.array([region]), 16)
    assert crops.shape == (1, 3, 16, 16) and crops.dtype == torch.uint8


def test_tensor_frames_give_the_same_crops_as_arrays():
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (80, 60))
    regions = np.array([[10, 5, 42, 37], [-20, -10, 30, 40], [60, 30, 100, 80]], np.float32)
    arrays = crop_batch([frame] * 3, regions, 32)
    listed = crop_batch([torch.from_numpy(frame)] * 3, regions, 32)
    stacked = crop_batch(torch.from_numpy(np.stack([frame] * 3)), regions, 32)
    assert torch.equal(listed, stacked)
    assert torch.equal(listed, crop_batch(torch.from_numpy(frame[None]), regions, 32))
    difference = (arrays.int() - listed.int()).abs().float()
    # Arrays are sampled once per pixel, tensors four times: only the frame's edge shows it.
    assert difference.mean() < 2 and (difference > 8).float().mean() < .05


def test_the_candidate_with_the_largest_overlap_wins():
    candidates = {'left': (0, 0, 10, 10), 'right': (4, 0, 14, 10)}
    assert box_ops.match_box((3, 0, 13, 10), candidates, 0.3) == 'right'


def test_threshold_belongs_to_the_match():
    # Intersection 50, union 150.
    assert box_ops.match_box((5, 0, 15, 10), {'a': (0, 0, 10, 10)}, 1 / 3) == 'a'
    assert box_ops.match_box((5, 0, 15, 10), {'a': (0, 0, 10, 10)}, 0.34) is None


def test_nothing_to_match():
    assert box_ops.match_box((0, 0, 10, 10), {}, 0.3) is None
    assert box_ops.match_box((0, 0, 10, 10), {'touching': (10, 0, 20, 10)}, 0.05) is None


def test_size_0_makes_empty_crops():
    frames = [np.zeros((20, 30, 3), np.uint8)] * 2
    regions = np.array([[0., 0, 10, 10], [5, 5, 9, 9]])
    assert crop_batch(frames, regions, 0).shape == (2, 3, 0, 0)
    assert crop_batch([torch.from_numpy(frame) for frame in frames], regions, 0).shape == \
        (2, 3, 0, 0)
