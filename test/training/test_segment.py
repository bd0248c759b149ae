# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Masks by a segmentation network: here one that takes what is bright for an object."""

import cv2
import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest
from re3_core.boxes import iou
from re3_core.io.images import save_image
from training import autolabel, segment
from training.data import read_dataset
from training.data.base import read_mask

pytest.importorskip('openvino')


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """Return the file of a network whose map is the mean of the colors, 0 to 1."""
    half = helper.make_tensor('half', TensorProto.FLOAT, [1], [.5])
    graph = helper.make_graph(
        [helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
         helper.make_node('Add', ['mean', 'half'], ['map'])], 'bright',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info('map', TensorProto.FLOAT, [1, 1, 64, 64])], [half])
    path = tmp_path_factory.mktemp('network') / 'bright.onnx'
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)],
                                ir_version=8), path)
    return path


def picture(*boxes, size=(120, 200)):
    image = np.full((*size, 3), 30, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 250
    return image


LARGE, SMALL = (20, 30, 80, 90), (120, 40, 150, 70)


def test_objects_are_boxed_and_masked_the_largest_first(network):
    objects = segment.Segmenter(network).objects(picture(SMALL, LARGE))
    assert len(objects.boxes) == 2
    assert iou(objects.boxes[0], np.array(LARGE)) > .85
    assert iou(objects.boxes[1], np.array(SMALL)) > .8
    assert objects.mask[60, 50] == 1 and objects.mask[55, 135] == 2 and objects.mask[5, 5] == 0


@pytest.mark.parametrize('saliency', [
    np.zeros((60, 60)), np.ones((60, 60)), np.pad(np.ones((2, 2)), 29),
    np.pad(np.full((20, 20), .7), 20)], ids=['nothing', 'everything', 'a speck', 'uncertain'])
def test_what_is_no_object(saliency):
    objects = segment.separate(saliency)
    assert objects.boxes.shape == (0, 4) and not objects.mask.any()


def test_the_command_writes_images_for_the_simulator(network, tmp_path, capsys):
    save_image(tmp_path / 'images' / 'a.png', picture(LARGE))
    save_image(tmp_path / 'images' / 'b.png', picture())
    (tmp_path / 'images' / 'c.png').write_bytes(b'no image')
    assert segment.main(['--images', str(tmp_path / 'images'), '--output', str(tmp_path / 'out'),
                         '--segmenter', str(network)]) == 0
    printed = capsys.readouterr()
    assert '1 objects in 1 of 3 images' in printed.out and 'c.png' in printed.err
    item, = read_dataset(tmp_path / 'out')
    assert iou(item.boxes[0], np.array(LARGE)) > .85
    assert read_mask(item.mask)[60, 50] == 1


def test_what_cannot_be_segmented_is_one_line(network, tmp_path, capsys):
    save_image(tmp_path / 'images' / 'b.png', picture())
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'no network')
    for segmenter, message in ((network, 'no object found in 1 images'),
                               (broken, 'not a network'), (tmp_path / 'x', 'no such file')):
        assert segment.main(['--images', str(tmp_path / 'images'), '--output',
                             str(tmp_path / 'out'), '--segmenter', str(segmenter)]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1


def test_segmented_objects_are_proposed_first(network):
    rng = np.random.default_rng(0)
    frame = cv2.add(picture(LARGE), rng.integers(0, 20, (120, 200, 3), dtype=np.uint8))
    boxes = autolabel.propose([frame] * 9, 3, 3, 3, rng, segment.Segmenter(network))
    assert len(boxes) == 3 and iou(boxes[0], np.array(LARGE)) > .85
