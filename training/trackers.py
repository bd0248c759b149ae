# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Our trackers and OpenCV's behind one interface, and their description on the command line.

Every tracker here has `init`, `update`, `remove` and `reset` of `re3_core.tracker.Tracker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from re3_core.boxes import xywh_to_xyxy, xyxy_to_xywh
from re3_core.tracker import Track, Tracker
from re3_core.weights import available_models
from training.data.base import visible_files

OPENCV = 'opencv:'
# Exceptions that trackers raise on difficult input.
TRACKER_ERRORS = (cv2.error, MemoryError, OSError, RuntimeError, ValueError)


def _nano(models: str | None) -> Any:
    params = cv2.TrackerNano_Params()
    params.backbone, params.neckhead = (_model_file(models, part) for part in ('backbone', 'head'))
    return cv2.TrackerNano_create(params)


def _vit(models: str | None) -> Any:
    params = cv2.TrackerVit_Params()
    params.net = _model_file(models, 'vit')
    return cv2.TrackerVit_create(params)


def _model_file(folder: str | None, part: str) -> str:
    """Return the one ONNX file in `folder` whose name contains `part`."""
    if folder is None:
        raise ValueError('opencv:nano and opencv:vit need the folder of their ONNX files '
                         '(--opencv-models)')
    found = [path for path in visible_files(Path(folder), '*.onnx') if part in path.name]
    if len(found) != 1:
        raise ValueError(f'{folder}: expected one ONNX file with "{part}" in its name, '
                         f'found {len(found)}')
    return str(found[0])


OPENCV_TRACKERS: dict[str, Callable[[str | None], Any]] = {
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

    After a failed update a target keeps its last box and is lost. Confidences are nan where
    OpenCV has none.

    :param models: folder of ONNX files for the kinds that need them
    :raises ValueError: for an unknown kind, one that this OpenCV lacks, or missing files
    """

    def __init__(self, kind: str, models: str | None = None):
        if kind not in OPENCV_TRACKERS:
            raise ValueError(f'unknown OpenCV tracker {kind!r}; there are '
                             + ', '.join(OPENCV_TRACKERS))
        self._kind, self._models = kind, models
        self._trackers: dict[str, Any] = {}
        self._tracks: dict[str, Track] = {}
        self._create()      # to fail here, not at the first target

    def _create(self) -> Any:
        try:
            return OPENCV_TRACKERS[self._kind](self._models)
        except AttributeError as error:
            raise ValueError(f'this OpenCV has no tracker {self._kind!r} ({error}); '
                             'opencv-contrib-python has it') from None

    def init(self, target_id: str, frame: np.ndarray, box: np.ndarray) -> Track:
        """Start tracking the object inside `box` (4,) xyxy in `frame` (H, W, 3) RGB."""
        cv2.setRNGSeed(0)
        self._trackers[target_id] = self._create()
        self._trackers[target_id].init(_bgr(frame), _whole_box(box, frame.shape))
        self._tracks[target_id] = Track(np.asarray(box, np.float32), float('nan'), False)
        return self._tracks[target_id]

    def update(self, frame: np.ndarray,
               ids: Iterable[str] | None = None) -> dict[str, Track]:
        """Track the targets `ids` (all if None) in the next frame; return a Track for each."""
        image = _bgr(frame)
        ids = list(self._trackers) if ids is None else list(ids)
        for target_id in ids:
            self._tracks[target_id] = self._track(target_id, image)
        return {target_id: self._tracks[target_id] for target_id in ids}

    def _track(self, target_id: str, image: np.ndarray) -> Track:
        tracker = self._trackers[target_id]
        try:
            found, box = tracker.update(image)
        except cv2.error:       # some throw when the box leaves the frame
            found, box = False, ()
        if not found or min(box[2:]) <= 0:
            return Track(self._tracks[target_id].box, float('nan'), True)
        score = tracker.getTrackingScore() if hasattr(tracker, 'getTrackingScore') else -1
        return Track(xywh_to_xyxy(np.asarray(box, np.float32)),
                     score if score >= 0 else float('nan'), False)

    def remove(self, target_id: str) -> None:
        """Remove a target."""
        del self._trackers[target_id], self._tracks[target_id]

    def reset(self) -> None:
        """Remove all targets."""
        self._trackers.clear()
        self._tracks.clear()


AnyTracker = Tracker | OpenCVTracker


def _bgr(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[..., ::-1])


def _whole_box(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `box` as OpenCV wants it: whole pixels, `xywh`, inside the frame, not empty."""
    height, width = shape[:2]
    x1, y1, x2, y2 = np.rint(box).astype(int)
    x1, y1 = min(max(x1, 0), width - 2), min(max(y1, 0), height - 2)
    x2, y2 = max(min(x2, width), x1 + 2), max(min(y2, height), y1 + 2)
    return tuple(int(v) for v in xyxy_to_xywh(np.array([x1, y1, x2, y2])))


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """
    Which tracker to run.

    :param model: a model, or opencv:KIND
    :param weights: weights file (default: the packaged one)
    :param device: auto, cpu or cuda
    :param engine: torch, onnxruntime, openvino, tensorrt or auto
    :param precision: float32, bfloat16, float16, int8, or auto: as the engine chooses
    :param opencv_models: folder of the ONNX files of opencv:nano and opencv:vit
    """

    model: str = 're3_lite'
    weights: str | None = None
    device: str = 'auto'
    engine: str = 'torch'
    precision: str = 'float32'
    opencv_models: str | None = None

    def spec(self, **changes: Any) -> TrackerSpec:
        """Return what makes this tracker, with some settings replaced."""
        return TrackerSpec(**{name: getattr(self, name)
                              for name in TrackerOptions.__dataclass_fields__} | changes)


@dataclass(frozen=True, kw_only=True)
class TrackerSpec(TrackerOptions):
    """
    Everything that is needed to make a tracker, in any process.

    :param label: its name in reports; empty: that of the model
    :param reset_every: frames between resets of the memory; None: the tracker's default
    :raises ValueError: for an unknown model
    """

    label: str = ''
    reset_every: int | None = None

    def __post_init__(self) -> None:
        known = (*available_models(), *(OPENCV + kind for kind in OPENCV_TRACKERS))
        if self.model not in known:
            raise ValueError(f'unknown tracker {self.model!r}; there are {", ".join(known)}')
        if not self.label:
            object.__setattr__(self, 'label', self.model)

    def make(self) -> AnyTracker:
        """Return a new tracker."""
        if self.model.startswith(OPENCV):
            return OpenCVTracker(self.model[len(OPENCV):], self.opencv_models)
        tracker = Tracker(self.model, weights=self.weights, device=self.device,
                          engine=self.engine, precision=self.precision)
        if self.reset_every is not None:
            tracker.reset_every = self.reset_every
        return tracker
