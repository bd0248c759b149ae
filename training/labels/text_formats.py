# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Labels in text files: OTB, GOT-10k, MOT Challenge and YOLO."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import configparser
import csv
from pathlib import Path
import re

import numpy as np
from re3_core.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from re3_core.io.files import natural_key, printable
from training.data import read_got10k, read_videos
from training.data.base import DataError, read_boxes, read_text, visible_files
from training.data.got10k import COVER_LEVELS
from training.labels.model import (
    check_count,
    frame_names,
    image_size,
    images_in,
    labels_of,
    link_boxes,
    TargetLabels,
    VideoLabels,
)
import yaml


def plain_name(text: str) -> str:
    """Return a text as part of a file name: letters, digits and `_.-`, not empty."""
    return re.sub(r'[^\w.-]', '_', text)[:64].lstrip('.') or '_'


def _one_line(text: object) -> str:
    return ' '.join(str(text).split())


def _row(values: Iterable[float]) -> str:
    """Return numbers separated by commas, as precise as is needed to read them back."""
    return ','.join('nan' if np.isnan(value) else f'{value:.3f}'.rstrip('0').rstrip('.')
                    for value in values)


def _file_names(targets: Iterable[str]) -> dict[str, str]:
    """Return a different part of a file name for each id."""
    names: dict[str, str] = {}
    for number, identity in enumerate(targets, 1):
        name = plain_name(identity)
        names[identity] = name if name not in names.values() else f'{name}_{number}'
    return names


# OTB -------------------------------------------------------------------------------------------


def read_otb(path: Path) -> list[VideoLabels]:
    """
    Read OTB folders, see `training.data.read_videos`, or one file of boxes.

    :raises DataError: if something is malformed
    """
    if path.is_dir():
        return [labels_of(video) for video in read_videos(path) if video.tracks]
    boxes = read_boxes(path)
    identity = path.stem.partition('.')[2] or '1'
    return [VideoLabels(path.stem, (0, 0), frame_names(len(boxes)),
                        {identity: TargetLabels.of(boxes)})]


def write_otb(labels: VideoLabels, folder: Path) -> str:
    """Write `groundtruth_rect.txt`, with several targets one file each; return images' folder."""
    names = _file_names(labels.targets)
    single = len(labels.targets) == 1
    for identity, target in labels.targets.items():
        name = 'groundtruth_rect.txt' if single else f'groundtruth.{names[identity]}.txt'
        lines = [_row(box) for box in xyxy_to_xywh(target.boxes)]
        (folder / name).write_text(''.join(f'{line}\n' for line in lines))
    return 'img'


# GOT-10k ---------------------------------------------------------------------------------------


def read_got10k_labels(path: Path) -> list[VideoLabels]:
    """
    Read GOT-10k folders; a target that is not wholly visible counts as occluded.

    :raises DataError: if something is malformed
    """
    return [labels_of(video) for video in read_got10k(path)]


def write_got10k(labels: VideoLabels, folder: Path) -> list[str]:
    """Write one sequence for each target; return the folders of images, which are theirs."""
    names = _file_names(labels.targets)
    places = []
    for identity, target in labels.targets.items():
        place = f'GOT-10k_{plain_name(labels.name)}_{names[identity]}'
        (folder / place).mkdir(parents=True)
        boxes = np.nan_to_num(xyxy_to_xywh(target.boxes))       # 0 x 0 where absent
        cover = np.rint(target.visible * COVER_LEVELS).astype(int)
        for name, lines in (('groundtruth.txt', map(_row, boxes)),
                            ('absence.label', (~target.present).astype(int)),
                            ('cover.label', cover)):
            (folder / place / name).write_text(''.join(f'{line}\n' for line in lines))
        places.append(place)
    return places


# MOT Challenge ---------------------------------------------------------------------------------

MOT_COLUMNS = 'frame,id,x,y,w,h,confidence,class,visibility'


def read_mot(path: Path) -> list[VideoLabels]:
    """
    Read MOT Challenge: folders with `gt/gt.txt` or `det/det.txt`, or one such file.

    `ids.csv` beside the file (as `re3_ros.bag track` writes it) names the ids, `labels.txt` (as
    CVAT writes it) the classes, `seqinfo.ini` size and number of frames.

    :raises DataError: if something is malformed
    """
    if path.is_file():
        return [_read_mot_file(path, path.parent)]
    files = visible_files(path, '**/gt/gt.txt')
    if not files:
        raise DataError(f'{printable(path)}: no gt/gt.txt in it')
    return [_read_mot_file(file, file.parent.parent) for file in files]


def _read_mot_file(path: Path, home: Path) -> VideoLabels:
    rows = _mot_rows(path)
    info = _seqinfo(home / 'seqinfo.ini')
    folder = home / info.get('imdir', 'img1')
    images = images_in(folder)
    try:
        count = max(len(images), int(info.get('seqlength', 0)), *(int(row[0]) for row in rows), 0)
        size = int(info.get('imwidth', 0)), int(info.get('imheight', 0))
    except ValueError as error:
        raise DataError(f'{printable(home / "seqinfo.ini")}: {error}') from None
    check_count(path, count)
    if images and len(images) < count:
        raise DataError(f'{printable(path)}: frame {count}, but there are {len(images)} images')
    if images and 0 in size:
        size = image_size(folder / images[0])
    ids, classes = _id_names(path.parent / 'ids.csv'), _lines(path.parent / 'labels.txt')
    found: dict[str, TargetLabels] = {}
    for row in rows:
        identity = ids.get(int(row[1]), str(int(row[1])))
        if identity not in found:
            # -1: of a results file, which has no classes.
            number = int(row[7]) if len(row) > 7 else -1
            label = classes[number - 1] if 0 < number <= len(classes) else ''
            found[identity] = TargetLabels(np.full((count, 4), np.nan), np.zeros(count, bool),
                                           np.ones(count, bool), label)
        frame = int(row[0]) - 1
        found[identity].boxes[frame] = xywh_to_xyxy(row[2:6])
        found[identity].occluded[frame] = len(row) > 8 and 0 <= row[8] < 1
    name = info.get('name') or (home.name if path.name == 'gt.txt' else path.stem)
    return VideoLabels(name, size, images or frame_names(count), found,
                       folder if images else None)


def _mot_rows(path: Path) -> list[np.ndarray]:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = np.array([float(part) for part in line.split(',')])
        except ValueError:
            row = np.zeros(0)
        if len(row) < 6 or not np.isfinite(row[:6]).all() or row[0] < 1 or (row[4:6] <= 0).any():
            raise DataError(f'{printable(path)}:{number}: expected "{MOT_COLUMNS}" with frames '
                            f'from 1 on, got {line.strip()!r:.80}')
        if len(row) < 7 or row[6] != 0:     # in ground truth, 0 marks boxes to be ignored
            rows.append(row)
    return rows


def _seqinfo(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path))
        return dict(parser['Sequence'])
    except (configparser.Error, KeyError) as error:
        raise DataError(f'{printable(path)}: no section [Sequence] ({_one_line(error)})') from None


def _id_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    rows = csv.DictReader(read_text(path).splitlines())
    try:
        return {int(row['number']): row['id'] for row in rows}
    except (KeyError, TypeError, ValueError):
        raise DataError(f'{printable(path)}: expected the columns number,id') from None


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines()] if path.is_file() else []


def write_mot(labels: VideoLabels, folder: Path) -> str:
    """Write `gt/gt.txt`, `gt/ids.csv`, `gt/labels.txt` and `seqinfo.ini`."""
    (folder / 'gt').mkdir(parents=True)
    classes = _classes(labels)
    rows = []
    for number, target in enumerate(labels.targets.values(), 1):
        label = classes.index(target.label) + 1
        for frame in np.flatnonzero(target.present):
            rows.append((frame + 1, number, *xyxy_to_xywh(target.boxes[frame]), 1, label,
                         target.visible[frame]))
    rows.sort(key=lambda row: (row[0], row[1]))
    (folder / 'gt/gt.txt').write_text(''.join(f'{_row(row)}\n' for row in rows))
    (folder / 'gt/labels.txt').write_text(''.join(f'{label}\n' for label in classes))
    with open(folder / 'gt/ids.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('number', 'id'))
        writer.writerows(enumerate(labels.targets, 1))
    suffix = Path(labels.frames[0]).suffix if labels.frames else '.jpg'
    (folder / 'seqinfo.ini').write_text(
        f'[Sequence]\nname={_one_line(labels.name)}\nimDir=img1\nframeRate=30\n'
        f'seqLength={len(labels)}\nimWidth={labels.size[0]}\nimHeight={labels.size[1]}\n'
        f'imExt={suffix}\n', encoding='utf-8')
    return 'img1'


def _classes(labels: VideoLabels) -> list[str]:
    """Return the class names in the order of their first targets."""
    return list(dict.fromkeys(target.label for target in labels.targets.values()))


# YOLO ------------------------------------------------------------------------------------------


def read_yolo(path: Path) -> list[VideoLabels]:
    """
    Read YOLO: a folder with `labels/*.txt`, `images/` and `data.yaml`.

    Lines are `class cx cy w h` in shares of the image, and optionally a track id. Without ids,
    boxes of one class in consecutive frames are one target if they overlap.

    :raises DataError: if something is malformed
    """
    names = _yolo_names(path / 'data.yaml')
    images = images_in(path / 'images')
    texts = {file.stem: file for file in visible_files(path / 'labels', '*.txt')}
    if not texts:
        raise DataError(f'{printable(path)}: no labels/*.txt in it')
    stems = [Path(name).stem for name in images] or sorted(texts, key=natural_key)
    unknown = sorted(set(texts) - set(stems))
    if unknown:
        raise DataError(f'{printable(path)}: labels of images that are missing: '
                        f'{", ".join(unknown[:5])}')
    if images:
        size = image_size(path / 'images' / images[0])
    else:
        size = _yolo_size(path / 'data.yaml')
    found: dict[tuple[int, str], list[list[np.ndarray]]] = {}
    for t, stem in enumerate(stems):
        for kind, box, identity in _yolo_rows(texts.get(stem)):
            frames = found.setdefault((kind, identity), [[] for _ in stems])
            frames[t].append(cxcywh_to_xyxy(box) * np.tile(size, 2))
    targets: dict[str, TargetLabels] = {}
    for (kind, identity), frames in sorted(found.items()):
        label = names.get(kind, str(kind))
        tracks = link_boxes(frames) if not identity else [_only(frames, identity, path)]
        for number, boxes in enumerate(tracks, 1):
            name = identity or (label if len(tracks) == 1 else f'{label}_{number}')
            targets[name] = TargetLabels.of(boxes, label=label)
    return [VideoLabels(path.name, size, images or tuple(f'{stem}.jpg' for stem in stems), targets,
                        path / 'images' if images else None)]


def _only(frames: Sequence[Sequence[np.ndarray]], identity: str, path: Path) -> np.ndarray:
    boxes = np.full((len(frames), 4), np.nan)
    for t, some in enumerate(frames):
        if len(some) > 1:
            raise DataError(f'{printable(path)}: frame {t} has two boxes of track {identity}')
        if some:
            boxes[t] = some[0]
    return boxes


def _yolo_yaml(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DataError(f'{printable(path)}: not YAML: {_one_line(error)}') from None
    if not isinstance(content, dict):
        raise DataError(f'{printable(path)}: must be a mapping with names')
    return content


def _yolo_names(path: Path) -> dict[int, str]:
    names = _yolo_yaml(path).get('names', {})
    pairs = enumerate(names) if isinstance(names, list) else dict(names).items()
    return {int(number): str(name) for number, name in pairs}


def _yolo_size(path: Path) -> tuple[int, int]:
    size = _yolo_yaml(path).get('size')
    if not isinstance(size, list) or len(size) != 2:
        raise DataError(f'{printable(path.parent)}: the folder images is missing, without which '
                        'the size of the boxes in pixels is not known')
    return int(size[0]), int(size[1])


def _yolo_rows(path: Path | None) -> Iterable[tuple[int, np.ndarray, str]]:
    if path is None:
        return
    for number, line in enumerate(read_text(path).splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            kind, box = int(parts[0]), np.array([float(part) for part in parts[1:5]])
            identity = str(int(float(parts[-1]))) if len(parts) > 5 else ''
            if box.shape != (4,) or len(parts) > 7 or not (box[2:] > 0).all():
                raise ValueError
        except ValueError:
            raise DataError(f'{printable(path)}:{number}: expected "class cx cy w h [id]" in '
                            f'shares of the image, got {line.strip()!r:.80}') from None
        yield kind, box, identity


def write_yolo(labels: VideoLabels, folder: Path) -> str:
    """Write `labels/*.txt` and `data.yaml`; a target without class is a class by its id."""
    (folder / 'labels').mkdir(parents=True)
    names = list(dict.fromkeys(target.label or identity
                               for identity, target in labels.targets.items()))
    scale = np.tile(labels.size, 2).astype(float)
    for t, frame in enumerate(labels.frames):
        lines = []
        for identity, target in labels.targets.items():
            if target.present[t]:
                box = xyxy_to_cxcywh(target.boxes[t] / scale)
                lines.append(f'{names.index(target.label or identity)} '
                             + ' '.join(f'{value:.8f}' for value in box))
        (folder / 'labels' / f'{Path(frame).stem}.txt').write_text(
            ''.join(f'{line}\n' for line in lines))
    (folder / 'data.yaml').write_text(yaml.safe_dump({
        'path': '.', 'train': 'images', 'val': 'images', 'size': list(labels.size),
        'names': dict(enumerate(names))}, sort_keys=False, allow_unicode=True), encoding='utf-8')
    return 'images'
