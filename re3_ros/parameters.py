# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
The node's parameters: one table that declares, checks and documents them.

`scripts/parameter_docs.py` makes `config/tracker.yaml` and the table in `docs/node.md` of it.
"""

from collections.abc import Mapping, Sequence
import difflib
import math
import re
from typing import Any, NamedTuple

from re3_core import redetection, tracker
from re3_core.tracker import ENGINES, PRECISIONS
from re3_ros.messages import MAX_PIXELS

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
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    live: bool = False


PARAMETERS = (
    Parameter('autostart', True,
              'Configure and activate the node as it starts; otherwise wait for lifecycle calls.'),
    # The network.
    Parameter('model', '', 'Network: re3_lite, re3, ...; empty: the one the weights file is for, '
              're3_lite without such a file.'),
    Parameter('weights', '', 'Path of a .safetensors weights file (~ is the home directory); '
              'empty: the packaged one.'),
    Parameter('device', 'auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    Parameter('engine', 'auto', 'What runs the network, see docs/engines.md; auto: the fastest '
              'that is installed.', allowed=ENGINES),
    Parameter('precision', 'auto', "Precision of the network's arithmetic; auto: as the engine "
              'chooses.', allowed=('auto', *PRECISIONS)),
    Parameter('threads', 1, 'CPU threads of the network; more gain little for few targets, and '
              'lose where other processes need the cores. 0: as many as the engine chooses.',
              0, 256),
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
              'its own, so that every replay of a bag gives the same tracks. For bags: the '
              'delay may grow.'),
    Parameter('frame_timeout', 5.0, 'Seconds without an image after which a warning is logged.',
              0.1, 3600.0),
    Parameter('max_image_pixels', MAX_PIXELS, 'Larger images are refused.', 1, 2 ** 30),
    Parameter('on_time_jump', 'reset', 'What happens to the targets when image stamps jump back, '
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
# Of which a topic name may consist.
CAMERA_NAME = re.compile('[A-Za-z][A-Za-z0-9_]*')
# Old names, accepted for one release: set, they replace the value under the present name.
DEPRECATED = {
    'lost_score': 'lost_confidence', 'found_score': 'found_confidence',
    'search_candidates': 'redetection_candidates', 'search_limit': 'redetection_limit'}
# Parameters that are arguments of re3_core.Tracker and may change while it runs.
TRACKER_SETTINGS = ('lost_confidence', 'found_confidence', 'lost_after', 'redetection_candidates',
                    'redetection_limit')
PER_CAMERA = ('image_transport', 'image_reliability')


def find(name: str) -> Parameter:
    """Return the Parameter called `name`."""
    return next(parameter for parameter in PARAMETERS if parameter.name == name)


def constraint(parameter: Parameter) -> str:
    """
    Describe which values a parameter takes.

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


def validate_one(parameter: Parameter, value: Any) -> str:
    """Return what is wrong with a value of the right type, or an empty string."""
    if parameter.allowed and value not in parameter.allowed:
        return f'{parameter.name} must be {constraint(parameter)}, got {value!r}'
    if parameter.minimum is not None and parameter.maximum is not None:
        if not (math.isfinite(value) and parameter.minimum <= value <= parameter.maximum):
            return f'{parameter.name} must be {constraint(parameter)}, got {value}'
    return ''


def cross_validate(values: Mapping[str, Any]) -> str:
    """Return which of all parameters' values contradict each other, or an empty string."""
    for low, high in (('lost_confidence', 'found_confidence'), ('latency_warn', 'latency_error')):
        if values[high] < values[low]:
            return (f'{high} {values[high]} must not be below {low} {values[low]} (set both in '
                    'one request)')
    return ''


def validate(values: Mapping[str, Any]) -> list[str]:
    """Return all that is wrong with a mapping of all parameters' values."""
    found = [validate_one(find(name), value) for name, value in values.items()]
    return [text for text in [*found, cross_validate(values)] if text]


def camera_names(names: Sequence[str]) -> list[str]:
    """
    Return the names of the parameter `cameras`, [''] for a single camera without a name.

    :raises ValueError: a name that is empty, not unique or no part of a topic name.
    """
    if list(names) in ([], ['']):
        return ['']
    wrong = [name for name in names if not CAMERA_NAME.fullmatch(name)]
    if wrong:
        raise ValueError('cameras must be names of letters, digits and _ that begin with a '
                         f'letter, got {", ".join(map(repr, wrong))}')
    if len(set(names)) < len(names):
        raise ValueError(f'cameras must differ, got {list(names)}')
    return list(names)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ', did you mean ...?' for a name that is none of those known, or ''."""
    close = difflib.get_close_matches(name, known, 1)
    return f', did you mean {close[0]}?' if close else ''
