# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
GoturnLite: GOTURN's principle on the backbone of `Re3LiteNet`, the baseline without memory.

As in GOTURN (Held, Thrun and Savarese 2016), fully connected layers with dropout regress the box
from both crops, and nothing is kept of earlier frames. Backbone, neck and the scale of the crops
are those of `Re3LiteNet`.
"""

from collections.abc import Sequence

from re3_core.networks.base import Prediction, Tensors
from re3_core.networks.compact import CompactNet, Head
from re3_core.networks.goturn import fully_connected
from torch import Tensor


class GoturnLiteNet(CompactNet):
    """
    GOTURN on the compact backbone, see the module's docstring.

    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param fc: widths of the fully connected layers.
    :param dropout: probability by which training drops their outputs.
    """

    name = 'goturn_lite'

    def __init__(self, width: float = 1., embedding: int = 48,
                 fc: Sequence[int] = (896, 896, 896), dropout: float = 0.2,
                 backbone: str = 'dense') -> None:
        config = {'width': width, 'embedding': embedding, 'fc': list(fc), 'dropout': dropout,
                  'backbone': backbone}
        super().__init__(config, embedding)
        self.fc = fully_connected(self.feature_dim, fc, dropout)
        self.head = Head(fc[-1], self.current_crop.context)

    def encode(self, features: Tensors, reference: Tensors = ()) -> Tensor:
        """Return the last hidden layer (N, F)."""
        return self.fc(self.fuse(features))

    def recur(self, embedding: Tensor, memory: Tensors = ()) -> tuple[Prediction, Tensors]:
        """Return the Prediction; there is no memory."""
        return self.head(embedding), ()
