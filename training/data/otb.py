# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
OTB and VOT folders, plain folders of images, and video files, with or without boxes.

Below the given folder each of these is a video: `<Name>/img/*.jpg`, `<Name>/color/*.jpg` or
`<Name>/video.mp4` with `groundtruth_rect.txt` (or any `groundtruth*.txt`: several are several
targets) beside them; a folder that holds at least two images; a video file. Without a file of
boxes there are no tracks. Hidden files and folders are skipped, links to folders are followed.
"""

import os
from pathlib import Path

from re3_core.io.files import printable
from re3_core.io.images import is_image, list_images
from training.data.base import (
    check_counts,
    DataError,
    LabeledTrack,
    LabeledVideo,
    OnError,
    path_key,
    raise_error,
    read_boxes,
    read_each,
    VIDEO_SUFFIXES,
    visible_files,
    walk,
)

TRUTH_FILES = 'groundtruth*.txt'
IMAGE_FOLDERS = ('img', 'color')
# OTB sequences whose boxes belong to a part of the images: the first one, counted from 1.
OTB_FIRST_IMAGE = {'David': 300, 'Diving': 1, 'Football1': 1, 'Freeman3': 1, 'Freeman4': 1}


def read_videos(folder: os.PathLike | str, *,
                on_error: OnError = raise_error) -> list[LabeledVideo]:
    """
    Read all videos below a folder, in natural order of their names, or one video file.

    :raises DataError: if there are none, or one is malformed
    """
    folder = Path(folder)
    if folder.is_file():
        return [_read_video(folder, folder.parent)]
    paths = [path for place, files in walk(folder) for path in _videos_in(place, files)]
    read = read_each(lambda path: _read_video(path, folder), paths, on_error)
    # Without frames and boxes it is only a folder with the name of one of images.
    found = [video for video in read if video.files or video.tracks]
    if not found:
        on_error(DataError(f'{printable(folder)}: no folder of images and no video in it'))
    return sorted(found, key=lambda video: path_key(video.name))


def _videos_in(place: Path, files: list[str]) -> list[Path]:
    """Return the videos of a folder: its video files, and itself if it holds images."""
    paths = [place / name for name in files if not name.startswith('.')]
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    images = sum(map(is_image, paths))
    return videos + [place] * (images > 1 or place.name in IMAGE_FOLDERS)


def _read_video(path: Path, root: Path) -> LabeledVideo:
    """Read one video, a video file or a folder of images."""
    if path.is_file():
        labeled = path.stem == 'video' and (path.parent != root or any(root.glob(TRUTH_FILES)))
        home = path.parent if labeled else path.with_suffix('')
        return LabeledVideo(_name(home, root), video=path,
                            tracks=_read_tracks(home) if labeled else ())
    frames = list_images(path)
    home = path.parent if path.name in IMAGE_FOLDERS and path != root else path
    tracks = _read_tracks(home)
    if tracks and home.name in OTB_FIRST_IMAGE and len(tracks[0].boxes) < len(frames):
        first = OTB_FIRST_IMAGE[home.name] - 1
        frames = frames[first:first + len(tracks[0].boxes)]
    for track in tracks:
        check_counts(home, len(frames), len(track.boxes), track.name or 'the file of boxes')
    return LabeledVideo(_name(home, root), frames, tracks=tracks)


def _name(path: Path, root: Path) -> str:
    """Name a video by its place below the root."""
    return path.relative_to(root).as_posix() if path != root else path.name


def _read_tracks(folder: Path) -> tuple[LabeledTrack, ...]:
    """Read the files of boxes beside the images."""
    files = visible_files(folder, TRUTH_FILES)
    return tuple(LabeledTrack('' if len(files) == 1 else file.stem, read_boxes(file))
                 for file in files)
