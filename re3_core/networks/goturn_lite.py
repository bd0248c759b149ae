# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
GoturnLite: GOTURN's principle on the parts of `Re3LiteNet`, the baseline without memory.

As in GOTURN (Held, Thrun and Savarese 2016): what both crops show goes through a stack of fully
connected layers with dropout to the box, and nothing is kept of earlier frames. Everything else
is as in `Re3LiteNet`, so that a comparison of the two shows what memory is worth: the template
of the first frame and the LSTM are what is missing here.
"""

from re3_core.networks.compact import CompactNet, Head
from re3_core.networks.goturn import fully_connected


class GoturnLiteNet(CompactNet):
    """
    GOTURN on the compact backbone, see the module's text.

    With the default widths it has about as many parameters as `Re3LiteNet`.

    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param fc: widths of the fully connected layers.
    :param dropout: share of their outputs that training drops.
    """

    name = 'goturn_lite'

    def __init__(self, width=1., embedding=48, fc=(896, 896, 896), dropout=0.2,
                 backbone='dense'):
        config = {'width': width, 'embedding': embedding, 'fc': list(fc), 'dropout': dropout,
                  'backbone': backbone}
        super().__init__(config, embedding, templates=1)
        self.fc = fully_connected(self.joined_size, fc, dropout)
        self.head = Head(fc[-1], self.current_crop.context)

    def encode(self, features, reference=()):
        """Return the last hidden layer (N, F)."""
        return self.fc(self.join(features, (self.neck(features[:3]),)))

    def recur(self, encoded, memory=()):
        """Return the Prediction; there is no memory."""
        return self.head(encoded), ()
