# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the conversion of image messages, without ROS."""

from array import array
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from re3_ros import messages
from re3_ros.messages import (
    compressed_size,
    compressed_to_rgb,
    fill_compressed,
    fill_image,
    image_size,
    image_to_rgb,
    ImageError,
)

# Smooth enough to survive JPEG and halved color, different in all channels.
RGB = np.stack(np.broadcast_arrays(
    np.linspace(80, 180, 16)[None], np.linspace(60, 190, 12)[:, None], 128), -1).astype(np.uint8)


def message(pixels, name, padding=0, **fields):
    """Return what looks like a sensor_msgs/Image of an array (H, W, channels)."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    values = {'height': height, 'width': width, 'encoding': name, 'is_bigendian': 0,
              'step': rows.shape[1], 'data': array('B', rows.tobytes())}
    return SimpleNamespace(**{**values, **fields})


def compressed(data, text='jpeg'):
    """Return what looks like a sensor_msgs/CompressedImage."""
    return SimpleNamespace(format=text, data=array('B', data))


def encode(suffix, pixels=RGB, **kwargs):
    """Return an RGB image as the bytes of a file."""
    return bytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), **kwargs)[1])


def to_yuyv(rgb, order):
    """Pack RGB (H, W, 3) as YUV 4:2:2 (H, W, 2) of the order 'yuyv' or 'uyvy'."""
    y, v, u = np.moveaxis(limited_range(rgb), -1, 0)
    luma, chroma = y, np.where(np.arange(rgb.shape[1]) % 2, v, u)
    return np.stack((luma, chroma) if order == 'yuyv' else (chroma, luma), -1)


def limited_range(rgb):
    """Return Y, Cr, Cb (H, W, 3) by ITU-R BT.601, as cameras send them."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 16 + .257 * r + .504 * g + .098 * b
    u = 128 - .148 * r - .291 * g + .439 * b
    v = 128 + .439 * r - .368 * g - .071 * b
    return np.stack((y, v, u), -1).round().astype(np.uint8)


ALPHA = np.full((*RGB.shape[:2], 1), 9, np.uint8)
EXACT = {
    'rgb8': RGB,
    'bgr8': RGB[..., ::-1],
    '8UC3': RGB[..., ::-1],
    'rgba8': np.concatenate((RGB, ALPHA), -1),
    'bgra8': np.concatenate((RGB[..., ::-1], ALPHA), -1),
    '8UC4': np.concatenate((RGB[..., ::-1], ALPHA), -1),
}


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', EXACT)
def test_color(encoding, padding):
    converted = image_to_rgb(message(EXACT[encoding], encoding, padding))
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, RGB)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_gray(encoding, padding):
    converted = image_to_rgb(message(RGB[..., :1], encoding, padding))
    np.testing.assert_array_equal(converted, RGB[..., :1].repeat(3, -1))


@pytest.mark.parametrize('encoding, order', [
    ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv'), ('yuv422', 'uyvy'), ('uyvy', 'uyvy')])
@pytest.mark.parametrize('padding', [0, 6])
def test_yuv(encoding, order, padding):
    converted = image_to_rgb(message(to_yuyv(RGB, order), encoding, padding))
    np.testing.assert_allclose(converted.astype(int), RGB, atol=12)


@pytest.mark.parametrize('encoding', ['bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'])
def test_bayer(encoding):
    color = np.array((200, 120, 40), np.uint8)
    mosaic = np.empty((8, 8, 1), np.uint8)
    for place, name in enumerate(encoding[6:10]):
        mosaic[place // 2::2, place % 2::2] = color['rgb'.index(name)]
    converted = image_to_rgb(message(mosaic, encoding))
    np.testing.assert_array_equal(converted, np.broadcast_to(color, (8, 8, 3)))


def test_rgb8_is_a_view_of_the_message():
    source = message(RGB, 'rgb8', padding=4)
    source.data[0] = 99
    view = image_to_rgb(source)
    source.data[0] = 100
    assert view[0, 0, 0] == 100


@pytest.mark.parametrize('kind, change', [
    ('encoding', {'encoding': '16UC1'}),
    ('encoding', {'encoding': ''}),
    ('step', {'step': 47}),
    ('size', {'data': array('B', bytes(12 * 48 - 1))}),
    ('size', {'data': array('B', bytes(12 * 48 + 1))}),
    ('size', {'data': array('B')}),
    ('empty', {'height': 0}),
    ('empty', {'width': 0}),
    ('pixels', {'height': 2 ** 31, 'width': 2 ** 31, 'step': 2 ** 32 - 1}),
    ('width', {'encoding': 'uyvy', 'width': 15, 'step': 48}),
])
def test_bad_image(kind, change):
    with pytest.raises(ImageError) as raised:
        image_to_rgb(message(RGB, 'rgb8', **change))
    assert raised.value.kind == kind


def test_limit_of_pixels():
    good = message(RGB, 'rgb8')
    assert image_size(good, max_pixels=16 * 12) == (12, 16)
    with pytest.raises(ImageError, match='larger than the 191 pixels'):
        image_size(good, max_pixels=16 * 12 - 1)


@pytest.mark.parametrize('suffix, tolerance', [('.jpg', 12), ('.png', 0)])
def test_compressed(suffix, tolerance):
    source = compressed(encode(suffix))
    assert compressed_size(source) == (12, 16)
    np.testing.assert_allclose(compressed_to_rgb(source).astype(int), RGB, atol=tolerance)


def test_compressed_gray_becomes_rgb():
    _, data = cv2.imencode('.png', RGB[..., 0])
    converted = compressed_to_rgb(compressed(bytes(data), 'mono8; png compressed'))
    np.testing.assert_array_equal(converted, RGB[..., :1].repeat(3, -1))


def test_progressive_jpeg_with_long_segments():
    data = encode('.jpg', params=(cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    comment = b'\xff\xfe' + (4000).to_bytes(2, 'big') + bytes(3998)
    data = data[:2] + comment + b'\xff' + data[2:]      # with a fill byte, too
    assert compressed_size(compressed(data)) == (12, 16)


@pytest.mark.parametrize('kind, data', [
    ('empty', b''),
    ('format', b'GIF89a' + bytes(40)),
    ('format', b'\x89PNG\r\n\x1a\n'),
    ('corrupt', b'\xff\xd8'),
    ('corrupt', b'\xff\xd8\xff\xe0\x00\x00' * 4),
    ('corrupt', encode('.png')[:60]),
])
def test_bad_compressed(kind, data):
    with pytest.raises(ImageError) as raised:
        compressed_to_rgb(compressed(data))
    assert raised.value.kind == kind


def test_small_message_cannot_ask_for_a_huge_image():
    data = bytearray(encode('.png'))
    data[16:24] = (60000).to_bytes(4, 'big') * 2
    with pytest.raises(ImageError, match='60000 x 60000'):
        compressed_to_rgb(compressed(bytes(data)))


def test_exif_rotation_is_not_applied():
    exif = (b'Exif\0\0MM\0*\0\0\0\x08\0\x01' + b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0' + bytes(4))
    segment = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    data = encode('.jpg')
    assert compressed_to_rgb(compressed(data[:2] + segment + data[2:])).shape == (12, 16, 3)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_fill_image_and_back(encoding):
    filled = fill_image(SimpleNamespace(data=array('B', b'old')), RGB[:, ::2], encoding)
    np.testing.assert_array_equal(image_to_rgb(filled), RGB[:, ::2])


def test_fill_image_gray():
    filled = fill_image(SimpleNamespace(data=array('B')), RGB[..., :1].repeat(3, -1), 'mono8')
    np.testing.assert_array_equal(image_to_rgb(filled)[..., 0], RGB[..., 0])
    with pytest.raises(ValueError, match='yuyv'):
        fill_image(SimpleNamespace(data=array('B')), RGB, 'yuyv')


def test_fill_compressed_and_back():
    filled = fill_compressed(SimpleNamespace(data=array('B', b'old')), RGB)
    assert filled.format == 'rgb8; jpeg compressed bgr8'
    np.testing.assert_allclose(compressed_to_rgb(filled).astype(int), RGB, atol=12)


STAND_IN = """
import cv2
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding):
        assert desired_encoding == 'rgb8'
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
"""


@pytest.mark.parametrize('version, used', [('1.26.4', True), ('2.0.0', False), ('2.4.1', False)])
def test_cv_bridge_is_used_with_numpy_1_only(version, used, tmp_path, monkeypatch):
    """Its binaries are compiled for numpy 1, and may end the process with another."""
    (tmp_path / 'cv_bridge.py').write_text(STAND_IN if used else 'raise SystemExit')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
    monkeypatch.setattr(np, '__version__', version)
    converter = messages.choose_converter()
    assert isinstance(converter, messages.CvBridgeConverter) is used
    for encoding in ('bgr8', 'rgb8'):
        for padding in (0, 5):
            converted = converter(message(EXACT[encoding], encoding, padding))
            np.testing.assert_array_equal(converted, RGB)


def test_genuine_cv_bridge_gives_the_same_pixels():
    pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    from sensor_msgs.msg import Image
    convert = messages.choose_converter()
    for encoding, pixels in EXACT.items():
        fields = vars(message(pixels, encoding))
        np.testing.assert_array_equal(convert(Image(**fields)), RGB)


def png(pixels):
    """Return an image as PNG."""
    return cv2.imencode('.png', pixels)[1].tobytes()


DEPTH = np.arange(192, dtype=np.uint16).reshape(12, 16) * 300


@pytest.mark.parametrize('data, text, name', [
    (png(DEPTH), '16UC1; png compressed', "'16UC1'"),
    (png(np.dstack([DEPTH] * 3)), '16UC3', "'16UC3'"),
    (png(np.dstack([DEPTH] * 4)), '16UC4', "'16UC4'"),
    (b'\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x10\x00\x10\x01\x01\x11\x00', 'jpeg', 'of 12 bits'),
    (cv2.imencode('.tiff', DEPTH)[1].tobytes(), '16UC1; tiff', 'neither JPEG nor PNG'),
    (b'\xff\x0a' + bytes(30), '16UC1; jxl compressed', 'neither JPEG nor PNG'),
    (bytes(12) + png(DEPTH), '16UC1; compressedDepth png', 'compressedDepth'),
])
def test_images_of_more_than_8_bits_are_refused(data, text, name):
    with pytest.raises(ImageError, match=name):
        compressed_to_rgb(compressed(data, text))


@pytest.mark.parametrize('shape', [(1, messages.MAX_SIDE + 1), (messages.MAX_SIDE + 1, 1)])
def test_side_that_opencv_cannot_process_is_refused(shape):
    with pytest.raises(ImageError, match='longer than the 32766 pixels'):
        image_size(message(np.zeros((*shape, 1), np.uint8), 'mono8'))
    with pytest.raises(ImageError, match='longer than the 32766 pixels'):
        compressed_size(compressed(png(np.zeros(shape, np.uint8))))


@pytest.mark.parametrize('encoding', [name for name in messages.ENCODINGS if 'bayer' in name])
@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_tiny_images_are_converted_or_refused(encoding, shape):
    try:
        assert image_to_rgb(message(np.zeros((*shape, 1), np.uint8), encoding)).shape[2] == 3
    except ImageError as error:
        assert 'cannot be converted' in str(error)
