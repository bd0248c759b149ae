# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
GOT-10k and LaSOT: folders with `groundtruth.txt` and texts that mark hidden targets.

GOT-10k: `<part>/GOT-10k_*/` with frames, `groundtruth.txt`, `absence.label`, `cover.label`.
LaSOT: `<class>/<class>-<number>/` with `img/*.jpg`, `groundtruth.txt`, `full_occlusion.txt` and
`out_of_view.txt`. The box of a target that is hidden or out of view counts as absent.
"""

from collections.abc import Callable
import os
from pathlib import Path

import numpy as np
from re3_core.io.files import printable
from re3_core.io.images import list_images
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
    read_numbers,
    visible_files,
)

COVER_LEVELS = 8
TRUTH_FILE = 'groundtruth.txt'
HIDDEN_FILES = ('full_occlusion.txt', 'out_of_view.txt')


def read_got10k(folder: os.PathLike | str, *,
                on_error: OnError = raise_error) -> list[LabeledVideo]:
    """
    Read GOT-10k or one of its parts; the test part, whose boxes are withheld, has no tracks.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    return _read(Path(folder), 'GOT-10k_*', _got10k_video, on_error)


def read_lasot(folder: os.PathLike | str, *,
               on_error: OnError = raise_error) -> list[LabeledVideo]:
    """
    Read LaSOT or one of its classes.

    :raises DataError: if the layout is another one, or a file is malformed
    """
    return _read(Path(folder), '<class>/<class>-<number>', _lasot_video, on_error)


def _read(folder: Path, layout: str, read: Callable[[Path, Path], LabeledVideo],
          on_error: OnError) -> list[LabeledVideo]:
    files = sorted({*visible_files(folder, f'*/{TRUTH_FILE}'),
                    *visible_files(folder, f'*/*/{TRUTH_FILE}')}, key=path_key)
    if not files:
        on_error(DataError(f'{printable(folder)}: no {layout}/{TRUTH_FILE} in it'))
    return read_each(lambda file: read(file.parent, folder), files, on_error)


def _got10k_video(place: Path, root: Path) -> LabeledVideo:
    frames, boxes = list_images(place), read_boxes(place / TRUTH_FILE)
    name = place.relative_to(root).as_posix()
    if len(boxes) == 1 < len(frames):
        return LabeledVideo(name, frames)
    check_counts(place, len(frames), len(boxes), TRUTH_FILE)
    absent = read_numbers(place / 'absence.label', len(frames), 0, 1) > 0
    visible = read_numbers(place / 'cover.label', len(frames), 0, COVER_LEVELS) / COVER_LEVELS
    boxes[absent] = np.nan
    visible[absent] = 0
    return LabeledVideo(name, frames,
                        tracks=(LabeledTrack('', boxes, visible.astype(np.float32)),))


def _lasot_video(place: Path, root: Path) -> LabeledVideo:
    if not (place / 'img').is_dir():
        raise DataError(f'{printable(place)}: its folder img is missing')
    frames, boxes = list_images(place / 'img'), read_boxes(place / TRUTH_FILE)
    check_counts(place, len(frames), len(boxes), TRUTH_FILE)
    hidden = np.any([read_numbers(place / name, len(frames), 0, 1) > 0
                     for name in HIDDEN_FILES], axis=0)
    boxes[hidden] = np.nan
    visible = np.where(hidden, 0, np.nan).astype(np.float32)
    return LabeledVideo(place.name, frames, tracks=(LabeledTrack('', boxes, visible),))
