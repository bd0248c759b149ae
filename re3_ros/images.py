# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Image messages to RGB arrays and back, without ROS imports: any object with the fields will do.

Raw `sensor_msgs/Image` becomes a view where the memory layout allows it (`rgb8`), otherwise one
OpenCV conversion; cv_bridge does that conversion where it is installed and works.
"""

import importlib.util
import subprocess
import sys
from typing import NamedTuple

import cv2
import numpy as np
from re3_ros.problem_log import Fault

# Frames larger than this are refused unless the caller allows more: 8K UHD.
MAX_PIXELS = 7680 * 4320
# Characters in a text field of an image: `frame_id` is sent again with every track, and all are
# kept with the image.
MAX_TEXT = 256
JPEG_QUALITY = 90


class ImageError(Fault):
    """An image message that cannot be used."""


class Encoding(NamedTuple):
    """Bytes per pixel, and the OpenCV conversion to RGB (None: it is RGB already)."""

    channels: int
    conversion: int | None


# OpenCV names the Bayer patterns by the second row's second and third pixel, ROS by the first
# row's first and second. Images of unnamed channels (8UC3) are taken as OpenCV writes them: BGR.
ENCODINGS = {
    'rgb8': Encoding(3, None),
    'bgr8': Encoding(3, cv2.COLOR_BGR2RGB),
    'rgba8': Encoding(4, cv2.COLOR_RGBA2RGB),
    'bgra8': Encoding(4, cv2.COLOR_BGRA2RGB),
    'mono8': Encoding(1, cv2.COLOR_GRAY2RGB),
    '8UC1': Encoding(1, cv2.COLOR_GRAY2RGB),
    '8UC3': Encoding(3, cv2.COLOR_BGR2RGB),
    '8UC4': Encoding(4, cv2.COLOR_BGRA2RGB),
    'yuv422_yuy2': Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'yuv422': Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'bayer_rggb8': Encoding(1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': Encoding(1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': Encoding(1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': Encoding(1, cv2.COLOR_BayerGB2RGB),
}
# What cv_bridge converts to rgb8 as `ENCODINGS` does; the others it does not know or copies.
CV_BRIDGE_ENCODINGS = frozenset((
    'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422_yuy2', 'yuv422',
    'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'))


def check_text(name, text):
    """Raise ImageError unless a text field of an image message is of bearable length."""
    if len(text) > MAX_TEXT:
        raise ImageError(f'long {name}', f'image with a {name} {text[:16]!r}... of {len(text)} '
                         f'characters, at most {MAX_TEXT} are allowed')


def image_size(message, max_pixels=MAX_PIXELS):
    """
    Check the fields of a `sensor_msgs/Image` and return its (height, width).

    Costs microseconds: the pixels are not touched. Raises ImageError if the encoding is
    unknown, or if size, step and amount of data do not fit together.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError('encoding', f'unknown image encoding {message.encoding[:32]!r}; known '
                         f'are {", ".join(ENCODINGS)}')
    height, width = message.height, message.width
    _check_size(height, width, max_pixels)
    if message.step < width * encoding.channels:
        raise ImageError('step', f'image step {message.step} is less than the '
                         f'{width * encoding.channels} bytes of {width} pixels in '
                         f'{message.encoding}')
    if len(message.data) != message.step * height:
        raise ImageError('size', f'image has {len(message.data)} bytes of data, but step '
                         f'{message.step} x height {height} is {message.step * height}')
    if encoding.channels == 2 and width % 2:
        raise ImageError('width', f'{message.encoding} image must have an even width, got {width}')
    return height, width


def _check_size(height, width, max_pixels):
    if height < 1 or width < 1:
        raise ImageError('empty', f'empty image of {width} x {height} pixels')
    if height * width > max_pixels:
        raise ImageError('pixels', f'image of {width} x {height} pixels is larger than the '
                         f'{max_pixels} pixels allowed')


def image_to_rgb(message, max_pixels=MAX_PIXELS):
    """
    Return the pixels of a `sensor_msgs/Image`, H x W x 3 uint8 RGB.

    For `rgb8` the array is a view of the message's own data. Raises ImageError as `image_size`.
    """
    height, width = image_size(message, max_pixels)
    encoding = ENCODINGS[message.encoding]
    shape = (height, width, encoding.channels)
    strides = (message.step, encoding.channels, 1)
    pixels = np.ndarray(shape, np.uint8, buffer=message.data, strides=strides)
    return pixels if encoding.conversion is None else cv2.cvtColor(pixels, encoding.conversion)


class CvBridgeConverter:
    """
    `image_to_rgb` by cv_bridge where it can, by `image_to_rgb` where it cannot.

    cv_bridge reads padded rows wrongly unless the padding is whole pixels, and copies `rgb8`.
    """

    def __init__(self):
        from cv_bridge import CvBridge
        self._bridge = CvBridge()

    def __call__(self, message, max_pixels=MAX_PIXELS):
        _, width = image_size(message, max_pixels)
        whole_rows = message.step == width * ENCODINGS[message.encoding].channels
        if not whole_rows or message.encoding not in CV_BRIDGE_ENCODINGS:
            return image_to_rgb(message, max_pixels)
        return self._bridge.imgmsg_to_cv2(message, desired_encoding='rgb8')


# Run in a process of its own: a cv_bridge built for numpy 1 may end the interpreter under numpy 2.
_PROBE = """
import numpy as np
from sensor_msgs.msg import Image
from re3_ros.images import CvBridgeConverter, fill_image, image_to_rgb
pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
message = fill_image(Image(), pixels, 'bgr8')
assert np.array_equal(CvBridgeConverter()(message), image_to_rgb(message))
"""


def cv_bridge_works(timeout=30):
    """
    Return whether cv_bridge is installed and converts correctly, tried in another process.

    :param timeout: seconds to wait for it.
    """
    if importlib.util.find_spec('cv_bridge') is None:
        return False
    try:
        probe = subprocess.run([sys.executable, '-c', _PROBE], timeout=timeout,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def choose_converter():
    """Return the function to turn `sensor_msgs/Image` into RGB: cv_bridge's if that works."""
    return CvBridgeConverter() if cv_bridge_works() else image_to_rgb


def compressed_size(message, max_pixels=MAX_PIXELS):
    """
    Read (height, width) from the head of a JPEG or PNG `sensor_msgs/CompressedImage`.

    Done before decoding, so that a small message cannot ask for a huge image. Raises ImageError
    if the data is empty, of another format, or its image too large.
    """
    check_text('format', message.format)
    data = memoryview(message.data)
    if len(data) == 0:
        raise ImageError('empty', 'empty compressed image')
    if data[:8] == b'\x89PNG\r\n\x1a\n' and len(data) >= 24:
        size = int.from_bytes(data[20:24], 'big'), int.from_bytes(data[16:20], 'big')
    elif data[:2] == b'\xff\xd8':
        size = _jpeg_size(data)
    else:
        raise ImageError('format', 'compressed image is neither JPEG nor PNG (its format field '
                         f'says {message.format[:32]!r})')
    _check_size(*size, max_pixels)
    return size


def _jpeg_size(data):
    """Walk the segments of a JPEG to its frame header; return (height, width)."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xff:
        marker = data[position + 1]
        if marker == 0xff:      # a fill byte before the marker
            position += 1
        elif 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            return (int.from_bytes(data[position + 5:position + 7], 'big'),
                    int.from_bytes(data[position + 7:position + 9], 'big'))
        else:
            position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
    raise ImageError('corrupt', 'compressed image is a damaged JPEG: it has no frame header')


def compressed_to_rgb(message, max_pixels=MAX_PIXELS):
    """
    Decode a JPEG or PNG `sensor_msgs/CompressedImage` to H x W x 3 uint8 RGB.

    The content counts, not the `format` field; grey and 16-bit images become 8-bit RGB, and a
    rotation in EXIF is not applied, so that boxes mean the pixels as they were sent. Raises
    ImageError as `compressed_size`, or if the data is damaged.
    """
    compressed_size(message, max_pixels)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ImageError('corrupt', 'compressed image cannot be decoded: the data is damaged')
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)


def _fill_data(message, contiguous):
    """Copy an array's bytes into `message.data` in one piece; a list would go byte by byte."""
    data = message.data
    del data[:]
    data.frombytes(memoryview(contiguous).cast('B'))


def fill_image(message, rgb, encoding='rgb8'):
    """
    Put an H x W x 3 uint8 RGB array into a `sensor_msgs/Image` and return it.

    :param encoding: `rgb8`, `bgr8` or `mono8`.
    """
    if encoding == 'bgr8':
        rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    elif encoding == 'mono8':
        rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    elif encoding != 'rgb8':
        raise ValueError(f'encoding must be rgb8, bgr8 or mono8, got {encoding!r}')
    message.height, message.width = rgb.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = message.width * ENCODINGS[encoding].channels
    _fill_data(message, np.ascontiguousarray(rgb))
    return message


def fill_compressed(message, rgb, quality=JPEG_QUALITY):
    """Put an H x W x 3 uint8 RGB array into a `sensor_msgs/CompressedImage` as JPEG; return it."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    message.format = 'rgb8; jpeg compressed bgr8'
    _fill_data(message, data)
    return message
