# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Invalid messages, by name.

Each entry of the tables is an Invalid: a function (rng, stamp) that returns a message or its
serialized bytes, and the text by which the node must name that kind of error (None where the
middleware drops the message before the node receives it). `stamp` is that of the newest image in
nanoseconds.
"""

from typing import NamedTuple

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from re3_ros.messages import fill_compressed, fill_image
from sensor_msgs.msg import CompressedImage, Image
from stress.client import detection, header_of
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
SIZE = (240, 320)
BOX = (20., 20., 60., 60.)
UNPRINTABLE = ['\n', '\t', '\x1b', '\x7f', '\u202e']
NOT_UTF8 = b'\xff\xfe\xc3\x28'
# Bytes of a serialized message before and with the stamp; beyond them it is corrupt.
HEAD = 12


class Invalid(NamedTuple):
    """How to make a bad message, and how the node names it."""

    make: object
    words: str | None


# ---- images ----

def image(rng, stamp, **fields):
    """Return an image of noise, later than `stamp`, with fields as they should not be."""
    pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    message = fill_image(Image(header=header_of(stamp + SECOND // 100)), pixels)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def cut_image(rng, stamp):
    """Return an image whose data is too short, or too long."""
    message = image(rng, stamp)
    if rng.random() < .5:
        del message.data[-int(rng.integers(1, len(message.data))):]
    else:
        message.data.extend(bytes(int(rng.integers(1, 1000))))
    return message


def empty_image(rng, stamp):
    """Return an image without pixels."""
    message = image(rng, stamp, width=0, height=int(rng.integers(0, 2)), step=0)
    del message.data[:]
    return message


def outlier_stamp(rng, stamp):
    """Return a time in nanoseconds that has nothing to do with the others, nor with another."""
    away = int(rng.integers(100 * DAY, 1000 * DAY))
    return stamp + int(rng.choice([-1, 1])) * away


def replaced_bytes(message, old, new):
    """Return a message's serialized bytes with `old` replaced by as many other bytes."""
    return serialize_message(message).replace(old, new)


IMAGES = {
    'encoding': Invalid(lambda rng, stamp: image(rng, stamp, encoding='32FC1'),
                    'unknown image encoding'),
    'long encoding': Invalid(lambda rng, stamp: image(rng, stamp, encoding='x' * 100_000),
                         'unknown image encoding'),
    'encoding not UTF-8': Invalid(lambda rng, stamp: replaced_bytes(
        image(rng, stamp, encoding='ABCD'), b'ABCD', NOT_UTF8), 'unknown image encoding'),
    'step': Invalid(lambda rng, stamp: image(rng, stamp, step=int(rng.integers(0, 960))),
                'is less than the 960 bytes'),
    'step and length': Invalid(lambda rng, stamp: image(
        rng, stamp, step=int(rng.integers(961, 2 ** 32))), 'bytes of data, but step'),
    'length': Invalid(cut_image, 'bytes of data, but step'),
    'empty': Invalid(empty_image, 'empty image'),
    'huge': Invalid(lambda rng, stamp: image(rng, stamp, width=2 ** 32 - 1, height=2 ** 32 - 1,
                                         step=2 ** 32 - 1), 'is larger than'),
    'odd width': Invalid(lambda rng, stamp: image(rng, stamp, encoding='yuyv', width=319),
                     'must have an even width'),
    'outlier stamp': Invalid(lambda rng, stamp: image(rng, outlier_stamp(rng, stamp)),
                        'image stamp is far from those before it'),
    'late': Invalid(lambda rng, stamp: image(
        rng, stamp - int(rng.integers(2, 40)) * SECOND // 100),
        'image is older than the one before it'),
    'long frame_id': Invalid(lambda rng, stamp: _with_frame_id(image(rng, stamp), 'f' * 1_000_000),
                         'image with a frame_id'),
}


def _with_frame_id(message, frame_id):
    message.header.frame_id = frame_id
    return message


# ---- compressed images ----

def compressed(rng, stamp, suffix='.jpg', change=None):
    """Return a compressed image, its bytes changed by a function of (bytearray, rng)."""
    message = CompressedImage(header=header_of(stamp + SECOND // 100), format='jpeg')
    pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    _, data = cv2.imencode(suffix, pixels)
    data = bytearray(data.tobytes())
    if change is not None:
        data = change(data, rng)
    message.data = data
    return message


def _claim_much(data, rng):
    """Let a PNG claim to be of 60000 x 60000 pixels."""
    data[16:24] = (60_000).to_bytes(4, 'big') * 2
    return data


def long_format(rng, stamp):
    """Return a sound image whose format is described at length."""
    message = compressed(rng, stamp)
    message.format = 'jpeg ' * 100_000
    return message


COMPRESSED = {
    'format': Invalid(lambda rng, stamp: compressed(rng, stamp, change=lambda data, rng: rng.bytes(
        int(rng.integers(1, 2000)))), 'neither JPEG nor PNG'),
    'empty': Invalid(lambda rng, stamp: compressed(rng, stamp, change=lambda data, rng: b''),
                 'empty compressed image'),
    'no frame header': Invalid(lambda rng, stamp: compressed(
        rng, stamp, change=lambda data, rng: data[:int(rng.integers(4, 20))]),
        'damaged'),
    'damaged': Invalid(lambda rng, stamp: compressed(
        rng, stamp, '.png', lambda data, rng: data[:33] + rng.bytes(200)), 'damaged'),
    'huge': Invalid(lambda rng, stamp: compressed(rng, stamp, '.png', _claim_much),
                'is larger than'),
    'long format': Invalid(long_format, 'image with a format'),
}


# ---- boxes ----

def boxed(x=40., y=40., width=20., height=20., theta=0., identity='bad'):
    """Return a Detection2D with these numbers."""
    message = Detection2D(id=identity)
    message.bbox.center.position.x, message.bbox.center.position.y = float(x), float(y)
    message.bbox.center.theta = float(theta)
    message.bbox.size_x, message.bbox.size_y = float(width), float(height)
    return message


def not_finite(rng, stamp):
    """Return a box with a NaN or an infinity anywhere."""
    name = rng.choice(['x', 'y', 'width', 'height', 'theta'])
    return boxed(**{str(name): rng.choice([np.nan, np.inf, -np.inf])})


def classed(rng, stamp):
    """Return a box of a class with a name that is far too long."""
    message = detection('bad', BOX)
    message.results = [ObjectHypothesisWithPose()]
    message.results[0].hypothesis.class_id = 'c' * int(rng.integers(65, 5000))
    return message


def waiting(rng, stamp):
    """Return a box that waits for an image, in which it then has no place."""
    ahead = int(rng.integers(SECOND // 4, SECOND))
    return detection(f'waiting {rng.integers(1000)}', (900., 900., 950., 950.), stamp + ahead)


BOXES = {
    'not finite': Invalid(not_finite, 'must be finite'),
    'negative': Invalid(lambda rng, stamp: boxed(width=-rng.uniform(0, 1e3)),
                    'size must be positive'),
    'no area': Invalid(lambda rng, stamp: boxed(height=0), 'size must be positive'),
    'outside': Invalid(lambda rng, stamp: boxed(x=rng.uniform(500, 1e5)),
                       'lies outside the frame'),
    'huge': Invalid(lambda rng, stamp: boxed(width=10 ** rng.uniform(7, 300)), 'exceeds'),
    'long id': Invalid(lambda rng, stamp: detection('x' * int(rng.integers(65, 100_000)), BOX),
                   'at most 64 are allowed'),
    'unprintable id': Invalid(lambda rng, stamp: detection(
        f'a{rng.choice(UNPRINTABLE)}b', BOX), 'is not printable'),
    'id not UTF-8': Invalid(lambda rng, stamp: replaced_bytes(
        detection('ABCD', BOX), b'ABCD', NOT_UTF8), 'is not UTF-8'),
    'long class_id': Invalid(classed, 'class_id'),
    'removal without id': Invalid(lambda rng, stamp: detection('', None), 'it needs the id'),
    'removal of an unknown id': Invalid(
        lambda rng, stamp: detection(f'nobody {rng.integers(1000)}', None),
        "cannot remove 'nobody"),
    'too old': Invalid(lambda rng, stamp: detection(
        'bad', BOX, max(1, stamp - int(rng.integers(100, 10_000)) * SECOND)),
        'than the newest image'),
    'too new': Invalid(lambda rng, stamp: detection(
        'bad', BOX, stamp + int(rng.integers(100, 10_000)) * SECOND), 'than the newest image'),
    'waiting': Invalid(waiting, 'boxes already wait for their image'),
}


def box_array(rng, stamp):
    """Return one or several bad boxes in one message."""
    makers = [bad.make for name, bad in BOXES.items()
              if name not in ('id not UTF-8', 'too old', 'too new', 'waiting')]
    boxes = [makers[rng.integers(len(makers))](rng, stamp) for _ in range(rng.integers(1, 6))]
    return Detection2DArray(detections=boxes)


ARRAYS = {
    'bad boxes': Invalid(box_array, None),
    'too many': Invalid(lambda rng, stamp: Detection2DArray(detections=[boxed(width=-1)] * 1200),
                    'only the first 1000 are used'),
    'too old': Invalid(lambda rng, stamp: Detection2DArray(
        header=header_of(max(1, stamp - 100 * SECOND)), detections=[detection('bad', BOX)]),
        'than the newest image'),
}


# ---- bytes ----

def corrupt_bytes(rng, message):
    """Return a message's bytes cut short, overwritten in places, or replaced altogether."""
    data = bytearray(serialize_message(message))
    way = rng.integers(4)
    if way == 0:
        return bytes(data[:rng.integers(0, len(data))])
    if way == 1:
        return rng.bytes(int(rng.integers(0, 2000)))
    if way == 2:
        return bytes(data) + rng.bytes(int(rng.integers(1, 2000)))
    for _ in range(rng.integers(1, 20)):
        place = int(rng.integers(HEAD, len(data) - 4))
        data[place:place + 4] = rng.choice([b'\xff\xff\xff\xff', b'\0\0\0\0', rng.bytes(4)])
    return bytes(data)


def corrupt_image(rng, stamp):
    """Return the corrupt bytes of an image, of an outlier stamp in case it is one after all."""
    return corrupt_bytes(rng, image(rng, outlier_stamp(rng, stamp)))


CORRUPT_IMAGES = {'corrupt bytes': Invalid(corrupt_image, None)}
CORRUPT_BOXES = {'corrupt bytes': Invalid(
    lambda rng, stamp: corrupt_bytes(rng, boxed(width=-1)), None)}
CORRUPT_ARRAYS = {'corrupt bytes': Invalid(
    lambda rng, stamp: corrupt_bytes(rng, Detection2DArray(detections=[boxed(width=-1)])), None)}
CORRUPT_COMPRESSED = {'corrupt bytes': Invalid(
    lambda rng, stamp: corrupt_bytes(rng, CompressedImage(
        header=header_of(outlier_stamp(rng, stamp)), data=rng.bytes(100))), None)}

# {topic below the camera's name: (message type, {name: Invalid})}
OF_RAW_CAMERA = {
    'image': (Image, {**IMAGES, **CORRUPT_IMAGES}),
    'init': (Detection2D, {**BOXES, **CORRUPT_BOXES}),
    'detections': (Detection2DArray, {**ARRAYS, **CORRUPT_ARRAYS}),
}
OF_COMPRESSED_CAMERA = {
    'image/compressed': (CompressedImage, {**COMPRESSED, **CORRUPT_COMPRESSED}),
    'init': OF_RAW_CAMERA['init'],
}
# On the topics of no camera in particular: all of these name a camera that there is not.
SHARED = {
    'init': (Detection2D, {'no camera': Invalid(
        lambda rng, stamp: _with_frame_id(detection('bad', BOX), f'camera {rng.integers(1000)}'),
        'names no camera')}),
}


def good_compressed(pixels, stamp):
    """Return a sound compressed image."""
    return fill_compressed(CompressedImage(header=header_of(stamp)), pixels)
