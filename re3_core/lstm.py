# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Peephole LSTM cells and the two-layer factored arrangement of Re3.

PyTorch and cuDNN have no peepholes. Equations (Gers and Schmidhuber 2000; Re3 paper, section
III-B), with P the peephole: a full matrix (the paper's network), a diagonal, or nothing::

    z = tanh(Wz x + Rz h + bz)
    i = sigmoid(Wi x + Ri h + Pi c + bi)          c' = i z + f c
    f = sigmoid(Wf x + Rf h + Pf c + bf)          h' = o tanh(c')
    o = sigmoid(Wo x + Ro h + Po c' + bo)
"""

from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional

PEEPHOLES = ('full', 'diagonal', 'none')


class PeepholeLSTMCell(nn.Module):
    """
    One LSTM layer, one step, with `peephole` 'full', 'diagonal' or 'none'.

    Parameters: `weight_input` (4H, in) and `weight_hidden` (4H, H), rows in the order z, i, f,
    o; `bias` (4H); peepholes `peephole_old` of i and f on the old cell, (2H, H) or (2, H), and
    `peephole_new` of o on the new cell, (H, H) or (H). The forget gate's bias starts at 1.
    """

    def __init__(self, input_size: int, hidden_size: int, peephole: str = 'full') -> None:
        super().__init__()
        if peephole not in PEEPHOLES:
            raise ValueError(f'peephole must be one of {PEEPHOLES}, got {peephole!r}')
        self.input_size, self.hidden_size, self.peephole = input_size, hidden_size, peephole
        self.weight_input = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        if peephole == 'full':
            self.peephole_old = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
            self.peephole_new = nn.Parameter(torch.empty(hidden_size, hidden_size))
        elif peephole == 'diagonal':
            self.peephole_old = nn.Parameter(torch.zeros(2, hidden_size))
            self.peephole_new = nn.Parameter(torch.zeros(hidden_size))
        self.reset_parameters()

    def reset_parameters(self, gain: float = 1.) -> None:
        """Initialize: matrices with variance `gain` / number of inputs, biases 0 or 1."""
        fan_in = self.input_size + (2 if self.peephole == 'full' else 1) * self.hidden_size
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() == 2 and parameter.shape[0] > 2:
                    parameter.normal_(0, (gain / fan_in) ** .5)
            self.bias.zero_()
            self.bias[2 * self.hidden_size:3 * self.hidden_size] = 1

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Advance one step: inputs (N, in), state (h, c) of (N, H) each; return the new state."""
        hidden, cell = state
        # Under autocast the products are in half precision; the memory keeps its own.
        gates = (functional.linear(inputs, self.weight_input, self.bias)
                 + functional.linear(hidden, self.weight_hidden)).to(cell.dtype)
        z, i, f, o = gates.chunk(4, -1)
        if self.peephole == 'full':
            peep_i, peep_f = functional.linear(cell, self.peephole_old).chunk(2, -1)
            i, f = i + peep_i, f + peep_f
        elif self.peephole == 'diagonal':
            i, f = i + self.peephole_old[0] * cell, f + self.peephole_old[1] * cell
        cell = torch.sigmoid(i) * torch.tanh(z) + torch.sigmoid(f) * cell
        if self.peephole == 'full':
            o = o + functional.linear(cell, self.peephole_new)
        elif self.peephole == 'diagonal':
            o = o + self.peephole_new * cell
        return torch.sigmoid(o) * torch.tanh(cell), cell


class ConvPeepholeLSTMCell(nn.Module):
    """
    One LSTM layer on maps, one step: the equations above with convolutions (Shi et al. 2015).

    `weight_input` and `weight_hidden` are 3x3 convolutions to the gates z, i, f, o, the peepholes
    `peephole_old` (of i and f on the old cell) and `peephole_new` (of o on the new cell) full
    matrices between the channels of one place (1x1). The forget gate's bias starts at 1.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_input = nn.Conv2d(input_size, 4 * hidden_size, 3, padding=1)
        self.weight_hidden = nn.Conv2d(hidden_size, 4 * hidden_size, 3, padding=1, bias=False)
        self.peephole_old = nn.Conv2d(hidden_size, 2 * hidden_size, 1, bias=False)
        self.peephole_new = nn.Conv2d(hidden_size, hidden_size, 1, bias=False)
        assert self.weight_input.bias is not None
        with torch.no_grad():
            self.weight_input.bias.zero_()
            self.weight_input.bias[2 * hidden_size:3 * hidden_size] = 1
            self.peephole_old.weight.mul_(.3)
            self.peephole_new.weight.mul_(.3)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Advance one step: inputs (N, C, S, S), state (h, c); return the new state."""
        hidden, cell = state
        # Under autocast the products are in half precision; the memory keeps its own.
        gates = (self.weight_input(inputs) + self.weight_hidden(hidden)).to(cell.dtype)
        z, i, f, o = gates.chunk(4, 1)
        peep_i, peep_f = self.peephole_old(cell).chunk(2, 1)
        cell = torch.sigmoid(i + peep_i) * torch.tanh(z) + torch.sigmoid(f + peep_f) * cell
        return torch.sigmoid(o + self.peephole_new(cell)) * torch.tanh(cell), cell


class _Factored(nn.Module):
    """
    Two LSTM layers; the input of the second is both the inputs and the first's output.

    This is the factored arrangement of LRCN (Donahue et al. 2015) which Re3 uses. The state is
    (h1, c1, h2, c2); the output is h2.
    """

    def __init__(self, layer1: Any, layer2: Any) -> None:
        super().__init__()
        self.layer1, self.layer2 = layer1, layer2

    def zero_state(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return the state of zeros for inputs like `like` (N, C, ...)."""
        # Rounding errors of the memory accumulate: never in half precision.
        shape = (len(like), self.layer1.hidden_size, *like.shape[2:])
        dtype = torch.promote_types(next(self.parameters()).dtype, torch.float32)
        return tuple(like.new_zeros(shape, dtype=dtype) for _ in range(4))

    def forward(self, inputs: Tensor,
                state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one step: inputs (N, C, ...), state (h1, c1, h2, c2); return (h2, state)."""
        h1, c1, h2, c2 = state
        hidden1, cell1 = self.layer1(inputs, (h1, c1))
        joined = torch.cat((inputs, hidden1.to(inputs.dtype)), 1)
        hidden2, cell2 = self.layer2(joined, (h2, c2))
        return hidden2, (hidden1, cell1, hidden2, cell2)


class FactoredLSTM(_Factored):
    """Two `PeepholeLSTMCell`s on vectors: inputs (N, C), states (N, H)."""

    def __init__(self, input_size: int, hidden_size: int, peephole: str = 'full') -> None:
        super().__init__(PeepholeLSTMCell(input_size, hidden_size, peephole),
                         PeepholeLSTMCell(input_size + hidden_size, hidden_size, peephole))


class FactoredConvLSTM(_Factored):
    """Two `ConvPeepholeLSTMCell`s on maps: inputs (N, C, S, S), states (N, H, S, S)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(ConvPeepholeLSTMCell(input_size, hidden_size),
                         ConvPeepholeLSTMCell(input_size + hidden_size, hidden_size))
