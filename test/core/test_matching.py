# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of which target a detected box belongs to."""

from re3_core.matching import match_box


def test_the_candidate_with_the_largest_overlap_wins():
    candidates = {'left': (0, 0, 10, 10), 'right': (4, 0, 14, 10)}
    assert match_box((3, 0, 13, 10), candidates, 0.3) == 'right'


def test_threshold_belongs_to_the_match():
    # Intersection 50, union 150.
    assert match_box((5, 0, 15, 10), {'a': (0, 0, 10, 10)}, 1 / 3) == 'a'
    assert match_box((5, 0, 15, 10), {'a': (0, 0, 10, 10)}, 0.34) is None


def test_nothing_to_match():
    assert match_box((0, 0, 10, 10), {}, 0.3) is None
    assert match_box((0, 0, 10, 10), {'touching': (10, 0, 20, 10)}, 0.05) is None
