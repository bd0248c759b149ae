# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Checkpoints: all that a run needs to go on, written so that a kill never costs the last one."""

import os
from pathlib import Path

import torch

NAME = 'checkpoint.pt'


def write_atomically(path, write):
    """
    Write a file so that `path` holds the old content or the whole new one, whatever happens.

    :param write: called with the binary file to write to.
    """
    path = Path(path)
    temporary = path.with_name(path.name + '.tmp')
    try:
        with open(temporary, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(folder, **parts):
    """Write `parts` (state_dicts, numbers, texts) to the folder's checkpoint."""
    write_atomically(Path(folder) / NAME, lambda file: torch.save(parts, file))


def has_checkpoint(folder):
    """Say whether there is a checkpoint in a folder."""
    return (Path(folder) / NAME).is_file()


def load_checkpoint(folder):
    """
    Return the parts saved last.

    :raises FileNotFoundError: if there are none.
    :raises ValueError: if the file is none of ours or damaged.
    """
    path = Path(folder) / NAME
    if not path.exists():
        raise FileNotFoundError(f'no checkpoint {path} to resume from')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:    # whatever a damaged file makes torch and pickle raise
        raise ValueError(f'{path} is damaged or no checkpoint: {error}') from error
