# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re3Lite: Re3's principle in a network small enough to ship, with a confidence.

As in Re3 (Gordon, Farhadi, Fox 2018): two crops, shared convolutions, skip connections with
PReLU, a fully connected layer, two factored peephole LSTM layers, box regression. Differences:

- the crop of the previous frame is smaller, at the same scale: it shows the target, while the
  current crop is the search region;
- the fully connected layer also receives a pixel-wise correlation (Alpha-Refine, Yan et al. 2021)
  of the current crop with the previous one, which adapts to changes, and with the first one,
  which does not drift;
- the box is regressed as a shift and a change of size, in units of the last box;
- a second output is the predicted IoU: mostly the similarity of the last box and the template in
  the backbone's features, plus a small LSTM term.
"""

from re3_core.lstm import FactoredLSTM
from re3_core.networks.base import Prediction, Tensors
from re3_core.networks.compact import CompactNet, Head
import torch
from torch import nn, Tensor
from torch.nn import functional

# Confidence logit = LSTM_WEIGHT * LSTM logit + SIMILARITY_WEIGHT * similarity + CONFIDENCE_BIAS,
# capped at LSTM logit + LSTM_MARGIN; fitted by `training.calibrate`.
LSTM_WEIGHT, SIMILARITY_WEIGHT, CONFIDENCE_BIAS = .15, 2.72, -.87
LSTM_MARGIN = .35
# Dependence of the logit on the change of area since the first box, given the above.
AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS = .51, .19


class Re3LiteNet(CompactNet):
    """
    Re3 on the compact backbone, see the module's docstring.

    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param fc6: outputs of the fully connected layer.
    :param hidden: units of each LSTM layer.
    :param peephole: 'full', 'diagonal' or 'none'.
    """

    name = 're3_lite'
    has_memory = True
    has_template_similarity = True
    area_logit_weight, area_logit_bias = AREA_LOGIT_WEIGHT, AREA_LOGIT_BIAS
    # More than in the base class, since the scale refinement corrects the errors.
    scale_lr = .6
    size_std = .1, .05

    def __init__(self, width: float = 1., embedding: int = 48, fc6: int = 512, hidden: int = 512,
                 peephole: str = 'full', backbone: str = 'dense') -> None:
        config = {'width': width, 'embedding': embedding, 'fc6': fc6, 'hidden': hidden,
                  'peephole': peephole, 'backbone': backbone}
        super().__init__(config, embedding, templates=2)
        self.fc6 = nn.Linear(self.feature_dim, fc6)
        self.lstm = FactoredLSTM(fc6, hidden, peephole)
        self.head = Head(hidden, self.current_crop.context)

    def reference(self, features: Tensors) -> Tensors:
        """Return the template: the first crop, embedded, and its backbone features."""
        return self.neck(features[:3]), _unit_vectors(features)

    def template_similarity(self, crops: Tensor, reference: Tensors) -> Tensor:
        """Return the mean cosine similarity of corresponding cells of crops and template."""
        return (self.neck(self.backbone(crops)) * reference[0]).sum(1).mean((1, 2))

    def backbone_similarity(self, features: Tensors, reference: Tensors) -> Tensor:
        """
        Return the same (N,) in the backbone's features of stride 8 of the previous crop.

        Not in the embedded ones: the scale refinement has already maximized similarity there.
        """
        return (_unit_vectors(features) * reference[1]).sum(1).mean((1, 2))

    def rescore(self, logits: Tensor, before: Tensor, found: Tensor,
                reference: Tensors) -> Tensor:
        """Return the logits, lowered by the decrease in backbone similarity."""
        change = self.backbone_similarity(self.backbone(found), reference) - (
            self.backbone_similarity(self.backbone(before), reference))
        return logits + SIMILARITY_WEIGHT * change.clamp(max=0)

    def encode(self, features: Tensors, reference: Tensors) -> Tensor:
        """Return (N, fc6 + 1): the embedding, and the backbone similarity as last column."""
        templates = self.neck(features[:3]), reference[0]
        embedding = functional.relu(self.fc6(self.fuse(features, templates)))
        similarity = self.backbone_similarity(features, reference)
        return torch.cat((embedding, similarity[:, None]), 1)

    def zero_memory(self, embedding: Tensor) -> Tensors:
        """Return (h1, c1, h2, c2) of zeros."""
        return self.lstm.zero_state(embedding)

    def recur(self, embedding: Tensor, memory: Tensors) -> tuple[Prediction, Tensors]:
        """Advance the LSTM by one time step; return (Prediction, new memory)."""
        similarity = embedding[:, -1]
        hidden, memory = self.lstm(embedding[:, :-1], memory)
        boxes, lstm_logits = self.head(hidden)
        logits = LSTM_WEIGHT * lstm_logits + SIMILARITY_WEIGHT * similarity + CONFIDENCE_BIAS
        return Prediction(boxes, torch.minimum(logits, lstm_logits + LSTM_MARGIN)), memory


def _unit_vectors(features: Tensors) -> Tensor:
    """Return the previous crop's map of stride 8 as unit vectors (N, C, H, W)."""
    return functional.normalize(features[1].float(), dim=1)
