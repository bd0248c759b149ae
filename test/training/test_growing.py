# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Growing networks."""

import pytest
from re3_core import save_network
from re3_core.networks import GoturnLiteNet, Re3LiteNet
import torch
from training.growing import load_grown

TINY = {'width': .25, 'embedding': 8, 'fc6': 32, 'hidden': 16}


def test_a_grown_network_says_what_it_said_before(tmp_path):
    narrow, wide = torch.nn.Linear(3, 2), torch.nn.Linear(5, 2)
    narrow.name = wide.name = 'linear'
    narrow.config = {}
    save_network(narrow, tmp_path / 'narrow', dtype=torch.float32)
    assert load_grown(wide, tmp_path / 'narrow') is wide
    inputs = torch.randn(4, 5)
    torch.testing.assert_close(wide(inputs), narrow(inputs[:, :3]))


def test_parts_that_are_not_in_the_file_stay_as_drawn(tmp_path):
    old = torch.nn.Sequential(torch.nn.Linear(3, 3))
    new = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    old.name, old.config, new.name = 'stack', {}, 'stack'
    save_network(old, tmp_path / 'old', dtype=torch.float32)
    drawn = new[1].weight.clone()
    load_grown(new, tmp_path / 'old')
    assert torch.equal(new[1].weight, drawn)
    assert torch.equal(new[0].weight, old[0].weight)


@pytest.mark.parametrize('network, text', [
    (GoturnLiteNet(width=.25, embedding=8, fc=(8,)), "model 're3_lite', not of 'goturn_lite'"),
    (Re3LiteNet(**{**TINY, 'hidden': 8}), 'does not grow into'),
    (Re3LiteNet(**{**TINY, 'peephole': 'none'}), 'peephole_new')])
def test_what_does_not_fit_is_named(tmp_path, network, text):
    save_network(Re3LiteNet(**TINY), tmp_path / 'weights')
    with pytest.raises(ValueError, match=text):
        load_grown(network, tmp_path / 'weights')
