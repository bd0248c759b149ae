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
The sources of clips that a configuration names.

Each is a mapping with `kind`, optionally `share` (how often clips are drawn from it), and what
its kind needs:

- drawn: sequences of drawn shapes, no data needed;
- pool: `path` of rendered sequences, see `training.pool`; optionally `strides`;
- video: `path` of decoded recordings with boxes, see `training.cache`; optionally `strides`,
  `reversed_share`.
"""

from training.cache import VideoCache
from training.clips import MixedSource
from training.pool import Pool
from training.simulator import Simulator
from training.simulator.material import DrawnMaterial

DRAWN = {'kind': 'drawn'}


def _drawn():
    return Simulator(DrawnMaterial())


def _pool(path, strides=(1,)):
    return Pool(path, strides=tuple(strides))


def _video(path, strides=(1,), reversed_share=0.):
    return VideoCache(path, strides=strides, reversed_share=reversed_share)


KINDS = {'drawn': _drawn, 'pool': _pool, 'video': _video}


def make_source(descriptions):
    """
    Build the clip source that a list of mappings describes; drawn sequences for an empty one.

    :raises ValueError: naming an unknown kind or setting, and those that exist.
    """
    sources, shares = [], []
    for description in descriptions or (DRAWN,):
        settings = dict(description)
        kind, share = settings.pop('kind', None), settings.pop('share', 1.)
        if kind not in KINDS:
            raise ValueError(f'kind of data must be one of {sorted(KINDS)}, got {kind!r}')
        try:
            sources.append(KINDS[kind](**settings))
        except TypeError as error:
            raise ValueError(f'data of kind {kind!r}: {error}') from None
        shares.append(share)
    return MixedSource(sources, shares)
