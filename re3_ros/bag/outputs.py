# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The results of tracking a bag: a bag of tracks, CSV, MOT and OTB files, a video."""

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
import csv
import os
from pathlib import Path
import re
import shutil
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from re3_core.boxes import xyxy_to_xywh
from re3_core.io.files import printable
from re3_core.io.video import video_writer, VideoFile
from re3_ros.bag import BagError
from re3_ros.bag import message_types as types
from re3_ros.frame_buffer import Frame
from re3_ros.image_stream import annotated_image
from re3_ros.messages import fill_track, MAX_TEXT
from re3_ros.targets import StatusRow, Target
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

# Table of the images, in every folder of results.
FRAMES_FILE = 'frames.csv'
# What Humble and all later releases of rosbag2 read.
BAG_VERSION: Literal[8] = 8
ABSENT = 'nan,nan,nan,nan'
_FOREVER = QosTime(9223372036, 854775807)


def check_folder(path: Path, overwrite: bool) -> None:
    """
    Raise BagError if results must not be written to a folder.

    Only results are overwritten: another folder, named by mistake, is never replaced.
    """
    if not path.exists() or path.is_dir() and not any(path.iterdir()):
        return
    if not (path / FRAMES_FILE).is_file():
        raise BagError(f'{printable(path)} is there already and has no results of this command: '
                       'give another --output')
    if not overwrite:
        raise BagError(f'{printable(path)} is there already, from another run: give --overwrite '
                       'or another --output')


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """
    Yield a temporary folder beside `path`, and put it in place of `path` unless an error occurs.

    What an interrupted run left in the temporary folder is deleted first.
    """
    path = path.absolute()
    part = path.with_name(f'.{path.name}.part')
    old = path.with_name(f'.{path.name}.old')
    for rest in (part, old):
        shutil.rmtree(rest, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


class Names(NamedTuple):
    """Topics that are written, those of the tracker node."""

    tracks: str
    status: str
    vision_info: str

    @classmethod
    def of_camera(cls, namespace: str, camera: str) -> 'Names':
        """Return the names under a namespace, of a named camera or the only one ('')."""
        prefix = f'{namespace}/{camera}' if camera else namespace
        return cls(f'{prefix}/tracks', f'{prefix}/status', f'{namespace}/vision_info')


def _qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability,
               _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)


class BagOutput:
    """Writes the messages that the tracker node publishes into a bag."""

    def __init__(self, path: Path, names: Names, camera: str, storage: str) -> None:
        """
        Create the bag.

        :param path: folder that does not exist yet.
        :param camera: its name, '' for the only one.
        :param storage: mcap or sqlite3.
        """
        self._camera = camera
        self._writer = Writer(path, version=BAG_VERSION,
                              storage_plugin=StoragePlugin[storage.upper()])
        self._writer.open()
        self._tracks, self._status, self._info = (
            self._writer.add_connection(
                topic, kind, typestore=types.typestore(), offered_qos_profiles=[_qos(latched)])
            for topic, kind, latched in (
                (names.tracks, types.DETECTIONS, False), (names.status, types.STATUS, True),
                (names.vision_info, types.VISION_INFO, True)))

    def vision_info(self, network: str, weights: str, received: int) -> None:
        """Write the network's name and weights, as the node publishes when it is activated."""
        message = types.new(types.VISION_INFO)
        types.set_stamp(message.header.stamp, received)
        message.method, message.database_location = network, weights
        self._writer.write(self._info, received, types.to_cdr(message))

    def tracks(self, header: Any, targets: list[Target], received: int) -> None:
        """Write the tracks of one image, with its header."""
        message = types.new(types.DETECTIONS)
        message.header = header
        for target in targets:
            detection = types.new(types.DETECTION)
            detection.results = [types.new('vision_msgs/msg/ObjectHypothesisWithPose')]
            fill_track(detection, header, target)
            # A number of numpy is no double for rosbags.
            hypothesis = detection.results[0].hypothesis
            hypothesis.score = float(hypothesis.score)
            message.detections.append(detection)
        self._writer.write(self._tracks, received, types.to_cdr(message))

    def status(self, rows: list[StatusRow], frame_id: str, received: int) -> None:
        """Write the states of all targets."""
        message = types.new(types.STATUS)
        types.set_stamp(message.header.stamp, received)
        message.header.frame_id = frame_id
        for row in rows:
            status = types.new(types.STATUS_ROW)
            status.level, status.name = row.level, row.id[:MAX_TEXT]
            status.message = row.state
            status.hardware_id = self._camera
            for key, text in row.values.items():
                value = types.new(types.KEY_VALUE)
                value.key, value.value = key, text
                status.values.append(value)
            message.status.append(status)
        self._writer.write(self._status, received, types.to_cdr(message))

    def close(self, complete: bool) -> None:
        """Finish the bag, or leave it as it is if it is not complete."""
        if complete:
            self._writer.close()
        else:
            self._writer.abort()


class VideoOutput:
    """Writes an annotated video; images of another size are scaled to the first one's."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._stack = ExitStack()
        self._write = self._stack.enter_context(video_writer(path, rate))
        self._size: tuple[int, int] | None = None
        self._count = 0

    def add(self, rgb: np.ndarray) -> None:
        """Append an H x W x 3 uint8 RGB image."""
        size = rgb.shape[1], rgb.shape[0]
        self._size = self._size or size
        if size != self._size:
            rgb = cv2.resize(rgb, self._size, interpolation=cv2.INTER_AREA)
        self._write(rgb)
        self._count += 1

    def close(self, complete: bool) -> None:
        """
        Finish the file; delete it if it is not complete.

        :raises OSError: fewer frames than images are in it, since OpenCV reports no full disk.
        """
        if not complete or not self._count:
            self._stack.__exit__(KeyboardInterrupt, None, None)
            return
        self._stack.close()
        try:
            video = VideoFile(self._path)
            written = video.properties()[1]
            video.release()
        except ValueError:
            written = 0
        if written < self._count:
            raise OSError(f'only {written} of {self._count} frames of {self._path.name} could be '
                          'written (disk full?)')


class TextOutputs:
    """Writes tracks as CSV, MOT and OTB files, and the stamps of the images."""

    def __init__(self, folder: Path, formats: tuple[str, ...]) -> None:
        self._folder = folder
        self._formats = formats
        self._stack = ExitStack()
        self._frames = self._csv(FRAMES_FILE, 'frame', 'stamp_ns', 'received_ns')
        self._tracks = self._csv('tracks.csv', 'frame', 'stamp_ns', 'id', 'class_id', 'state',
                                 'confidence', 'x', 'y', 'w', 'h') if 'csv' in formats else None
        self._mot = self._open('tracks_mot.txt') if 'mot' in formats else None
        self._count = 0
        # The numbers of MOT files, and the lines of OTB files, by id.
        self._numbers: dict[str, int] = {}
        self._lines: dict[str, dict[int, str]] = {}

    def _open(self, name: str) -> Any:
        return self._stack.enter_context(
            open(self._folder / name, 'w', newline='', encoding='utf-8'))

    def _csv(self, name: str, *columns: str) -> Any:
        writer = csv.writer(self._open(name), lineterminator='\n')
        writer.writerow(columns)
        return writer

    def add(self, stamp: int, received: int, targets: list[Target]) -> None:
        """Write the tracks of the next image; its times are in nanoseconds."""
        frame = self._count
        self._count += 1
        self._frames.writerow((frame, stamp, received))
        for target in targets:
            box = xyxy_to_xywh(np.asarray(target.track.box, np.float64))
            number = self._numbers.setdefault(target.id, len(self._numbers) + 1)
            text = [f'{value:.3f}' for value in box]
            if self._tracks:
                self._tracks.writerow((frame, stamp, target.id, target.class_id, target.state,
                                       f'{target.track.confidence:.4f}', *text))
            if target.state == 'lost':
                continue    # nothing is at the predicted box
            if self._mot:
                self._mot.write(f'{frame + 1},{number},{",".join(text)},'
                                f'{target.track.confidence:.4f},-1,-1,-1\n')
            self._lines.setdefault(target.id, {})[frame] = ','.join(text)

    def close(self, complete: bool) -> None:
        """Finish the files."""
        if complete:
            self._write_ids()
            if 'otb' in self._formats:
                self._write_otb()
        self._stack.close()

    def _write_ids(self) -> None:
        ids = self._csv('ids.csv', 'number', 'id', 'otb_file')
        for identity, number in self._numbers.items():
            ids.writerow((number, identity, self._otb_name(identity)))

    def _otb_name(self, identity: str) -> str:
        plain = re.sub(r'[^\w.-]', '_', identity)[:64].lstrip('.')
        return f'{self._numbers[identity]:03d}_{plain}.txt'

    def _write_otb(self) -> None:
        folder = self._folder / 'otb'
        folder.mkdir()
        for identity in self._numbers:
            lines = self._lines.get(identity, {})
            text = ''.join(lines.get(frame, ABSENT) + '\n' for frame in range(self._count))
            (folder / self._otb_name(identity)).write_text(text, encoding='utf-8')


class Outputs:
    """All results of one camera, in a folder; a context manager that finishes the files."""

    def __init__(self, folder: Path, formats: tuple[str, ...], names: Names, camera: str,
                 storage: str, rate: float) -> None:
        """
        Open the files.

        :param folder: an empty folder.
        :param formats: some of `re3_ros.bag.formats.FORMATS`.
        :param storage: of the bag, mcap or sqlite3.
        :param rate: frames per second of the video.
        """
        self._text = TextOutputs(folder, formats)
        self._bag = BagOutput(folder / 'tracks', names, camera, storage) \
            if 'bag' in formats else None
        self._video = VideoOutput(folder / 'tracks.mp4', rate) if 'video' in formats else None

    def __enter__(self) -> 'Outputs':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        complete = kind is None
        with ExitStack() as stack:
            for output in (self._text, self._bag, self._video):
                if output is not None:
                    stack.callback(output.close, complete)

    def vision_info(self, network: str, weights: str, received: int) -> None:
        """Write the network's name and weights."""
        if self._bag:
            self._bag.vision_info(network, weights, received)

    def frame(self, frame: Frame, received: int, targets: list[Target]) -> None:
        """Write the tracks of an image."""
        self._text.add(frame.stamp, received, targets)
        if self._bag:
            self._bag.tracks(frame.header, targets, received)
        if self._video:
            self._video.add(annotated_image(frame, targets))

    def status(self, rows: list[StatusRow], frame_id: str, received: int) -> None:
        """Write the states of all targets."""
        if self._bag:
            self._bag.status(rows, frame_id, received)


def folder_size(path: Path) -> int:
    """Return the bytes of all files below a folder, or of a file."""
    files = [path] if path.is_file() else path.rglob('*')
    return sum(os.path.getsize(file) for file in files if file.is_file())
