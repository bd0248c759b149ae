# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Label videos without boxes: keep the tracks on which independent trackers agree.

    python -m training.autolabel --videos VIDEOS --output DIR \
        --trackers opencv:nano re3_lite opencv:csrt --opencv-models FOLDER_WITH_ONNX

For each video: propose objects (what stands out by the network of `--segmenter`, see
`training.segment`, what moves relative to the camera, else textured boxes on a grid), track them
forward and from the last frame back to the first, and keep a track if it returns to its start
(forward-backward error, Kalal et al. 2010) and the other trackers follow the same object. The
fastest tracker comes first in `--trackers`: only its survivors reach the next one. Boxes are the
median of the trackers; frames on which they disagree are marked as covered. The result is a data
set in the layout of GOT-10k and a contact sheet to check by eye.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
import functools
from pathlib import Path
import sys
import tempfile
from typing import NamedTuple

import cv2
import numpy as np
from re3_core import boxes as box_ops
from re3_core.io.files import printable
from re3_core.io.images import save_image
from tqdm import tqdm
from training.config import run_command
from training.data import read_videos
from training.data.base import frames_of, LabeledVideo
from training.data.check import tile, with_boxes
from training.executor import ExecutorOptions, use_one_thread
from training.segment import Segmenter
from training.storage import folder_content, local_copy, Store
from training.trackers import AnyTracker, TRACKER_ERRORS, TrackerOptions
from tyro import MISSING

# Proposals are computed on images of this height; sides of boxes in shares of the image.
PROPOSAL_HEIGHT = 240
GRID_SIDES = (0.12, 0.2, 0.32)
MIN_SIDE, MAX_SIDE = 0.04, 0.6
COLUMNS = 6


@dataclass(frozen=True)
class Settings:
    """
    When a track is kept.

    :param objects: proposals per start frame
    :param length: frames of a track at most
    :param min_length: frames of a track at least
    :param return_iou: overlap of the box tracked back to the first frame with the first box
    :param agreement: mean overlap of two trackers over a track
    :param frame_agreement: overlap in a frame below which the target counts as covered
    :param max_side: longer side of the images written, in pixels
    """

    objects: int = 4
    length: int = 60
    min_length: int = 24
    return_iou: float = 0.6
    agreement: float = 0.6
    frame_agreement: float = 0.4
    max_side: int = 480


class AutoTrack(NamedTuple):
    """A labeled track: `boxes` (T, 4) `xyxy` pixels and `agreed` (T,) bool from frame `start`."""

    start: int
    boxes: np.ndarray
    agreed: np.ndarray


def _small_gray(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a gray image of PROPOSAL_HEIGHT and the factor from its pixels to the image's."""
    factor = image.shape[0] / PROPOSAL_HEIGHT
    size = (max(1, round(image.shape[1] / factor)), PROPOSAL_HEIGHT)
    return cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA),
                        cv2.COLOR_RGB2GRAY), factor


def camera_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Return the (2, 3) similarity that maps a gray image to a later one, None if unknown."""
    # Far apart and with weak ones, so that an object with much texture has no majority.
    points = cv2.goodFeaturesToTrack(before, 400, 0.001, 10)
    if points is None or len(points) < 12:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)
    good = found[:, 0] == 1
    if good.sum() < 12:
        return None
    return cv2.estimateAffinePartial2D(points[good], moved[good], method=cv2.RANSAC,
                                       ransacReprojThreshold=2.0)[0]


def moving_boxes(before: np.ndarray, image: np.ndarray, after: np.ndarray) -> np.ndarray:
    """
    Return boxes (N, 4) `xyxy` of what moves relative to the camera, largest first.

    A pixel moves if it differs from both the earlier and the later image, each aligned with
    `image` (three-frame difference).

    :param before: H x W x 3 uint8 RGB, like `image` and `after`, some frames apart
    """
    gray, factor = _small_gray(image)
    difference = np.full(gray.shape, 255, np.uint8)
    for other in (before, after):
        other_gray, _ = _small_gray(other)
        matrix = camera_motion(other_gray, gray)
        if matrix is None:
            return np.empty((0, 4))
        aligned = cv2.warpAffine(other_gray, matrix, gray.shape[::-1],
                                 borderMode=cv2.BORDER_REPLICATE)
        difference = np.minimum(difference, cv2.GaussianBlur(
            cv2.absdiff(aligned, gray), (0, 0), 2))
    threshold = max(12., 4 * float(np.median(difference)))
    mask = (difference > threshold).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    parts = stats[1:][np.argsort(-stats[1:, cv2.CC_STAT_AREA])]
    return box_ops.xywh_to_xyxy(parts[:, :4].astype(float)) * factor


def textured_boxes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return boxes (N, 4) `xyxy` on a grid of three sizes, those with most corners first."""
    gray, factor = _small_gray(image)
    corners = cv2.cornerMinEigenVal(cv2.GaussianBlur(gray, (0, 0), 1), 5)
    strength = np.minimum(corners, np.quantile(corners, .95))
    integral = cv2.integral(strength)
    height, width = gray.shape
    found, scores = [], []
    for side in GRID_SIDES:
        for y in np.arange(0.05, 0.95 - side, side / 2):
            for x in np.arange(0.05, 0.95 - side * height / width, side / 2 * height / width):
                extent = side * height * np.exp(rng.normal(0, .25, 2))
                x1, y1 = x * width, y * height
                x2, y2 = min(x1 + extent[0], width - 1), min(y1 + extent[1], height - 1)
                (a, b), (c, d) = (int(y1), int(x1)), (int(y2), int(x2))
                total = integral[c, d] - integral[a, d] - integral[c, b] + integral[a, b]
                found.append((x1, y1, x2, y2))
                scores.append(total / max((c - a) * (d - b), 1))
    order = np.argsort(-np.array(scores))
    return np.array(found)[order] * factor


def propose(frames: Sequence[np.ndarray], start: int, count: int, step: int,
            rng: np.random.Generator, segmenter: Segmenter | None = None) -> np.ndarray:
    """
    Return at most `count` boxes (N, 4) `xyxy` of objects to track from frame `start` on.

    :param step: frames between the images whose difference shows what moves
    """
    middle = min(max(start, step), len(frames) - 1 - step)
    candidates = np.empty((0, 4))
    if 0 <= middle - step and middle == start:
        candidates = moving_boxes(frames[middle - step], frames[middle], frames[middle + step])
    if segmenter:
        candidates = np.concatenate((segmenter.objects(frames[start]).boxes, candidates))
    candidates = np.concatenate((candidates, textured_boxes(frames[start], rng)))
    height, width = frames[start].shape[:2]
    sides = np.sqrt(box_ops.area(candidates) / (height * width))
    chosen: list[np.ndarray] = []
    for box in candidates[(sides >= MIN_SIDE) & (sides <= MAX_SIDE)]:
        if all(box_ops.iou(box, other) < .2 for other in chosen):
            chosen.append(box)
        if len(chosen) == count:
            break
    return np.array(chosen).reshape(-1, 4)


def track_all(tracker: AnyTracker, frames: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """
    Track N boxes (N, 4) `xyxy` of the first frame through all frames.

    :param tracker: anything with the interface of `re3_core.Tracker`
    :return: (N, T, 4); from a failed start on NaN
    """
    tracks = np.full((len(boxes), len(frames), 4), np.nan)
    tracks[:, 0] = boxes
    tracker.reset()
    started = []
    for index, box in enumerate(boxes):
        try:
            tracker.init(str(index), frames[0], box)
        except TRACKER_ERRORS:      # a box that this tracker cannot start from
            continue
        started.append(str(index))
    for t, frame in enumerate(frames[1:], 1):
        for key, track in tracker.update(frame, started).items():
            tracks[int(key), t] = track.box
    return tracks


def consensus(trackers: Sequence[Callable[[], AnyTracker]], frames: Sequence[np.ndarray],
              boxes: np.ndarray, settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Return the tracks (boxes (T, 4), agreed (T,)) of the proposals that all trackers confirm.

    :param trackers: functions that make a tracker, the fastest first
    :param boxes: (N, 4) `xyxy`, in the first frame
    """
    confirmed: np.ndarray | None = None                                 # (N, K, T, 4)
    for make in trackers:
        if not len(boxes):
            return []
        tracker = make()
        forward = track_all(tracker, frames, boxes)
        backward = track_all(tracker, frames[::-1], forward[:, -1])[:, ::-1]
        kept = np.array([
            box_ops.iou(there[0], back[0]) >= settings.return_iou
            and np.nanmean(box_ops.iou(there, back)) >= settings.agreement
            for there, back in zip(forward, backward, strict=True)])
        if confirmed is not None:
            overlaps = box_ops.iou(forward[:, None], confirmed)      # (N, K, T)
            kept &= (np.nanmean(overlaps, -1) >= settings.agreement).all(1)
        boxes, forward = boxes[kept], forward[kept]
        confirmed = forward[:, None] if confirmed is None else np.concatenate(
            (confirmed[kept], forward[:, None]), 1)
    assert confirmed is not None
    return [_joined(tracks, settings) for tracks in confirmed]


def _joined(tracks: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Join the tracks (K, T, 4) of K trackers into their median and where they agree."""
    median = np.median(tracks, 0)
    agreed = (box_ops.iou(tracks, median) >= settings.frame_agreement).all(0)
    return median, agreed


def label_frames(frames: Sequence[np.ndarray], trackers: Sequence[Callable[[], AnyTracker]],
                 settings: Settings, seed: int = 0,
                 segmenter: Segmenter | None = None) -> Iterator[AutoTrack]:
    """Yield the confirmed tracks of a video, in windows of `settings.length` frames."""
    rng = np.random.default_rng(seed)
    step = 3
    for start in range(step, len(frames) - settings.min_length + 1, settings.length):
        window = frames[start:start + settings.length]
        if len(window) < settings.min_length:
            return
        boxes = propose(frames, start, settings.objects, step, rng, segmenter)
        for median, agreed in consensus(trackers, window, boxes, settings):
            if agreed.mean() >= settings.agreement:
                yield AutoTrack(start, median, agreed)


def write_track(folder: Path, frames: Sequence[np.ndarray], track: AutoTrack) -> None:
    """Write a track as a sequence in the layout of GOT-10k, into a new folder."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames[track.start:track.start + len(track.boxes)], 1):
        save_image(folder / f'{index:08d}.jpg', frame)
    boxes = box_ops.xyxy_to_xywh(track.boxes)
    (folder / 'groundtruth.txt').write_text(
        ''.join(','.join(f'{value:.2f}' for value in box) + '\n' for box in boxes))
    (folder / 'absence.label').write_text('0\n' * len(boxes))
    (folder / 'cover.label').write_text(
        ''.join(f'{8 if agreed else 0}\n' for agreed in track.agreed))


def _row(frames: Sequence[np.ndarray], track: AutoTrack) -> list[np.ndarray]:
    """Return evenly spread frames of a track with its box, a row of the contact sheet."""
    return [with_boxes(frames[track.start + index], track.boxes[index:index + 1],
                       '' if track.agreed[index] else 'disagree')
            for index in np.linspace(0, len(track.boxes) - 1, COLUMNS).astype(int)]


def _load(video: LabeledVideo, max_side: int) -> list[np.ndarray]:
    """Return all frames of a video, at most `max_side` pixels long."""
    frames = []
    for frame in frames_of(video):
        factor = min(1, max_side / max(frame.shape[:2]))
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        frames.append(frame if factor == 1 else cv2.resize(frame, size,
                                                           interpolation=cv2.INTER_AREA))
    return frames


@dataclass(frozen=True)
class _VideoJob:
    """A video to label; `number` seeds its proposals."""

    video: LabeledVideo
    number: int
    makers: tuple[Callable[[], AnyTracker], ...]
    settings: Settings
    segmenter: str = ''

    @property
    def name(self) -> str:
        return self.video.name.replace('/', '_')


@functools.lru_cache(maxsize=1)
def _segmenter(path: str) -> Segmenter | None:
    """Return the segmenter in a file, once per process; None without a file."""
    return Segmenter(path) if path else None


def _label_video(job: _VideoJob) -> list[dict[str, bytes]]:
    """
    Label a video.

    :return: the files of the sequence of each track, and of the contact sheet, by name
    """
    frames = _load(job.video, job.settings.max_side)
    tracks = list(label_frames(frames, job.makers, job.settings, job.number,
                               _segmenter(job.segmenter)))
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for number, track in enumerate(tracks):
            write_track(Path(folder) / str(number), frames, track)
            results.append(folder_content(Path(folder) / str(number)))
        sheet = Path(folder) / 'sheet.jpg'
        if tracks:
            cells = [cell for track in tracks for cell in _row(frames, track)]
            save_image(sheet, tile(cells, COLUMNS, (120, 160)))
        return [*results, {'sheet': sheet.read_bytes() if tracks else b''}]


def _store_video(store: Store, name: str, results: list[dict[str, bytes]]) -> None:
    """Write the tracks of a video and their contact sheet; last, that the video is done."""
    *tracks, sheet = results
    for number, files in enumerate(tracks):
        store.replace_folder(f'GOT-10k_{name}_{number:02d}', files)
    if tracks:
        store.write(f'sheets/{name}.jpg', sheet['sheet'])
    store.write(f'done/{name}', str(len(tracks)).encode())


@dataclass(frozen=True)
class AutolabelOptions(TrackerOptions, Settings, ExecutorOptions):
    """
    Label videos by consensus of trackers.

    :param videos: folder of videos or of folders of images; path or URL such as s3://...
    :param output: folder of the data set, path or URL; videos that are done are not labeled again
    :param trackers: models or opencv:KIND, the fastest first
    :param segmenter: ONNX file of a segmentation network that proposes objects, too; path or
        empty
    :param retries: how often a video that failed is tried again
    """

    videos: str = MISSING
    output: str = MISSING
    trackers: tuple[str, ...] = ('re3_lite', 'opencv:csrt')
    segmenter: str = ''
    retries: int = 1


def run(options: AutolabelOptions) -> int:
    """Run the command; return 1 if a video failed."""
    makers = tuple(replace(options.spec(), model=name, label=name).make
                   for name in options.trackers)
    _segmenter(options.segmenter)
    for make in makers:     # an unknown or missing tracker is an error before the work
        make()
    store = Store(options.output)
    settings = Settings(**{item.name: getattr(options, item.name) for item in fields(Settings)})
    jobs = [_VideoJob(video, number, makers, settings, options.segmenter)
            for number, video in enumerate(read_videos(local_copy(options.videos)))]
    done = [job for job in jobs if store.exists(f'done/{job.name}')]
    left = [job for job in jobs if job not in done]
    total, failed = sum(int(store.read(f'done/{job.name}')) for job in done), 0
    with options.make_executor(use_one_thread) as executor, \
            tqdm(total=len(jobs), initial=len(done), unit='video', disable=None) as progress:
        for outcome in executor.map(_label_video, left, options.retries):
            job = left[outcome.number]
            if outcome.error:
                print(f'{printable(job.video.name)}: {outcome.error} ({outcome.tries} tries)',
                      file=sys.stderr)
                failed += 1
            else:
                _store_video(store, job.name, outcome.result)
                total += len(outcome.result) - 1
            progress.update()
            progress.set_postfix(tracks=total)
    print(f'{total} tracks of {len(jobs) - failed} videos: {printable(options.output)}')
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.autolabel`; return the exit status."""
    return run_command(AutolabelOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
