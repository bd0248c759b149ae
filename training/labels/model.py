# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Labels of one video in memory: what all formats are read into and written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from re3_core.boxes import iou
from re3_core.io.files import printable
from re3_core.io.images import list_images, read_image
from training.data.base import DataError, LabeledTrack, LabeledVideo

# Visible fraction of a target that is marked as occluded, for training and for GOT-10k and MOT.
OCCLUDED_VISIBLE = .5
# Overlap from which boxes of consecutive frames are one target, in formats without ids.
LINK_IOU = .3
# Frames of a video at most.
MAX_FRAMES = 10 ** 6
# Frames over which a target without a box is still continued.
LINK_GAP = 5


@dataclass(frozen=True, eq=False)
class TargetLabels:
    """
    One target in all T frames of a video.

    :param boxes: (T, 4) float64 xyxy pixels; a row of nan where the target is absent
    :param occluded: (T,) bool, where something covers a part of the target
    :param key: (T,) bool, where a person has drawn or confirmed the box, or absence
    :param label: name of its class, may be empty
    """

    boxes: np.ndarray
    occluded: np.ndarray
    key: np.ndarray
    label: str = ''

    @classmethod
    def of(cls, boxes: np.ndarray, occluded: np.ndarray | None = None,
           key: np.ndarray | None = None, label: str = '') -> TargetLabels:
        """
        Return labels with all arrays checked and copied.

        :param occluded: (T,), default: nowhere
        :param key: (T,), default: in all frames
        :raises ValueError: for a wrong shape, or a box without width or height
        """
        boxes = np.array(boxes, np.float64)
        count = len(boxes)
        if boxes.shape != (count, 4):
            raise ValueError(f'boxes must be (T, 4), got {boxes.shape}')
        present = np.isfinite(boxes).all(1)
        boxes[~present] = np.nan
        empty = np.flatnonzero(present & ~(boxes[:, 2:] > boxes[:, :2]).all(1))
        if len(empty):
            row = int(empty[0])
            raise ValueError(f'frame {row}: a box needs x1 < x2 and y1 < y2, got '
                             f'{boxes[row].tolist()}')
        covered = np.zeros(count, bool) if occluded is None else np.array(occluded, bool) & present
        keys = np.ones(count, bool) if key is None else np.array(key, bool)
        for name, values in (('occluded', covered), ('key', keys)):
            if values.shape != (count,):
                raise ValueError(f'{name} must be ({count},), got {values.shape}')
        return cls(boxes, covered, keys, label)

    @property
    def present(self) -> np.ndarray:
        """Return per frame, (T,) bool, whether the target has a box."""
        return np.isfinite(self.boxes).all(1)

    @property
    def visible(self) -> np.ndarray:
        """Return the visible fraction (T,): 1, OCCLUDED_VISIBLE where occluded, 0 where absent."""
        return np.where(self.present, np.where(self.occluded, OCCLUDED_VISIBLE, 1.), 0.)


@dataclass(frozen=True, eq=False)
class VideoLabels:
    """
    The targets of one video.

    :param size: width and height of the frames in pixels
    :param frames: T names of the frames; those of image files, relative to `folder`
    :param targets: by id
    :param folder: folder of the images, or None if only the annotations are there
    :param video: video file that has the frames, or None
    """

    name: str
    size: tuple[int, int]
    frames: tuple[str, ...]
    targets: dict[str, TargetLabels] = field(default_factory=dict)
    folder: Path | None = None
    video: Path | None = None

    def __post_init__(self) -> None:
        for identity, target in self.targets.items():
            if len(target.boxes) != len(self.frames):
                raise DataError(f'{printable(self.name)}: target {identity!r} has '
                                f'{len(target.boxes)} boxes for {len(self.frames)} frames')

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def image_paths(self) -> list[Path]:
        """
        Return the paths of all frames.

        :raises DataError: if an image is missing
        """
        if self.folder is None:
            raise DataError(f'{printable(self.name)}: there are annotations but no images')
        paths = [self.folder / name for name in self.frames]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise DataError(f'{printable(missing)}: this image is missing')
        return paths

    def as_labeled_video(self) -> LabeledVideo:
        """
        Return it as training and evaluation use it.

        :raises DataError: if an image is missing
        """
        tracks = tuple(LabeledTrack(identity, target.boxes.astype(np.float32),
                                    target.visible.astype(np.float32))
                       for identity, target in self.targets.items())
        if self.video is not None:
            return LabeledVideo(self.name, video=self.video, tracks=tracks)
        return LabeledVideo(self.name, self.image_paths(), tracks=tracks)


def labels_of(video: LabeledVideo) -> VideoLabels:
    """
    Return the labels of a video that a reader of `training.data` has read.

    :raises DataError: if its first frame cannot be read
    """
    if video.video is not None:
        from re3_core.io.video import VideoFile
        source = VideoFile(video.video)
        size, count = source.properties()
        source.release()
        count = len(video.tracks[0].boxes) if video.tracks else count
        frames, folder = frame_names(count), None
    else:
        if not video.frames:
            raise DataError(f'{printable(video.name)}: no frames')
        shape = read_image(video.frames[0]).shape
        size, folder = (shape[1], shape[0]), video.frames[0].parent
        frames = tuple(path.name for path in video.frames)
    targets = {}
    for number, track in enumerate(video.tracks, 1):
        occluded = None if track.visible is None else \
            np.nan_to_num(track.visible, nan=1.) < 1 - 1e-6
        targets[_identity(track.name, number)] = TargetLabels.of(track.boxes, occluded)
    return VideoLabels(video.name, size, frames, targets, folder, video.video)


def _identity(name: str, number: int) -> str:
    """Return the id in the name of a file of boxes such as `groundtruth.cup.txt`."""
    return name.partition('.')[2] or str(number)


def check_count(path: Path, count: int) -> int:
    """
    Return a number of frames.

    :raises DataError: if there are more than a video has: a damaged file would fill the memory
    """
    if not 0 <= count <= MAX_FRAMES:
        raise DataError(f'{printable(path)}: {count} frames, at most {MAX_FRAMES} are read')
    return count


def frame_names(count: int) -> tuple[str, ...]:
    """Return names for frames of a video that has no image files."""
    return tuple(f'{number:06d}.jpg' for number in range(count))


def images_in(folder: Path) -> tuple[str, ...]:
    """Return the names of the images in a folder, in natural order; none if it is missing."""
    return tuple(path.name for path in list_images(folder)) if folder.is_dir() else ()


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image file."""
    height, width = read_image(path).shape[:2]
    return width, height


def link_boxes(frames: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """
    Link the boxes of consecutive frames to targets, by overlap, greedily.

    :param frames: for each of T frames its xyxy boxes (4,)
    :return: one (T, 4) array for each target, nan where it has no box
    """
    tracks: list[np.ndarray] = []
    last: list[int] = []
    for t, boxes in enumerate(frames):
        free = list(range(len(boxes)))
        pairs = sorted(((float(iou(tracks[k][last[k]], boxes[i])), k, i)
                        for k in range(len(tracks)) if t - last[k] <= LINK_GAP for i in free),
                       key=lambda pair: (-pair[0], pair[1:]))
        for overlap, k, i in pairs:
            if overlap >= LINK_IOU and last[k] < t and i in free:
                tracks[k][t], last[k] = boxes[i], t
                free.remove(i)
        for i in free:
            tracks.append(np.full((len(frames), 4), np.nan))
            tracks[-1][t] = boxes[i]
            last.append(t)
    return tracks
