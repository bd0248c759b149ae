# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
How training moves boxes: GOTURN's motion model, Re3's jitter, and Re3's pull to the target.

All boxes are `xyxy` pixels, frame sizes (height, width), and randomness comes from a numpy
Generator, so that a seed replays a run.
"""

from typing import NamedTuple

import numpy as np
from re3_core import boxes as box_ops
from re3_core.crops import region_of
import torch

# Each pull moves a box a tenth of the way (Re3 code). After this many a box that started 1000
# sizes away is within one size; what is still further out is put on the target itself.
PULL_RATE = 0.9
MAX_PULLS = 64


class MotionModel(NamedTuple):
    """
    Two-sided exponential (Laplace) changes between two frames (GOTURN paper, section 4.2).

    `shift` is the scale of the centre's move in multiples of the box size, `scale` that of the
    relative change of width and height, which stays within `min_scale` and `max_scale`; a centre
    outside its limits is drawn again, up to `tries` times.
    """

    shift: float = 1 / 5
    scale: float = 1 / 15
    min_scale: float = 0.6
    max_scale: float = 1.4
    tries: int = 10


GOTURN_MOTION = MotionModel()


def shift_boxes(boxes, frame_sizes, rng, model=GOTURN_MOTION):
    """
    Move `boxes` as GOTURN does to make its synthetic search crops.

    The new box lies inside the frame, and its centre stays in the context window: within one
    box size of the old centre.

    :param boxes: (N, 4) that overlap their frames.
    :param frame_sizes: (N, 2) or (2,).
    :param rng: numpy Generator.
    :return: (N, 4) float64.
    """
    centres, sizes, frames = _parts(boxes, frame_sizes)
    new_sizes = np.clip(sizes * _scales(sizes, rng, model), 1, np.maximum(frames - 1, 1))
    candidates = centres + sizes * rng.laplace(0, model.shift, (model.tries, *sizes.shape))
    candidates = np.clip(candidates, new_sizes / 2, frames - new_sizes / 2)
    new_centres = _first(candidates, abs(candidates - centres) <= sizes)
    return box_ops.cxcywh_to_xyxy(np.concatenate((new_centres, new_sizes), -1))


def jitter_boxes(boxes, frame_sizes, rng, model=GOTURN_MOTION, least_covered=0.7, context=2.0):
    """
    Move `boxes` as Re3 does to make noisy crops of real video.

    The new centre lies inside the old box and the frame, unless all tries fail; then the new
    box is pulled to the old one until the crop around it shows enough of it, see `pull_boxes`.

    :param boxes: (N, 4) that overlap their frames.
    :param frame_sizes: (N, 2) or (2,).
    :param rng: numpy Generator.
    :return: (N, 4) float64.
    """
    centres, sizes, frames = _parts(boxes, frame_sizes)
    new_sizes = sizes * _scales(sizes, rng, model)
    candidates = centres + sizes * rng.laplace(0, model.shift, (model.tries, *sizes.shape))
    inside = (abs(candidates - centres) <= sizes / 2) & (candidates >= 0) & (candidates <= frames)
    new_centres = _first(candidates, inside)
    moved = box_ops.cxcywh_to_xyxy(np.concatenate((new_centres, new_sizes), -1))
    return pull_boxes(moved, np.asarray(boxes, np.float64), least_covered, context)


def covered_fraction(targets, boxes, context=2.0):
    """Return which fraction (...) of each target's area the crop region around a box shows."""
    shown = box_ops.intersection(targets, region_of(boxes, context))
    return shown / box_ops.area(targets).clip(1e-12)


def pull_boxes(boxes, targets, least_covered=0.7, context=2.0):
    """
    Pull `boxes` towards `targets` until their crops show at least `least_covered` of them.

    A pull moves a box a tenth of the way to its target; boxes that show enough stay, a box that
    is not finite becomes its target (Re3 training code). Works on numpy arrays and on torch
    tensors without leaving their device.

    :param boxes: (N, 4), for example a network's own predictions.
    :param targets: (N, 4), the true boxes.
    :param least_covered: fraction of the target's area.
    :param context: size of the crop in multiples of the box.
    :return: (N, 4), the kind of `boxes`.
    """
    library = torch if torch.is_tensor(boxes) else np
    finite = library.isfinite(boxes).all(-1)[..., None]
    offsets = library.where(finite, boxes - targets, library.zeros_like(boxes))
    # Made on the tensors' device: copying them there would let the host wait for a GPU.
    where = {'dtype': boxes.dtype, 'device': boxes.device} if torch.is_tensor(boxes) else {}
    rates = PULL_RATE ** library.arange(MAX_PULLS + 1, **where)
    rates[-1] = 0
    pulled = targets + rates[:, None, None] * offsets           # (pulls, N, 4)
    enough = covered_fraction(targets, pulled, context) >= least_covered
    enough[-1] = True
    return _first(pulled, enough[..., None])


def _parts(boxes, frame_sizes):
    """Return centres, sizes and frame extents, each (N, 2) in x, y order."""
    boxes = box_ops.xyxy_to_cxcywh(np.asarray(boxes, np.float64))
    frames = np.broadcast_to(np.asarray(frame_sizes, np.float64), boxes[:, :2].shape)[:, ::-1]
    return boxes[:, :2], boxes[:, 2:], frames


def _scales(sizes, rng, model):
    return np.clip(rng.laplace(1, model.scale, sizes.shape), model.min_scale, model.max_scale)


def _first(candidates, accepted):
    """Return, element by element, the first accepted of the candidates, else the first."""
    if torch.is_tensor(candidates):
        index = accepted.to(torch.uint8).argmax(0, keepdim=True).expand_as(candidates[:1])
        return candidates.gather(0, index)[0]
    index = np.broadcast_to(accepted.argmax(0)[None], candidates[:1].shape)
    return np.take_along_axis(candidates, index, 0)[0]
