# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Label targets in a web page: `python -m training.label VIDEO|FOLDER|BAG`.

Boxes are drawn in some frames; a tracker fills in the others. The labels are in the project
`NAME_labels`, which is opened again by the same command, and which training.finetune reads.
This module joins the page of `re3_web`, which knows no trackers, with the projects of this
package, which know no web: the only one here that imports `re3_web`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
import io
import json
import logging
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any
import zipfile

import numpy as np
from re3_core.io.files import printable
from re3_core.io.images import list_images
from re3_web.label import DEFAULT_PORT
from training.config import run_command
from training.labels import plain_name, read_labels, VideoLabels, write_labels, WRITTEN
from training.labels.project import (
    boxes_as_json,
    create_project,
    Filler,
    FRAMES_FOLDER,
    is_project,
    keys_as_json,
    locked,
    make_frames,
    Project,
    ProjectError,
)
from training.labels.propagation import Key, occluded_frames, UNCERTAIN
from training.trackers import TrackerSpec
import tyro

BAG_SUFFIXES = ('.mcap', '.db3', '.zstd')
# Bytes of an uploaded zip file's content.
MAX_UNPACKED = 256 * 1024 * 1024


# Projects --------------------------------------------------------------------------------------


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a ROS 2 bag."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            entry.suffix in BAG_SUFFIXES for entry in path.iterdir())
    return path.suffix in BAG_SUFFIXES


def extract_bag(bag: Path, topic: str | None, home: Path) -> None:
    """
    Extract the images of a bag into `frames/` of a project's folder.

    By the command of `re3_ros`, which this package does not import.

    :raises ProjectError: with the command's message, if it fails
    """
    output = home / '.bag_frames'
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, '-m', 're3_ros.bag', 'extract', str(bag), '--output', str(output),
               *(['--topic', topic] if topic else [])]
    home.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
        # 3: done as far as the bag could be read; what is missing was printed.
        if done.returncode not in (0, 3) or not (output / FRAMES_FOLDER).is_dir():
            lines = done.stderr.strip().splitlines()
            if 'No module named' in done.stderr:
                lines = [f'{printable(bag)}: bags need the package re3_ros with its extra bags']
            raise ProjectError(lines[-1].removeprefix('error: ') if lines
                               else f'{printable(bag)}: cannot be read')
        sys.stderr.write(done.stderr)
        (output / FRAMES_FOLDER).replace(home / FRAMES_FOLDER)
        (output / 'frames.csv').replace(home / 'frames.csv')
    finally:
        shutil.rmtree(output, ignore_errors=True)


def open_project(source: Path, home: Path | None = None, topic: str | None = None) -> Path:
    """
    Make the project of a video, a folder of images or a bag, if there is none; return its folder.

    :param home: folder of the project; None: NAME_labels in the working directory
    :param topic: of a bag's images; None: the only one
    :raises ProjectError: if the source cannot be read
    """
    if is_project(source):
        return source
    if not source.exists():
        raise ProjectError(f'{printable(source)}: no such video, folder or bag')
    name = source.resolve().stem if source.is_file() else source.resolve().name
    home = home or Path(f'{plain_name(name)}_labels')
    if is_project(home):
        return home
    if source.is_dir() and not is_bag(source):
        folder = source if list_images(source) else source / 'img'
        if not folder.is_dir() or not list_images(folder):
            raise ProjectError(f'{printable(source)}: no images, no bag and no project in it')
        create_project(home, name, folder)
        return home
    if not (home / FRAMES_FOLDER).is_dir():
        home.mkdir(parents=True, exist_ok=True)
        try:
            if is_bag(source):
                extract_bag(source, topic, home)
            else:
                make_frames(source, home)
        except BaseException:
            if not any(home.iterdir()):
                home.rmdir()
            raise
    create_project(home, name, home / FRAMES_FOLDER)
    return home


# Source of the page ----------------------------------------------------------------------------


class ProjectSource:
    """A project as a `re3_web.label.source.LabelSource`."""

    def __init__(self, project: Project, spec: TrackerSpec, video: Any):
        self.project, self.spec, self.video = project, spec, video
        self._filler: Filler | None = None

    def start(self, receiver: Any) -> None:
        """Begin to fill in boxes, those that are missing first."""
        self._filler = Filler(
            self.project, self.spec.make, receiver.track_changed, receiver.progress,
            lambda text: receiver.notice(2, text))
        self._filler.start()
        self._fill()

    def stop(self) -> None:
        """Stop filling in."""
        if self._filler is not None:
            self._filler.stop()

    def _fill(self) -> None:
        """Fill in all targets whose boxes do not belong to their keys."""
        missing = [name for name in self.project.targets if not self.project.is_filled(name)]
        if missing and self._filler is not None:
            self._filler.request(*missing)

    def image(self, frame: int) -> Path:
        """Return the image file of a frame."""
        return self.project.frame_path(frame)

    def targets(self) -> Sequence[str]:
        """Return the ids of all targets."""
        return list(self.project.targets)

    def target(self, target_id: str) -> Any:
        """Return a target with the boxes that were filled in last."""
        from re3_web.label.source import TargetState
        target = self.project.targets[target_id]
        track = self.project.tracks.get(target_id)
        boxes, confidence = (None, []) if track is None else (
            boxes_as_json(track.boxes), np.round(np.nan_to_num(track.confidence), 2).tolist())
        return TargetState(target_id, target.label, keys_as_json(target.keys), boxes, confidence,
                           occluded_frames(target.keys, len(self.project)).tolist())

    def version(self, target_id: str) -> str:
        """Return a text that changes with the keys and the class of a target."""
        return json.dumps(self.project.targets[target_id].as_json())

    def undoable(self) -> tuple[bool, bool]:
        """Return whether there is a change to undo, and one to redo."""
        return self.project.can_undo, self.project.can_redo

    def set_key(self, target_id: str, frame: int, box: Any, occluded: bool) -> str:
        """Set a key; return the target's id."""
        name = self.project.set_key(target_id, frame, Key(box, occluded))
        self._fill()
        return name

    def remove_key(self, target_id: str, frame: int) -> None:
        """Remove a key."""
        self.project.remove_key(target_id, frame)
        self._fill()

    def remove(self, target_id: str) -> None:
        """Remove a target."""
        self.project.remove(target_id)

    def rename(self, target_id: str, to: str, label: str) -> None:
        """Give a target another id and class."""
        self.project.rename(target_id, to, label)
        self._fill()

    def undo(self) -> None:
        """Take back the last change."""
        self.project.undo()
        self._fill()

    def redo(self) -> None:
        """Make it again."""
        self.project.redo()
        self._fill()

    def export(self, form: str) -> bytes:
        """Return the labels in a format, without the images, as a zip file."""
        return export_zip(self.project.labels(), form)

    def load(self, name: str, content: bytes) -> VideoLabels:
        """Return the labels in an uploaded file; ValueError if they cannot be read."""
        return load_upload(name, content)

    def import_labels(self, loaded: VideoLabels) -> int:
        """Add labels; return the number of targets."""
        count = self.project.add_labels(loaded)
        self._fill()
        return count


def export_zip(labels: VideoLabels, form: str) -> bytes:
    """Return the annotations of a video in a format as the content of a zip file."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / plain_name(labels.name)
        write_labels(labels, root, form, images=False)
        with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob('*')):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def load_upload(name: str, content: bytes) -> VideoLabels:
    """
    Return the labels in a file: one of the formats' files, or a zip file of a folder.

    :raises ValueError: if it cannot be read, or holds labels of several videos
    """
    suffix = Path(name).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f'{plain_name(Path(name).stem)}{suffix}'
        if suffix == '.zip':
            path = _unpack(name, content, Path(folder) / 'content')
        else:
            path.write_bytes(content)
        try:
            videos = read_labels(path)
        except ValueError as error:
            raise ProjectError(str(error).replace(f'{folder}/', '')) from None
    if len(videos) > 1:
        raise ProjectError(f'{name}: labels of {len(videos)} videos; import them one by one')
    return videos[0]


def _unpack(name: str, content: bytes, folder: Path) -> Path:
    """Unpack a zip file; return the folder that holds its files."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED:
                raise ProjectError(f'{name}: more than {MAX_UNPACKED >> 20} MB when unpacked')
            # It drops absolute paths and `..`.
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise ProjectError(f'{name}: not a zip file: {error}') from None
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelOptions:
    """
    Label targets in a web page.

    :param source: video file, folder of images, ROS 2 bag, or project
    :param project: folder of the project; default: NAME_labels
    :param topic: of a bag's images; default: the only one
    :param load: labels to import first: OTB, GOT-10k, MOT, COCO, YOLO or CVAT XML
    :param model: network that fills in boxes
    :param weights: weights file (default: the packaged one)
    :param device: auto, cpu, cuda or cuda:N
    :param host: address to listen on; another than this machine's own needs a token, which is
        printed
    :param port: TCP port; 0: a free one
    :param token: token to require (default: a random one where needed)
    """

    source: tyro.conf.Positional[Path]
    project: Path | None = None
    topic: str | None = None
    load: Path | None = None
    model: str = 're3_lite'
    weights: Path | None = None
    device: str = 'auto'
    host: str = '127.0.0.1'
    port: int = DEFAULT_PORT
    token: str = ''


def make_source(project: Project, spec: TrackerSpec) -> ProjectSource:
    """Return a project as the page needs it."""
    from re3_web.label.source import Video
    return ProjectSource(project, spec, Video(
        project.name, len(project), project.size, WRITTEN, UNCERTAIN))


def run(options: LabelOptions) -> None:
    """Run the command, until SIGINT or SIGTERM."""
    try:
        from re3_web.label.server import serve, Settings
    except ImportError as error:
        raise ProjectError(f'{error.name} is not installed: pip install "re3_ros[web]"') from None
    settings = Settings(options.host, options.port, options.token)
    home = open_project(options.source, options.project, options.topic)
    weights = None if options.weights is None else str(options.weights)
    spec = TrackerSpec(model=options.model, weights=weights, device=options.device,
                       engine='auto', precision='auto')
    with locked(home):
        project = Project(home)
        if options.load:
            for labels in read_labels(options.load):
                print(f'{project.add_labels(labels)} targets imported')
        logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)
        print(f'project {printable(home)}: {len(project.targets)} targets in {len(project)} '
              'frames', flush=True)

        async def main_loop() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await serve(make_source(project, spec), settings, stop)
        asyncio.run(main_loop())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(LabelOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
