# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Track a target through a video: `python -m training.track --data CLIP --save OUT`.

CLIP is an OTB folder (or a folder of such) whose first true box starts the tracker, or a video
file or folder of images with --box. Each sequence gets a folder in OUT: `frames/` with the boxes
drawn in, `track.mp4`, `boxes.txt` (x,y,w,h a line) and `scores.txt`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
import sys

import numpy as np
from re3_core.boxes import check_box, xywh_to_xyxy, xyxy_to_xywh
from re3_core.io.drawing import draw_box, draw_track, TRUTH
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from re3_core.tracker import Track
from training import metrics
from training.config import one_line, run_command
from training.data import read_videos
from training.data.base import frames_of, printable, Sequence, sequences_of
from training.trackers import AnyTracker, TRACKER_ERRORS, TrackerOptions


def track_target(tracker: AnyTracker, frames: Iterable[np.ndarray],
                 box: np.ndarray) -> Iterator[tuple[np.ndarray, Track]]:
    """Start `tracker` at `box` (4,) `xyxy` in the first frame; yield (frame, Track) for each."""
    tracker.reset()
    for t, frame in enumerate(frames):
        yield frame, (tracker.update(frame) if t else {
            'target': tracker.init('target', frame, box)})['target']


def draw(frame: np.ndarray, track: Track, truth: np.ndarray | None = None) -> np.ndarray:
    """
    Return a copy of `frame` (H, W, 3) RGB with a track and, where given, the true box (4,).

    The track is green with its confidence, red when lost; the true box is thin and white.
    """
    image = frame.copy()
    if truth is not None:
        draw_box(image, truth, TRUTH)
    text = f'{track.confidence:.2f}' if np.isfinite(track.confidence) else ''
    draw_track(image, track.box, text, track.lost)
    return image


def save_track(tracker: AnyTracker, sequence: Sequence, folder: Path,
               rate: float = 30.) -> np.ndarray:
    """
    Track through `sequence`, write frames, video and texts into `folder`; return boxes (T, 4).

    Boxes are `xyxy`. Rows of `sequence.boxes` beyond the first may be nan or missing.

    :raises ValueError: if there is no frame
    """
    folder.mkdir(parents=True, exist_ok=True)
    tracks: list[Track] = []
    with video_writer(folder / 'track.mp4', rate) as write:
        for frame, track in track_target(tracker, sequence.frames, sequence.boxes[0]):
            truth = sequence.boxes[len(tracks)] if len(tracks) < len(sequence) else None
            image = draw(frame, track, truth)
            write(image)
            tracks.append(track)
            save_image(folder / 'frames' / f'{len(tracks):06d}.jpg', image)
    boxes = np.array([track.box for track in tracks])
    np.savetxt(folder / 'boxes.txt', xyxy_to_xywh(boxes), '%.2f', ',')
    np.savetxt(folder / 'scores.txt', [track.confidence for track in tracks], '%.4f')
    return boxes


def read_data(path: Path, box: np.ndarray | None = None) -> list[Sequence]:
    """
    Return the Sequences of a folder or video file, each with a box in its first frame.

    :param box: (4,) `xyxy`; then there must be one video, and the box starts it in place of its
        true one
    :raises ValueError: naming what is missing
    """
    videos = read_videos(path)
    if box is None:
        sequences = sequences_of(videos)
        if not sequences:
            raise ValueError(f'{printable(path)}: no true boxes there; give the first one by '
                             '--box x,y,w,h')
        return sequences
    if len(videos) != 1:
        raise ValueError(f'{printable(path)}: --box needs a single video, here are {len(videos)}')
    video, = videos
    boxes = np.array(video.tracks[0].boxes if video.tracks else [box], np.float32)
    boxes[0] = box
    return [Sequence(video.name, frames_of(video), boxes, np.ones(len(boxes)))]


@dataclass(frozen=True, kw_only=True)
class TrackOptions(TrackerOptions):
    """
    Track a target through a video.

    :param data: OTB folder, folder of such, or video file
    :param save: folder for the results
    :param box: the target in the first frame: x,y,w,h in pixels
    :param rate: frames a second of the videos written
    """

    data: Path
    save: Path
    box: str | None = None
    rate: float = 30.

    def first_box(self) -> np.ndarray | None:
        """Return the given box (4,) xyxy, or None."""
        if self.box is None:
            return None
        try:
            box = np.array([float(part) for part in self.box.split(',')])
            return check_box(xywh_to_xyxy(box.reshape(4)))
        except ValueError:
            raise ValueError('--box: expected x,y,w,h in pixels with w and h above 0, got '
                             f'{self.box!r}') from None


def run(options: TrackOptions) -> int:
    """Run the command; return 1 if a sequence failed."""
    status, box = 0, options.first_box()
    tracker = options.spec().make()
    for sequence in read_data(options.data, box):
        name = printable(sequence.name)
        try:
            boxes = save_track(tracker, sequence, options.save / name, options.rate)
            print(_summary(name, sequence, boxes), flush=True)
        except TRACKER_ERRORS as error:
            print(f'error: {name}: {one_line(error)}', file=sys.stderr)
            status = 1
    return status


def _summary(name: str, sequence: Sequence, boxes: np.ndarray) -> str:
    text = f'{name}: {len(boxes)} frames'
    if len(sequence) != len(boxes):
        return text if len(sequence) == 1 else f'{text}, but {len(sequence)} true boxes'
    overlap = np.nanmean(metrics.overlaps(boxes, sequence.boxes))
    return f'{text}, mean overlap {overlap:.3f}'


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(TrackOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
