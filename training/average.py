# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Average weights files of one run: `python -m training.average A B ... --output OUT`.

The mean of networks on one path of training is often better than each of them (Izmailov et al.
2018, stochastic weight averaging).
"""

import argparse
import sys

from re3_core.weights import load_network, save_network
import torch


def average(paths):
    """
    Return a network with the mean weights of files of the same model and configuration.

    :raises ValueError: files that do not fit each other.
    """
    networks = [load_network(weights=path) for path in paths]
    first = networks[0]
    for path, network in zip(paths[1:], networks[1:], strict=True):
        if (network.name, network.config) != (first.name, first.config):
            raise ValueError(f'{path} holds {network.name} {network.config}, but {paths[0]} '
                             f'{first.name} {first.config}')
    states = [network.state_dict() for network in networks]
    first.load_state_dict({
        name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]})
    return first


def main(arguments=None):
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.average', description='Average weights files of one run.')
    parser.add_argument('files', nargs='+', help='weights files')
    parser.add_argument('--output', required=True, help='weights file to write')
    options = parser.parse_args(arguments)
    try:
        save_network(average(options.files), options.output, {
            'averaged': str(len(options.files))})
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
