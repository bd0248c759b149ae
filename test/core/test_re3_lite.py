# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The convolutional Re3: shapes, memory, edge votes."""

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.crops import decode, encode
from re3_core.networks import Crops, Re3LiteNet
from re3_core.networks.re3_lite import sample, SEARCH, square_of, TEMPLATE
from re3_core.weights import load_network, save_network
import torch


@pytest.fixture(scope='module', params=[True, False], ids=['recurrent', 'twin'])
def tiny(request):
    torch.manual_seed(0)
    network = Re3LiteNet(
        width=.25, embedding=8, hidden=16, recurrent=request.param, aspect=.5).eval()
    with torch.no_grad():
        network.head.votes.weight.normal_(0, .2)
    return network


@pytest.fixture(scope='module')
def crops():
    torch.manual_seed(1)
    return Crops(torch.zeros((3, 3, 0, 0), dtype=torch.uint8),
                 torch.randint(0, 255, (3, 3, 112, 112), dtype=torch.uint8))


def test_full_size_has_2_7_million_parameters():
    with torch.device('meta'):
        network = Re3LiteNet()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.70e6, rel=.01)


def test_a_new_network_predicts_about_the_last_box(crops):
    network = Re3LiteNet(width=.25, embedding=8, hidden=16).eval()
    with torch.no_grad():
        prediction, _ = network.start(crops)
    half = .5 / network.current_crop.context
    expected = torch.tensor([.5 - half, .5 - half, .5 + half, .5 + half])
    torch.testing.assert_close(prediction.boxes, expected.expand(3, 4), atol=.06, rtol=0)


@torch.no_grad()
def test_batch_equals_one_by_one(tiny, crops):
    _, state = tiny.start(crops)
    together, after = tiny.step(crops, state)
    for row in range(3):
        one = Crops(*(crop[row:row + 1] for crop in crops))
        _, single = tiny.start(one)
        alone, memory = tiny.step(one, single)
        torch.testing.assert_close(alone.boxes[0], together.boxes[row], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-4, rtol=0)
        for mine, theirs in zip(memory.memory, after.memory, strict=True):
            torch.testing.assert_close(mine[0], theirs[row], atol=1e-4, rtol=0)


@torch.no_grad()
def test_both_remember_the_last_template_and_one_has_an_lstm(tiny, crops):
    prediction, state = tiny.start(crops)
    second, after = tiny.step(crops, state)
    assert len(after.memory) == (5 if tiny.recurrent else 1)
    assert not torch.allclose(second.boxes, prediction.boxes, atol=1e-5)
    other = torch.nn.functional.normalize(torch.randn_like(state.memory[0]), dim=1)
    changed, _ = tiny.step(crops, state._replace(memory=(other, *state.memory[1:])))
    assert not torch.allclose(changed.boxes, second.boxes, atol=1e-5)


def test_the_template_is_the_part_of_the_map_around_the_box():
    torch.manual_seed(0)
    maps = torch.randn(2, 5, SEARCH, SEARCH)
    middle = torch.tensor([TEMPLATE / SEARCH] * 2)
    around = torch.cat((.5 - middle / 2, .5 + middle / 2)).expand(2, 4)
    cells = slice((SEARCH - TEMPLATE) // 2, (SEARCH + TEMPLATE) // 2)
    torch.testing.assert_close(sample(maps, around, TEMPLATE), maps[:, :, cells, cells])
    shifted = around + torch.tensor([1, 0, 1, 0]) / SEARCH      # by one cell to the right
    torch.testing.assert_close(sample(maps, shifted, TEMPLATE),
                               maps[:, :, cells, cells.start + 1:cells.stop + 1])
    assert sample(maps, around + 2, TEMPLATE).abs().max() == 0      # outside


def test_a_square_has_the_center_and_the_area_of_its_box():
    squares = square_of(torch.tensor([[.2, .1, .3, .5], [0., 0., .4, .1]]))
    expected = torch.tensor([[.15, .2, .35, .4], [.1, -.05, .3, .15]])
    torch.testing.assert_close(squares, expected)


@torch.no_grad()
def test_the_next_template_is_what_the_next_search_region_has_in_its_middle(tiny, crops):
    """Even if the target changes its size and its place."""
    region = torch.tensor([0., 0., 112., 112.])
    features = tiny.features(crops)
    embedding = tiny.encode(features, tiny.reference(features))
    prediction, memory = tiny.recur(embedding, tiny.zero_memory(embedding))
    square = square_of(decode(prediction.boxes, region.expand(3, 4)))
    ahead = encode(tiny.current_crop.region(square), region.expand(3, 4))
    first = (SEARCH - TEMPLATE) // 2
    middle = slice(first, first + TEMPLATE)
    expected = sample(embedding[0], ahead, SEARCH)[:, :, middle, middle]
    torch.testing.assert_close(memory[0], torch.nn.functional.normalize(expected, dim=1))


@torch.no_grad()
def test_templates_are_dropped_in_training_only(tiny, crops):
    features = tiny.features(crops)
    reference = tiny.reference(features)
    many = tuple(part.repeat(20, 1, 1, 1) for part in features)

    def boxes():
        embedding = tiny.encode(many, tuple(part.repeat(20, 1, 1, 1) for part in reference))
        _, *memory = tiny.zero_memory(embedding)
        return tiny.recur(embedding, (embedding[-1], *memory))[0].boxes
    plain = boxes()
    assert torch.equal(plain, boxes())
    tiny.train()
    dropped = boxes()
    tiny.eval()
    same = torch.isclose(dropped, plain, atol=1e-6).all(1)
    assert .5 < same.float().mean() < 1


def test_file_and_tracker(tiny, tmp_path):
    save_network(tiny, tmp_path / 'tiny.safetensors', dtype=torch.float32)
    loaded = load_network('re3_lite', tmp_path / 'tiny.safetensors')
    assert loaded.recurrent is tiny.recurrent
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(6)]
    tracks = []
    for network in (tiny, loaded):
        tracker = Tracker(network=network, device='cpu', reset_every=3)
        tracker.init('a', frames[0], (40, 40, 90, 80))
        tracks.append([tracker.update(frame)['a'].box for frame in frames[1:]])
    np.testing.assert_array_equal(*tracks)
    assert np.abs(np.diff(tracks[0], axis=0)).max() > .5, 'nothing moved'
