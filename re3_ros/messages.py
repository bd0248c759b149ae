# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
ROS messages to arrays, boxes and requests, and back.

Without ROS imports: any object with the fields of `sensor_msgs/Image`,
`sensor_msgs/CompressedImage`, `vision_msgs/Detection2D` or `vision_msgs/BoundingBox2D` will do.
Raw images become a view where the memory layout allows it (`rgb8`), otherwise one OpenCV
conversion; cv_bridge does that conversion where it is installed and fits numpy.

A `Detection2D` gives the center and the full size of a box in pixels, the left edge of the
leftmost pixel being 0.
"""

from collections.abc import Callable
import importlib.util
import math
from typing import Any, NamedTuple

import cv2
import numpy as np

# An 8K image: more than any camera, and few enough bytes to allocate.
MAX_PIXELS = 7680 * 4320
# OpenCV 4 cannot crop from images with a longer side (SHRT_MAX in remap and warpAffine).
MAX_SIDE = 32766
MAX_TEXT = 256
# No image is that large; beyond it coordinates lose their fraction in 32-bit floats.
MAX_COORDINATE = 1e6
JPEG_QUALITY = 90


class InputError(ValueError):
    """
    A message that cannot be used, or a request that cannot be fulfilled.

    `kind` names the fault in a word or two, the same for all its occurrences; `id` is the
    target's id in a request, '' without one.
    """

    def __init__(self, kind: str, text: str, id: str = '') -> None:  # noqa: A002
        super().__init__(text)
        self.kind = kind
        self.id = id


class ImageError(InputError):
    """An image message that cannot be used."""


class DetectionError(InputError):
    """A detection message that cannot be used."""


# ---- images ----

class Encoding(NamedTuple):
    """Bytes per pixel, and the OpenCV conversion to RGB (None: it is RGB already)."""

    channels: int
    conversion: int | None


# OpenCV names Bayer patterns by the second row, ROS by the first.
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
CV_BRIDGE_ENCODINGS = frozenset((
    'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422_yuy2', 'yuv422',
    'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'))
# Channels by the color type in a PNG's header.
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def check_text(name: str, text: str) -> None:
    """Raise ImageError if a text field of an image message exceeds MAX_TEXT characters."""
    if len(text) > MAX_TEXT:
        raise ImageError(f'long {name}', f'image with a {name} {text[:16]!r}... of {len(text)} '
                         f'characters, at most {MAX_TEXT} are allowed')


def image_size(message: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
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


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ImageError('empty', f'empty image of {width} x {height} pixels')
    if height * width > max_pixels:
        raise ImageError('pixels', f'image of {width} x {height} pixels is larger than the '
                         f'{max_pixels} pixels allowed')
    if max(height, width) > MAX_SIDE:
        raise ImageError('side', f'image of {width} x {height} pixels has a side longer than the '
                         f'{MAX_SIDE} pixels allowed')


def image_to_rgb(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """
    Return the pixels of a `sensor_msgs/Image`, H x W x 3 uint8 RGB.

    For `rgb8` the array is a view of the message's own data. Raises ImageError as `image_size`.
    """
    height, width = image_size(message, max_pixels)
    encoding = ENCODINGS[message.encoding]
    shape = (height, width, encoding.channels)
    strides = (message.step, encoding.channels, 1)
    pixels = np.ndarray(shape, np.uint8, buffer=message.data, strides=strides)
    if encoding.conversion is None:
        return pixels
    try:
        return cv2.cvtColor(pixels, encoding.conversion)
    except cv2.error as error:
        raise ImageError('conversion', f'{message.encoding} image of {width} x {height} pixels '
                         f'cannot be converted: {error.err or error}') from None


class CvBridgeConverter:
    """
    `image_to_rgb` by cv_bridge where it can, by `image_to_rgb` where it cannot.

    cv_bridge reads padded rows wrongly unless the padding is whole pixels, and copies `rgb8`.
    """

    def __init__(self) -> None:
        from cv_bridge import CvBridge
        self._bridge = CvBridge()

    def __call__(self, message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return the pixels of a `sensor_msgs/Image`, as `image_to_rgb`."""
        _, width = image_size(message, max_pixels)
        whole_rows = message.step == width * ENCODINGS[message.encoding].channels
        if not whole_rows or message.encoding not in CV_BRIDGE_ENCODINGS:
            return image_to_rgb(message, max_pixels)
        return self._bridge.imgmsg_to_cv2(message, desired_encoding='rgb8')


def choose_converter() -> Callable[..., np.ndarray]:
    """
    Return the function that turns a `sensor_msgs/Image` into RGB.

    cv_bridge's, where it is installed with numpy 1: the binaries of Humble to Kilted are
    compiled for it and fail with numpy 2.
    """
    fits = np.lib.NumpyVersion(np.__version__) < '2.0.0'
    if fits and importlib.util.find_spec('cv_bridge') is not None:
        return CvBridgeConverter()
    return image_to_rgb


def compressed_size(message: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """
    Read (height, width) from the header of a JPEG or PNG `sensor_msgs/CompressedImage`.

    Done before decoding, so that a small message cannot ask for a huge image. Raises ImageError
    if the data is empty, of another format or of more than 8 bits per channel (as depth images
    are), or if its image is too large.
    """
    check_text('format', message.format)
    data = memoryview(message.data)
    if len(data) == 0:
        raise ImageError('empty', 'empty compressed image')
    if data[:8] == b'\x89PNG\r\n\x1a\n' and len(data) >= 26:
        bits, channels = data[24], PNG_CHANNELS.get(data[25], 0)
        height, width = int.from_bytes(data[20:24], 'big'), int.from_bytes(data[16:20], 'big')
    elif data[:2] == b'\xff\xd8':
        bits, height, width, channels = _jpeg_header(data)
    else:
        raise ImageError('format', 'compressed image is neither JPEG nor PNG (its format field '
                         f'is {message.format[:32]!r})')
    if bits > 8:
        raise ImageError('encoding', f"unknown image encoding '16UC{channels}' (compressed image "
                         f'of {bits} bits per channel); known are JPEG and PNG of 8 bits')
    _check_size(height, width, max_pixels)
    return height, width


def _jpeg_header(data: memoryview) -> tuple[int, int, int, int]:
    """Return (bits, height, width, channels) of the frame header in a JPEG's segments."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xff:
        marker = data[position + 1]
        if marker == 0xff:      # a fill byte before the marker
            position += 1
        elif 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            return (data[position + 4], int.from_bytes(data[position + 5:position + 7], 'big'),
                    int.from_bytes(data[position + 7:position + 9], 'big'), data[position + 9])
        else:
            position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
    raise ImageError('corrupt', 'compressed image is a damaged JPEG: it has no frame header')


def compressed_to_rgb(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """
    Decode a JPEG or PNG `sensor_msgs/CompressedImage` to H x W x 3 uint8 RGB.

    The content counts, not the `format` field; gray images become RGB, and a rotation in EXIF
    is not applied, so that boxes mean the pixels as they were sent. Raises ImageError as
    `compressed_size`, or if the data is damaged.
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


def _fill_data(message: Any, contiguous: np.ndarray) -> None:
    """Copy an array's bytes into `message.data` in one piece; a list would go byte by byte."""
    data = message.data
    del data[:]
    data.frombytes(contiguous.data.cast('B'))


def fill_image(message: Any, rgb: np.ndarray, encoding: str = 'rgb8') -> Any:
    """
    Put an H x W x 3 uint8 RGB array into a `sensor_msgs/Image` and return it.

    :param encoding: `rgb8`, `bgr8` or `mono8`; ValueError for others.
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


def fill_compressed(message: Any, rgb: np.ndarray, quality: int = JPEG_QUALITY) -> Any:
    """Put an H x W x 3 uint8 RGB array into a `sensor_msgs/CompressedImage` as JPEG; return it."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    message.format = 'rgb8; jpeg compressed bgr8'
    _fill_data(message, data)
    return message


# ---- detections ----

class Request(NamedTuple):
    """
    A request to track `box` (4,) `xyxy` pixels, or to remove the target if it is None.

    `id` may be empty; `class_id` is echoed with the track.
    """

    id: str  # noqa: A003
    box: np.ndarray | None
    class_id: str


def read_detection(detection: Any, max_id_length: int) -> Request:
    """
    Turn a `vision_msgs/Detection2D` into a Request.

    A box with both sizes zero asks to remove the target. A rotated box is replaced by the
    upright one around it. Raises DetectionError naming what is wrong.
    """
    identity, results = detection.id, detection.results
    _check_label('id', identity, identity, max_id_length)
    class_id = results[0].hypothesis.class_id if results else ''
    _check_label('class_id', class_id, identity, max_id_length)
    return Request(identity, _read_box(detection.bbox, identity), class_id)


def _check_label(name: str, text: str, identity: str, max_length: int) -> None:
    """Raise DetectionError for a string that is not safe to keep, to log and to send again."""
    owner = '' if name == 'id' else f' of {identity!r}'
    if len(text) > max_length:
        raise DetectionError(f'long {name}', f'{name} {text[:16]!r}...{owner} has {len(text)} '
                             f'characters, at most {max_length} are allowed', identity)
    if '\ufffd' in text:    # what rclpy puts for bytes that are no character
        raise DetectionError(f'{name} bytes', f'{name} {text!r}{owner} is not UTF-8', identity)
    if not text.isprintable():
        raise DetectionError(
            f'unprintable {name}', f'{name} {text!r}{owner} is not printable', identity)


def _read_box(bbox: Any, identity: str) -> np.ndarray | None:
    """Return the `xyxy` box (4,), or None for the zero size that means removal."""
    x, y, theta = bbox.center.position.x, bbox.center.position.y, bbox.center.theta
    width, height = bbox.size_x, bbox.size_y
    text = (f'box of {identity!r} with center ({x:.6g}, {y:.6g}) and size {width:.6g} x '
            f'{height:.6g}')
    if not all(map(math.isfinite, (x, y, width, height, theta))):
        raise DetectionError(
            'not finite', f'{text}, angle {theta:.6g}: all must be finite', identity)
    if width == 0 and height == 0:
        return None
    if width <= 0 or height <= 0:
        raise DetectionError(
            'size', f'{text}: the size must be positive (or 0 x 0 to remove it)', identity)
    if max(abs(x), abs(y), width, height) > MAX_COORDINATE:
        raise DetectionError('huge', f'{text} exceeds {MAX_COORDINATE:.0f} pixels', identity)
    if theta:
        cosine, sine = abs(math.cos(theta)), abs(math.sin(theta))
        width, height = width * cosine + height * sine, width * sine + height * cosine
    return np.array((x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def fill_box(bbox: Any, box: Any) -> None:
    """Put an `xyxy` box (4,) into a `vision_msgs/BoundingBox2D`."""
    x1, y1, x2, y2 = map(float, box)
    bbox.center.position.x = (x1 + x2) / 2
    bbox.center.position.y = (y1 + y2) / 2
    bbox.size_x = x2 - x1
    bbox.size_y = y2 - y1


def fill_track(detection: Any, header: Any, target: Any) -> None:
    """
    Put a `re3_ros.targets.Target` into a `vision_msgs/Detection2D` with one result.

    :param header: header of the image that the track belongs to.
    """
    detection.header = header
    detection.id = target.id
    fill_box(detection.bbox, target.track.box)
    hypothesis = detection.results[0].hypothesis
    hypothesis.class_id = target.class_id
    hypothesis.score = target.track.confidence


def read_box(bbox: Any) -> np.ndarray:
    """Return the upright `xyxy` box (4,) of a `vision_msgs/BoundingBox2D`, as it is."""
    half_width, half_height = bbox.size_x / 2, bbox.size_y / 2
    x, y = bbox.center.position.x, bbox.center.position.y
    return np.array((x - half_width, y - half_height, x + half_width, y + half_height))


def stamp_of(header: Any) -> int:
    """Return the stamp of a `std_msgs/Header` in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
