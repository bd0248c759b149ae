# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The running average of weights that is validated and exported."""

import copy

import torch


class AveragedNetwork:
    """
    An exponential moving average of a network's weights.

    :param network: the network that is trained.
    :param decay: share of the old average kept at each update; it starts lower, so that the
        random first weights are soon forgotten. 0: the average is the network itself.
    """

    def __init__(self, network, decay):
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval() if decay else network

    @torch.no_grad()
    def update(self, network, updates):
        """Take over the network's weights after its `updates`-th update, counted from 1."""
        if not self.decay:
            return
        keep = min(self.decay, updates / (updates + 10))
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        mine, new = zip(*(pair for pair in pairs if pair[1].requires_grad), strict=True)
        torch._foreach_lerp_(mine, new, 1 - keep)
