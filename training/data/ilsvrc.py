# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ImageNet (ILSVRC) with its XML annotations: VID, videos with tracks, and DET, images.

VID: `Data/VID/<part>/.../<video>/000000.JPEG` and `Annotations/VID/<same>/000000.xml`.
DET: `Data/DET/...` and `Annotations/DET/...` in the same way, or, as ILSVRC2014 was packed,
`ILSVRC2014_DET_train/...` and `ILSVRC2014_DET_bbox_train/...`.
"""

from collections import defaultdict
from dataclasses import dataclass
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from re3_core.io.files import printable
from re3_core.io.images import list_images
from training.data.base import (
    DataError,
    LabeledImage,
    LabeledTrack,
    LabeledVideo,
    OnError,
    path_key,
    raise_error,
    read_each,
    visible_files,
)


@dataclass(frozen=True)
class Annotation:
    """One XML file: size of the image (height, width) and its objects."""

    size: tuple[int, int]
    boxes: np.ndarray
    tracks: tuple[str, ...]


def read_annotation(file: Path) -> Annotation:
    """
    Read one XML file.

    :raises DataError: if it is no XML, or size, a box or its numbers are missing or empty
    """
    try:
        root = ElementTree.parse(file).getroot()
        size = (int(root.findtext('size/height', '')), int(root.findtext('size/width', '')))
        objects = root.findall('object')
        boxes = np.array([[float(item.findtext(f'bndbox/{name}', ''))
                           for name in ('xmin', 'ymin', 'xmax', 'ymax')] for item in objects],
                         np.float32).reshape(-1, 4)
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(f'{printable(file)}: not an annotation with size and boxes: '
                        f'{error}') from error
    if min(size) <= 0 or not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise DataError(f'{printable(file)}: the size or a box has no width or no height')
    return Annotation(size, boxes, tuple(item.findtext('trackid', '') for item in objects))


def read_vid(folder: os.PathLike | str, *, on_error: OnError = raise_error) -> list[LabeledVideo]:
    """
    Read ImageNet VID; every `trackid` of a video is a track.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    images, annotations = Path(folder) / 'Data' / 'VID', Path(folder) / 'Annotations' / 'VID'
    places = dict.fromkeys(file.parent for file in visible_files(annotations, '**/*.xml'))
    found = read_each(lambda place: _read_video(place, annotations, images, on_error), places,
                      on_error)
    if not found:
        on_error(DataError(f'{printable(annotations)}: no folder of .xml files in it'))
    return found


def _read_video(place: Path, annotations: Path, images: Path, on_error: OnError) -> LabeledVideo:
    """Read one video; a frame with a malformed annotation is one without objects."""
    name = place.relative_to(annotations)
    if not (images / name).is_dir():
        raise DataError(f'{printable(place)}: its folder of frames {printable(images / name)} is '
                        'missing')
    frames = list_images(images / name)
    boxes: dict[str, np.ndarray] = defaultdict(
        lambda: np.full((len(frames), 4), np.nan, np.float32))
    for index, frame in enumerate(frames):
        try:
            annotation = read_annotation(place / f'{frame.stem}.xml')
        except DataError as error:
            on_error(error)
            continue
        for track, box in zip(annotation.tracks, annotation.boxes, strict=True):
            boxes[track][index] = box
    return LabeledVideo(name.as_posix(), frames, tracks=tuple(
        LabeledTrack(track, boxes[track]) for track in sorted(boxes, key=path_key)))


def det_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the folders of images and annotations of ImageNet DET; None: not its layout."""
    pairs = [(folder / 'Data' / 'DET', folder / 'Annotations' / 'DET')]
    pairs += [(path.with_name(path.name.replace('_bbox', '')), path)
              for path in sorted(folder.glob('ILSVRC*_DET_bbox_train'))]
    return next((pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()), None)


def read_det(folder: os.PathLike | str, *,
             on_error: OnError = raise_error) -> list[LabeledImage]:
    """
    Read ImageNet DET; images without an object are left out.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    folder = Path(folder)
    pair = det_folders(folder)
    if pair is None:
        on_error(DataError(f'{printable(folder)}: neither Data/DET and Annotations/DET nor '
                           'ILSVRC2014_DET_train and ILSVRC2014_DET_bbox_train in it'))
        return []
    images, annotations = pair
    found = read_each(
        lambda file: _read_image(file, images / file.relative_to(annotations).parent),
        visible_files(annotations, '**/*.xml'), on_error)
    return [image for image in found if len(image.boxes)]


def _read_image(file: Path, images: Path) -> LabeledImage:
    annotation = read_annotation(file)
    path = images / f'{file.stem}.JPEG'
    if not path.is_file():
        raise DataError(f'{printable(file)}: its image {printable(path)} is missing')
    return LabeledImage(path, annotation.boxes, annotated_size=annotation.size)
