# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Optimizers: schedules, the papers' weight decay, parameters learned at another pace."""

import copy
import math

import pytest
import torch
from torch import nn
from training.config import OptimizerConfig, ParameterGroup
from training.train import averaged, lr_factor, make_optimizer, take_step


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))


def loss_of(layers):
    return layers(torch.linspace(-1, 1, 6).view(2, 3)).abs().sum()


def test_cosine_goes_from_the_highest_rate_to_the_last_one():
    settings = OptimizerConfig(lr=1., min_lr_ratio=.1, warmup=0)
    rates = [lr_factor(settings, i, 100) for i in range(101)]
    assert rates[0] == 1 and rates[50] == pytest.approx(.55) and rates[100] == pytest.approx(.1)
    assert rates == sorted(rates, reverse=True)


def test_milestones_of_re3_and_goturn():
    re3 = OptimizerConfig(schedule='milestones', milestones=(10000,), warmup=0)
    assert [lr_factor(re3, i, 10 ** 6) for i in (0, 9999, 10000, 200000)] == pytest.approx(
        [1, 1, .1, .1])
    goturn = OptimizerConfig(schedule='milestones', warmup=0,
                             milestones=(100000, 200000, 300000, 400000))
    assert [lr_factor(goturn, i, 450000) for i in (99999, 100000, 250000, 449999)] == (
        pytest.approx([1, .1, .01, 1e-4]))


def test_warmup_rises_linearly():
    settings = OptimizerConfig(schedule='milestones', warmup=4)
    assert [lr_factor(settings, i, 10) for i in range(6)] == [.25, .5, .75, 1, 1, 1]


@pytest.mark.parametrize('name', ['adam', 'sgd'])
def test_weight_decay_is_the_papers_term_of_the_loss(layers, name):
    explicit = copy.deepcopy(layers)
    decayed = make_optimizer(layers, OptimizerConfig(name=name, lr=.01, weight_decay=.1))
    plain = make_optimizer(explicit, OptimizerConfig(name=name, lr=.01, weight_decay=0.))
    for _ in range(3):
        layers.zero_grad()
        loss_of(layers).backward()
        take_step(decayed, 0.)
        explicit.zero_grad()
        term = sum(.5 * parameter.square().sum() for parameter in explicit.parameters())
        (loss_of(explicit) + .1 * term).backward()
        take_step(plain, 0.)
    for one, other in zip(layers.parameters(), explicit.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_groups_have_their_own_rate_and_decay(layers):
    settings = OptimizerConfig(
        name='sgd', momentum=0., lr=.1, weight_decay=1., groups=(
            ParameterGroup(r'^2\.bias', lr_ratio=20, weight_decay_ratio=0.),
            ParameterGroup('^2', lr_ratio=10)))
    before = {name: value.detach().clone() for name, value in layers.named_parameters()}
    optimizer = make_optimizer(layers, settings)
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    take_step(optimizer, 0.)
    moved = {name: before[name] - value for name, value in layers.named_parameters()}
    assert torch.allclose(moved['0.weight'], .1 * (1 + before['0.weight']))
    assert torch.allclose(moved['2.weight'], 1. * (1 + before['2.weight']))
    assert torch.allclose(moved['2.bias'], torch.full((2,), 2.))


def test_norm_is_clipped_and_returned(layers):
    optimizer = make_optimizer(layers, OptimizerConfig(name='sgd', momentum=0., lr=1.,
                                                       weight_decay=0.))
    before = torch.cat([p.detach().flatten() for p in layers.parameters()])
    loss_of(layers).backward()
    norm = take_step(optimizer, .5)
    after = torch.cat([p.detach().flatten() for p in layers.parameters()])
    assert norm > .5 and (after - before).norm().item() == pytest.approx(.5, rel=1e-4)


@pytest.mark.parametrize('value', [torch.inf, torch.nan])
def test_no_step_with_a_gradient_that_is_not_finite(layers, value):
    optimizer = make_optimizer(layers, OptimizerConfig())
    before = [parameter.detach().clone() for parameter in layers.parameters()]
    for parameter in layers.parameters():
        parameter.grad = torch.full_like(parameter, value)
    assert not math.isfinite(take_step(optimizer, 1.))
    for one, other in zip(layers.parameters(), before, strict=True):
        assert torch.equal(one, other)


def test_averaged_weights_follow_quickly_at_first_then_slowly(layers):
    average = averaged(layers, .5)
    means = []
    for value in range(1, 30):
        for parameter in layers.parameters():
            parameter.data.fill_(value)
        average.update_parameters(layers)
        means.append(float(next(average.module.parameters()).detach().flatten()[0]))
    assert means[0] == 1 and means[1] == pytest.approx(1 + 10 / 12)
    assert means[-1] == pytest.approx(28, abs=.01)     # one behind at a decay of .5
    plain = averaged(layers, 0.)
    plain.update_parameters(layers)
    plain.update_parameters(layers)
    assert float(next(plain.module.parameters()).detach().flatten()[0]) == 29


def test_mistakes_are_named(layers):
    with pytest.raises(ValueError, match="no parameter that is trained matches 'conv'"):
        make_optimizer(layers, OptimizerConfig(groups=(ParameterGroup('conv'),)))
    for parameter in layers.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match='all is frozen'):
        make_optimizer(layers, OptimizerConfig())
