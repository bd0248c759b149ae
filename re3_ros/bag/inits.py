# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The boxes that tracking starts from: on the command line, in a file, or recorded in the bag."""

from collections.abc import Iterable, Iterator
import csv
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import numpy as np
from re3_core.boxes import check_box, xywh_to_xyxy
from re3_core.io.files import printable
from re3_ros.bag import BagError
from re3_ros.bag.message_types import DETECTION, DETECTIONS
from re3_ros.bag.reader import Bag, Topic
from re3_ros.messages import Request

TOPIC = 'topic'
# Times from this value on are seconds since 1970, as in stamps; smaller ones count from the
# first image.
ABSOLUTE_TIME = 1e8
_BOX = re.compile(r'(?:(?P<id>[^=@]+)=)?(?P<box>[^=@]+)@(?P<time>[^=@]+)')
COLUMNS = ('time', 'x', 'y', 'w', 'h')
OPTIONAL_COLUMNS = ('id', 'class_id', 'camera')


@dataclass(frozen=True)
class Init:
    """
    A box to start a target at.

    :param time: seconds since the first image, or since 1970 if at least ABSOLUTE_TIME.
    :param camera: name of its camera; empty: of the only one.
    :param source: where it was given, for messages.
    """

    request: Request
    time: float
    source: str
    camera: str = ''

    def stamp(self, first: int) -> int:
        """Return the stamp of its image in nanoseconds; `first` is that of the first image."""
        offset = 0 if self.time >= ABSOLUTE_TIME else first
        return offset + round(self.time * 1e9)


@dataclass(frozen=True)
class Inits:
    """Boxes given by the user, and names of topics with recorded ones ('': the default)."""

    boxes: tuple[Init, ...]
    topics: tuple[str, ...]


def parse_inits(texts: Iterable[str]) -> Inits:
    """
    Read the values of `--init`.

    :param texts: each `topic`, `topic:NAME`, a CSV file, or `[ID=]x,y,w,h@time`.
    :raises BagError: naming what is wrong.
    """
    boxes: list[Init] = []
    topics = []
    for text in texts:
        kind, _, name = text.partition(':')
        if kind == TOPIC:
            topics.append(name)
        elif match := _BOX.fullmatch(text):
            boxes.append(_init(match['box'].split(','), match['time'], match['id'] or '',
                               source=f'--init {text}'))
        elif Path(text).is_file():
            boxes += read_file(Path(text))
        else:
            raise BagError(f'--init {text}: neither topic[:NAME], nor a file, nor a box such as '
                           'cup=10,20,30,40@1.5 ([ID=]x,y,w,h@seconds)')
    return Inits(tuple(boxes), tuple(topics))


def read_file(path: Path) -> list[Init]:
    """
    Read boxes from a CSV file: time, x, y, w, h and optionally id, class_id and camera.

    :raises BagError: naming file and line.
    """
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = rows.fieldnames or ()
            missing = [name for name in COLUMNS if name not in names]
            if missing:
                raise BagError(f'{printable(path)}: the column {missing[0]} is missing; expected '
                               f'{",".join(COLUMNS)} and optionally '
                               f'{",".join(OPTIONAL_COLUMNS)}')
            return [_init([row[name] or '' for name in COLUMNS[1:]], row['time'] or '',
                          row.get('id') or '', row.get('class_id') or '', row.get('camera') or '',
                          f'{printable(path)}:{rows.line_num}') for row in rows]
    except (UnicodeDecodeError, csv.Error):
        raise BagError(f'{printable(path)}: not a CSV file with boxes') from None


def _init(numbers: list[str], time: str, identity: str, class_id: str = '', camera: str = '',
          source: str = '') -> Init:
    try:
        values = np.array([float(part) for part in numbers])
        seconds = float(time)
        if values.shape != (4,) or not np.isfinite(seconds):
            raise ValueError
    except ValueError:
        raise BagError(f'{source}: expected x,y,w,h in pixels and a time in seconds, four '
                       'numbers and one') from None
    try:
        box = check_box(xywh_to_xyxy(values))
    except ValueError as error:
        raise BagError(f'{source}: {error}') from None
    return Init(Request(identity, box, class_id), seconds, source, camera)


def init_topics(bag: Bag, names: Iterable[str], namespace: str, camera: str) -> list[Topic]:
    """
    Return the topics of the bag with recorded boxes.

    :param names: from `Inits`; an empty name is `init` of the node's namespace, and of a named
        camera also its own `init`.
    :raises BagError: there is no such topic, or it is of another type.
    """
    found = []
    for name in names:
        defaults = [f'{namespace}/{camera}/init'] * bool(camera) + [f'{namespace}/init']
        known = [bag.topics[each] for each in ([name] if name else defaults)
                 if each in bag.topics]
        if not known:
            others = ', '.join(sorted(topic.name for topic in bag.topics.values()
                                      if topic.type in (DETECTION, DETECTIONS))) or 'none'
            raise BagError(f'{printable(bag.path)}: there is no topic {name or defaults[0]} with '
                           f'boxes; topics with boxes: {others} (give a box as --init '
                           'x,y,w,h@seconds)')
        for topic in known:
            if topic.type not in (DETECTION, DETECTIONS):
                raise BagError(f'{printable(bag.path)}: {topic.name} is of type {topic.type}, '
                               f'expected {DETECTION} or {DETECTIONS}')
            bag.check(topic)
            found.append(topic)
    return found


def detections_of(message: Any) -> Iterator[Any]:
    """Yield the Detection2D messages of a Detection2D or Detection2DArray."""
    yield from message.detections if hasattr(message, 'detections') else (message,)
