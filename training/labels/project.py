# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
A project: a video, what a person has labeled in it, and the boxes filled in between.

Its folder holds `labels.json` with the key frames, which is written before a change is confirmed,
`tracks.json` with the boxes that were filled in, and `frames/` unless the frames are images
elsewhere. The folder is a data set for training and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import fcntl
import json
import math
import os
from pathlib import Path
import shutil
import threading
import time
from typing import Any, IO

import numpy as np
from re3_core.io.files import atomic_write, natural_key, printable
from re3_core.io.images import list_images, save_image
from re3_core.io.video import open_source
from training.data.base import DataError, ImageFrames, read_text
from training.labels.model import image_size, TargetLabels, VideoLabels
from training.labels.propagation import Box, Key, occluded_frames, Propagation, Track
from training.trackers import AnyTracker

LABELS_FILE, TRACKS_FILE, FRAMES_FOLDER = 'labels.json', 'tracks.json', 'frames'
LOCK_FILE = '.lock'
VERSION = 1
MAX_ID, MAX_TARGETS, MAX_UNDO = 64, 1000, 500
# Seconds between reports of progress.
PROGRESS_SECONDS = .2
Keys = Mapping[int, Key]


class ProjectError(ValueError):
    """A change that is refused, or a project that cannot be opened; one line for the user."""


@dataclass(frozen=True)
class Target:
    """What a person has set for a target: its class and the keys by frame."""

    label: str
    keys: Keys

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {'label': self.label, 'keys': keys_as_json(self.keys)}


def keys_as_json(keys: Keys) -> dict[str, Any]:
    """Return keys as JSON has them: by the frame's number as text, in the order of time."""
    return {str(frame): {'box': None if keys[frame].box is None else
                         [round(float(side), 2) for side in keys[frame].box or ()],
                         'occluded': keys[frame].occluded} for frame in sorted(keys)}


def _keys_from_json(values: Any, count: int) -> dict[int, Key]:
    keys = {}
    for frame, value in dict(values).items():
        box = value['box']
        keys[int(frame)] = Key(None if box is None else check_key_box(box),
                               bool(value['occluded']))
        if not 0 <= int(frame) < count:
            raise ValueError(f'frame {frame} of {count}')
    return keys


def check_key_box(box: Sequence[float]) -> Box:
    """
    Return a box as a tuple, to a hundredth of a pixel.

    :raises ProjectError: unless it is x1, y1, x2, y2 with x1 < x2 and y1 < y2
    """
    values = [round(float(side), 2) for side in box]
    if len(values) != 4 or not all(map(math.isfinite, values)) or values[0] >= values[2] \
            or values[1] >= values[3]:
        raise ProjectError(f'a box must be x1, y1, x2, y2 with x1 < x2, y1 < y2, got {values}')
    return values[0], values[1], values[2], values[3]


# Files -----------------------------------------------------------------------------------------


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, and to the disk before this returns."""
    with atomic_write(path) as part, open(part, 'w', encoding='utf-8') as file:
        json.dump(content, file, ensure_ascii=False, separators=(',', ':'))
        file.flush()
        os.fsync(file.fileno())


def is_project(path: Path) -> bool:
    """Return whether a folder is a project."""
    return (path / LABELS_FILE).is_file()


def read_project(path: Path) -> list[VideoLabels]:
    """
    Read a project, or its `labels.json`, as labels.

    :raises DataError: if it is malformed, or a target is not filled in
    """
    content = _Content.read(path.parent if path.is_file() else path)
    targets = {}
    for identity, target in content.targets.items():
        track = content.tracks.get(identity)
        if track is None:
            raise DataError(f'{printable(content.home)}: target {identity!r} is not filled in '
                            'between its key frames: open the project with training.label')
        targets[identity] = target_labels(target, track)
    return [VideoLabels(content.name, content.size, content.frames, targets, content.folder)]


def target_labels(target: Target, track: Track) -> TargetLabels:
    """Return the labels of a target by its keys and the Track of all frames."""
    count = len(track.boxes)
    key = np.zeros(count, bool)
    key[list(target.keys)] = True
    return TargetLabels.of(track.boxes, occluded_frames(target.keys, count), key, target.label)


@dataclass(frozen=True)
class _Content:
    """Content of the files of a project; `tracks` only those that belong to the keys."""

    home: Path
    name: str
    size: tuple[int, int]
    frames: tuple[str, ...]
    folder: Path
    targets: dict[str, Target]
    tracks: dict[str, Track]

    @classmethod
    def read(cls, home: Path) -> _Content:
        path = home / LABELS_FILE
        try:
            data = json.loads(read_text(path))
            if data['version'] != VERSION:
                raise DataError(f'{printable(path)}: version {data["version"]}, expected '
                                f'{VERSION}')
            frames = tuple(map(str, data['frames']))
            targets = {str(identity): Target(str(value['label']),
                                             _keys_from_json(value['keys'], len(frames)))
                       for identity, value in data['targets'].items()}
            width, height = data['size']
            return cls(home, str(data['name']), (int(width), int(height)), frames,
                       home / data['folder'], targets, _read_tracks(home, targets, len(frames)))
        except DataError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f'{printable(path)}: not a file of training.label: '
                            f'{type(error).__name__}: {error}') from None


def _read_tracks(home: Path, targets: Mapping[str, Target], count: int) -> dict[str, Track]:
    """Return the filled-in tracks that belong to the keys; damaged files count as missing."""
    tracks = {}
    try:
        for identity, value in json.loads(read_text(home / TRACKS_FILE)).items():
            target = targets.get(identity)
            if target is None or value['keys'] != keys_as_json(target.keys):
                continue
            boxes = np.array([box or (np.nan,) * 4 for box in value['boxes']], np.float64)
            confidence = np.array(value['confidence'], np.float64)
            if boxes.shape == (count, 4) and confidence.shape == (count,):
                tracks[identity] = Track(boxes, confidence)
    except (DataError, AttributeError, KeyError, TypeError, ValueError):
        return {}
    return tracks


def make_frames(source: Path, home: Path) -> None:
    """
    Decode a video file into `frames/` of a project's folder, all at once at the end.

    :raises ValueError: if it cannot be read
    """
    part = home / f'.{FRAMES_FOLDER}.partial'
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        video = open_source(source)
        try:
            for number, frame in enumerate(video):
                save_image(part / f'{number:06d}.jpg', frame)
        finally:
            video.release()
        os.replace(part, home / FRAMES_FOLDER)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def locked(home: Path) -> Iterator[IO[str]]:
    """
    Hold a project for this process.

    :raises ProjectError: if another one has it
    """
    with open(home / LOCK_FILE, 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ProjectError(f'{printable(home)}: open in another program') from None
        yield file


def create_project(home: Path, name: str, images: Path) -> None:
    """
    Write the files of a new project.

    :param images: folder of the frames
    :raises ProjectError: if there are no images
    """
    paths = sorted(list_images(images), key=natural_key)
    if not paths:
        raise ProjectError(f'{printable(images)}: no images')
    home.mkdir(parents=True, exist_ok=True)
    folder = os.path.relpath(images, home)
    write_json(home / LABELS_FILE, {
        'version': VERSION, 'name': name, 'folder': folder, 'size': image_size(paths[0]),
        'frames': [path.name for path in paths], 'targets': {}})


# Project ---------------------------------------------------------------------------------------


class Project:
    """
    Labels that are being edited. Each change is on the disk before its method returns.

    Not thread safe, but for `keys_of` and `set_track`.
    """

    def __init__(self, home: Path):
        """
        Open a project.

        :raises DataError: if its files are malformed
        """
        content = _Content.read(home)
        self.home, self.name, self.size = content.home, content.name, content.size
        self.names, self.folder = content.frames, content.folder
        self.targets: dict[str, Target] = content.targets
        self.tracks: dict[str, Track] = content.tracks
        self._track_keys: dict[str, Keys] = {
            identity: content.targets[identity].keys for identity in content.tracks}
        self._past: list[dict[str, Target]] = []
        self._future: list[dict[str, Target]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.names)

    @property
    def can_undo(self) -> bool:
        """Return whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Return whether there is a change that was taken back."""
        return bool(self._future)

    def frame_path(self, frame: int) -> Path:
        """Return the image file of a frame."""
        return self.folder / self.names[frame]

    def frames(self) -> ImageFrames:
        """Return all frames."""
        return ImageFrames(self.folder / name for name in self.names)

    # ---- changes ----

    def set_key(self, identity: str, frame: int, key: Key) -> str:
        """
        Set a key of a target; return its id.

        :param identity: empty: a new target with a number
        :raises ProjectError: for a frame or box that cannot be
        """
        self._check_frame(frame)
        if key.box is not None:
            key = replace(key, box=self._clipped(check_key_box(key.box)))
        identity = identity or self._free_number()
        target = self.targets.get(identity, Target('', {}))
        if key.box is None and not target.keys:
            raise ProjectError('a target starts with a box')
        self._change({**self.targets, identity: replace(
            target, keys={**target.keys, frame: key})})
        return identity

    def remove_key(self, identity: str, frame: int) -> None:
        """
        Remove a key; with the last box, the target goes.

        :raises ProjectError: if there is none
        """
        target = self._target(identity)
        if frame not in target.keys:
            raise ProjectError(f'frame {frame} is no key frame of {identity!r}')
        keys = {place: key for place, key in target.keys.items() if place != frame}
        if all(key.box is None for key in keys.values()):
            self.remove(identity)
        else:
            self._change({**self.targets, identity: replace(target, keys=keys)})

    def remove(self, identity: str) -> None:
        """Remove a target; ProjectError if there is none of this id."""
        self._target(identity)
        self._change({name: some for name, some in self.targets.items() if name != identity})

    def rename(self, identity: str, to: str, label: str) -> None:
        """
        Give a target another id and class.

        :raises ProjectError: if the id is taken or not printable
        """
        target = replace(self._target(identity), label=label.strip())
        if to != identity and to in self.targets:
            raise ProjectError(f'there is a target {to!r} already')
        if not to.strip() or len(to) > MAX_ID or not to.isprintable():
            raise ProjectError(f'an id has 1 to {MAX_ID} printable characters')
        self._change({(to if name == identity else name): (
            target if name == identity else some) for name, some in self.targets.items()})
        with self._lock:    # the boxes are the same
            if identity in self.tracks:
                self.tracks[to] = self.tracks.pop(identity)
                self._track_keys[to] = self._track_keys.pop(identity)

    def add_labels(self, labels: VideoLabels) -> int:
        """
        Add imported targets, with their key frames as keys; return their number.

        Without key frames among them, as in formats that have none, all boxes are keys.

        :raises ProjectError: if they do not fit this video
        """
        if len(labels) != len(self):
            raise ProjectError(f'labels of {len(labels)} frames, but this video has {len(self)}')
        if labels.size not in (self.size, (0, 0)):
            raise ProjectError(f'labels of images of {labels.size[0]} x {labels.size[1]}, but '
                               f'these have {self.size[0]} x {self.size[1]}')
        added = dict(self.targets)
        for identity, imported in labels.targets.items():
            keys = _keys_of(imported)
            if any(key.box is not None for key in keys.values()):
                added[identity if identity not in added else self._free_number(added)] = Target(
                    imported.label, keys)
        count = len(added) - len(self.targets)
        if count:
            self._change(added)
        return count

    def undo(self) -> None:
        """Take back the last change; ProjectError if there is none."""
        self._restore(self._past, self._future, 'undo')

    def redo(self) -> None:
        """Make the change again that was taken back last; ProjectError if there is none."""
        self._restore(self._future, self._past, 'redo')

    def _restore(self, source: list[dict[str, Target]], other: list[dict[str, Target]],
                 verb: str) -> None:
        """Replace the targets by the last ones of `source`; keep the present ones in `other`."""
        if not source:
            raise ProjectError(f'nothing to {verb}')
        self._save(source[-1])
        other.append(self.targets)
        self.targets = source.pop()

    def _change(self, targets: dict[str, Target]) -> None:
        if len(targets) > MAX_TARGETS:
            raise ProjectError(f'more than {MAX_TARGETS} targets')
        self._save(targets)
        self._past = [*self._past, self.targets][-MAX_UNDO:]
        self._future = []
        self.targets = targets

    def _save(self, targets: Mapping[str, Target]) -> None:
        write_json(self.home / LABELS_FILE, {
            'version': VERSION, 'name': self.name, 'folder': os.path.relpath(
                self.folder, self.home), 'size': self.size, 'frames': self.names,
            'targets': {identity: target.as_json() for identity, target in targets.items()}})

    # ---- checks ----

    def _target(self, identity: str) -> Target:
        if identity not in self.targets:
            raise ProjectError(f'no target {identity!r}')
        return self.targets[identity]

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < len(self):
            raise ProjectError(f'no frame {frame}: the video has {len(self)}')

    def _clipped(self, box: Box) -> Box:
        """Return a box within the image; ProjectError if nothing of it is."""
        width, height = self.size
        x1, y1, x2, y2 = (min(max(side, 0.), limit) for side, limit in
                          zip(box, (width, height) * 2, strict=True))
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise ProjectError(f'box {box} is not in the image of {width} x {height} pixels')
        return x1, y1, x2, y2

    def _free_number(self, targets: Mapping[str, Target] | None = None) -> str:
        taken = self.targets if targets is None else targets
        return next(str(n) for n in range(1, len(taken) + 2) if str(n) not in taken)

    # ---- filled-in boxes ----

    def keys_of(self, identity: str) -> Keys | None:
        """Return the keys of a target, or None if there is none of this id."""
        target = self.targets.get(identity)
        return None if target is None else target.keys

    def is_filled(self, identity: str) -> bool:
        """Return whether the track of a target belongs to its keys."""
        with self._lock:
            return identity in self.tracks and self._track_keys[identity] == self.keys_of(identity)

    def set_track(self, identity: str, keys: Keys, track: Track) -> bool:
        """Take over a filled-in Track; return False if the keys have changed in the meantime."""
        with self._lock:
            if self.keys_of(identity) != keys:
                return False
            self.tracks[identity], self._track_keys[identity] = track, keys
            return True

    def save_tracks(self) -> None:
        """Write the filled-in tracks."""
        with self._lock:
            content = {
                identity: {'keys': keys_as_json(self._track_keys[identity]),
                           'boxes': boxes_as_json(track.boxes),
                           'confidence': np.round(track.confidence, 3).tolist()}
                for identity, track in self.tracks.items()
                if np.isfinite(track.confidence).all() and identity in self.targets}
        write_json(self.home / TRACKS_FILE, content)

    def labels(self) -> VideoLabels:
        """
        Return the labels of all targets.

        :raises ProjectError: if one is not filled in yet
        """
        targets = {}
        for identity, target in self.targets.items():
            if not self.is_filled(identity):
                raise ProjectError(f'target {identity!r} is still being filled in')
            targets[identity] = target_labels(target, self.tracks[identity])
        return VideoLabels(self.name, self.size, self.names, targets, self.folder)


def boxes_as_json(boxes: np.ndarray) -> list[list[float] | None]:
    """Return boxes (T, 4) as lists, None where there is none."""
    return [np.round(box, 2).tolist() if np.isfinite(box).all() else None for box in boxes]


def _keys_of(target: TargetLabels) -> dict[int, Key]:
    """Return the keys of imported labels: the key frames, and where it is absent or returns."""
    count = len(target.boxes)
    change = np.zeros(count, bool)
    change[1:] = (target.present[1:] != target.present[:-1]) | (
        target.occluded[1:] != target.occluded[:-1])
    change[0] = not target.present[0]
    rows = np.flatnonzero((target.key & target.present) | change)
    return {int(row): Key(check_key_box(target.boxes[row]) if target.present[row] else None,
                          bool(target.occluded[row])) for row in rows}


# Filling in ------------------------------------------------------------------------------------


class Filler(threading.Thread):
    """
    Fills in the targets of a project in a thread of its own, the one changed last first.

    :param make_tracker: is called once, in the thread
    :param on_track: gets the id of a target whose track has changed
    :param on_progress: gets id, frames done and frames to do
    :param on_error: gets a line about what went wrong
    """

    def __init__(self, project: Project, make_tracker: Callable[[], AnyTracker],
                 on_track: Callable[[str], None], on_progress: Callable[[str, int, int], None],
                 on_error: Callable[[str], None]):
        super().__init__(name='filler', daemon=True)
        self.project, self._make = project, make_tracker
        self._on_track, self._on_progress, self._on_error = on_track, on_progress, on_error
        self._wanted: list[str] = []
        self._requests = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._tracker: AnyTracker | None = None
        self._propagations: dict[str, Propagation] = {}

    def request(self, *identities: str) -> None:
        """Fill in these targets next."""
        with self._changed:
            self._wanted = [name for name in self._wanted if name not in identities]
            self._wanted += identities
            self._requests += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End after the frame that is being tracked, and wait for that."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        """Fill in what is requested until `stop`."""
        while True:
            with self._changed:
                while not self._wanted and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                identity, requests = self._wanted.pop(), self._requests
            try:
                self._fill(identity, requests)
            except Exception as error:  # noqa: B902  the page must learn of it
                self._on_error(f'target {identity!r} cannot be filled in: '
                               f'{" ".join(str(error).split()) or type(error).__name__}')

    def _tracker_of(self) -> AnyTracker:
        if self._tracker is None:
            self._tracker = self._make()
        return self._tracker

    def _fill(self, identity: str, requests: int) -> None:
        keys = self.project.keys_of(identity)
        if keys is None:
            self._propagations.pop(identity, None)
            return
        propagation = self._propagations.setdefault(
            identity, Propagation(self.project.frames(), self._tracker_of))
        reported = time.monotonic()
        for done, total in propagation.update(keys):
            if self._stopped:
                return
            if self._requests != requests:      # that one first, and then this one again
                with self._changed:
                    if identity not in self._wanted:
                        self._wanted.insert(0, identity)
                return
            if time.monotonic() - reported > PROGRESS_SECONDS:
                self._on_progress(identity, done, total)
                reported = time.monotonic()
        if self.project.set_track(identity, keys, propagation.result(keys)):
            self.project.save_tracks()
            self._on_track(identity)
