# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Training in several processes that torchrun has started."""

from contextlib import contextmanager
import os

import torch
from torch import distributed


def join_processes():
    """Join the processes of torchrun, if it started this one; return its device or None."""
    if 'WORLD_SIZE' not in os.environ:
        return None
    cuda = torch.cuda.is_available()
    distributed.init_process_group('nccl' if cuda else 'gloo')
    if not cuda:
        return 'cpu'
    device = f'cuda:{os.environ["LOCAL_RANK"]}'
    torch.cuda.set_device(device)
    return device


def leave_processes():
    """Undo `join_processes`."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank_and_world():
    """Return the number of this process, from 0, and how many there are."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextmanager
def first_process_first():
    """Let the first process go through a block before the others, so that they find its files."""
    rank, world = rank_and_world()
    if rank:
        distributed.barrier()
    yield
    if world > 1 and not rank:
        distributed.barrier()


def as_first_process(decision, device):
    """Return what the first process says, a bool, in all of them."""
    if not distributed.is_initialized():
        return decision
    answer = torch.tensor([decision], dtype=torch.uint8, device=device)
    distributed.broadcast(answer, 0)
    return bool(answer)
