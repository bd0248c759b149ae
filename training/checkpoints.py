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

"""Checkpoints: all that a run needs to go on, written so that a kill never costs the last one."""

import os
from pathlib import Path
import tempfile

import torch

NAME = 'checkpoint.pt'


def save_checkpoint(folder, **parts):
    """Write `parts` (state_dicts, numbers, texts) to the folder's checkpoint, atomically."""
    path = Path(folder) / NAME
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=NAME)
    try:
        with os.fdopen(handle, 'wb') as file:
            torch.save(parts, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load_checkpoint(folder):
    """Return the parts saved last; FileNotFoundError if there are none."""
    path = Path(folder) / NAME
    if not path.exists():
        raise FileNotFoundError(f'no checkpoint {path} to resume from')
    return torch.load(path, map_location='cpu', weights_only=True)
