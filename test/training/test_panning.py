# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips of a virtual camera over images."""

import json

import cv2
import numpy as np
import pytest
from re3_core.io.images import save_image
from training.config import SceneConfig, Source
from training.data.sources import make_source

BOX = (90, 60, 130, 90)     # x1, y1, x2, y2
PLAIN = SceneConfig(blur_prob=0., jpeg_prob=0., grayscale_prob=0.)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with an image: a red ellipse on gray texture, and its box."""
    path = tmp_path_factory.mktemp('images')
    noise = np.random.default_rng(0).integers(60, 140, (30, 40), dtype=np.uint8)
    image = np.repeat(cv2.resize(noise, (240, 180))[..., None], 3, 2)
    x1, y1, x2, y2 = BOX
    # In sixteenths of a pixel; pixel centers are at +.5 in boxes, at integers in OpenCV.
    cv2.ellipse(image, (8 * (x1 + x2) - 8, 8 * (y1 + y2) - 8), (8 * (x2 - x1), 8 * (y2 - y1)), 0,
                0, 360, (255, 0, 0), -1, cv2.LINE_AA, shift=4)
    save_image(path / 'a.png', image)
    boxes = {'a.png': {'boxes': [[x1, y1, x2 - x1, y2 - y1]]}}
    (path / 'boxes.json').write_text(json.dumps(boxes))
    return path


def clips(folder, count=12, **settings):
    source = make_source([Source('panned', path=str(folder), size=(120, 160), scene=PLAIN,
                                 **settings)], str(folder.parent / 'cache'))
    rng = np.random.default_rng(3)
    return [source.sample(rng, 10) for _ in range(count)]


def drawn_box(frame):
    red = frame.astype(int)
    rows, columns = np.nonzero(red[..., 0] - red[..., 1:].max(-1) > 110)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_boxes_are_those_of_the_object_however_the_camera_moves(folder):
    sizes, centers, errors = [], [], []
    for clip in clips(folder):
        for frame, box, visible in zip(clip.frames, clip.boxes, clip.visible, strict=True):
            assert frame.shape == (120, 160, 3) and frame.dtype == np.uint8
            if visible == 1:
                errors.append(np.abs(drawn_box(frame) - box).max())
        sizes.append((clip.boxes[:, 2:] - clip.boxes[:, :2]).prod(1) ** .5)
        centers.append(clip.boxes[:, :2])
    assert len(errors) > 60
    assert np.median(errors) < 1.5 and np.max(errors) < 4
    assert max(size.max() / size.min() for size in sizes) > 1.1          # it zooms
    assert max(np.ptp(center, 0).max() for center in centers) > 10       # and pans


def test_the_visible_fraction_is_that_of_the_box_in_the_frame(folder):
    for clip in clips(folder):
        low = np.clip(clip.boxes[:, :2], 0, (160, 120))
        high = np.clip(clip.boxes[:, 2:], 0, (160, 120))
        areas = (clip.boxes[:, 2:] - clip.boxes[:, :2]).prod(1)
        np.testing.assert_allclose(clip.visible, (high - low).prod(1) / areas, rtol=1e-4)


def test_any_part_of_an_image_can_be_the_target(folder):
    boxes = [clip.boxes[0] for clip in clips(folder, patch_prob=1.)]
    assert len(np.unique(np.round([(b[2] - b[0]) / (b[3] - b[1]) for b in boxes], 3))) > 6


def test_clips_are_replayed_by_their_generator(folder):
    one, other = clips(folder, 2), clips(folder, 2)
    np.testing.assert_array_equal(one[1].boxes, other[1].boxes)
    np.testing.assert_array_equal(one[1].frames[5], other[1].frames[5])


def test_images_without_boxes_need_patches(folder, tmp_path):
    save_image(tmp_path / 'images' / 'a.png', np.zeros((60, 60, 3), np.uint8))
    settings = {'path': str(tmp_path / 'images')}
    with pytest.raises(ValueError, match='no image has a box'):
        make_source([Source('panned', **settings)], str(tmp_path / 'cache'))
    source = make_source([Source('panned', patch_prob=1., **settings)], str(tmp_path / 'cache'))
    assert len(source.sample(np.random.default_rng(0), 4)) == 4
