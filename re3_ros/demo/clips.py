# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Clips of the demo: which frames, which target, and boxes drawn by hand to judge against."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
from re3_core.boxes import check_box, xywh_to_xyxy
import yaml

FIELDS = {'video', 'target', 'credit', 'size', 'frames', 'start', 'end', 'boxes'}


@dataclass(frozen=True)
class DemoClip:
    """
    What the demo plays and what it knows about it.

    `video` is a path or a camera number, `box` the `xyxy` box of the target in frame `start`,
    `end` the frame after the last one (None: to the end), `boxes` the annotated boxes by frame
    number (empty: nothing is known about the target), `size` (width, height) in pixels.
    """

    video: str
    box: np.ndarray
    start: int = 0
    end: Optional[int] = None
    boxes: dict = field(default_factory=dict)
    target: str = 'target'
    credit: str = ''

    @property
    def live(self):
        """Whether the video is a camera."""
        return self.video.isdigit()


def parse_box(text):
    """
    Return the `xyxy` box (4,) of text `x,y,width,height`; raises ValueError saying what is wrong.

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


def load_annotation(path):
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


def find_annotation(video, facts, folder):
    """
    Return the annotation that belongs to a video, or None.

    It belongs if the file's name and the `facts` ((width, height), number of frames) agree, so
    that another file of the same name is not judged by it.
    """
    for path in sorted(Path(folder).glob('*.yaml')):
        data = load_annotation(path)
        if data['video'] == Path(video).name and (tuple(data['size']), data['frames']) == facts:
            return data
    return None


def choose_clip(video, box, start, end, annotation):
    """
    Put together what the user asked for and what is known about the video.

    :param box: `xyxy` box, or None to take the annotated one.
    :param start: first frame, None for the annotation's, else 0.
    :param end: frame after the last one, None for the annotation's, else all.
    :param annotation: from `find_annotation`, or None.
    Raises ValueError if there is no box to begin with.
    """
    known = annotation or {'boxes': {}, 'start': 0, 'end': None, 'target': 'target', 'credit': ''}
    start = known['start'] if start is None else start
    end = known['end'] if end is None else end
    if box is None and start not in known['boxes']:
        raise ValueError(f'no box is known for frame {start} of {video}: give the target in that '
                         'frame as --box x,y,width,height (make demo VIDEO=... BOX=x,y,w,h)')
    boxes = {frame: drawn for frame, drawn in known['boxes'].items()
             if start <= frame and (end is None or frame < end)}
    return DemoClip(str(video), boxes[start] if box is None else box, start, end, boxes,
                    known['target'], known['credit'])
