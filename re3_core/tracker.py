# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The tracker: follow any number of targets, known by string ids, from frame to frame.

The network is a pure function of crops and state; everything that is remembered of a target
stands in its `_Target`. Frames are not kept: what the next step needs of this frame is cut out
of it at once.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby
from zlib import crc32

import numpy as np
from re3_core import boxes as box_ops
from re3_core import redetection, scale_refinement
from re3_core.crops import crop_batch, decode, region_of
from re3_core.deprecation import deprecated_attribute, renamed_arguments
from re3_core.networks import Crops, State
from re3_core.weights import load_network
import torch

# Re3 returns to the state after the first frame every 32 frames (paper, section III-E).
RESET_EVERY = 32
# The score at which a target counts as lost or found again, and after how many such frames.
LOST_CONFIDENCE = .43
FOUND_CONFIDENCE = .56
LOST_AFTER = 3
# A box never gets smaller than this many pixels, nor larger than this many frames.
MIN_SIDE = 4.
MAX_FRAMES = 1.5
# What a CPU looks at in one forward. More at once is no faster, and takes memory that comes in new
# sizes with every change of their number: up to 64 in one forward grew to 1270 MB, this stays
# below 440.
MAX_CPU_BATCH = 16

# Arguments of `Tracker` that have a new name: the old ones are accepted for one release.
RENAMED = {
    'lost_score': 'lost_confidence', 'found_score': 'found_confidence',
    'check_every': 'refine_every', 'search_candidates': 'redetection_candidates',
    'search_limit': 'redetection_limit'}
PRECISIONS = {
    'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@dataclass(frozen=True)
class Track:
    """
    Where a target is.

    `box` is float32 (4,), `xyxy` pixels; `confidence` the predicted IoU with the true box, 0..1;
    `lost` whether the tracker no longer trusts the box (see `Tracker`). While lost, `confidence`
    is at most `lost_confidence`, and `box` is the motion prediction wherever the network's
    confidence is below that.
    """

    box: np.ndarray
    confidence: float
    lost: bool

    score = deprecated_attribute('score', 'confidence')


@dataclass
class _Target:
    """All that is remembered of one target between frames."""

    box: np.ndarray          # float64 (4,), xyxy
    previous: torch.Tensor   # crop around `box` in the last frame, (1, 3, S, S) uint8
    state: State             # the network's, one row
    first_state: State       # the one after the first frame
    first_box: np.ndarray    # (4,)
    score: float = 1.        # decides what is lost
    lost: bool = False
    doubtful: int = 0        # frames in a row with a low score
    steps: int = 0           # frames since the first one
    turn: int = 0            # so that targets started together are not all checked together
    good: int = 0            # frames in a row with a good score
    # For the search; without it a target has no `trusted`.
    trusted: redetection.Keyframe | None = None
    suspect: redetection.Candidate | None = None
    tried: int = 0           # places looked at since it was lost
    shown: Track | None = None


class Tracker:
    """
    Follow targets with one of the networks, all targets of a frame in one batch.

    On a CPU the batch goes through the network in parts of at most MAX_CPU_BATCH rows.
    Lost and found use hysteresis: a target is `lost` after `lost_after` frames in a row with a
    confidence below `lost_confidence`, and found again at the first confidence of at least
    `found_confidence`, or with re-detection (see `re3_core.redetection`) after FOUND_AFTER such
    frames in a row, where it is or elsewhere. The returned confidence also depends on the box's
    area (see `re3_core.scale_refinement`). These settings may be changed at any time.
    Not thread safe.

    :param model: 're3_lite', 're3', ...: see `re3_core.weights.available_models`.
    :param weights: path of a weights file; the default comes with the package.
    :param device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.
    :param precision: 'float32', 'bfloat16' or 'float16' (of the network's arithmetic).
    :param network: a TrackerNetwork to use instead of loading one.
    :param reset_every: frames between returns to the first frame's state; 0 for never.
    :param refine_every: frames between scale refinements (see `re3_core.scale_refinement`), with
        networks that have a template similarity; 0 for never.
    :param redetection_candidates: places per frame where a lost target is searched for; 0: no
        re-detection, the network just goes on.
    :param redetection_limit: places per frame for all lost targets together.
    """

    def __init__(self, model=None, *, weights=None, device='auto', precision='float32',
                 network=None, lost_confidence=LOST_CONFIDENCE,
                 found_confidence=FOUND_CONFIDENCE, lost_after=LOST_AFTER, reset_every=RESET_EVERY,
                 refine_every=scale_refinement.REFINE_EVERY,
                 redetection_candidates=redetection.CANDIDATES,
                 redetection_limit=redetection.LIMIT, **deprecated):
        if precision not in PRECISIONS:
            raise ValueError(f'precision must be one of {tuple(PRECISIONS)}, got {precision!r}')
        self.device = choose_device(device)
        network = (network or load_network(model, weights)).eval()
        self.network = network.inference_copy(PRECISIONS[precision]).to(self.device)
        self.precision = precision
        self.lost_confidence, self.found_confidence = lost_confidence, found_confidence
        self.lost_after = lost_after
        self.reset_every = reset_every
        self.refine_every = refine_every
        self.redetection_candidates = redetection_candidates
        self.redetection_limit = redetection_limit
        self._targets = {}
        for name, value in renamed_arguments('Tracker', deprecated, RENAMED).items():
            setattr(self, name, value)

    lost_score = deprecated_attribute('lost_score', 'lost_confidence')
    found_score = deprecated_attribute('found_score', 'found_confidence')
    check_every = deprecated_attribute('check_every', 'refine_every')
    search_candidates = deprecated_attribute('search_candidates', 'redetection_candidates')
    search_limit = deprecated_attribute('search_limit', 'redetection_limit')

    @property
    def ids(self):
        """Return the ids of all targets, in the order in which they were started."""
        return tuple(self._targets)

    def track(self, target_id):
        """Return the latest Track of a target; KeyError if there is none of this id."""
        return self._track(self._target(target_id))

    def init(self, target_id, frame, box):
        """
        Start (or start anew) to follow what is in a box of a frame; return its Track.

        :param target_id: any string but the empty one.
        :param frame: H x W x 3 uint8 RGB.
        :param box: (4,) `xyxy` pixels; may reach beyond the frame, but not lie outside it.
        :raises ValueError: saying which argument is wrong and what is allowed.
        """
        if not isinstance(target_id, str) or not target_id:
            raise ValueError(f'target id must be a non-empty string, got {target_id!r}')
        check_frame(frame)
        box = box_ops.check_box(box, frame.shape[:2])
        crops = self._cut_both([self._load(frame)], box[None])
        with self._inference():
            prediction, state = self.network.start(crops)
        turn = crc32(target_id.encode(errors='replace'))
        target = _Target(box, crops.previous, state, state, box, turn=turn)
        if not torch.isnan(prediction.logits).any():
            target.trusted = redetection.Keyframe(box, np.zeros(2), 0., crops.previous, state, 0)
        self._targets[target_id] = target
        return self._track(target)

    def update(self, frame, ids=None):
        """
        Follow all targets (or those in `ids`) to the next frame.

        :param frame: H x W x 3 uint8 RGB.
        :return: dict of target id to Track, in the order of `ids`.
        """
        return self.update_frames([(frame, self.ids if ids is None else ids)])

    def update_frames(self, frames):
        """
        Follow targets of several cameras, in one batch.

        :param frames: pairs (frame, ids of the targets to be followed to it).
        :return: dict of target id to Track.
        """
        for frame, _ in frames:
            check_frame(frame)
        ids = [target_id for _, some in frames for target_id in some]
        if len(set(ids)) != len(ids):
            raise ValueError(f'each target can be followed to one frame only, got ids {ids}')
        targets = [self._target(target_id) for target_id in ids]
        if not targets:
            return {}
        images = [image for frame, some in frames
                  for image in [self._load(frame)] * len(some)]
        # 1. Look where each target was, and where else a lost one may be.
        for target in targets:
            target.steps += 1
        looks = [redetection.Proposal(row, target.box, target.previous, target.state)
                 for row, target in enumerate(targets)]
        looks += self._looks_elsewhere(targets, images)
        # 2. All of them in one batch: boxes in pixels, kept within reason.
        seen = list(zip(looks, *self._look(looks, images), strict=True))
        # 3. Each target goes on from where it was, or from where it is found; lost and found.
        for target, (_, box, score, state) in zip(targets, seen[:len(targets)], strict=True):
            self._move(target, box, float(score), state)
        for row, places in groupby(seen[len(targets):], lambda place: place[0].row):
            if self._searches(targets[row]):    # it may just have come back by itself
                self._suspect(targets[row], max(places, key=lambda place: place[2]), images[row])
        # 4. Errors of size add up: hold the boxes against the first ones, from time to time.
        self._check_sizes(targets, images)
        # 5. What the next frame will be compared with.
        previous = self._cut(images, _boxes_of(targets), self.network.previous_crop)
        for target, crop in zip(targets, previous.split(1), strict=True):
            target.previous = crop
        # 6. Forget what has crept in, from time to time.
        self._return_to_first(targets, images)
        # 7. Keep what is needed to search for those that get lost; predict those that are.
        for target, image in zip(targets, images, strict=True):
            self._remember(target, image.shape[:2])
        return {target_id: self._track(self._targets[target_id]) for target_id in ids}

    def remove(self, target_id):
        """Forget one target; KeyError if there is none of this id."""
        self._target(target_id)
        del self._targets[target_id]

    def reset(self):
        """Forget all targets."""
        self._targets.clear()

    def _target(self, target_id):
        if target_id not in self._targets:
            raise KeyError(f'no target {target_id!r}; there are: {", ".join(self.ids) or "none"}')
        return self._targets[target_id]

    def _track(self, target):
        """Return what is told of a target; of one that is searched for, where it may be."""
        if target.shown:
            return target.shown
        box = self._told(target, target.box)
        change = scale_refinement.abs_log_area_ratio(box, box_ops.area(target.first_box))
        score = scale_refinement.recalibrate(
            target.score, change, self.network.area_logit_weight, self.network.area_logit_bias)
        return Track(box.astype(np.float32), score, target.lost)

    def _told(self, target, box):
        """Return a box of a target as it is told: sizes are steadier than those followed."""
        return scale_refinement.shrink_size(box, target.first_box, self.network.size_std)

    def _load(self, frame):
        """Bring a frame to where it is cut: numpy on a CPU, else a tensor on the device."""
        return frame if self.device.type == 'cpu' else torch.from_numpy(frame).to(self.device)

    @contextmanager
    def _inference(self):
        """Set the context of all forwards: no gradients, in the chosen precision."""
        dtype = PRECISIONS[self.precision]
        half = dtype != torch.float32
        with torch.inference_mode():
            with torch.autocast(self.device.type, dtype) if half else nullcontext():
                yield

    def _looks_elsewhere(self, targets, images):
        """Return the Looks at where lost targets may be: at a suspect, or at several places."""
        lost = [(row, target) for row, target in enumerate(targets) if self._searches(target)]
        looks = [redetection.Proposal(row, target.suspect.box, target.trusted.previous,
                             target.trusted.state) for row, target in lost if target.suspect]
        lost = [(row, target) for row, target in lost if not target.suspect]
        if not lost:
            return looks
        tried = np.array([target.tried for _, target in lost])
        counts = redetection.allocate_budget(
            tried, self.redetection_candidates, self.redetection_limit)
        places = redetection.candidate_boxes(
            *self._since_trusted([target for _, target in lost]), tried,
            np.array([images[row].shape[:2] for row, _ in lost]), self.redetection_candidates)
        for (row, target), boxes, count in zip(lost, places, counts, strict=True):
            target.tried += count
            looks += [redetection.Proposal(row, box, target.trusted.previous, target.trusted.state)
                      for box in boxes[:count]]
        return looks

    def _since_trusted(self, targets):
        """Return boxes and velocities of N targets when last trusted and the frames since."""
        trusted = [target.trusted for target in targets]
        return (np.stack([past.box for past in trusted]),
                np.stack([past.velocity for past in trusted]),
                np.array([target.steps - target.trusted.step for target in targets]))

    def _look(self, looks, images):
        """
        Ask the network about N Looks.

        Return guarded `xyxy` boxes (N, 4), scores (N,) from 0 to 1 and a list of N states.
        """
        boxes, scores, states = zip(*(
            self._look_at_once(part, images) for part in self._batches(looks)), strict=True)
        return np.concatenate(boxes), np.concatenate(scores), list(chain(*states))

    def _batches(self, rows):
        """Return a list in parts, as equal as can be, that each go through one forward."""
        parts = -(-len(rows) // MAX_CPU_BATCH) if self.device.type == 'cpu' else 1
        size = -(-len(rows) // parts)
        return [rows[first:first + size] for first in range(0, len(rows), size)]

    def _look_at_once(self, looks, images):
        """Do what `_look` does, in one forward."""
        before = np.stack([look.box for look in looks])
        images = [images[look.row] for look in looks]
        regions = region_of(before, self.network.current_crop.context)
        crops = Crops(torch.cat([look.previous for look in looks]),
                      crop_batch(images, regions, self.network.current_crop.size))
        with self._inference():
            prediction, states = self.network.step(crops, _join([look.state for look in looks]))
        boxes = box_ops.damp_scale(decode(prediction.boxes.double().cpu().numpy(), regions),
                                    before, self.network.scale_lr)
        scores = torch.sigmoid(prediction.logits.float()).cpu().numpy()
        for row, image in enumerate(images):
            finite = bool(np.isfinite(boxes[row]).all())
            boxes[row] = clip_box(boxes[row] if finite else before[row], image.shape[:2])
            if np.isnan(scores[row]):
                # A network without a score: all that can be said is whether the box is in sight.
                scores[row] = _fraction_inside(boxes[row], image.shape[:2])
            scores[row] *= finite
        return boxes, scores, _rows(states, len(looks))

    def _judge(self, look, box, score, image):
        """Return the score of a place where a lost target may be, by what is to be seen there."""
        found = self._cut([image], box[None], self.network.previous_crop)
        with self._inference():
            logit = self.network.rescore(torch.logit(torch.tensor([score]), 1e-6).to(self.device),
                                         look.previous, found, look.state.reference)
        return float(torch.sigmoid(logit.float()))

    @staticmethod
    def _cut(images, boxes, spec):
        """Cut crops of N images around boxes (N, 4)."""
        return crop_batch(images, region_of(boxes, spec.context), spec.size)

    def _cut_both(self, images, boxes):
        """Cut both crops from the same frames at the same boxes (N, 4)."""
        return Crops(*(self._cut(images, boxes, spec)
                       for spec in (self.network.previous_crop, self.network.current_crop)))

    def _move(self, target, box, score, state):
        """Take over a step's result for one target."""
        target.box, target.score, target.state = box, score, state
        # The hysteresis of lost and found.
        enough, times = self.found_confidence, 1
        if self._searches(target):
            enough = redetection.redetection_threshold(enough, target.trusted.score)
            times = redetection.FOUND_AFTER
        target.doubtful = target.doubtful + 1 if score < self.lost_confidence else 0
        target.good = target.good + 1 if score >= enough else 0
        if target.good >= times:
            target.lost, target.suspect = False, None
        elif target.doubtful >= self.lost_after and not target.lost:
            target.lost = True
            target.trusted = target.trusted and target.trusted.copied()

    def _suspect(self, target, place, image):
        """Suspect a lost target at the best place elsewhere; in the end, find it there."""
        look, box, score, state = place
        score = self._judge(look, box, float(score), image)
        good = target.suspect.good + 1 if target.suspect else 1
        if score < max(self.found_confidence, target.score):
            target.suspect = None
        elif good < redetection.FOUND_AFTER:
            target.suspect = redetection.Candidate(box, good)
        else:
            target.lost = False
            self._move(target, box, score, state)

    def _searches(self, target):
        """Return whether a target is lost and to be searched for."""
        return bool(self.redetection_candidates and target.trusted and target.lost)

    def _remember(self, target, frame_size):
        """Keep a target as it is while its score is good; say where it may be while lost."""
        target.shown = None
        if self._searches(target):
            box = target.box if target.score >= self.lost_confidence else redetection.extrapolate(
                *self._since_trusted([target]), np.array([frame_size]))[0]
            target.shown = Track(self._told(target, box).astype(np.float32),
                                 min(target.score, self.lost_confidence), True)
        elif target.trusted and target.good:
            past, target.tried = target.trusted, 0
            velocity = redetection.update_velocity(
                past.velocity, past.box, target.box, target.steps - past.step)
            score = redetection.running_mean_confidence(past.score, target.score, target.steps)
            target.trusted = redetection.Keyframe(
                target.box, velocity, score, target.previous, target.state, target.steps)

    def _check_sizes(self, targets, images):
        """Correct the sizes of the targets whose time has come, unless they are lost."""
        due = [(target, image) for target, image in zip(targets, images, strict=True)
               if self.network.has_template_similarity and self.refine_every and not target.lost
               and (target.steps + target.turn) % self.refine_every == 0]
        if due and self.device.type != 'cpu':
            self._check_at_once(due)
        else:    # the crops of one target are enough for a forward
            for pair in due:
                self._check_at_once([pair])

    def _check_at_once(self, due):
        """Do what `_check_sizes` does, for pairs (target, image), in one forward."""
        boxes = scale_refinement.scale_pyramid(_boxes_of(target for target, _ in due))
        count = boxes.shape[1]
        crops = self._cut([image for _, image in due for _ in range(count)],
                          boxes.reshape(-1, 4), self.network.previous_crop)
        references = (torch.cat(parts).repeat_interleave(count, 0) for parts in zip(
            *(target.state.reference for target, _ in due), strict=True))
        with self._inference():
            alike = self.network.template_similarity(crops, tuple(references))
        alike = alike.float().cpu().numpy().reshape(-1, count)
        for (target, image), some in zip(due, alike, strict=True):
            target.box = clip_box(scale_refinement.refine_scale(target.box, some), image.shape[:2])

    def _return_to_first(self, targets, images):
        """
        Reset the memory of the targets whose time has come.

        Not to zero, but to the state after the first frame, advanced by one look at the present
        frame (two crops of it at the box just found); the box stays.
        """
        due = [(target, image) for target, image in zip(targets, images, strict=True)
               if target.state.memory and self.reset_every
               and target.steps % self.reset_every == 0]
        for part in self._batches(due) if due else ():
            self._return_at_once(part)

    def _return_at_once(self, due):
        """Do what `_return_to_first` does, for pairs (target, image), in one forward."""
        crops = self._cut_both([image for _, image in due],
                               _boxes_of(target for target, _ in due))
        with self._inference():
            _, states = self.network.step(crops, _join([t.first_state for t, _ in due]))
        for (target, _), state in zip(due, _rows(states, len(due)), strict=True):
            target.state = state


def choose_device(device):
    """
    Return the torch.device for 'auto', 'cpu', 'cuda' or 'cuda:N'.

    :raises ValueError: for other names, or where CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if device == 'auto':
        return torch.device('cuda' if cuda else 'cpu')
    name, _, number = str(device).partition(':')
    if name not in ('cpu', 'cuda') or (number and not number.isdigit()):
        raise ValueError(f'device must be auto, cpu, cuda or cuda:N, got {device!r}')
    if name == 'cuda' and not cuda:
        raise ValueError(f'device {device!r} asked for, but torch sees no CUDA device; '
                         'use auto or cpu')
    return torch.device(device)


def check_frame(frame):
    """Raise ValueError unless `frame` is an H x W x 3 uint8 array of at least one pixel."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 \
            or frame.shape[2] != 3 or frame.size == 0:
        got = f'{frame.dtype} {frame.shape}' if isinstance(frame, np.ndarray) else type(frame)
        raise ValueError(f'frame must be an H x W x 3 uint8 RGB array, got {got}')


def clip_box(box, frame_size):
    """
    Keep an `xyxy` box from collapsing, blowing up, turning inside out or leaving the frame.

    Its sides stay between MIN_SIDE pixels and MAX_FRAMES times the frame's, its centre within
    the frame.

    >>> clip_box(np.array([50., 50., 49., 51.]), (100, 200))
    array([47.5, 48.5, 51.5, 52.5])
    """
    height, width = frame_size
    x, y, w, h = box_ops.xyxy_to_cxcywh(box)
    return box_ops.cxcywh_to_xyxy(np.array([
        np.clip(x, 0, width), np.clip(y, 0, height),
        np.clip(w, MIN_SIDE, MAX_FRAMES * width), np.clip(h, MIN_SIDE, MAX_FRAMES * height)]))


def _fraction_inside(box, frame_size):
    height, width = frame_size
    frame = np.array([0., 0., width, height])
    return float(box_ops.intersection(box, frame) / box_ops.area(box))


def _boxes_of(targets):
    """Return the boxes (N, 4) of N targets."""
    return np.stack([target.box for target in targets])


def _join(states):
    """Stack states of one row each into one of N rows."""
    return State(*(tuple(torch.cat(rows) for rows in zip(*parts, strict=True))
                   for parts in zip(*states, strict=True)))


def _rows(state, count):
    """Split a state of `count` rows into as many states of one row."""
    return [State(*(tuple(tensor[row:row + 1] for tensor in part) for part in state))
            for row in range(count)]
