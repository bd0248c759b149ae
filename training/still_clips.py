# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips of photographs: the same picture again and again, to be disturbed by what learns."""

from __future__ import annotations

import numpy as np
from training.cache import StillCache
from training.clips import Clip


class StillClips:
    """
    Clip source of annotated photographs: all frames of a clip are the same picture.

    GOTURN learns from such pairs, whose second crop is moved (paper, section 4.2).

    :param stills: cache of photographs
    :param largest: boxes wider or higher than this share of the picture are left out
    :raises ValueError: if no box is left
    """

    def __init__(self, stills: StillCache, largest: float = 0.66):
        self.stills = stills
        self._places = [(index, box) for index in range(len(stills))
                        for box in stills.boxes(index)
                        if _usable(box, stills.image(index).shape, largest)]
        if not self._places:
            raise ValueError(f'{stills.directory}: no photograph has a box of at most {largest} '
                             'of its sides')

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw an annotated object."""
        index, box = self._places[int(rng.integers(len(self)))]
        return Clip([self.stills.image(index)] * length, np.tile(box, (length, 1)),
                    np.full(length, np.nan, np.float32))


def _usable(box: np.ndarray, shape: tuple, largest: float) -> bool:
    """Say whether a box lies in the picture, has an area and is not nearly all of it."""
    sides, extent = box[2:] - box[:2], np.array(shape[1::-1])
    centre = (box[:2] + box[2:]) / 2
    return bool((sides >= 1).all() and (sides <= largest * extent).all()
                and (centre >= 0).all() and (centre <= extent).all())
