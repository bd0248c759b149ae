# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Trackers to be judged, and the protocols that drive them over a sequence.

Every tracker here has the interface of `re3_core.tracker.Tracker`: `init`, `update`, `remove`
and `reset`, so one protocol serves our networks and OpenCV's trackers. All repeated starts of a
sequence run side by side as targets of one tracker: a frame is decoded once, and our networks
take all starts in one batch.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
import time
from typing import NamedTuple
import zlib

import cv2
import numpy as np
from re3_core.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from re3_core.tracker import Track, Tracker
from re3_core.weights import available_models
from training.metrics import bounded_overlap, RESTART_AFTER, SupervisedRun

OPENCV = 'opencv:'


class OnePassRun(NamedTuple):
    """S starts over T frames: `boxes` (S, T, 4) `xyxy`, `scores` (S, T), `frame_size` (H, W)."""

    boxes: np.ndarray
    scores: np.ndarray
    frame_size: tuple


def _nano(models):
    params = cv2.TrackerNano_Params()
    params.backbone, params.neckhead = (_model_file(models, part) for part in ('backbone', 'head'))
    return cv2.TrackerNano_create(params)


def _vit(models):
    params = cv2.TrackerVit_Params()
    params.net = _model_file(models, 'vit')
    return cv2.TrackerVit_create(params)


def _model_file(folder, part):
    """Return the one ONNX file in `folder` whose name contains `part`."""
    if folder is None:
        raise ValueError('opencv:nano and opencv:vit need the folder of their ONNX files '
                         '(--opencv-models)')
    found = sorted(path for path in Path(folder).glob('*.onnx') if part in path.name)
    if len(found) != 1:
        raise ValueError(f'{folder}: expected one ONNX file with "{part}" in its name, '
                         f'found {len(found)}')
    return str(found[0])


OPENCV_TRACKERS = {
    'csrt': lambda models: cv2.TrackerCSRT_create(),
    'kcf': lambda models: cv2.TrackerKCF_create(),
    'mil': lambda models: cv2.TrackerMIL_create(),
    'medianflow': lambda models: cv2.legacy.TrackerMedianFlow_create(),
    'mosse': lambda models: cv2.legacy.TrackerMOSSE_create(),
    'nano': _nano,
    'vit': _vit,
}


class OpenCVTracker:
    """
    OpenCV's trackers behind the interface of `re3_core.tracker.Tracker`.

    After a failed update a target keeps its last box and is lost. Scores are NaN where OpenCV
    gives none. `models` is a folder of ONNX files for those that need them. Raises ValueError for
    an unknown `kind`.
    """

    def __init__(self, kind, models=None):
        if kind not in OPENCV_TRACKERS:
            raise ValueError(f'unknown OpenCV tracker {kind!r}; there are '
                             + ', '.join(OPENCV_TRACKERS))
        self._kind, self._models = kind, models
        self._trackers, self._tracks = {}, {}

    def init(self, target_id, frame, box):
        """Start a target at `box` (4,) `xyxy` in `frame` (H, W, 3) RGB; return its Track."""
        cv2.setRNGSeed(0)
        self._trackers[target_id] = self._create()
        self._trackers[target_id].init(_bgr(frame), _whole_box(box, frame.shape))
        self._tracks[target_id] = Track(np.asarray(box, np.float32), float('nan'), False)
        return self._tracks[target_id]

    def _create(self):
        try:
            return OPENCV_TRACKERS[self._kind](self._models)
        except AttributeError as error:
            raise ValueError(f'this OpenCV has no tracker {self._kind!r} ({error}); '
                             'opencv-contrib-python has it') from None

    def update(self, frame, ids=None):
        """Follow the targets `ids` (all if None) in `frame`; return a Track for each."""
        image = _bgr(frame)
        ids = list(self._trackers) if ids is None else list(ids)
        for target_id in ids:
            self._tracks[target_id] = self._follow(target_id, image)
        return {target_id: self._tracks[target_id] for target_id in ids}

    def _follow(self, target_id, image):
        tracker = self._trackers[target_id]
        try:
            found, box = tracker.update(image)
        except cv2.error:       # some throw when the box leaves the frame
            found = False
        if not found or min(box[2:]) <= 0:
            return Track(self._tracks[target_id].box, float('nan'), True)
        score = tracker.getTrackingScore() if hasattr(tracker, 'getTrackingScore') else -1
        return Track(xywh_to_xyxy(np.asarray(box, np.float32)),
                     score if score >= 0 else float('nan'), False)

    def remove(self, target_id):
        """Forget a target."""
        del self._trackers[target_id], self._tracks[target_id]

    def reset(self):
        """Forget all targets."""
        self._trackers.clear()
        self._tracks.clear()


def _bgr(frame):
    return np.ascontiguousarray(frame[..., ::-1])


def _whole_box(box, shape):
    """Return `box` as OpenCV wants it: whole pixels, `xywh`, inside the frame, not empty."""
    height, width = shape[:2]
    x1, y1, x2, y2 = np.rint(box).astype(int)
    x1, y1 = min(max(x1, 0), width - 2), min(max(y1, 0), height - 2)
    x2, y2 = max(min(x2, width), x1 + 2), max(min(y2, height), y1 + 2)
    return tuple(int(v) for v in xyxy_to_xywh(np.array([x1, y1, x2, y2])))


@dataclass(frozen=True)
class TrackerSpec:
    """
    What is needed to make a tracker, in any process.

    `name` is a model of `re3_core` or `opencv:KIND`; `weights`, `device`, `precision` and
    `reset_every` (None: the tracker's default) go to the tracker, `zero_state` takes the memory
    away from frame to frame, `opencv_models` is the folder of ONNX files.
    """

    name: str
    label: str
    weights: str | None = None
    device: str = 'auto'
    precision: str = 'float32'
    reset_every: int | None = None
    zero_state: bool = False
    opencv_models: str | None = None

    def __post_init__(self):
        kinds = [OPENCV + kind for kind in OPENCV_TRACKERS]
        if self.name not in (*available_models(), *kinds):
            raise ValueError(f'unknown tracker {self.name!r}; there are '
                             + ', '.join((*available_models(), *kinds)))

    def make(self):
        """Return a new tracker."""
        if self.name.startswith(OPENCV):
            return OpenCVTracker(self.name[len(OPENCV):], self.opencv_models)
        settings = {'weights': self.weights, 'device': self.device, 'precision': self.precision}
        if self.reset_every is not None:
            settings['reset_every'] = self.reset_every
        tracker = Tracker(self.name, **settings)
        if self.zero_state:
            take_memory(tracker.network)
        return tracker


def add_tracker_options(parser):
    """Add to an ArgumentParser the options from which a TrackerSpec is made."""
    add = parser.add_argument
    add('--model', default='re3_lite', help='model, or opencv:KIND (default: %(default)s)')
    add('--weights', help='weights file of --model (default: the shipped one)')
    add('--device', default='auto', help='auto, cpu or cuda')
    add('--precision', default='float32', help='float32, bfloat16 or float16')
    add('--opencv-models', metavar='DIR', help='ONNX files of opencv:nano and opencv:vit')


def take_memory(network):
    """Make `network` see every frame with the memory of its recurrent layers at zero."""
    recur = network.recur
    network.recur = lambda encoded, memory: recur(encoded, network.zero_memory(encoded))


def jittered_box(box, jitter, seed, name, start, frame=0):
    """
    Return `box` (4,) `xyxy`, moved and scaled by up to `jitter` of its size along each axis.

    The draw depends on nothing but the numbers given, so all trackers get the same starts.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), start, frame])
    move, scale = rng.uniform(-jitter, jitter, (2, 2))
    x, y, width, height = xyxy_to_cxcywh(np.asarray(box, float))
    return cxcywh_to_xyxy(np.array([x + move[0] * width, y + move[1] * height,
                                    width * (1 + scale[0]), height * (1 + scale[1])]))


def run_one_pass(tracker, sequence, starts, jitter, seed):
    """Follow `sequence` from `starts` jittered first boxes to its end; return a OnePassRun."""
    boxes = np.full((starts, len(sequence), 4), np.nan)
    scores = np.full((starts, len(sequence)), np.nan)
    tracker.reset()
    for t, frame in _frames(sequence):
        if t == 0:
            size = frame.shape[:2]
            tracks = {str(i): tracker.init(str(i), frame, jittered_box(
                sequence.boxes[0], jitter, seed, sequence.name, i)) for i in range(starts)}
        else:
            tracks = tracker.update(frame)
        for i in range(starts):
            boxes[i, t], scores[i, t] = tracks[str(i)].box, tracks[str(i)].confidence
    return OnePassRun(boxes, scores, size)


def _frames(sequence):
    """Yield (number, frame); ValueError if there are not as many frames as boxes."""
    count = 0
    for frame in sequence.frames:
        if count < len(sequence):
            yield count, frame
        count += 1
    if count != len(sequence):
        raise ValueError(f'{sequence.name}: {count} frames, but {len(sequence)} boxes')


class _SupervisedStart:
    """The record of one start of a supervised run."""

    def __init__(self, length):
        self.overlaps = np.full(length, np.nan)
        self.starts, self.failures = [], []
        self.running, self.wait_until = False, 0

    def begin(self, t):
        self.starts.append(t)
        self.overlaps[t] = 1
        self.running = True

    def judge(self, t, overlap):
        self.overlaps[t] = overlap
        if overlap <= 0:
            self.failures.append(t)
            self.running, self.wait_until = False, t + RESTART_AFTER

    def result(self):
        return SupervisedRun(self.overlaps, tuple(self.starts), tuple(self.failures))


def run_supervised(tracker, sequence, starts, jitter, seed):
    """
    Follow `sequence` with `starts` jittered starts; return a SupervisedRun for each.

    A start whose box no longer overlaps the truth has failed and is started again 5 frames
    later, or as soon as the target is present after that.
    """
    records = [_SupervisedStart(len(sequence)) for _ in range(starts)]
    tracker.reset()
    for t, frame in _frames(sequence):
        running = [str(i) for i, record in enumerate(records) if record.running]
        tracks = tracker.update(frame, running) if running else {}
        truth = sequence.boxes[t]
        if np.isnan(truth).any():
            continue
        for i, record in enumerate(records):
            if record.running:
                record.judge(t, bounded_overlap(tracks[str(i)].box, truth, frame.shape[:2]))
            elif t >= record.wait_until:
                tracker.init(str(i), frame,
                             jittered_box(truth, jitter, seed, sequence.name, i, t))
                record.begin(t)
    return [record.result() for record in records]


def update_times(tracker, sequence, count):
    """
    Return the seconds that each update of a single target takes over the first `count` frames.

    Reading frames is not in it, nor is the first update, in which libraries warm up.
    """
    frames = list(islice(sequence.frames, count + 2))
    tracker.reset()
    tracker.init('0', frames[0], sequence.boxes[0])
    seconds = []
    for frame in frames[1:]:
        begin = time.perf_counter()
        tracker.update(frame)
        seconds.append(time.perf_counter() - begin)
    return np.array(seconds[1:])
