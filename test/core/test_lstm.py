# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The peephole LSTM against its equations and against PyTorch's own cell."""

import pytest
from re3_core.lstm import FactoredLSTM, PeepholeLSTMCell
import torch


def random_cell(peephole, inputs=5, hidden=4):
    torch.manual_seed(0)
    cell = PeepholeLSTMCell(inputs, hidden, peephole).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, .5)
    return cell


def random_step(inputs=5, hidden=4, count=3):
    torch.manual_seed(1)
    return torch.randn(count, inputs).double(), tuple(
        torch.randn(count, hidden).double() for _ in range(2))


def test_full_peephole_follows_the_equations():
    cell = random_cell('full')
    x, (h, c) = random_step()
    z, i, f, o = (x @ cell.weight_input.T + h @ cell.weight_hidden.T + cell.bias).chunk(4, 1)
    peep_i, peep_f = (c @ cell.peephole_old.T).chunk(2, 1)
    new_c = (i + peep_i).sigmoid() * z.tanh() + (f + peep_f).sigmoid() * c
    new_h = (o + new_c @ cell.peephole_new.T).sigmoid() * new_c.tanh()
    hidden, memory = cell(x, (h, c))
    assert torch.allclose(hidden, new_h) and torch.allclose(memory, new_c)


def test_full_peephole_of_diagonal_matrices_is_the_diagonal_peephole():
    diagonal, full = random_cell('diagonal'), random_cell('full')
    state = diagonal.state_dict()
    state['peephole_old'] = torch.cat([torch.diag(row) for row in state['peephole_old']])
    state['peephole_new'] = torch.diag(state['peephole_new'])
    full.load_state_dict(state)
    x, state = random_step()
    for expected, actual in zip(diagonal(x, state), full(x, state), strict=True):
        assert torch.allclose(expected, actual)


@pytest.mark.parametrize('peephole', ['full', 'diagonal', 'none'])
def test_without_peephole_weights_it_is_the_ordinary_lstm(peephole):
    cell = random_cell(peephole)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if name.startswith('peephole'):
                parameter.zero_()
    plain = torch.nn.LSTMCell(5, 4).double()
    order = [1, 2, 0, 3]    # PyTorch has i, f, z, o; ours is z, i, f, o

    def reordered(weights):
        return torch.cat([weights.chunk(4)[index] for index in order])
    plain.load_state_dict({
        'weight_ih': reordered(cell.weight_input), 'weight_hh': reordered(cell.weight_hidden),
        'bias_ih': reordered(cell.bias), 'bias_hh': torch.zeros(16)})
    x, state = random_step()
    for expected, actual in zip(plain(x, state), cell(x, state), strict=True):
        assert torch.allclose(expected, actual)


def test_forget_gate_starts_open_and_the_other_biases_at_zero():
    bias = PeepholeLSTMCell(5, 4).bias.detach().view(4, 4)
    assert torch.equal(bias, torch.tensor([0., 0., 1., 0.])[:, None].expand(4, 4))


def test_unknown_peephole_is_refused():
    with pytest.raises(ValueError, match="'full', 'diagonal', 'none'"):
        PeepholeLSTMCell(5, 4, 'some')


def test_second_layer_receives_the_inputs_and_the_first_layers_output():
    torch.manual_seed(0)
    lstm = FactoredLSTM(5, 4).double()
    x = torch.randn(3, 5).double()
    state = lstm.zero_state(x)
    hidden, (h1, c1, h2, c2) = lstm(x, state)
    first = lstm.layer1(x, state[:2])
    second = lstm.layer2(torch.cat((x, first[0]), 1), state[2:])
    assert torch.equal(hidden, second[0])
    for expected, actual in zip((*first, *second), (h1, c1, h2, c2), strict=True):
        assert torch.equal(expected, actual)


def test_gradients_flow_through_time_and_peepholes():
    cell = random_cell('full')
    x, state = random_step()
    assert torch.autograd.gradcheck(lambda *args: cell(args[0], args[1:]),
                                    (x.requires_grad_(), *(s.requires_grad_() for s in state)))
