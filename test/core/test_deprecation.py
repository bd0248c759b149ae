# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Old names of public arguments and attributes."""

import numpy as np
import pytest
from re3_core import Track, Tracker
from re3_core.networks import Re3LiteNet
from re3_core.tracker import INEFFECTIVE, RENAMED

NETWORK = Re3LiteNet(width=.25, embedding=8, hidden=8)


@pytest.mark.parametrize('old', RENAMED)
def test_old_arguments_and_attributes_set_the_present_ones(old):
    text = f'{old} is deprecated, use {RENAMED[old]}'
    with pytest.warns(DeprecationWarning, match=text) as seen:
        tracker = Tracker(network=NETWORK, device='cpu', **{old: 5})
    assert seen[0].filename == __file__
    assert getattr(tracker, RENAMED[old]) == 5
    with pytest.warns(DeprecationWarning, match=old) as seen:
        setattr(tracker, old, 6)
        assert getattr(tracker, old) == getattr(tracker, RENAMED[old]) == 6
    assert {warning.filename for warning in seen} == {__file__}


@pytest.mark.parametrize('name', INEFFECTIVE)
def test_arguments_and_attributes_that_are_gone_have_no_effect(name):
    with pytest.warns(DeprecationWarning, match=f'{name} is deprecated, it has no effect') as seen:
        tracker = Tracker(network=NETWORK, device='cpu', **{name: 5})
    assert seen[0].filename == __file__
    with pytest.warns(DeprecationWarning, match='no effect') as seen:
        setattr(tracker, name, 6)
        assert getattr(tracker, name) == 0
    assert {warning.filename for warning in seen} == {__file__}


def test_other_arguments_are_refused_as_in_any_function():
    with pytest.raises(TypeError, match="unexpected keyword argument 'lots_score'"):
        Tracker(network=NETWORK, device='cpu', lots_score=1)


def test_score_of_a_track_is_its_confidence():
    with pytest.warns(DeprecationWarning, match='score is deprecated, use confidence'):
        assert Track(np.zeros(4), .25, False).score == .25
