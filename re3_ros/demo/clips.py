# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips of the demo: frames, target and true boxes drawn by hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from re3_core.boxes import check_box, xywh_to_xyxy
import yaml

FIELDS = {'video', 'target', 'credit', 'size', 'frames', 'start', 'end', 'boxes'}


@dataclass(frozen=True)
class DemoClip:
    """
    A video and the target in it.

    `video` is a path or a camera number, `box` the `xyxy` box of the target in frame `start`,
    `end` the frame after the last one (None: to the end), `boxes` the annotated boxes by frame
    number (may be empty).
    """

    video: str
    box: np.ndarray
    start: int = 0
    end: int | None = None
    boxes: dict[int, np.ndarray] = field(default_factory=dict)
    target: str = 'target'
    credit: str = ''

    @property
    def live(self) -> bool:
        """Whether the video is a camera."""
        return self.video.isdigit()


def parse_box(text: str) -> np.ndarray:
    """
    Return the `xyxy` box (4,) of a text `x,y,width,height`.

    :raises ValueError: not such a text, or a size of 0 or less.

    >>> parse_box('10, 20, 30, 40')
    array([10., 20., 40., 60.])
    """
    try:
        values = np.array([float(part) for part in text.split(',')])
    except ValueError:
        values = np.empty(0)
    if values.shape != (4,):
        raise ValueError(f'a box is x,y,width,height in pixels, for example 59,14,56,87: '
                         f'got {text!r}')
    if not (values[2:] > 0).all():
        raise ValueError(f'width and height of a box must be above 0, got {text!r}')
    return check_box(xywh_to_xyxy(values))


def load_annotation(path: Path | str) -> dict[str, Any]:
    """
    Read an annotation file (see `config/demo`) as a dict with the keys of `FIELDS`.

    The boxes come as float64 arrays (4,), `xyxy`, by frame number in rising order. Raises
    ValueError if a key is missing or unknown, a box is bad, or the first frame has no box.
    """
    with open(path, encoding='utf-8') as file:
        data = yaml.safe_load(file)
    if not isinstance(data, dict) or set(data) != FIELDS:
        raise ValueError(f'{path}: an annotation has the keys {", ".join(sorted(FIELDS))}')
    width, height = data['size']
    data['boxes'] = {int(frame): check_box(box, (height, width))
                     for frame, box in sorted(data['boxes'].items())}
    outside = [frame for frame in data['boxes'] if not data['start'] <= frame < data['end']]
    if outside or data['start'] not in data['boxes']:
        raise ValueError(f'{path}: boxes must lie within frames {data["start"]} to '
                         f'{data["end"] - 1} and include the first')
    return data


def find_annotation(video: str, properties: tuple[tuple[int, int], int] | None,
                    folder: Path) -> dict[str, Any] | None:
    """
    Return the annotation that belongs to a video, or None.

    The file's name and its `properties` ((width, height), number of frames) must agree: another
    file of the same name has other boxes.
    """
    for path in sorted(Path(folder).glob('*.yaml')):
        data = load_annotation(path)
        annotated = tuple(data['size']), data['frames']
        if data['video'] == Path(video).name and annotated == properties:
            return data
    return None


def choose_clip(video: str, box: np.ndarray | None, start: int | None, end: int | None,
                annotation: dict[str, Any] | None) -> DemoClip:
    """
    Return the DemoClip of the user's choices, with the annotation for what is not given.

    :param box: `xyxy` box, or None to take the annotated one.
    :param start: first frame, None for the annotation's, else 0.
    :param end: frame after the last one, None for the annotation's, else all.
    :param annotation: from `find_annotation`, or None.
    :raises ValueError: no box for the first frame.
    """
    known: dict[str, Any] = annotation or {
        'boxes': {}, 'start': 0, 'end': None, 'target': 'target', 'credit': ''}
    start = known['start'] if start is None else start
    end = known['end'] if end is None else end
    if box is None and start not in known['boxes']:
        raise ValueError(f'no box is known for frame {start} of {video}: give the target in that '
                         'frame as --box x,y,width,height (make demo VIDEO=... BOX=x,y,w,h)')
    boxes = {frame: true for frame, true in known['boxes'].items()
             if start <= frame and (end is None or frame < end)}
    return DemoClip(str(video), boxes[start] if box is None else box, start, end, boxes,
                    known['target'], known['credit'])
