# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Drawing of boxes, text and tracks."""

import numpy as np
import pytest
from re3_core.io.drawing import draw_box, draw_text, draw_track, LOST, TRACKED, TRUTH

BOX = np.float32([20, 30, 60, 70])


@pytest.fixture
def black():
    return np.zeros((100, 100, 3), np.uint8)


def test_box_has_its_color_on_its_edge_only(black):
    draw_box(black, BOX, TRUTH)
    assert tuple(black[50, 20]) == tuple(black[30, 40]) == TRUTH
    assert not black[50, 21].any() and not black[:30].any()


@pytest.mark.parametrize('box', [[np.nan] * 4, [200, 200, 300, 300], [1e9, 0, 2e9, 10]])
def test_box_that_is_not_there_or_not_in_view_draws_nothing(black, box):
    draw_box(black, np.float64(box), TRUTH)
    assert not black.any()


def test_text_that_is_not_ascii_is_drawn_with_question_marks(black):
    other = black.copy()
    draw_text(black, 'm\u00fcde', (5, 50))
    draw_text(other, 'm?de', (5, 50))
    assert black.any() and (black == other).all()


@pytest.mark.parametrize('lost, color', [(False, TRACKED), (True, LOST)])
def test_track_has_the_color_of_its_state(black, lost, color):
    draw_track(black, BOX, '0.50', lost)
    assert tuple(black[50, 20]) == color
    assert black[15:29].any()       # the text above it


def test_text_of_a_track_at_the_top_is_in_the_image(black):
    draw_track(black, np.float32([20, -50, 60, -20]), '0.50')
    assert black.any()
