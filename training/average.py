# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Average weights files of one run: `python -m training.average A B ... --output OUT`.

The mean of networks on one path of training is often better than each of them (Izmailov et al.
2018, stochastic weight averaging).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import cast

from re3_core.networks import TrackerNetwork
from re3_core.weights import load_network, save_network
from torch.optim.swa_utils import AveragedModel
from training.config import run_command
import tyro


def average(paths: Sequence[Path | str]) -> TrackerNetwork:
    """
    Return a network with the mean weights of files of the same model and configuration.

    :raises ValueError: files that do not fit each other
    """
    networks = [load_network(weights=path) for path in paths]
    first, mean = networks[0], AveragedModel(networks[0], use_buffers=True)
    for path, network in zip(paths, networks, strict=True):
        if (network.name, network.config) != (first.name, first.config):
            raise ValueError(f'{path} holds {network.name} {network.config}, but {paths[0]} '
                             f'{first.name} {first.config}')
        mean.update_parameters(network)
    return cast(TrackerNetwork, mean.module)


@dataclass(frozen=True)
class AverageOptions:
    """
    Average weights files of one run.

    :param files: weights files
    :param output: weights file to write
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    output: Path


def run(options: AverageOptions) -> None:
    """Run the command."""
    if not options.files:
        raise ValueError('name at least one weights file')
    save_network(average(options.files), options.output, {'averaged': str(len(options.files))})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(AverageOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
