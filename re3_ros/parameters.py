# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The node's parameters: one table that declares, checks and documents them.

`config/tracker.yaml` and the table in `docs/node.md` repeat it for the reader; a test keeps the
three together.
"""

import math
from typing import NamedTuple

from re3_core import redetection, tracker
from re3_core.tracker import PRECISIONS
from re3_ros.images import MAX_PIXELS

TRANSPORTS = ('raw', 'compressed')
RELIABILITIES = ('auto', 'reliable', 'best_effort')
ON_OLD_BOX = ('newest', 'refuse')
ON_TIME_JUMP = ('reset', 'keep')


class Parameter(NamedTuple):
    """
    One parameter of the node; its type is that of the default.

    Numbers lie between `minimum` and `maximum`, strings are one of `allowed` if that is not
    empty. A parameter that is not `live` is read once, when the node starts.
    """

    name: str
    default: object
    description: str
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple = ()
    live: bool = False


PARAMETERS = (
    Parameter('autostart', True,
              'Configure and activate the node as it starts; otherwise wait for lifecycle calls.'),
    # The network.
    Parameter('model', '', 'Network: re3_lite, re3, ...; empty: the one the weights file is for, '
              're3_lite without such a file.'),
    Parameter('weights', '', 'Path of a .safetensors weights file; empty: the packaged one.'),
    Parameter('device', 'auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    Parameter('precision', 'float32', "Precision of the network's arithmetic.",
              allowed=tuple(PRECISIONS)),
    Parameter('threads', 1, 'CPU threads of the network; more gain little for few targets, and '
              'lose where other processes need the cores. 0: as many as torch chooses.', 0, 256),
    # Images.
    Parameter('cameras', [''], 'Names of the cameras; empty: one camera without a name. The '
              'topics of camera x are x/image, x/init, x/detections, x/tracks and x/status.'),
    Parameter('image_transport', 'raw', 'raw: sensor_msgs/Image on image; compressed: '
              'sensor_msgs/CompressedImage (JPEG, PNG) on image/compressed. '
              'x.image_transport sets it for camera x alone.', allowed=TRANSPORTS),
    Parameter('image_reliability', 'auto', 'Reliability asked of the image publishers; auto: '
              'reliable if all of them offer that, else best effort. x.image_reliability sets it '
              'for camera x alone.', allowed=RELIABILITIES),
    Parameter('process_every_frame', False, 'Queue images and process every one, each target on '
              'its own, so that every replay of a bag gives the same tracks. For recordings: the '
              'delay may grow.'),
    Parameter('frame_timeout', 5.0, 'Seconds without an image after which the node says so.',
              0.1, 3600.0),
    Parameter('max_image_pixels', MAX_PIXELS, 'Larger images are refused.', 1, 2 ** 30),
    Parameter('on_time_jump', 'reset', 'What becomes of the targets when image stamps jump back, '
              'as in a bag that loops.', allowed=ON_TIME_JUMP),
    # Targets.
    Parameter('lost_confidence', tracker.LOST_CONFIDENCE, 'A target with a lower confidence for '
              'lost_after frames in a row is lost.', 0.0, 1.0, live=True),
    Parameter('found_confidence', tracker.FOUND_CONFIDENCE, 'A lost target that keeps at least '
              'this confidence for three frames is found again; not below lost_confidence.', 0.0,
              1.0, live=True),
    Parameter('lost_after', tracker.LOST_AFTER, 'Frames in a row below lost_confidence.',
              1, 1000, live=True),
    Parameter('redetection_candidates', redetection.CANDIDATES, 'Search regions per image and '
              'lost target; 0: no re-detection.', 0, 64, live=True),
    Parameter('redetection_limit', redetection.LIMIT, 'Search regions per image for all lost '
              'targets together: a bound on the load.', 1, 4096, live=True),
    Parameter('drop_after', 300, 'Frames after which a lost target is removed; 0: never.',
              0, 1000000, live=True),
    Parameter('association_iou', 0.3, 'A box without id that overlaps a target by at least this '
              'intersection over union is that target.', 0.05, 1.0, live=True),
    Parameter('max_targets', 64, 'Further targets of a camera are refused.', 1, 4096),
    Parameter('max_id_length', 64, 'Characters in an id or class_id; longer ones are refused.',
              1, 1024),
    # Boxes that come late.
    Parameter('init_buffer_seconds', 1.0, 'Images kept so that a box that comes late starts on '
              'its own image; 0: none.', 0.0, 60.0),
    Parameter('init_buffer_megabytes', 256, "Limit on each camera's kept images.", 1, 65536),
    Parameter('catch_up_frames', 5, 'Kept images that a late target is run through at most '
              'before the next tracks are published; with process_every_frame all of them.',
              1, 1000, live=True),
    Parameter('on_old_box', 'newest', 'What to do with a box older than the kept images: use it '
              'on the newest image, or refuse it.', allowed=ON_OLD_BOX, live=True),
    # Health.
    Parameter('diagnostics_period', 1.0, 'Seconds between messages on /diagnostics.', 0.1, 60.0),
    Parameter('latency_warn', 0.5, 'Seconds from image stamp to published tracks from which the '
              'diagnostics warn.', 0.0, 3600.0, live=True),
    Parameter('latency_error', 1.0, 'Seconds from image stamp to published tracks from which the '
              'diagnostics report an error.', 0.0, 3600.0, live=True),
)
# Old names, accepted for one release: set, they replace the value under the present name.
DEPRECATED = {
    'lost_score': 'lost_confidence', 'found_score': 'found_confidence',
    'search_candidates': 'redetection_candidates', 'search_limit': 'redetection_limit'}
PER_CAMERA = ('image_transport', 'image_reliability')


def find(name):
    """Return the Parameter called `name`."""
    return next(parameter for parameter in PARAMETERS if parameter.name == name)


def constraint(parameter):
    """
    Describe in words which values a parameter takes.

    >>> constraint(find('lost_confidence'))
    '0.0 to 1.0'
    >>> constraint(find('image_transport'))
    'raw or compressed'
    """
    if parameter.allowed:
        return ', '.join(parameter.allowed[:-1]) + f' or {parameter.allowed[-1]}'
    if parameter.minimum is not None:
        return f'{parameter.minimum} to {parameter.maximum}'
    return ''


def problem_with(parameter, value):
    """Return what is wrong with a value of the right type, or an empty string."""
    if parameter.allowed and value not in parameter.allowed:
        return f'{parameter.name} must be {constraint(parameter)}, got {value!r}'
    if parameter.minimum is not None:
        if not (math.isfinite(value) and parameter.minimum <= value <= parameter.maximum):
            return f'{parameter.name} must be {constraint(parameter)}, got {value}'
    return ''


def problem_together(values):
    """Return what is wrong with a dict of all parameters' values, or an empty string."""
    if values['found_confidence'] < values['lost_confidence']:
        return (f'found_confidence {values["found_confidence"]} must not be below lost_confidence '
                f'{values["lost_confidence"]} (set both in one request)')
    if values['latency_error'] < values['latency_warn']:
        return (f'latency_error {values["latency_error"]} must not be below latency_warn '
                f'{values["latency_warn"]} (set both in one request)')
    return ''


def problems(values):
    """Return a list of all that is wrong with a dict of all parameters' values."""
    found = [problem_with(find(name), value) for name, value in values.items()]
    return [text for text in [*found, problem_together(values)] if text]
