# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ImageNet (ILSVRC) with its XML annotations: VID, videos with tracks, and DET, photographs.

VID: `Data/VID/<part>/.../<video>/000000.JPEG` and `Annotations/VID/<same>/000000.xml`.
DET: `Data/DET/...` and `Annotations/DET/...` in the same way, or, as ILSVRC2014 was packed,
`ILSVRC2014_DET_train/...` and `ILSVRC2014_DET_bbox_train/...`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from training.datasets.recordings import frame_files
from training.datasets.records import DataError, Recording, refuse, Report, Still, Track

# GOTURN leaves out objects larger than this share of the picture's width or height.
GOTURN_LARGEST = 0.66


@dataclass(frozen=True)
class Annotation:
    """One XML file: size of the picture (height, width) and its objects."""

    size: tuple[int, int]
    boxes: np.ndarray
    labels: tuple[str, ...]
    tracks: tuple[str, ...]


def read_annotation(file: Path) -> Annotation:
    """
    Read one XML file.

    :raises DataError: if it is no XML, or size, a box or its numbers are missing or empty
    """
    try:
        root = ElementTree.parse(file).getroot()
        size = (int(root.findtext('size/height')), int(root.findtext('size/width')))
        objects = root.findall('object')
        boxes = [[float(item.findtext(f'bndbox/{name}'))
                  for name in ('xmin', 'ymin', 'xmax', 'ymax')] for item in objects]
    except (ElementTree.ParseError, OSError, TypeError, ValueError) as error:
        raise DataError(f'{file}: not an annotation with size and boxes: {error}') from error
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    if min(size) <= 0 or not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise DataError(f'{file}: the size or a box has no width or no height')
    return Annotation(size, boxes, tuple(item.findtext('name', '') for item in objects),
                      tuple(item.findtext('trackid', '') for item in objects))


def read_vid(folder: os.PathLike | str, *, report: Report = refuse) -> list[Recording]:
    """
    Read ImageNet VID; every `trackid` of a video is a track.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    images, annotations = Path(folder) / 'Data' / 'VID', Path(folder) / 'Annotations' / 'VID'
    found = []
    for place, folders, files in os.walk(annotations):
        folders.sort()
        if any(name.endswith('.xml') for name in files):
            try:
                found.append(_video(Path(place), annotations, images, report))
            except DataError as error:
                report(error)
    if not found:
        report(DataError(f'{annotations}: no folder of .xml files in it'))
    return found


def _video(place: Path, annotations: Path, images: Path, report: Report) -> Recording:
    """Read one video; a frame with a malformed annotation is one without objects."""
    name = place.relative_to(annotations)
    if not (images / name).is_dir():
        raise DataError(f'{place}: its folder of frames {images / name} is missing')
    frames = frame_files(images / name)
    boxes = defaultdict(lambda: np.full((len(frames), 4), np.nan, np.float32))
    for index, frame in enumerate(frames):
        try:
            annotation = read_annotation(place / f'{frame.stem}.xml')
        except DataError as error:
            report(error)
            continue
        for track, box in zip(annotation.tracks, annotation.boxes, strict=True):
            boxes[track][index] = box
    return Recording(name.as_posix(), frames,
                     tracks=tuple(Track(track, boxes[track]) for track in sorted(boxes)))


def det_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the folders of images and annotations of ImageNet DET; None: not its layout."""
    pairs = [(folder / 'Data' / 'DET', folder / 'Annotations' / 'DET')]
    pairs += [(path.with_name(path.name.replace('_bbox', '')), path)
              for path in sorted(folder.glob('ILSVRC*_DET_bbox_train'))]
    return next((pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()), None)


def read_det(folder: os.PathLike | str, *, largest: float | None = None,
             report: Report = refuse) -> list[Still]:
    """
    Read ImageNet DET; photographs without an object are left out.

    :param largest: leave out objects wider or higher than this share of the picture, see
        GOTURN_LARGEST
    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    pair = det_folders(folder)
    if pair is None:
        report(DataError(f'{folder}: neither Data/DET and Annotations/DET nor '
                         'ILSVRC2014_DET_train and ILSVRC2014_DET_bbox_train in it'))
        return []
    images, annotations = pair
    found = []
    for file in sorted(annotations.rglob('*.xml')):
        try:
            still = _still(file, images / file.relative_to(annotations).parent, largest)
        except DataError as error:
            report(error)
            continue
        if len(still.boxes):
            found.append(still)
    return found


def _still(file: Path, images: Path, largest: float | None) -> Still:
    annotation = read_annotation(file)
    path = images / f'{file.stem}.JPEG'
    if not path.is_file():
        raise DataError(f'{file}: its picture {path} is missing')
    sides = (annotation.boxes[:, 2:] - annotation.boxes[:, :2]) / annotation.size[::-1]
    kept = np.ones(len(sides), bool) if largest is None else (sides <= largest).all(axis=1)
    labels = tuple(label for label, keep in zip(annotation.labels, kept, strict=True) if keep)
    return Still(path, annotation.boxes[kept], labels, annotated_size=annotation.size)
