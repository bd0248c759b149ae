# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The message types that are read from bags and written to them, as classes of rosbags."""

from functools import cache
from typing import Any

import numpy as np
from re3_ros.bag import BagError
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg, get_typestore, Stores, TypesysError
from rosbags.typesys.store import Typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
IMAGES = (IMAGE, COMPRESSED_IMAGE)
DETECTION = 'vision_msgs/msg/Detection2D'
DETECTIONS = 'vision_msgs/msg/Detection2DArray'
VISION_INFO = 'vision_msgs/msg/VisionInfo'
STATUS = 'diagnostic_msgs/msg/DiagnosticArray'
STATUS_ROW = 'diagnostic_msgs/msg/DiagnosticStatus'
KEY_VALUE = 'diagnostic_msgs/msg/KeyValue'
TIME = 'builtin_interfaces/msg/Time'

# vision_msgs 4: rosbags has the common interfaces of ROS 2 only.
VISION_MSGS = {
    'Point2D': 'float64 x\nfloat64 y\n',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta\n',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n',
    'ObjectHypothesis': 'string class_id\nfloat64 score\n',
    'ObjectHypothesisWithPose':
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n',
    'Detection2D':
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id\n',
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections\n',
    'VisionInfo':
        'std_msgs/Header header\nstring method\nstring database_location\n'
        'int32 database_version\n',
}
_DEFAULTS = {'bool': False, 'string': '', 'float32': 0., 'float64': 0.}


@cache
def typestore() -> Typestore:
    """Return the types of ROS 2 Humble, which later releases share, and vision_msgs 4."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = {}
    for name, text in VISION_MSGS.items():
        types.update(get_types_from_msg(text, f'vision_msgs/msg/{name}'))
    store.register(types)
    return store


def check_layout(name: str, definition: str) -> None:
    """
    Raise BagError if a message definition stored in a bag has other fields than are read here.

    vision_msgs before 4.0 has the same type names with other fields. A definition that cannot be
    parsed is not checked.

    :param definition: in ROS 2 `.msg` syntax, followed by those of the types it uses.
    """
    ours = typestore()
    try:
        recorded = get_types_from_msg(definition, name)
    except (TypesysError, ValueError):
        return
    for part, (_, fields) in recorded.items():
        if part in ours.fielddefs and list(fields) != list(ours.fielddefs[part][1]):
            raise BagError(f'{name} was recorded with other fields of {part} than those of '
                           'ROS 2 Humble and later (vision_msgs 4)')


def new(name: str) -> Any:
    """Return a message of the type `name` with the default value of each field."""
    store = typestore()
    values = {field: _default(kind) for field, kind in store.get_msgdef(name).fields}
    if name == 'geometry_msgs/msg/Quaternion':  # the only one here with a default of its own
        values['w'] = 1.
    return store.types[name](**values)


def _default(kind: Any) -> Any:
    node, detail = kind
    if node == Nodetype.NAME:
        return new(detail)
    if node == Nodetype.BASE:
        return _DEFAULTS.get(detail[0], 0)
    (element, name), length = detail
    # Numbers are in numpy arrays, a sequence's length is 0; all else is in lists.
    return np.zeros(length, name[0]) if element == Nodetype.BASE else []


def to_cdr(message: Any) -> memoryview:
    """Return a message of `new` serialized as in ROS 2."""
    return typestore().serialize_cdr(message, message.__msgtype__)


def set_stamp(stamp: Any, nanoseconds: int) -> None:
    """Put a time into a `builtin_interfaces/Time`."""
    stamp.sec, stamp.nanosec = divmod(nanoseconds, 1_000_000_000)
