# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Labels as CVAT's XML for videos, version 1.1.

A box holds until the next one of its track; frames between are interpolated linearly, as CVAT
does; `outside="1"` marks absence. The id of a target is the attribute `id`, or the track's number.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from re3_core.io.files import printable
from training.data.base import DataError, read_text, visible_files
from training.labels.model import (
    check_count,
    frame_names,
    images_in,
    TargetLabels,
    VideoLabels,
)

FILE = 'annotations.xml'
SIDES = ('xtl', 'ytl', 'xbr', 'ybr')
NO_LABEL = 'object'


def read_cvat(path: Path) -> list[VideoLabels]:
    """
    Read a CVAT XML file, or a folder with one; its frames are in `images/`, if they are there.

    :raises DataError: if something is malformed
    """
    files = [path] if path.is_file() else visible_files(path, FILE)
    if not files:
        raise DataError(f'{printable(path)}: no {FILE} in it')
    return [_read_file(file) for file in files]


def _read_file(file: Path) -> VideoLabels:
    text = read_text(file)
    if '<!DOCTYPE' in text or '<!ENTITY' in text:      # CVAT writes none; they can be abused
        raise DataError(f'{printable(file)}: an XML file with a DOCTYPE is not read')
    if text.startswith('<?xml'):        # its encoding is that of the bytes, not of the text
        text = text.partition('?>')[2]
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f'{printable(file)}: not XML: {error}') from None
    tracks = root.findall('track')
    if root.tag != 'annotations' or not tracks and root.find('image') is not None:
        raise DataError(f'{printable(file)}: no tracks; export as "CVAT for video 1.1"')
    try:
        return _video(file, root, tracks)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{printable(file)}: not as "CVAT for video 1.1": '
                        f'{type(error).__name__}: {error}') from None


def _video(file: Path, root: ElementTree.Element,
           tracks: list[ElementTree.Element]) -> VideoLabels:
    task = next((found for place in ('meta/task', 'meta/job', 'meta')
                 if (found := root.find(place)) is not None), ElementTree.Element('task'))
    folder = file.parent / 'images'
    images = images_in(folder)
    last = max((int(box.attrib['frame']) for track in tracks for box in track.iter('box')),
               default=-1)
    count = check_count(file, max(int(task.findtext('size') or 0), last + 1, len(images)))
    size = task.find('original_size')
    width, height = (int((size.findtext(side) if size is not None else None) or 0)
                     for side in ('width', 'height'))
    targets: dict[str, TargetLabels] = {}
    for number, track in enumerate(tracks):
        identity = track.attrib.get('id', str(number))
        for item in track.iterfind('box/attribute'):
            if item.attrib.get('name') == 'id' and item.text:
                identity = item.text
                break
        if identity in targets:
            raise DataError(f'{printable(file)}: two tracks have the id {identity!r}')
        targets[identity] = _target(track, count)
    name = task.findtext('name') or file.resolve().parent.name
    return VideoLabels(name, (width, height), images if len(images) == count
                       else frame_names(count), targets, folder if images else None)


def _target(track: ElementTree.Element, count: int) -> TargetLabels:
    boxes, occluded = np.full((count, 4), np.nan), np.zeros(count, bool)
    key = np.zeros(count, bool)
    items = sorted(track.iterfind('box'), key=lambda item: int(item.attrib['frame']))
    places = [int(item.attrib['frame']) for item in items]
    for item, start, stop in zip(items, places, [*places[1:], count], strict=True):
        key[start] = item.attrib.get('keyframe', '1') == '1'
        if item.attrib.get('outside') == '1':
            continue
        box = np.array([float(item.attrib[side]) for side in SIDES])
        following = next((other for other, place in zip(items, places, strict=True)
                          if place == stop and other.attrib.get('outside') != '1'), None)
        after = box if following is None else np.array(
            [float(following.attrib[side]) for side in SIDES])
        share = (np.arange(stop - start) / (stop - start))[:, None]
        boxes[start:stop] = (1 - share) * box + share * after
        occluded[start:stop] = item.attrib.get('occluded') == '1'
    label = track.attrib.get('label', '')
    return TargetLabels.of(boxes, occluded, key, '' if label == NO_LABEL else label)


def write_cvat(labels: VideoLabels, folder: Path) -> str:
    """Write `annotations.xml`."""
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    task = ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task')
    for name, text in (('name', labels.name), ('size', str(len(labels))),
                       ('mode', 'interpolation'), ('start_frame', '0'),
                       ('stop_frame', str(max(0, len(labels) - 1)))):
        ElementTree.SubElement(task, name).text = text
    kinds = ElementTree.SubElement(task, 'labels')
    for name in dict.fromkeys(target.label or NO_LABEL for target in labels.targets.values()):
        kind = ElementTree.SubElement(kinds, 'label')
        ElementTree.SubElement(kind, 'name').text = name
        attribute = ElementTree.SubElement(
            ElementTree.SubElement(kind, 'attributes'), 'attribute')
        for part, text in (('name', 'id'), ('mutable', 'False'), ('input_type', 'text')):
            ElementTree.SubElement(attribute, part).text = text
    size = ElementTree.SubElement(task, 'original_size')
    for side, length in zip(('width', 'height'), labels.size, strict=True):
        ElementTree.SubElement(size, side).text = str(length)
    for number, (identity, target) in enumerate(labels.targets.items()):
        track = ElementTree.SubElement(root, 'track', {
            'id': str(number), 'label': target.label or NO_LABEL, 'source': 'manual'})
        _write_boxes(track, identity, target)
    ElementTree.indent(root)
    (folder / FILE).write_bytes(ElementTree.tostring(root, 'utf-8', xml_declaration=True))
    return 'images'


def _write_boxes(track: ElementTree.Element, identity: str, target: TargetLabels) -> None:
    """Write a box for every frame, where the target is absent that of the frame before."""
    known = np.flatnonzero(target.present)
    if not len(known):
        return
    last = target.boxes[known[0]]
    for frame, (box, present) in enumerate(zip(target.boxes, target.present, strict=True)):
        last = box if present else last
        item = ElementTree.SubElement(track, 'box', {
            'frame': str(frame), **{side: f'{value:.3f}' for side, value in
                                    zip(SIDES, last, strict=True)},
            'outside': str(int(not present)), 'occluded': str(int(target.occluded[frame])),
            'keyframe': str(int(target.key[frame])), 'z_order': '0'})
        ElementTree.SubElement(item, 'attribute', {'name': 'id'}).text = identity
