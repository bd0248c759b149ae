# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Read the parameters out of Caffe's `.caffemodel` files, without Caffe.

Such a file is one protocol buffer message (NetParameter of caffe.proto). Only the fields of
names, shapes and values are read.
"""

from collections.abc import Iterator
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Field numbers of caffe.proto.
NET_LAYERS_OLD, NET_LAYERS = 2, 100             # V1LayerParameter, LayerParameter
NAME = {NET_LAYERS: 1, NET_LAYERS_OLD: 4}
BLOBS = {NET_LAYERS: 7, NET_LAYERS_OLD: 6}
BLOB_OLD_SHAPE, BLOB_DATA, BLOB_SHAPE = (1, 2, 3, 4), 5, 7
SHAPE_DIM = 1
# Wire types of protocol buffers.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_caffemodel(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """
    Return the tensors of a `.caffemodel` by name: '<layer>.weight' and '<layer>.bias'.

    :raises ValueError: if the file is not one.
    """
    try:
        return _read_net(memoryview(Path(path).read_bytes()))
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f'{path} is not a caffemodel file: {error}') from None


def _read_net(message: memoryview) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number, value in _fields(message):
        if number in (NET_LAYERS, NET_LAYERS_OLD) and isinstance(value, memoryview):
            name, blobs = _read_layer(value, number)
            tensors.update(zip((f'{name}.weight', f'{name}.bias'), blobs, strict=False))
    return tensors


def _read_layer(message: memoryview, kind: int) -> tuple[str, list[Tensor]]:
    name, blobs = '', []
    for number, value in _fields(message):
        if isinstance(value, int):
            continue
        if number == NAME[kind]:
            name = bytes(value).decode()
        elif number == BLOBS[kind]:
            blobs.append(_read_blob(value))
    return name, blobs


def _read_blob(message: memoryview) -> Tensor:
    shape: list[int] | None = None
    old_shape: dict[int, int] = {}
    parts = []
    for number, value in _fields(message):
        if isinstance(value, int):
            if number in BLOB_OLD_SHAPE:
                old_shape[number] = value
        elif number == BLOB_DATA:
            parts.append(np.frombuffer(value, '<f4'))
        elif number == BLOB_SHAPE:
            shape = _read_shape(value)
    if shape is None:
        # Old files always have four sides, with ones in front of fewer.
        shape = [old_shape.get(number, 1) for number in BLOB_OLD_SHAPE]
        while len(shape) > 1 and shape[0] == 1:
            shape.pop(0)
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return torch.from_numpy(values.reshape(shape))


def _read_shape(message: memoryview) -> list[int]:
    shape: list[int] = []
    for number, value in _fields(message):
        if number == SHAPE_DIM and isinstance(value, int):
            shape.append(value)
        elif number == SHAPE_DIM and isinstance(value, memoryview):
            position = 0
            while position < len(value):
                side, position = _varint(value, position)
                shape.append(side)
    return shape


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a message; a value is an int or a memoryview."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == VARINT:
            value, position = _varint(message, position)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if kind == BYTES:
                size, position = _varint(message, position)
            if position + size > len(message):
                raise ValueError('it ends in the middle of a field')
            value, position = message[position:position + size], position + size
        else:
            raise ValueError(f'unknown wire type {kind}')
        yield number, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Decode an integer of seven bits per byte; return it and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
