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

"""The tracker networks, and the registry of them by name."""

from re3_core.networks.base import Crops, Prediction, State, TrackerNetwork
from re3_core.networks.goturn import GoturnNet
from re3_core.networks.goturn_lite import GoturnLiteNet
from re3_core.networks.re3 import Re3Net
from re3_core.networks.re3_lite import Re3LiteNet

NETWORKS = {network.name: network for network in (GoturnLiteNet, GoturnNet, Re3LiteNet, Re3Net)}

__all__ = [
    'Crops', 'GoturnLiteNet', 'GoturnNet', 'NETWORKS', 'Prediction', 'Re3LiteNet', 'Re3Net',
    'State', 'TrackerNetwork']
