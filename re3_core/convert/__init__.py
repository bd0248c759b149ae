# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Convert published checkpoints of Re3 and GOTURN to weights files.

The command line is `python -m re3_core.convert SOURCE OUT.safetensors`; see docs/weights.md.
"""

from collections.abc import Mapping

from re3_core.convert.layouts import KINDS, Plan
from re3_core.convert.sources import read_checkpoint
from re3_core.networks import TrackerNetwork
from torch import Tensor

# Similar published networks that are not supported, by one tensor name.
UNSUPPORTED = {
    'feature_extractor.0.conv.weight':
        "the small network of re3-pytorch, which is not the paper's: it has other convolutions "
        'and no peepholes; convert the large one',
}

__all__ = ['convert_tensors', 'detect_kind', 'KINDS', 'read_checkpoint']


def detect_kind(tensors: Mapping[str, Tensor]) -> str:
    """Return the kind (see `KINDS`) of a checkpoint's tensors; ValueError if it is unknown."""
    for mark, reason in UNSUPPORTED.items():
        if mark in tensors:
            raise ValueError(f'this checkpoint is {reason}')
    for name, kind in KINDS.items():
        if kind.mark and kind.mark in tensors:
            return name
    marks = ', '.join(f'{kind.mark} ({name})' for name, kind in KINDS.items() if kind.mark)
    found = ', '.join(sorted(tensors)[:8]) or 'nothing'
    raise ValueError(f'unknown checkpoint format; expected a tensor with one of the names '
                     f'{marks}, got {found}{", ..." if len(tensors) > 8 else ""}')


def convert_tensors(tensors: Mapping[str, Tensor], kind: str,
                    network: TrackerNetwork | None = None) -> TrackerNetwork:
    """
    Return a network with the weights of a published checkpoint.

    :param tensors: by their published names.
    :param kind: name in `KINDS`.
    :param network: to be filled instead of one of the published size.
    :raises ValueError: that lists missing, unknown and misshapen tensors.
    """
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {", ".join(KINDS)}, got {kind!r}')
    build, make_plan, _, partial = KINDS[kind]
    network = network or build()
    state = network.state_dict()
    plan = make_plan({name: tuple(value.shape) for name, value in state.items()})
    problems = _problems(plan, tensors, partial)
    if problems:
        shown = '\n  '.join(problems[:12]) + ('\n  ...' if len(problems) > 12 else '')
        raise ValueError(f'the checkpoint does not fit {kind}:\n  {shown}')
    for name, entry in plan.items():
        state[name] = entry.build(*(tensors[source].float() for source, _ in entry.sources))
    network.load_state_dict(state, assign=True)
    return network.eval()


def _problems(plan: Plan, tensors: Mapping[str, Tensor], partial: bool) -> list[str]:
    """List missing, misshapen and unknown tensors."""
    wanted = dict(source for entry in plan.values() for source in entry.sources)
    problems = []
    for name, shape in wanted.items():
        if name not in tensors:
            problems.append(f'{name} {shape} is missing')
        elif tuple(tensors[name].shape) != shape:
            problems.append(f'{name} has shape {tuple(tensors[name].shape)}, not {shape}')
    if not partial:
        problems += [f'{name} is unknown' for name in sorted(set(tensors) - set(wanted))]
    return problems
