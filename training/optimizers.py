# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Optimizers and their schedules, as a configuration describes them."""

import math
import re

import torch
from training.config import Group

REST = Group('')


class Optimizer:
    """
    What turns gradients into new weights, at the rate of each iteration.

    :param network: of which all parameters that require a gradient are learned.
    :param settings: training.config.Optimizer.
    :param iterations: length of the whole run.
    :raises ValueError: for a group that no parameter belongs to, or if there is none to learn.
    """

    def __init__(self, network, settings, iterations):
        self.settings, self.iterations = settings, iterations
        self.groups, members = _grouped(network, settings.groups)
        self.parameters = [parameter for group in members for parameter in group]
        self.core = _core(settings, [
            {'params': some, 'weight_decay': settings.weight_decay * group.decay}
            for group, some in zip(self.groups, members, strict=True)])

    def rate(self, iteration):
        """Return the learning rate of an iteration (from 0), as the schedule has it."""
        return learning_rate(self.settings, iteration, self.iterations)

    def step(self, iteration):
        """Take the step of an iteration; return the gradient's norm, and none if not finite."""
        for group, core in zip(self.groups, self.core.param_groups, strict=True):
            core['lr'] = self.rate(iteration) * group.rate
        norm = float(torch.nn.utils.clip_grad_norm_(
            self.parameters, self.settings.clip or float('inf')))
        if math.isfinite(norm):
            self.core.step()
        return norm


def _grouped(network, groups):
    """Return the groups that have members, and their lists of parameters."""
    groups = (*groups, REST)
    members = [[] for _ in groups]
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            place = next(i for i, group in enumerate(groups) if re.search(group.match, name))
            members[place].append(parameter)
    for group, some in zip(groups[:-1], members[:-1], strict=True):
        if not some:
            raise ValueError(f'optimizer.groups: no parameter that is trained matches '
                             f'{group.match!r}')
    if not any(members):
        raise ValueError('nothing is left to train, all is frozen')
    used = [(group, some) for group, some in zip(groups, members, strict=True) if some]
    return zip(*used, strict=True)


def _core(settings, groups):
    if settings.kind == 'sgd':
        return torch.optim.SGD(groups, settings.rate, settings.momentum)
    kind = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[settings.kind]
    return kind(groups, settings.rate)


def learning_rate(settings, iteration, iterations):
    """Return the rate of an iteration (from 0) of a run of `iterations`."""
    if settings.schedule == 'cosine':
        progress = iteration / max(1, iterations)
        factor = settings.final + (1 - settings.final) * (1 + math.cos(math.pi * progress)) / 2
    else:
        factor = settings.final ** sum(iteration >= step for step in settings.steps)
    return settings.rate * factor * min(1., (iteration + 1) / max(1, settings.warmup))
