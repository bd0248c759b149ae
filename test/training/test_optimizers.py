# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Optimizers: schedules, the papers' weight decay, parameters learned at another pace."""

import pytest
import torch
from torch import nn
from training.config import Group
from training.config import Optimizer as Settings
from training.optimizers import learning_rate, Optimizer


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))


def loss_of(layers):
    return layers(torch.linspace(-1, 1, 6).view(2, 3)).abs().sum()


def test_cosine_goes_from_the_rate_to_its_final_share():
    settings = Settings(rate=1., final=.1, warmup=0)
    rates = [learning_rate(settings, i, 100) for i in range(101)]
    assert rates[0] == 1 and rates[50] == pytest.approx(.55) and rates[100] == pytest.approx(.1)
    assert rates == sorted(rates, reverse=True)


def test_steps_of_re3_and_goturn():
    re3 = Settings(rate=1e-5, schedule='steps', final=.1, steps=(10000,), warmup=0)
    assert [learning_rate(re3, i, 10 ** 6) for i in (0, 9999, 10000, 200000)] == pytest.approx(
        [1e-5, 1e-5, 1e-6, 1e-6])
    goturn = Settings(rate=1e-6, schedule='steps', final=.1, warmup=0,
                      steps=(100000, 200000, 300000, 400000))
    assert [learning_rate(goturn, i, 450000) for i in (99999, 100000, 250000, 449999)] == (
        pytest.approx([1e-6, 1e-7, 1e-8, 1e-10]))


def test_warmup_rises_linearly():
    settings = Settings(rate=1., schedule='steps', warmup=4)
    assert [learning_rate(settings, i, 10) for i in range(6)] == [.25, .5, .75, 1, 1, 1]


@pytest.mark.parametrize('kind', ['adam', 'sgd'])
def test_weight_decay_is_the_papers_term_of_the_loss(layers, kind):
    import copy
    explicit = copy.deepcopy(layers)
    settings = {'kind': kind, 'rate': .01, 'warmup': 0, 'clip': 0.}
    decayed = Optimizer(layers, Settings(weight_decay=.1, **settings), 10)
    plain = Optimizer(explicit, Settings(weight_decay=0., **settings), 10)
    for step in range(3):
        layers.zero_grad()
        loss_of(layers).backward()
        decayed.step(step)
        explicit.zero_grad()
        term = sum(.5 * parameter.square().sum() for parameter in explicit.parameters())
        (loss_of(explicit) + .1 * term).backward()
        plain.step(step)
    for one, other in zip(layers.parameters(), explicit.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_groups_have_their_own_pace_and_decay(layers):
    settings = Settings(kind='sgd', momentum=0., rate=.1, weight_decay=1., warmup=0, clip=0.,
                        schedule='steps', groups=(
                            Group(r'^2\.bias', rate=20, decay=0.), Group('^2', rate=10)))
    before = {name: value.detach().clone() for name, value in layers.named_parameters()}
    optimizer = Optimizer(layers, settings, 10)
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0)
    moved = {name: before[name] - value for name, value in layers.named_parameters()}
    assert torch.allclose(moved['0.weight'], .1 * (1 + before['0.weight']))
    assert torch.allclose(moved['2.weight'], 1. * (1 + before['2.weight']))
    assert torch.allclose(moved['2.bias'], torch.full((2,), 2.))


def test_norm_is_clipped_and_reported(layers):
    optimizer = Optimizer(layers, Settings(kind='sgd', momentum=0., rate=1., weight_decay=0.,
                                           warmup=0, clip=.5, schedule='steps'), 10)
    before = torch.cat([p.detach().flatten() for p in layers.parameters()])
    loss_of(layers).backward()
    norm = optimizer.step(0)
    after = torch.cat([p.detach().flatten() for p in layers.parameters()])
    assert norm > .5 and (after - before).norm().item() == pytest.approx(.5, rel=1e-4)


def test_no_step_with_a_gradient_that_is_not_finite(layers):
    optimizer = Optimizer(layers, Settings(), 10)
    before = [parameter.detach().clone() for parameter in layers.parameters()]
    for parameter in layers.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    assert optimizer.step(0) != optimizer.step(1)     # not a number, at least not a finite one
    for one, other in zip(layers.parameters(), before, strict=True):
        assert torch.equal(one, other)


def test_mistakes_are_named(layers):
    with pytest.raises(ValueError, match="no parameter that is trained matches 'conv'"):
        Optimizer(layers, Settings(groups=(Group('conv'),)), 10)
    for parameter in layers.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match='all is frozen'):
        Optimizer(layers, Settings(), 10)
