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

"""Data, training and evaluation of the trackers."""

import os

# See re3_ros/__init__.py: on a machine that does something else too, training is four times as
# fast when threads do not spin. Must be set before torch loads.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
