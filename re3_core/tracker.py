# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The tracker: any number of targets with string ids, tracked from frame to frame.

The network is a pure function of crops and state, which an engine runs (see `re3_core.engines`);
everything else that is kept of a target is in its `_Target`. Frames are not kept: the crops that
the next step needs are cut at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
import logging
from os import PathLike
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from re3_core import boxes as box_ops
from re3_core import redetection
from re3_core.arrays import concatenate
from re3_core.crops import check_frame, CropSpec, decode, Frame
from re3_core.deprecation import deprecated_attribute, ineffective_attribute, present_arguments
from re3_core.engines import (
    Engine,
    EngineError,
    EngineFailure,
    ENGINES,
    make_engine,
    PRECISIONS,
    Source,
)
from re3_core.model import Crops, State

if TYPE_CHECKING:
    from re3_core.networks import TrackerNetwork

# Frames between resets of the LSTM state (Re3 paper, section III-E).
RESET_EVERY = 32
# Hysteresis of lost and found: see `Tracker`.
LOST_CONFIDENCE = .43
FOUND_CONFIDENCE = .56
LOST_AFTER = 3
# Limits on the sides of a box: pixels, and multiples of the frame's.
MIN_SIDE = 4.
MAX_FRAMES = 1.5

# Arguments of `Tracker` that have a new name, and those without effect: they are accepted for one
# release.
RENAMED = {
    'lost_score': 'lost_confidence', 'found_score': 'found_confidence',
    'search_candidates': 'redetection_candidates', 'search_limit': 'redetection_limit'}
INEFFECTIVE = ('check_every', 'refine_every')

logger = logging.getLogger('re3_core')

__all__ = ['check_frame', 'clip_box', 'ENGINES', 'PRECISIONS', 'Track', 'Tracker']


@dataclass(frozen=True, eq=False)
class Track:
    """
    Position of a target in a frame.

    `box` is float32 (4,), `xyxy` pixels, the caller's own; `confidence` the predicted IoU with
    the true box, 0..1; `lost` whether the box is no longer trusted (see `Tracker`). While a
    target is lost, `confidence` is at most `lost_confidence`, and `box` is the constant-velocity
    prediction wherever the network's confidence is below that.
    """

    box: np.ndarray
    confidence: float
    lost: bool

    score = deprecated_attribute('score', 'confidence')


@dataclass
class _Target:
    """State of one target between frames; its values are replaced, never changed in place."""

    box: np.ndarray                 # float64 (4,), xyxy
    previous: Any                   # crop around `box` in the last frame, (1, 3, S, S) uint8
    state: State                    # of the network, one row
    initial_state: State            # after the first frame
    confidence: float = 1.          # of the network, decides about lost and found
    lost: bool = False
    steps: int = 0                  # frames since the first one
    low_confidence_frames: int = 0  # in a row
    high_confidence_frames: int = 0
    # Re-detection; without a confidence of the network there is no keyframe.
    keyframe: redetection.Keyframe | None = None
    candidate: redetection.Candidate | None = None
    num_searched: int = 0           # search regions since the target was lost
    predicted_box: np.ndarray | None = None     # while lost

    def copy(self) -> '_Target':
        """Return a shallow copy, in a fifth of the time of `dataclasses.replace`."""
        target = object.__new__(_Target)
        target.__dict__.update(self.__dict__)
        return target


class _Proposal(NamedTuple):
    """A search region: the row of its target, the last box, and the network's inputs for it."""

    row: int
    box: np.ndarray
    previous: Any
    state: State


class _Result(NamedTuple):
    """Output of the network for a proposal: `box` in pixels, clipped."""

    proposal: _Proposal
    box: np.ndarray
    confidence: float
    state: State


class Tracker:
    """
    Track targets with one of the networks, all targets of a frame in one batch.

    Lost and found use hysteresis: a target is `lost` after `lost_after` frames in a row with a
    confidence below `lost_confidence`, and found again at the first confidence of at least
    `found_confidence`, or with re-detection (see `re3_core.redetection`) after FOUND_AFTER such
    frames in a row, at its last box or elsewhere. These settings may be changed at any time.

    Arguments are copied or only read. Not thread safe. A process that is forked after torch has
    used several threads may hang; start further processes with the method 'spawn'.

    :param model: 're3_lite', 're3', ...: see `re3_core.weights.available_models`.
    :param weights: path of a weights file, or of a folder that `re3_core.export` has written;
        the default comes with the package.
    :param device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.
    :param precision: of the network's arithmetic: 'float32', 'bfloat16', 'float16', 'int8', or
        'auto', which depends on the engine (see `re3_core.engines.make_engine`).
    :param network: a TrackerNetwork to use instead of loading one; its weights may be shared.
    :param engine: 'auto' (the fastest that is installed), 'torch', 'onnxruntime', 'openvino' or
        'tensorrt', or an Engine that is ready. An engine that fails while it tracks is replaced:
        the targets of that frame keep their boxes as lost, and `engine_problem` names the
        failure.
    :param threads: CPU threads of the engine; 0: as it chooses.
    :param reset_every: frames between resets to the first frame's state; 0 for never.
    :param redetection_candidates: search regions per frame and lost target; 0: no re-detection,
        the network just continues.
    :param redetection_limit: search regions per frame for all lost targets together.
    """

    def __init__(self, model: str | None = None, *, weights: str | PathLike[str] | None = None,
                 device: str = 'auto', precision: str = 'auto',
                 network: 'TrackerNetwork | None' = None, engine: 'str | Engine' = 'auto',
                 threads: int = 0,
                 lost_confidence: float = LOST_CONFIDENCE,
                 found_confidence: float = FOUND_CONFIDENCE, lost_after: int = LOST_AFTER,
                 reset_every: int = RESET_EVERY,
                 redetection_candidates: int = redetection.CANDIDATES,
                 redetection_limit: int = redetection.LIMIT, **deprecated: Any) -> None:
        renamed = present_arguments('Tracker', deprecated, RENAMED, INEFFECTIVE)
        self._source = Source(model, weights, network)
        self._device, self._threads = device, threads
        self._engine, self.engine_reason = (engine, 'given') if isinstance(engine, Engine) \
            else make_engine(engine, self._source, device, precision, threads)
        self.engine_problem = ''
        self._failed_engines: list[str] = []
        logger.info('engine: %s (%s)', self._engine.describe(), self.engine_reason)
        self.lost_confidence, self.found_confidence = lost_confidence, found_confidence
        self.lost_after = lost_after
        self.reset_every = reset_every
        self.redetection_candidates = redetection_candidates
        self.redetection_limit = redetection_limit
        for name, value in renamed.items():
            setattr(self, name, value)
        self._targets: dict[str, _Target] = {}

    lost_score = deprecated_attribute('lost_score', 'lost_confidence')
    found_score = deprecated_attribute('found_score', 'found_confidence')
    search_candidates = deprecated_attribute('search_candidates', 'redetection_candidates')
    search_limit = deprecated_attribute('search_limit', 'redetection_limit')
    check_every = ineffective_attribute('check_every', 0)
    refine_every = ineffective_attribute('refine_every', 0)

    @property
    def engine(self) -> str:
        """Return the name of the engine that is used."""
        return self._engine.name

    @property
    def precision(self) -> str:
        """Return the precision of the network's arithmetic."""
        return self._engine.precision

    @property
    def device(self) -> Any:
        """Return the engine's device; `str(device)` is 'cpu', 'cuda' or 'cuda:N'."""
        return self._engine.device

    @property
    def network(self) -> Any:
        """Return the network, or with an engine other than torch its `ModelInfo`."""
        return self._engine.network

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of all targets, in the order in which they were started."""
        return tuple(self._targets)

    def track(self, target_id: str) -> Track:
        """Return the latest Track of a target; KeyError if there is none of this id."""
        return self._track(self._target(target_id))

    @np.errstate(all='ignore')
    def init(self, target_id: str, frame: np.ndarray, box: ArrayLike) -> Track:
        """
        Start (or restart) tracking the object inside `box`; return its Track.

        If an error is raised, the targets remain as they are.

        :param target_id: any string but the empty one.
        :param frame: H x W x 3 uint8 RGB, with any strides.
        :param box: (4,) `xyxy` pixels; must overlap the frame, may reach beyond it.
        :raises ValueError: with the argument that is wrong and the allowed values.
        """
        if not isinstance(target_id, str) or not target_id:
            raise ValueError(f'target id must be a non-empty string, got {target_id!r}')
        check_frame(frame)
        box = box_ops.check_box(box, frame.shape[:2])
        crops = self._crop_both([self._engine.load_frame(frame)], box[None])
        try:
            output = self._engine.start(crops)
        except EngineFailure as error:
            self._replace_engine(error)
            output = self._engine.start(crops)
        state = output.states[0]
        target = _Target(box, crops.previous, state, state)
        if not np.isnan(output.confidences).any():
            target.keyframe = redetection.Keyframe(box, np.zeros(2), crops.previous, state, 0)
        self._targets[target_id] = target
        return self._track(target)

    def update(self, frame: np.ndarray, ids: Iterable[str] | None = None) -> dict[str, Track]:
        """
        Track all targets (or those in `ids`) in the next frame.

        If an error is raised, all targets remain as they are.

        :param frame: H x W x 3 uint8 RGB, with any strides.
        :return: Tracks by target id, in the order of `ids`.
        :raises ValueError: for a frame of another type, or ids that are not unique.
        :raises KeyError: for an id without a target.
        """
        return self.update_frames([(frame, self.ids if ids is None else ids)])

    @np.errstate(all='ignore')
    def update_frames(
            self, frames: Iterable[tuple[np.ndarray, Iterable[str]]]) -> dict[str, Track]:
        """
        Track targets in the frames of several cameras, in one batch.

        :param frames: pairs (frame, ids of its targets); the rest is as in `update`.
        """
        pairs = [(frame, _id_list(ids)) for frame, ids in frames]
        for frame, _ in pairs:
            check_frame(frame)
        ids = [target_id for _, some in pairs for target_id in some]
        if len(set(ids)) != len(ids):
            raise ValueError(f'each target id may appear in only one frame, got ids {ids}')
        # Copies, which replace the targets in the end, unless an error is raised.
        targets = [self._target(target_id).copy() for target_id in ids]
        if not targets:
            return {}
        try:
            self._step(targets, [(frame, len(some)) for frame, some in pairs if some])
        except EngineFailure as error:
            self._replace_engine(error)
            targets = [self._lose(self._target(target_id)) for target_id in ids]
        self._targets.update(zip(ids, targets, strict=True))
        return {target_id: self._track(target)
                for target_id, target in zip(ids, targets, strict=True)}

    def _step(self, targets: Sequence[_Target], frames: Sequence[tuple[np.ndarray, int]]) -> None:
        """Track N targets, which are changed, in frames that each show some of them in a row."""
        images = [image for frame, count in frames
                  for image in [self._engine.load_frame(frame)] * count]
        # 1. Propose search regions: around the last boxes, and elsewhere for lost targets.
        for target in targets:
            target.steps += 1
        proposals = [_Proposal(row, target.box, target.previous, target.state)
                     for row, target in enumerate(targets)]
        proposals += self._redetection_proposals(targets, images)
        # 2. Run the network on all of them in one batch.
        results = self._forward(proposals, images)
        # 3. Select: each target takes the result at its last box, or of a re-detection.
        for target, result in zip(targets, results[:len(targets)], strict=True):
            self._apply(target, result)
        for row, elsewhere in groupby(results[len(targets):], lambda r: r.proposal.row):
            if self._keyframe_if_lost(targets[row]):    # not just found at its last box
                best = max(elsewhere, key=lambda result: result.confidence)
                self._confirm_redetection(targets[row], best)
        # 4. Cut the crops that are the previous ones in the next frame.
        previous = self._crop(images, _boxes_of(targets), self.network.previous_crop)
        for row, target in enumerate(targets):
            target.previous = previous[row:row + 1]
        # 5. Reset the LSTM state every `reset_every` frames.
        self._reset_memory(targets, images)
        # 6. Keep the confident states for re-detection, and predict the motion of lost targets.
        self._update_keyframes([target for target in targets if not target.lost])
        for target, image in zip(targets, images, strict=True):
            self._predict_box(target, image.shape[:2])

    def _replace_engine(self, failure: EngineFailure) -> None:
        """Replace an engine that has failed; raise its failure if there is no other."""
        self._failed_engines.append(self._engine.name)
        try:
            engine, _ = make_engine(
                'auto', self._source, self._device, threads=self._threads,
                exclude=self._failed_engines)
        except EngineError as error:
            raise EngineFailure(f'{failure}; {error}') from failure
        self._engine = engine
        self.engine_problem = f'{failure}; {engine.name} runs instead'
        self.engine_reason = self.engine_problem
        logger.error('%s', self.engine_problem)

    def _lose(self, target: _Target) -> _Target:
        """Return a target that an engine has failed to track: at its last box, as lost."""
        keyframe = target.keyframe and target.keyframe.clone()
        return replace(target, steps=target.steps + 1, lost=True, confidence=0., candidate=None,
                       high_confidence_frames=0, keyframe=keyframe, predicted_box=target.box,
                       low_confidence_frames=target.low_confidence_frames + 1)

    def remove(self, target_id: str) -> None:
        """Remove one target; KeyError if there is none of this id."""
        self._target(target_id)
        del self._targets[target_id]

    def reset(self) -> None:
        """Remove all targets."""
        self._targets.clear()

    def _target(self, target_id: str) -> _Target:
        if target_id not in self._targets:
            raise KeyError(f'no target {target_id!r}; there are: {", ".join(self.ids) or "none"}')
        return self._targets[target_id]

    def _track(self, target: _Target) -> Track:
        """Return the current Track of a target."""
        box, confidence = target.box, target.confidence
        if target.predicted_box is not None:
            box, confidence = target.predicted_box, min(confidence, self.lost_confidence)
        return Track(box.astype(np.float32), confidence, target.lost)

    def _redetection_proposals(self, targets: Sequence[_Target],
                               images: Sequence[Frame]) -> list[_Proposal]:
        """Return search regions for lost targets: a candidate, or several places."""
        proposals, lost = [], []
        for row, target in enumerate(targets):
            if keyframe := self._keyframe_if_lost(target):
                if target.candidate:
                    proposals.append(_Proposal(
                        row, target.candidate.box, keyframe.previous, keyframe.state))
                else:
                    lost.append((row, target, keyframe))
        if not lost:
            return proposals
        used = np.array([target.num_searched for _, target, _ in lost])
        counts = redetection.allocate_budget(
            used, self.redetection_candidates, self.redetection_limit)
        regions = redetection.candidate_boxes(
            np.stack([keyframe.box for _, _, keyframe in lost]),
            np.stack([keyframe.velocity for _, _, keyframe in lost]),
            np.array([target.steps - keyframe.step for _, target, keyframe in lost]), used,
            np.array([images[row].shape[:2] for row, _, _ in lost]), self.redetection_candidates)
        for (row, target, keyframe), boxes, count in zip(lost, regions, counts, strict=True):
            target.num_searched += count
            proposals += [_Proposal(row, box, keyframe.previous, keyframe.state)
                          for box in boxes[:count]]
        return proposals

    def _forward(self, proposals: Sequence[_Proposal],
                 images: Sequence[Frame]) -> list[_Result]:
        """Run the network on N proposals; return N results."""
        last_boxes = np.stack([proposal.box for proposal in proposals])
        images = [images[proposal.row] for proposal in proposals]
        crop = self.network.current_crop
        regions = crop.region(last_boxes)
        crops = Crops(concatenate([proposal.previous for proposal in proposals]),
                      self._engine.crop(images, regions, crop.size))
        output = self._engine.step(crops, [proposal.state for proposal in proposals])
        boxes = box_ops.damp_scale(
            decode(output.boxes, regions), last_boxes, self.network.scale_lr)
        finite = np.isfinite(boxes).all(1)
        frame_sizes = np.array([image.shape[:2] for image in images]).T
        boxes = clip_box(np.where(finite[:, None], boxes, last_boxes), frame_sizes)
        confidences = np.where(finite, output.confidences, 0.)
        if (missing := np.isnan(confidences)).any():    # the network has none
            confidences = np.where(missing, _fraction_inside(boxes, frame_sizes), confidences)
        return [_Result(*values) for values in zip(
            proposals, boxes, confidences.tolist(), output.states, strict=True)]

    def _crop(self, images: Sequence[Frame], boxes: np.ndarray,
              spec: CropSpec) -> Any:
        """Cut crops of N images around boxes (N, 4)."""
        return self._engine.crop(images, spec.region(boxes), spec.size)

    def _crop_both(self, images: Sequence[Frame], boxes: np.ndarray) -> Crops:
        """Cut both crops from the same images at the same boxes (N, 4)."""
        return Crops(self._crop(images, boxes, self.network.previous_crop),
                     self._crop(images, boxes, self.network.current_crop))

    def _apply(self, target: _Target, result: _Result) -> None:
        """Update a target with a result; decide whether it is lost or found."""
        target.box, target.confidence, target.state = (
            result.box, result.confidence, result.state)
        low = target.confidence < self.lost_confidence
        high = target.confidence >= self.found_confidence
        target.low_confidence_frames = target.low_confidence_frames + 1 if low else 0
        target.high_confidence_frames = target.high_confidence_frames + 1 if high else 0
        enough = redetection.FOUND_AFTER if self._keyframe_if_lost(target) else 1
        if target.high_confidence_frames >= enough:
            target.lost, target.candidate = False, None
        elif target.low_confidence_frames >= self.lost_after and not target.lost:
            target.lost = True
            target.keyframe = target.keyframe and target.keyframe.clone()

    def _confirm_redetection(self, target: _Target, result: _Result) -> None:
        """Make the best result elsewhere a candidate, or after FOUND_AFTER frames the target."""
        frames = target.candidate.frames + 1 if target.candidate else 1
        if result.confidence < max(self.found_confidence, target.confidence):
            target.candidate = None
        elif frames < redetection.FOUND_AFTER:
            target.candidate = redetection.Candidate(result.box, frames)
        else:
            target.lost = False
            self._apply(target, result)

    def _keyframe_if_lost(self, target: _Target) -> redetection.Keyframe | None:
        """Return the keyframe of a target that is lost, if re-detection is on."""
        return target.keyframe if target.lost and self.redetection_candidates else None

    def _update_keyframes(self, targets: Sequence[_Target]) -> None:
        """Keep the states of confident targets."""
        pairs = [(target, target.keyframe) for target in targets
                 if target.keyframe and target.high_confidence_frames]
        if not pairs:
            return
        velocities = redetection.update_velocities(
            np.stack([last.velocity for _, last in pairs]),
            np.stack([last.box for _, last in pairs]),
            np.stack([target.box for target, _ in pairs]),
            np.array([target.steps - last.step for target, last in pairs]))
        for (target, _), velocity in zip(pairs, velocities, strict=True):
            target.num_searched = 0
            target.keyframe = redetection.Keyframe(
                target.box, velocity, target.previous, target.state, target.steps)

    def _predict_box(self, target: _Target, frame_size: Sequence[int]) -> None:
        """Predict the box of a lost target from the motion before."""
        target.predicted_box = None
        if keyframe := self._keyframe_if_lost(target):
            target.predicted_box = target.box
            if target.confidence < self.lost_confidence:
                target.predicted_box = redetection.extrapolate(
                    keyframe.box[None], keyframe.velocity[None],
                    np.array([target.steps - keyframe.step]), np.array([frame_size]))[0]

    def _reset_memory(self, targets: Sequence[_Target],
                      images: Sequence[Frame]) -> None:
        """
        Reset the LSTM state of every target each `reset_every` frames (Re3, section III-E).

        Not to zeros, but to the state after the first frame, advanced by one step on two crops
        of this frame at the box just found; the box remains.
        """
        due = [(target, image) for target, image in zip(targets, images, strict=True)
               if target.state.memory and self.reset_every
               and target.steps % self.reset_every == 0]
        if not due:
            return
        crops = self._crop_both([image for _, image in due],
                                _boxes_of([target for target, _ in due]))
        output = self._engine.step(crops, [target.initial_state for target, _ in due])
        for (target, _), state in zip(due, output.states, strict=True):
            target.state = state


def clip_box(boxes: np.ndarray, frame_size: Sequence[int] | np.ndarray) -> np.ndarray:
    """
    Clip `xyxy` boxes (..., 4) to valid sizes and positions.

    Their sides are clipped to MIN_SIDE pixels and MAX_FRAMES times the frame's, their centers to
    the frame.

    :param frame_size: (height, width), of all frames or (2, ...) of each box's own.

    >>> clip_box(np.array([50., 50., 49., 51.]), (100, 200))
    array([47.5, 48.5, 51.5, 52.5])
    """
    height, width = frame_size
    x, y, w, h = box_ops.split(box_ops.xyxy_to_cxcywh(boxes))
    return box_ops.cxcywh_to_xyxy(box_ops.stack(
        np.clip(x, 0, width), np.clip(y, 0, height),
        np.clip(w, MIN_SIDE, MAX_FRAMES * width), np.clip(h, MIN_SIDE, MAX_FRAMES * height)))


def _id_list(ids: Iterable[str]) -> list[str]:
    found = None if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable) else list(ids)
    if found is None or not all(isinstance(target_id, str) for target_id in found):
        raise ValueError("ids must be several target ids, such as ['a', 'b'], got "
                         f'{ids if found is None else found!r}')
    return found


def _fraction_inside(boxes: np.ndarray, frame_size: np.ndarray) -> np.ndarray:
    """Return the part (N,) of the area of boxes (N, 4) within frames of size (2, N)."""
    height, width = frame_size
    frames = box_ops.stack(0 * width, 0 * height, width, height).astype(float)
    return box_ops.intersection(boxes, frames) / box_ops.area(boxes)


def _boxes_of(targets: Sequence[_Target]) -> np.ndarray:
    """Return the boxes (N, 4) of N targets."""
    return np.stack([target.box for target in targets])
