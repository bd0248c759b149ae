# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

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
- a second output tells the overlap to expect. It asks the memory, which does not know when it is
  wrong, and more than that how alike the last box and the first one look to the convolutions,
  place by place: both crops show their box at the same scale.
"""

from re3_core.lstm import FactoredLSTM
from re3_core.networks.compact import CompactNet, Head
import torch
from torch import nn
from torch.nn import functional

# What makes up the logit of the score, see `training.calibrate`. Other than that the memory is
# believed when it is in doubt: a score is at most so much above what it says.
LSTM_WEIGHT, SIMILARITY_WEIGHT, CONFIDENCE_BIAS = .15, 2.72, -.87
LSTM_MARGIN = .35
# Given that, how the overlap to expect depends on the change of area since the first box.
AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS = .51, .19


class Re3LiteNet(CompactNet):
    """
    Re3 on the compact backbone, see the module's text.

    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param fc6: outputs of the full connection.
    :param hidden: units of each LSTM layer.
    :param peephole: 'full', 'diagonal' or 'none'.
    """

    name = 're3_lite'
    has_template_similarity = True
    area_logit_weight, area_logit_bias = AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS
    # Where sizes are checked every fourth frame, more of a change can be left to the memory, see
    # docs/models.md.
    scale_lr = .6
    # On 40 simulated clips success AUC .713 to .721; with more, training recordings lose more.
    size_std = .1, .05

    def __init__(self, width=1., embedding=48, fc6=512, hidden=512, peephole='full',
                 backbone='dense'):
        config = {'width': width, 'embedding': embedding, 'fc6': fc6, 'hidden': hidden,
                  'peephole': peephole, 'backbone': backbone}
        super().__init__(config, embedding, templates=2)
        self.fc6 = nn.Linear(self.joined_size, fc6)
        self.lstm = FactoredLSTM(fc6, hidden, peephole)
        self.head = Head(hidden, self.current_crop.context)

    def reference(self, features):
        """Return the first crop, embedded and as unit vectors: templates that never change."""
        return self.neck(features[:3]), _unit_vectors(features)

    def template_similarity(self, crops, reference):
        """Return the mean cosine of embedded crops and the first one, place by place."""
        return (self.neck(self.backbone(crops)) * reference[0]).sum(1).mean((1, 2))

    def backbone_similarity(self, features, reference):
        """
        Return the same (N,) of the convolutions' maps of stride 8 of the previous crop.

        Not of the embedded ones: boxes whose size was chosen for being alike there always are.
        """
        return (_unit_vectors(features) * reference[1]).sum(1).mean((1, 2))

    def rescore(self, score, before, found, reference):
        """Return logits, lowered by how much less alike the found box is, see the base."""
        change = self.backbone_similarity(self.backbone(found), reference) - (
            self.backbone_similarity(self.backbone(before), reference))
        return score + SIMILARITY_WEIGHT * change.clamp(max=0)

    def encode(self, features, reference):
        """Return (N, fc6 + 1): both crops in the full connection, and how alike both boxes are."""
        templates = self.neck(features[:3]), reference[0]
        moment = functional.relu(self.fc6(self.join(features, templates)))
        return torch.cat((moment, self.backbone_similarity(features, reference)[:, None]), 1)

    def zero_memory(self, encoded):
        """Return (h1, c1, h2, c2) of zeros."""
        return self.lstm.zero_state(encoded)

    def recur(self, encoded, memory):
        """Take one step of the LSTM; return (Prediction, new memory)."""
        moment, alike = encoded[:, :-1], encoded[:, -1]
        hidden, memory = self.lstm(moment, memory)
        prediction = self.head(hidden)
        score = LSTM_WEIGHT * prediction.logits + SIMILARITY_WEIGHT * alike + CONFIDENCE_BIAS
        return prediction._replace(
            logits=torch.minimum(score, prediction.logits + LSTM_MARGIN)), memory


def _unit_vectors(features):
    """Return the previous crop's map of stride 8 as unit vectors (N, C, H, W)."""
    return functional.normalize(features[1].float(), dim=1)
