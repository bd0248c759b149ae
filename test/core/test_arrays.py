# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Joining of arrays, of which a batch's own rows need no copy."""

import numpy as np
import pytest
from re3_core.arrays import concatenate, copy
import torch


def rows_of(batch):
    return [batch[row:row + 1] for row in range(len(batch))]


def test_consecutive_rows_of_a_batch_are_joined_without_a_copy():
    batch = np.random.default_rng(0).normal(size=(6, 3, 2))
    rows = rows_of(batch)
    for chosen in (slice(None), slice(2, 5), slice(0, 2)):
        joined = concatenate(rows[chosen])
        np.testing.assert_array_equal(joined, batch[chosen])
        assert np.shares_memory(joined, batch)
    again = concatenate(rows_of(concatenate(rows[1:])))     # rows of a view
    np.testing.assert_array_equal(again, batch[1:])
    assert np.shares_memory(again, batch)


@pytest.mark.parametrize('name, choose', [
    ('another order', lambda rows, other: [rows[1], rows[0]]),
    ('a gap', lambda rows, other: [rows[0], rows[2]]),
    ('one row twice', lambda rows, other: [rows[1], rows[1]]),
    ('two batches', lambda rows, other: [rows[0], other[1]]),
    ('several rows', lambda rows, other: [rows[0], rows[1].base[1:3]]),
    ('parts of rows', lambda rows, other: [rows[0][:, :2], rows[1][:, :2]]),
    ('copies', lambda rows, other: [copy(rows[0]), copy(rows[1])]),
    ('every second row', lambda rows, other: rows_of(rows[0].base[::2])),
    ('backwards', lambda rows, other: rows_of(rows[0].base[::-1])),
])
def test_all_others_are_copied(name, choose):
    rng = np.random.default_rng(0)
    rows, other = (rows_of(rng.normal(size=(6, 3, 2))) for _ in range(2))
    parts = choose(rows, other)
    joined = concatenate(parts)
    np.testing.assert_array_equal(joined, np.concatenate(parts))
    assert not any(np.shares_memory(joined, part) for part in parts)


def test_empty_arrays_and_tensors_are_joined():
    empty = np.empty((4, 3, 0, 0), np.uint8)
    assert concatenate(rows_of(empty)).shape == (4, 3, 0, 0)
    tensors = concatenate([np.ones((1, 2)), torch.zeros(1, 2)])
    assert torch.equal(tensors, torch.tensor([[1., 1], [0, 0]]).to(tensors.dtype))
