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

"""
Re3Lite: Re3's principle in a network small enough to ship, with a confidence.

As in Re3 (Gordon, Farhadi, Fox 2018): two crops, shared convolutions, skip connections with
PReLU, one full connection, two factored peephole LSTM layers, regression. What differs:

- the crop of the previous frame is smaller, of the same scale: it shows the target, the current
  crop shows where to search;
- the full connection also sees where each part of the target is found again: a pixel-wise
  correlation (Yan et al. 2021, Alpha-Refine) of the current crop with the previous one, which
  follows changes, and with the first one, which does not drift;
- the box is regressed as a shift and a change of size, in units of the last box;
- a second output tells the overlap to expect. It also sees how what the last box holds compares
  with what the first one held: the memory does not know when it is wrong.
"""

from re3_core.lstm import FactoredLSTM
from re3_core.networks.compact import CompactNet, Head, Matcher
import torch
from torch import nn
from torch.nn import functional


class Evidence(nn.Module):
    """
    Tell from embedded crops (N, C, S, S) at the first and the last box how well the latter fits.

    Both crops show their box at the same scale. Return (N, outputs + S S): where the parts of the
    first crop are found in the last one, and how alike both are at the same place.
    """

    def __init__(self, width, side, outputs):
        super().__init__()
        self.matcher = Matcher(width, side ** 2)
        cells = ((side + 1) // 2) ** 2
        self.full = nn.Linear(self.matcher.second.out_channels * cells, outputs)
        self.size = outputs + side ** 2

    def forward(self, first, last):
        found = functional.relu(self.full(self.matcher((first,), last)))
        alike = (first * last).sum(1).flatten(1)
        return torch.cat((found, alike), 1)


class Re3LiteNet(CompactNet):
    """
    Re3 on the compact backbone, see the module's text.

    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param fc6: outputs of the full connection.
    :param hidden: units of each LSTM layer.
    :param peephole: 'full', 'diagonal' or 'none'.
    :param evidence: outputs of the comparison of the last box with the first one.
    """

    name = 're3_lite'
    can_compare = True

    def __init__(self, width=1., embedding=48, fc6=512, hidden=512, peephole='full',
                 evidence=128, backbone='dense'):
        config = {'width': width, 'embedding': embedding, 'fc6': fc6, 'hidden': hidden,
                  'peephole': peephole, 'evidence': evidence, 'backbone': backbone}
        super().__init__(config, embedding, templates=2)
        self.fc6 = nn.Linear(self.joined_size, fc6)
        self.lstm = FactoredLSTM(fc6, hidden, peephole)
        self.evidence = Evidence(embedding, self.previous_crop.size // 8, evidence)
        self.head = Head(hidden, self.current_crop.context, self.evidence.size)

    def reference(self, features):
        """Return the embedded first crop, as the template that never changes."""
        return (self.neck(features[:3]),)

    def alike(self, crops, reference):
        """Return the mean cosine of the embedded crops and the first one, place by place."""
        return (self.neck(self.backbone(crops)) * reference[0]).sum(1).mean((1, 2))

    def encode(self, features, reference):
        """Return (N, F): both crops in the full connection, and how the last box fits."""
        last = self.neck(features[:3])
        moment = functional.relu(self.fc6(self.join(features, (last, *reference))))
        return torch.cat((moment, self.evidence(*reference, last)), 1)

    def zero_memory(self, encoded):
        """Return (h1, c1, h2, c2) of zeros."""
        return self.lstm.zero_state(encoded)

    def recur(self, encoded, memory):
        """Take one step of the LSTM; return (Prediction, new memory)."""
        moment, fit = encoded.tensor_split((self.fc6.out_features,), 1)
        hidden, memory = self.lstm(moment, memory)
        return self.head(hidden, fit), memory
