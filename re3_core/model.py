# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
A model as the tracker needs it: the properties of a network, and its inputs and states.

Nothing here needs torch: an exported model is tracked with where it is not installed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from re3_core.crops import CropSpec

DEFAULT_MODEL = 're3_lite'
# Names of the networks, in alphabetical order; `re3_core.networks` has them.
MODELS = ('goturn', 'goturn_lite', 're3', 're3_lite')

# What a file of the first `re3_lite` is refused with: that network had a fully connected layer.
FIRST_GENERATION = ('belongs to the first generation of re3_lite, which this release no longer '
                    'runs; use the packaged weights, or fine-tune or train new ones')

Arrays = tuple[Any, ...]    # numpy arrays or torch tensors, as the engine computes with


def available_models() -> tuple[str, ...]:
    """Return the names of the networks, in alphabetical order."""
    return MODELS


class Crops(NamedTuple):
    """
    Input of a network for N targets: uint8 RGB, see `re3_core.crops.crop_batch`.

    `previous` (N, 3, Sp, Sp) is cut from the frame before, `current` (N, 3, Sc, Sc) from this
    frame, both around the target's last known box.
    """

    previous: Any
    current: Any


class State(NamedTuple):
    """
    Arrays that a network carries from frame to frame, targets first (N, ...).

    `reference` is computed from the first frame, `memory` is the state of the recurrent layers;
    either may be empty.
    """

    reference: Arrays
    memory: Arrays


@dataclass(frozen=True)
class ModelInfo:
    """Properties of a network that the tracker uses; see `TrackerNetwork` for their meaning."""

    name: str
    previous_crop: CropSpec
    current_crop: CropSpec
    scale_lr: float = 1.

    @classmethod
    def of(cls, network: Any) -> 'ModelInfo':
        """Return the properties of a network."""
        return cls(**{name: getattr(network, name) for name in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, Any]:
        """Return the properties as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'ModelInfo':
        """
        Return the properties that `to_dict` returned, also after JSON.

        :raises ValueError: for a mapping that lacks some or has others.
        """
        try:
            info = dict(values)
            for name in ('previous_crop', 'current_crop'):
                size, *region = info[name]
                info[name] = CropSpec(int(size), *map(float, region))
            return cls(**info)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'not the properties of a model: {error}') from None
