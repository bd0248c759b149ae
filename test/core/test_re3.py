# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from re3_core import boxes as box_ops
from re3_core import load_network, save_network, Tracker
from re3_core.crops import CropSpec, encode
from re3_core.networks import Crops, Re3Net
from re3_core.networks.alexnet import AlexNet, response_norm
from re3_core.networks.re3 import OUTPUT_SCALE, SMALL
import torch

TINY = {'crop_size': 67, 'channels': [8, 8, 8, 8, 8], 'skips': [2, 3, 4], 'fc': 16, 'hidden': 6}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return Re3Net(**TINY).eval()


def random_crops(count, size=TINY['crop_size'], seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Crops(*(torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=rng)
                   for _ in range(2)))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_network_has_its_number_of_parameters():
    with torch.device('meta'):
        network = Re3Net()
    assert count(network) == 190_004_324
    parts = [count(part) for part in (network.backbone, network.skips, network.fc6,
                                      network.lstm.layer1, network.lstm.layer2, network.output)]
    assert parts == [2_334_080, 26_336, 151_980_032, 15_732_736, 19_927_040, 4_100]


def test_the_small_network_has_its_number_of_parameters():
    with torch.device('meta'):
        network = Re3Net(**SMALL)
    assert count(network) == 85_699_684
    assert count(network.lstm.layer1) == 3_149_312
    assert count(network.lstm.layer2) == 4_197_888


def test_feature_sizes_of_the_papers_network():
    with torch.device('meta'):
        network = Re3Net()
        crops = Crops(*torch.zeros(2, 1, 3, 227, 227, dtype=torch.uint8))
        features = network.features(crops)
        assert [tuple(maps.shape[1:]) for maps in features] == 2 * [
            (96, 27, 27), (256, 13, 13), (256, 13, 13), (256, 6, 6)]
        flat = [part.shape[1] for part in network._flatten(features[:4])]
    assert flat == [11664, 5408, 10816, 9216]
    assert network.feature_size == 37104 and network.fc6.in_features == 74208
    assert network.previous_crop == network.current_crop == CropSpec(227, 2.)


@pytest.mark.parametrize('layout, size', [('caffe', 227), ('caffe', 67), ('torchvision', 224)])
def test_map_sides_are_those_of_the_maps(layout, size):
    network = AlexNet(layout, (8, 8, 8, 8, 8))
    maps = network(torch.zeros(1, 3, size, size))
    assert network.map_sides(size) == tuple(x.shape[-1] for x in maps)


def test_too_small_crops_are_refused():
    with pytest.raises(ValueError, match='30 pixels are too small'):
        Re3Net(**{**TINY, 'crop_size': 30})


def test_response_norm_equals_caffes():
    x = torch.randn(2, 9, 3, 3, generator=torch.Generator().manual_seed(1)) * 100
    padded = torch.nn.functional.pad(x ** 2, (0, 0, 0, 0, 2, 2))
    sums = sum(padded[:, k:k + 9] for k in range(5))
    torch.testing.assert_close(response_norm(x), x / (1 + 2e-5 * sums) ** .75)
    half = response_norm((x * 100).to(torch.float16))
    assert half.dtype == torch.float16 and half.isfinite().all()


def test_a_centered_box_of_the_same_size_is_the_published_target():
    box = np.array([100., 50., 140., 130.])
    target = OUTPUT_SCALE * encode(box, Re3Net(**TINY).current_crop.region(box))
    np.testing.assert_allclose(target, (2.5, 2.5, 7.5, 7.5))


def test_the_output_is_a_tenth_and_not_clipped(tiny):
    torch.nn.init.zeros_(tiny.output.weight)
    tiny.output.bias.data = torch.tensor([-20., 2.5, 7.5, 30.])
    prediction, _ = tiny.start(random_crops(2))
    torch.testing.assert_close(prediction.boxes, torch.tensor(2 * [[-2., .25, .75, 3.]]))
    assert prediction.logits.shape == (2,) and prediction.logits.isnan().all()


def test_start_is_a_step_from_a_state_of_zeros(tiny):
    crops = random_crops(3)
    first, state = tiny.start(crops)
    zeros = state._replace(memory=tuple(torch.zeros(3, 6) for _ in range(4)))
    again, _ = tiny.step(crops, zeros)
    torch.testing.assert_close(first.boxes, again.boxes)
    second, _ = tiny.step(crops, state)
    assert (second.boxes - first.boxes).abs().min() > 0


def test_a_batch_equals_its_targets_one_by_one(tiny):
    crops = random_crops(4)
    _, states = tiny.start(crops)
    batch, _ = tiny.step(crops, states)
    for k in range(4):
        one = Crops(crops.previous[k:k + 1], crops.current[k:k + 1])
        _, state = tiny.start(one)
        single, _ = tiny.step(one, state)
        torch.testing.assert_close(single.boxes[0], batch.boxes[k], rtol=1e-4, atol=1e-6)


def test_previous_and_current_crop_have_their_places(tiny):
    crops = random_crops(1)
    swapped = Crops(crops.current, crops.previous)
    features = tiny.features(crops)
    for a, b in zip(features, tiny.features(swapped)[4:] + tiny.features(swapped)[:4],
                    strict=True):
        torch.testing.assert_close(a, b)
    tiny.fc6.weight.data[:, :tiny.feature_size] = 0     # blind for the previous crop
    moved = Crops(crops.current, crops.current)
    torch.testing.assert_close(tiny.start(crops)[0].boxes, tiny.start(moved)[0].boxes)
    assert (tiny.start(crops)[0].boxes - tiny.start(swapped)[0].boxes).abs().max() > 0


def test_initial_weights_are_those_of_the_paper():
    torch.manual_seed(0)
    network = Re3Net(crop_size=67, channels=[32] * 5, fc=256, hidden=128)
    cell = network.lstm.layer1
    biases = cell.bias.chunk(4)
    assert (biases[2] == 1).all() and not torch.cat((*biases[:2], biases[3])).any()
    std = (2 / (256 + 2 * 128)) ** .5
    for matrix in (cell.weight_input, cell.weight_hidden, cell.peephole_old, cell.peephole_new):
        assert matrix.std().item() == pytest.approx(std, rel=.03)
    fc6 = network.fc6
    assert fc6.weight.std().item() == pytest.approx((2 / sum(fc6.weight.shape)) ** .5, rel=.02)
    assert not fc6.bias.any() and (network.skips[1][1].weight == .25).all()


@pytest.mark.parametrize('peephole', ['full', 'diagonal', 'none'])
def test_weights_file_gives_the_network_back(tmp_path, peephole):
    network = Re3Net(**TINY, peephole=peephole).eval()
    save_network(network, tmp_path / 'net.safetensors', dtype=torch.float32)
    again = load_network('re3', tmp_path / 'net.safetensors')
    assert again.config == network.config
    crops = random_crops(1)
    torch.testing.assert_close(again.start(crops)[0].boxes, network.start(crops)[0].boxes)


def test_tracker_with_it_and_targets_outside_the_frame(tiny):
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    tiny.output.weight.data.zero_()
    tiny.output.bias.data = torch.tensor([3.5, 2.5, 8.5, 7.5])      # a fifth to the right
    tracker = Tracker(network=tiny, device='cpu')
    tracker.init('cup', frame, (20, 20, 40, 60))
    track = tracker.update(frame)['cup']
    np.testing.assert_allclose(box_ops.xyxy_to_cxcywh(track.box), (34, 40, 20, 40), atol=1e-4)
    assert track.confidence == 1 and not track.lost
