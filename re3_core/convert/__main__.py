# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Command line of the converter."""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys

from re3_core.convert import convert_tensors, detect_kind, KINDS, read_checkpoint
from re3_core.weights import save_network
import torch


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one checkpoint; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m re3_core.convert',
        description='Convert a published checkpoint of Re3 or GOTURN to a weights file.')
    parser.add_argument('source', help='checkpoint: TensorFlow, PyTorch, .npz or .caffemodel')
    parser.add_argument('out', type=Path, help='weights file to write, .safetensors')
    parser.add_argument('--kind', default='auto', choices=('auto', *KINDS),
                        help='layout of the checkpoint; by default detected from tensor names')
    parser.add_argument('--precision', default='float32', choices=('float32', 'float16'),
                        help='of the weights in the file')
    arguments = parser.parse_args(argv)
    try:
        print(convert_file(arguments.source, arguments.out, arguments.kind,
                           getattr(torch, arguments.precision)))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def convert_file(source: str | os.PathLike[str], out: Path, kind: str = 'auto',
                 dtype: torch.dtype = torch.float32) -> str:
    """Convert checkpoint `source` to the weights file `out`; return a summary line."""
    if not out.parent.is_dir():
        raise FileNotFoundError(f'no folder {out.parent} for the weights file')
    tensors = read_checkpoint(source)
    kind = detect_kind(tensors) if kind == 'auto' else kind
    network = convert_tensors(tensors, kind)
    save_network(network, out, {'converted_from': kind}, dtype)
    count = sum(parameter.numel() for parameter in network.parameters())
    return f'{out}: {network.name} with {count:,} parameters, converted from {kind}'


if __name__ == '__main__':
    sys.exit(main())
