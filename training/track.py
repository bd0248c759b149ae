# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Follow a target through a video: `python -m training.track --data CLIP --save OUT`.

CLIP is an OTB folder (or a folder of such) whose first true box starts the tracker, or a video
file or folder of images with --box. Each sequence gets a folder in OUT: `frames/` with the boxes
drawn in, `track.mp4`, `boxes.txt` (x,y,w,h a line) and `scores.txt`.
"""

import argparse
from pathlib import Path
import sys

import numpy as np
from re3_core.boxes import check_box, xywh_to_xyxy, xyxy_to_xywh
from re3_core.io.drawing import draw_box, draw_track, TRUTH
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from training import metrics
from training.datasets.recordings import read_recordings
from training.datasets.records import Recording
from training.datasets.records import Track as Truth
from training.datasets.sequences import frames_of, read_boxes, Sequence, sequences_of
from training.runners import add_tracker_options, TrackerSpec

TRUTH_FILE = 'groundtruth_rect.txt'


def follow(tracker, frames, box):
    """Start `tracker` at `box` (4,) `xyxy` in the first frame; yield (frame, Track) for each."""
    frames = iter(frames)
    first = next(frames)
    tracker.reset()
    yield first, tracker.init('target', first, box)
    for frame in frames:
        yield frame, tracker.update(frame)['target']


def draw(frame, track, truth=None):
    """
    Return a copy of `frame` (H, W, 3) RGB with a track and, where given, the true box (4,).

    The track is green with its score, red when lost; the true box is thin and white.
    """
    picture = frame.copy()
    if truth is not None:
        draw_box(picture, truth, TRUTH)
    score = f'{track.confidence:.2f}' if np.isfinite(track.confidence) else ''
    draw_track(picture, track.box, score, track.lost)
    return picture


def save_track(tracker, sequence, folder, rate=30.):
    """
    Follow `sequence` and write frames, video and texts into `folder`; return the boxes (T, 4).

    Boxes are `xyxy`. Rows of `sequence.boxes` beyond the first may be NaN or missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tracks = []
    with video_writer(folder / 'track.mp4', rate) as write:
        for frame, track in follow(tracker, sequence.frames, sequence.boxes[0]):
            truth = sequence.boxes[len(tracks)] if len(tracks) < len(sequence) else None
            picture = draw(frame, track, truth)
            write(picture)
            tracks.append(track)
            save_image(folder / 'frames' / f'{len(tracks):06d}.jpg', picture)
    boxes = np.array([track.box for track in tracks])
    np.savetxt(folder / 'boxes.txt', xyxy_to_xywh(boxes), '%.2f', ',')
    np.savetxt(folder / 'scores.txt', [track.confidence for track in tracks], '%.4f')
    return boxes


def read_data(path, box=None):
    """
    Return the Sequences of a folder or video file, each with a box in its first frame.

    With `box` (4,) `xyxy` there must be one recording, and the box starts it in place of its true
    one. Raises ValueError saying what is missing.
    """
    path = Path(path)
    recordings = [_video_recording(path)] if path.is_file() else read_recordings(path)
    if box is None:
        sequences = sequences_of(recordings)
        if not sequences:
            raise ValueError(f'{path}: no true boxes there; give the first one by --box x,y,w,h')
        return sequences
    if len(recordings) != 1:
        raise ValueError(f'{path}: --box needs a single video, here are {len(recordings)}')
    return [_with_first_box(recordings[0], box)]


def _video_recording(path):
    truth = path.with_name(TRUTH_FILE)
    tracks = (Truth('', read_boxes(truth)),) if truth.is_file() else ()
    name = path.parent.name if path.stem == 'video' else path.stem
    return Recording(name, video=path, tracks=tracks)


def _with_first_box(recording, box):
    boxes = np.array(recording.tracks[0].boxes if recording.tracks else [box], np.float32)
    boxes[0] = box
    return Sequence(recording.name, frames_of(recording), boxes, np.ones(len(boxes)))


def _box(text):
    try:
        return check_box(xywh_to_xyxy(np.array([float(part) for part in text.split(',')])))
    except (ValueError, IndexError):
        raise argparse.ArgumentTypeError(
            f'expected x,y,w,h in pixels with w and h above 0, got {text!r}') from None


def _parser():
    parser = argparse.ArgumentParser(
        prog='python -m training.track', description='Follow a target through a video.')
    add_tracker_options(parser)
    add = parser.add_argument
    add('--data', required=True, help='OTB folder, folder of such, or video file')
    add('--save', required=True, help='folder for the results')
    add('--box', type=_box, metavar='x,y,w,h', help='the target in the first frame, in pixels')
    add('--rate', type=float, default=30., help='frames a second of the videos written')
    return parser


def main(arguments=None):
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        tracker = TrackerSpec(options.model, options.model, options.weights, options.device,
                              options.precision, opencv_models=options.opencv_models).make()
        for sequence in read_data(options.data, options.box):
            boxes = save_track(tracker, sequence, Path(options.save) / sequence.name,
                               options.rate)
            print(_summary(sequence, boxes))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _summary(sequence, boxes):
    text = f'{sequence.name}: {len(boxes)} frames'
    if len(sequence) != len(boxes):
        return text
    overlap = np.nanmean(metrics.overlaps(boxes, sequence.boxes))
    return f'{text}, mean overlap {overlap:.3f}'


if __name__ == '__main__':
    sys.exit(main())
