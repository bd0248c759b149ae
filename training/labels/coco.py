# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Labels as COCO JSON for videos: `videos`, `frame_index` and `track_id`, as in TAO.

CVAT's COCO files, with `attributes.track_id` and `attributes.occluded`, are read as well; in those
of plain COCO, without ids, boxes of a category that overlap in consecutive images are one target.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from re3_core.boxes import xywh_to_xyxy, xyxy_to_xywh
from re3_core.io.files import natural_key, printable
from training.data.base import DataError, read_text, visible_files
from training.labels.model import link_boxes, TargetLabels, VideoLabels

FILE = 'annotations.json'
# COCO needs a name for every category.
NO_LABEL = 'object'
# Where the images may be, beside the file or above its folder.
IMAGE_FOLDERS = ('images', '', '../images', '..')


def read_coco(path: Path) -> list[VideoLabels]:
    """
    Read a COCO file, or a folder with one.

    :raises DataError: if something is malformed
    """
    file = path if path.is_file() else find_coco(path)
    if file is None:
        raise DataError(f'{printable(path)}: no {FILE} in it')
    try:
        content = json.loads(read_text(file))
        return _Reader(file, content).videos()
    except json.JSONDecodeError as error:
        raise DataError(f'{printable(file)}: not JSON: {error}') from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{printable(file)}: not a COCO file of boxes: '
                        f'{type(error).__name__}: {error}') from None


def find_coco(folder: Path) -> Path | None:
    """Return the COCO file of a folder, or None."""
    files = [*visible_files(folder, FILE), *visible_files(folder, 'annotations/*.json')]
    return files[0] if files else None


class _Reader:
    """The content of one file, grouped by video, frame and target."""

    def __init__(self, file: Path, content: dict[str, Any]):
        self.file = file
        self.images: dict[int, dict] = {item['id']: item for item in content['images']}
        self.names = {item['id']: item['name'] for item in content.get('videos', ())}
        self.categories = {item['id']: item['name'] for item in content.get('categories', ())}
        self.tracks = {item['id']: item for item in content.get('tracks', ())}
        self.annotations: list[dict] = content['annotations']

    def videos(self) -> list[VideoLabels]:
        groups: dict[Any, list[dict]] = {}
        for image in self.images.values():
            groups.setdefault(image.get('video_id'), []).append(image)
        return [self._video(key, images) for key, images in groups.items()]

    def _video(self, key: Any, images: list[dict]) -> VideoLabels:
        images.sort(key=lambda item: (item.get('frame_index', 0), natural_key(item['file_name'])))
        rows = {image['id']: row for row, image in enumerate(images)}
        sizes = {(int(image['width']), int(image['height'])) for image in images}
        name = self.names.get(key, self.file.resolve().parent.name)
        if len(sizes) > 1:
            raise DataError(f'{printable(self.file)}: the images of {name!r} have different sizes '
                            f'{sorted(sizes)}: they are no video')
        found: dict[str, list[dict]] = {}
        unlinked: dict[Any, list[dict]] = {}
        for item in self.annotations:
            if item['image_id'] not in self.images:
                raise DataError(f'{printable(self.file)}: annotation {item.get("id")} belongs to '
                                f'no image: {item["image_id"]!r}')
            if item['image_id'] not in rows or item.get('iscrowd'):
                continue
            identity = self._identity(item)
            group = unlinked if identity is None else found
            group.setdefault(item['category_id'] if identity is None else identity,
                             []).append(item)
        targets = {identity: self._target(items, rows) for identity, items in found.items()}
        for category, items in unlinked.items():
            targets.update(self._linked(category, items, rows))
        frames = tuple(image['file_name'] for image in images)
        return VideoLabels(name, sizes.pop(), frames, targets, self._folder(frames[0]))

    def _identity(self, item: dict) -> str | None:
        attributes = item.get('attributes') or {}
        number = item.get('track_id', attributes.get('track_id'))
        if number is None:
            return None
        return str(self.tracks.get(number, {}).get('name') or number)

    def _box(self, item: dict) -> np.ndarray:
        box = xywh_to_xyxy(np.array(item['bbox'], np.float64).reshape(4))
        if not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
            raise DataError(f'{printable(self.file)}: annotation {item.get("id")}: bbox must be '
                            f'[x, y, w, h] with w and h above 0, got {item["bbox"]!r:.80}')
        return box

    def _target(self, items: list[dict], rows: dict[int, int]) -> TargetLabels:
        count = len(rows)
        boxes, occluded = np.full((count, 4), np.nan), np.zeros(count, bool)
        key = np.ones(count, bool)
        for item in items:
            row, attributes = rows[item['image_id']], item.get('attributes') or {}
            boxes[row] = self._box(item)
            occluded[row] = bool(attributes.get('occluded', False))
            key[row] = bool(attributes.get('keyframe', True))
        return TargetLabels.of(boxes, occluded, key,
                               _label(self.categories.get(items[0]['category_id'], '')))

    def _linked(self, category: Any, items: list[dict],
                rows: dict[int, int]) -> dict[str, TargetLabels]:
        frames: list[list[np.ndarray]] = [[] for _ in rows]
        for item in items:
            frames[rows[item['image_id']]].append(self._box(item))
        label = _label(self.categories.get(category, ''))
        tracks = link_boxes(frames)
        name = label or str(category)
        return {name if len(tracks) == 1 else f'{name}_{number}':
                TargetLabels.of(boxes, label=label) for number, boxes in enumerate(tracks, 1)}

    def _folder(self, name: str) -> Path | None:
        home = self.file.resolve().parent
        return next((home / place for place in IMAGE_FOLDERS if (home / place / name).is_file()),
                    None)


def _label(name: str) -> str:
    return '' if name == NO_LABEL else name


def write_coco(labels: VideoLabels, folder: Path) -> str:
    """Write `annotations.json`."""
    width, height = labels.size
    names = list(dict.fromkeys(target.label or NO_LABEL for target in labels.targets.values()))

    def number(target: TargetLabels) -> int:
        return names.index(target.label or NO_LABEL) + 1

    annotations: list[dict[str, Any]] = []
    for track, target in enumerate(labels.targets.values(), 1):
        for frame in np.flatnonzero(target.present).tolist():
            x, y, w, h = (round(float(value), 3) for value in xyxy_to_xywh(target.boxes[frame]))
            annotations.append({
                'id': len(annotations) + 1, 'image_id': frame + 1, 'video_id': 1,
                'category_id': number(target), 'track_id': track, 'bbox': [x, y, w, h],
                'area': round(w * h, 3), 'iscrowd': 0, 'segmentation': [],
                'attributes': {'occluded': bool(target.occluded[frame]),
                               'keyframe': bool(target.key[frame])}})
    content = {
        'videos': [{'id': 1, 'name': labels.name, 'width': width, 'height': height}],
        'images': [{'id': frame + 1, 'video_id': 1, 'frame_index': frame, 'file_name': name,
                    'width': width, 'height': height}
                   for frame, name in enumerate(labels.frames)],
        'categories': [{'id': k, 'name': name} for k, name in enumerate(names, 1)],
        'tracks': [{'id': track, 'name': identity, 'video_id': 1, 'category_id': number(target)}
                   for track, (identity, target) in enumerate(labels.targets.items(), 1)],
        'annotations': annotations}
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
    return 'images'
