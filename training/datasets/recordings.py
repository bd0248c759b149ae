# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
Folders of recordings: OTB folders, and plain folders of images or videos without boxes.

Below the given folder each of these is a recording: `<Name>/img/*.jpg` or `<Name>/video.mp4`,
with `groundtruth_rect.txt` (or other texts of that kind, see `TRUTH_FILES`) beside them; a
folder that holds image files; a video file. Without a text of boxes there are no tracks.
"""

from __future__ import annotations

import os
from pathlib import Path

from training.datasets.records import DataError
from training.datasets.records import IMAGE_SUFFIXES
from training.datasets.records import Recording
from training.datasets.records import Track
from training.datasets.records import VIDEO_SUFFIXES
from training.datasets.sequences import read_boxes

TRUTH_FILES = 'groundtruth*.txt'


def read_recordings(folder: os.PathLike | str) -> list[Recording]:
    """
    Read all recordings below a folder, ordered by name.

    :raises DataError: if there are none, or one is malformed
    """
    folder = Path(folder)
    found = [recording for path in (folder, *sorted(folder.rglob('*')))
             if (recording := _recording(path, folder)) is not None]
    if not found:
        raise DataError(f'{folder}: no folder of images and no video in it')
    return found


def _recording(path: Path, root: Path) -> Recording | None:
    """Return the recording that a file or folder is, if it is one."""
    if path.is_file():
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            return None
        labelled = path.stem == 'video' and path.parent != root
        home = path.parent if labelled else path.with_suffix('')
        return Recording(_name(home, root), video=path,
                         tracks=_tracks(path.parent) if labelled else ())
    frames = tuple(sorted(file for file in path.iterdir()
                          if file.suffix.lower() in IMAGE_SUFFIXES))
    if not frames:
        return None
    home = path.parent if path.name == 'img' and path != root else path
    tracks = _tracks(home)
    for track in tracks:
        if len(track.boxes) != len(frames):
            raise DataError(f'{home}: {len(frames)} images but {len(track.boxes)} boxes '
                            f'in {track.name or "groundtruth_rect"}.txt')
    return Recording(_name(home, root), frames, tracks=tracks)


def _name(path: Path, root: Path) -> str:
    """Name a recording by its place below the root."""
    return path.relative_to(root).as_posix() if path != root else path.name


def _tracks(folder: Path) -> tuple[Track, ...]:
    """Read the boxes beside the pictures; several texts are several targets."""
    files = sorted(folder.glob(TRUTH_FILES))
    return tuple(Track('' if len(files) == 1 else file.stem, read_boxes(file))
                 for file in files)
