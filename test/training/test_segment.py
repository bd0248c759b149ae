# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Cutting objects out of photographs without masks."""

import cv2
import numpy as np
import pytest
from training.cache import cache_stills
from training.datasets.records import Still
from training.segment import cut_out, segment


def photograph(background=(40, 90, 40)):
    """Return a picture with a red ellipse, its mask and its box."""
    image = np.zeros((200, 260, 3), np.uint8)
    image[:] = background
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(mask, (140, 100), (70, 40), 20, 0, 360, 1, -1)
    image[mask > 0] = (200, 50, 40)
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    rows, columns = np.nonzero(mask)
    box = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), np.float32)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask > 0, box


def overlap(first, second):
    """Return the intersection of two masks over their union."""
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize('given', [True, False])
def test_objects_are_found_with_and_without_a_box(given):
    """The mask follows the object; without a box the object's own box is returned."""
    image, truth, box = photograph()
    boxes, mask = segment(image, box[None] if given else np.zeros((0, 4), np.float32))
    assert overlap(mask == 1, truth) > 0.9
    np.testing.assert_allclose(boxes, box[None], atol=0 if given else 4)


def test_segmentation_can_be_repeated():
    """The same photograph gives the same mask."""
    image, _, box = photograph()
    first, again = segment(image, box[None])[1], segment(image, box[None])[1]
    np.testing.assert_array_equal(first, again)


def test_what_does_not_stand_out_is_no_object():
    """A region of the background, and a box that is all of the picture, give nothing."""
    image, _, _ = photograph(background=(200, 50, 40))
    boxes, mask = segment(image, np.zeros((0, 4), np.float32))
    assert boxes.shape == (0, 4) and not mask.any()
    assert cut_out(image, np.array((0, 0, 260, 200), np.float32)) is None
    assert cut_out(image, np.array((5, 5, 8, 9), np.float32)) is None


def test_boxes_keep_their_numbers():
    """The second box's object has the value 2, also if nothing is found for the first."""
    image, truth, box = photograph()
    boxes, mask = segment(image, np.stack((np.array((2, 150, 40, 190), np.float32), box)))
    assert len(boxes) == 2
    assert overlap(mask == 2, truth) > 0.9 and not (mask == 1).any()


def test_cached_photographs_get_masks(tmp_path):
    """The cache looks for objects where it is asked to, and keeps true masks."""
    image, truth, box = photograph()
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    cv2.imwrite(str(tmp_path / 'mask.png'), np.full(truth.shape, 1, np.uint8))
    stills = [Still(tmp_path / 'a.png'),
              Still(tmp_path / 'a.png', box[None], mask=tmp_path / 'mask.png')]
    plain = cache_stills(stills, tmp_path / 'cache')
    assert plain.mask(0) is None and len(plain.boxes(0)) == 0
    found = cache_stills(stills, tmp_path / 'cache', find_objects=True)
    assert overlap(found.mask(0) == 1, truth) > 0.9 and len(found.boxes(0)) == 1
    assert (found.mask(1) == 1).all()
