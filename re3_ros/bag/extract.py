# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The images of a bag as files or as a video, with a table of their stamps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
from re3_core.io.images import save_image
from re3_ros.bag import BagError
from re3_ros.bag.message_types import COMPRESSED_IMAGE
from re3_ros.bag.outputs import atomic_folder, check_folder, FRAMES_FILE, VideoOutput
from re3_ros.bag.reader import Bag, Topic
from re3_ros.bag.track import image_rate, Span
from re3_ros.diagnostics import InputWarnings, LogOnce
from re3_ros.messages import compressed_size, compressed_to_rgb, image_to_rgb, stamp_of
from tqdm import tqdm

COLUMNS = ('frame', 'stamp_ns', 'received_ns', 'file')

_log = logging.getLogger(__name__)
# Writes a message's image and returns the name of its file.
_Save = Callable[[Any, np.ndarray], str]


def extract(bag: Bag, topic: Topic, folder: Path, kind: str, span: Span, every: int = 1,
            overwrite: bool = False, progress: bool = True) -> tuple[int, int]:
    """
    Write the images of a topic and `frames.csv` into a folder, all at once at the end.

    A JPEG of a compressed topic is written as it was recorded (`jpg`). A frame's number is that
    of its file or its place in the video.

    :param kind: one of `re3_ros.bag.formats.EXTRACTED`.
    :param every: take each n-th image.
    :return: number of (images written, images that cannot be used).
    :raises BagError: `folder` is there already, or there is no image. OSError: disk full, ...
    """
    check_folder(folder, overwrite)
    bag.check(topic)
    convert = compressed_to_rgb if topic.type == COMPRESSED_IMAGE else image_to_rgb
    start, stop = span.of(bag)
    problems = InputWarnings(lambda: LogOnce(_log))
    written = refused = 0
    last_error: Exception | None = None
    with atomic_folder(folder) as part, \
            _saver(part, kind, image_rate(bag, topic, start, stop) / every) as save, \
            open(part / FRAMES_FILE, 'w', newline='', encoding='utf-8') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(COLUMNS)
        for message in tqdm(_every(bag, topic, start, stop, every), unit=' images',
                            total=-(-topic.count // every), disable=None if progress else True):
            try:
                image = bag.deserialize(message)
                name = save(image, convert(image))
            except ValueError as error:
                last_error = error
                refused += 1
                problems.report(topic.name, error)
                continue
            stamp = stamp_of(image.header) or message.received
            table.writerow((written, stamp, message.received, name))
            written += 1
        if not written and not refused:
            raise BagError(f'{topic.name}: there are no images in the chosen part')
        if not written:
            raise BagError(f'{topic.name}: none of {refused} images can be used'
                           + (f': {last_error}' if last_error else ''))
    return written, refused


def _every(bag: Bag, topic: Topic, start: int | None, stop: int | None,
           every: int) -> Iterator[Any]:
    for number, message in enumerate(bag.messages({topic.name}, start, stop)):
        if number % every == 0:
            yield message


@contextmanager
def _saver(folder: Path, kind: str, rate: float) -> Iterator[_Save]:
    """Yield a function that writes images as files or into a video."""
    if kind != 'video':
        yield _ImageFiles(folder / 'frames', kind).save
        return
    video = VideoOutput(folder / 'frames.mp4', rate)
    complete = False
    try:
        def save(_message: Any, rgb: np.ndarray) -> str:
            video.add(rgb)
            return 'frames.mp4'
        yield save
        complete = True
    finally:
        video.close(complete)


class _ImageFiles:
    """Numbered image files in a folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._count = 0

    def save(self, message: Any, rgb: np.ndarray) -> str:
        """Write an image; return its path relative to the folder of the results."""
        name = f'{self._count:06d}.{self._kind}'
        data = bytes(message.data[:2]) if self._kind == 'jpg' else b''
        if hasattr(message, 'format') and data == b'\xff\xd8' and compressed_size(message):
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).write_bytes(bytes(message.data))
        else:
            save_image(self._folder / name, rgb)
        self._count += 1
        return f'{self._folder.name}/{name}'
