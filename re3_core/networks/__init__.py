# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The tracker networks, and the registry of them by name."""

from re3_core.networks.base import Crops, Prediction, State, TrackerNetwork
from re3_core.networks.goturn import GoturnNet
from re3_core.networks.goturn_lite import GoturnLiteNet
from re3_core.networks.re3 import Re3Net
from re3_core.networks.re3_lite import Re3LiteNet

NETWORKS = {network.name: network for network in (
    GoturnLiteNet, GoturnNet, Re3LiteNet, Re3Net)}

__all__ = [
    'Crops', 'GoturnLiteNet', 'GoturnNet', 'NETWORKS', 'Prediction', 'Re3LiteNet', 'Re3Net',
    'State', 'TrackerNetwork']
