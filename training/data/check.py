# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Check a data set: `python -m training.data.check PATH`.

Counts what is in it, names every unreadable or malformed file, and writes a contact sheet of
samples with their boxes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import os
from pathlib import Path
import sys

import cv2
import numpy as np
from re3_core.io.drawing import draw_box, draw_text, TRACKED
from re3_core.io.files import printable
from re3_core.io.images import read_image, save_image
from re3_core.io.video import VideoFile
from tqdm import tqdm
from training.config import run_command
from training.data import detect_format, read_dataset
from training.data.base import frames_of, LabeledImage, LabeledVideo, read_mask
from training.data.sources import Clip
import tyro

Shape = tuple[int, ...]


@dataclass
class DatasetSummary:
    """
    Result of a check.

    :param form: name of the data set's format
    :param counts: numbers of videos, tracks, frames, images and boxes
    :param problems: one line for each unreadable or malformed file
    """

    form: str
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ', '.join(f'{self.counts[name]} {name}' for name in
                           ('videos', 'tracks', 'frames', 'images', 'boxes'))
        return f'format {self.form}: {counts}, {len(self.problems)} problems'


def check_dataset(folder: os.PathLike | str, form: str = 'auto',
                  ) -> tuple[DatasetSummary, list[LabeledVideo] | list[LabeledImage]]:
    """
    Check a data set; every image is read.

    :return: the summary and all readable items
    :raises DataError: if there is no such folder or format
    """
    summary = DatasetSummary(detect_format(folder) if form == 'auto' else form)
    items = read_dataset(folder, form, on_error=lambda e: summary.problems.append(str(e)))
    for item in tqdm(items, 'checking', disable=None):
        if isinstance(item, LabeledImage):
            summary.counts.update(images=1, boxes=len(item.boxes))
            try:
                summary.problems += _image_problems(item)
            except (OSError, ValueError) as error:
                summary.problems.append(str(error))
        else:
            _check_video(item, summary)
    return summary, items


def _image_problems(image: LabeledImage) -> list[str]:
    """Return what is wrong with the boxes and the mask of an image."""
    shape = read_image(image.path).shape
    problems = _box_problems(f'{printable(image.path)}: box', image.scaled_boxes(shape), shape)
    if image.mask is not None:
        mask = read_mask(image.mask)
        if mask.shape != shape[:2]:
            problems.append(f'{printable(image.mask)}: is {mask.shape[1]}x{mask.shape[0]}, the '
                            f'image {shape[1]}x{shape[0]}')
        elif mask.max() > len(image.boxes):
            problems.append(f'{printable(image.mask)}: value {mask.max()} for '
                            f'{len(image.boxes)} boxes')
    return problems


def _check_video(video: LabeledVideo, summary: DatasetSummary) -> None:
    read = _image_shapes(video.frames) if video.video is None else _video_shapes(video.video)
    problems = [item for item in read if isinstance(item, str)]
    shapes = [item for item in read if not isinstance(item, str)]
    summary.counts.update(videos=1, tracks=len(video.tracks), frames=len(shapes))
    name = printable(video.name)
    if len(set(shapes)) > 1:
        problems.append(f'{name}: frames of different sizes '
                        f'{sorted({shape[1::-1] for shape in shapes})}')
    for track in video.tracks:
        summary.counts['boxes'] += int(np.isfinite(track.boxes).all(axis=1).sum())
        if video.video is not None and shapes and len(track.boxes) != len(shapes):
            problems.append(f'{printable(video.video)}: {len(shapes)} frames, but '
                            f'{len(track.boxes)} boxes')
        if shapes:
            problems += _box_problems(f'{name}{" " * bool(track.name)}{track.name}: box of frame',
                                      track.boxes, shapes[0])
    summary.problems += problems


def _image_shapes(files: Iterable[Path]) -> list[Shape | str]:
    """Return the shape of each image, or why it cannot be read; several are read at a time."""
    def shape_of(path: Path) -> Shape | str:
        try:
            return read_image(path).shape
        except (OSError, ValueError) as error:
            return str(error)
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return list(executor.map(shape_of, files))


def _video_shapes(path: Path) -> list[Shape | str]:
    """Return the shapes of the frames that can be decoded, and why others cannot."""
    found: list[Shape | str] = []
    try:
        source = VideoFile(path)
        expected = source.properties()[1]
        found.extend(frame.shape for frame in source)
        source.release()
    except (OSError, ValueError, cv2.error) as error:
        return [*found, str(error)]
    if expected - len(found) > max(1, .01 * expected):
        found.append(f'{printable(path)}: only {len(found)} of {expected} frames can be decoded')
    return found


def _box_problems(name: str, boxes: np.ndarray, shape: Shape) -> list[str]:
    """Return which boxes (N, 4) have no area or lie outside an image."""
    limit = np.array(shape[1::-1])
    with np.errstate(invalid='ignore'):
        empty = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
        outside = np.any((boxes[:, :2] >= limit) | (boxes[:, 2:] <= 0), axis=1) & ~empty
    return [f'{name} {number} {what}: {boxes[number].tolist()}'
            for wrong, what in ((empty, 'has no area'), (outside, 'lies outside the image'))
            for number in np.flatnonzero(wrong)]


# Samples ---------------------------------------------------------------------------------------


def samples(items: Sequence[LabeledVideo | LabeledImage], count: int,
            seed: int = 0) -> Iterator[np.ndarray]:
    """Draw images (H, W, 3) with their boxes from different items, unreadable ones left out."""
    rng = np.random.default_rng(seed)
    for index in rng.permutation(len(items))[:count]:
        item = items[index]
        try:
            if isinstance(item, LabeledImage):
                image = read_image(item.path)
                yield with_boxes(image, item.scaled_boxes(image.shape), item.path.name)
            else:
                yield _video_sample(rng, item)
        except (OSError, ValueError, cv2.error):
            continue


def _video_sample(rng: np.random.Generator, video: LabeledVideo) -> np.ndarray:
    """Draw a frame, one with a box if there is one, else the first one."""
    boxes = np.stack([track.boxes for track in video.tracks], axis=1) if video.tracks else (
        np.zeros((1, 0, 4), np.float32))
    shown = np.flatnonzero(np.any(np.isfinite(boxes).all(axis=2), axis=1))
    place = int(rng.choice(shown)) if len(shown) else 0
    frame = frames_of(video, place)[0]
    return with_boxes(frame, boxes[place], f'{video.name} {place}')


def with_boxes(image: np.ndarray, boxes: np.ndarray, text: str = '') -> np.ndarray:
    """
    Return a copy of an image (H, W, 3) uint8 RGB with boxes and a text drawn on it.

    :param boxes: (N, 4) xyxy; those that are nan are left out
    """
    image = np.array(image)
    for box in boxes:
        draw_box(image, box, TRACKED)
    draw_text(image, text, (3, 12))
    return image


def clip_frame(clip: Clip, index: int) -> np.ndarray:
    """Return a frame of a clip with its box, number and visible fraction."""
    visible = clip.visible[index]
    text = f'{index} {visible:.2f}' if np.isfinite(visible) else str(index)
    return with_boxes(clip.frames[index], clip.boxes[index:index + 1], text)


def tile(images: Sequence[np.ndarray], columns: int, cell: tuple[int, int]) -> np.ndarray:
    """
    Arrange images in rows.

    :param cell: height and width that every image is fitted into
    :raises ValueError: if there are no images
    """
    if not images:
        raise ValueError('a contact sheet needs at least one image')
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows, columns, *cell, 3), np.uint8)
    for place, image in zip(np.ndindex(rows, columns), images, strict=False):
        factor = min(np.array(cell) / image.shape[:2])
        height, width = (max(1, int(side * factor)) for side in image.shape[:2])
        sheet[place][:height, :width] = cv2.resize(image, (width, height),
                                                   interpolation=cv2.INTER_AREA)
    return sheet.swapaxes(1, 2).reshape(rows * cell[0], columns * cell[1], 3)


def clips_sheet(clips: Sequence[Clip], columns: int = 8,
                cell: tuple[int, int] = (180, 240)) -> np.ndarray:
    """Show every clip in a row of evenly spread frames."""
    frames = [clip_frame(clip, int(index)) for clip in clips
              for index in np.rint(np.linspace(0, len(clip) - 1, columns))]
    return tile(frames, columns, cell)


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckOptions:
    """
    Check a data set.

    :param path: folder of the data set
    :param format: auto, or one of alov, vid, det, got10k, lasot, videos, images
    :param sheet: file of the contact sheet (default: runs/check/NAME.jpg)
    :param samples: images on the contact sheet
    :param seed: of the choice of samples
    """

    path: tyro.conf.Positional[Path]
    format: str = 'auto'  # noqa: A003
    sheet: Path | None = None
    samples: int = 24
    seed: int = 0


def check(options: CheckOptions) -> int:
    """Run the command; return 1 if there are problems."""
    summary, items = check_dataset(options.path, options.format)
    images = list(samples(items, options.samples, options.seed))
    for problem in summary.problems:
        print(problem)
    print(summary)
    if images:
        name = printable(options.path.resolve().name)
        sheet = options.sheet or Path('runs', 'check', f'{name}.jpg')
        save_image(sheet, tile(images, 6, (180, 240)))
        print(f'samples: {sheet}')
    return 1 if summary.problems else 0


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.data.check PATH`; return the exit status."""
    return run_command(CheckOptions, check, arguments)


if __name__ == '__main__':
    sys.exit(main())
