# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Generated messages, without ROS: each is used or refused by name, and requests are answered."""

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('hypothesis', reason='needs hypothesis')

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays  # noqa: E402
from re3_core.tracker import Track  # noqa: E402
from re3_ros.frame_buffer import Frame  # noqa: E402
from re3_ros.messages import (  # noqa: E402
    compressed_to_rgb,
    DetectionError,
    ENCODINGS,
    image_to_rgb,
    ImageError,
    read_detection,
    Request,
)
from re3_ros.targets import CameraTargets, RequestError, Settings  # noqa: E402

# No limit on the time of an example: a loaded machine is slow, not wrong.
settings.register_profile('re3', deadline=None, max_examples=60)
settings.load_profile('re3')

MAX_PIXELS = 4096
SIZES = st.integers(0, 2 ** 32 - 1) | st.integers(0, 70)
IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


def used_or_refused(convert, message):
    """Assert that a message becomes RGB pixels or an ImageError of a kind."""
    try:
        rgb = convert(message, MAX_PIXELS)
    except ImageError as error:
        assert error.kind and str(error)
        return
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
    assert 0 < rgb.shape[0] * rgb.shape[1] <= MAX_PIXELS


@given(height=SIZES, width=SIZES, step=SIZES, data=st.binary(max_size=5000),
       encoding=st.sampled_from([*ENCODINGS, '16UC1', 'mono16', '32FC1', '']) | st.text())
def test_images_of_any_fields(height, width, step, data, encoding):
    used_or_refused(image_to_rgb, SimpleNamespace(
        height=height, width=width, step=step, encoding=encoding, data=array('B', data)))


@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 60))),
       encoding=st.sampled_from(sorted(ENCODINGS)))
def test_images_whose_fields_fit(pixels, encoding):
    width = pixels.shape[1] // ENCODINGS[encoding].channels
    used_or_refused(image_to_rgb, SimpleNamespace(
        height=pixels.shape[0], width=width, step=pixels.shape[1], encoding=encoding,
        data=array('B', pixels.tobytes())))


@given(data=st.binary(max_size=2000), text=st.text(max_size=400),
       head=st.sampled_from([b'', b'\xff\xd8', b'\xff\xd8\xff\xc0', b'\x89PNG\r\n\x1a\n']))
def test_compressed_images_of_any_bytes(data, text, head):
    used_or_refused(compressed_to_rgb, SimpleNamespace(format=text, data=head + data))


@given(pixels=IMAGES, suffix=st.sampled_from(['.jpg', '.png']), rate=st.floats(0, 1),
       place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_compressed_images_that_are_cut_or_damaged(pixels, suffix, rate, place, byte):
    data = bytearray(cv2.imencode(suffix, pixels)[1].tobytes())
    used_or_refused(compressed_to_rgb, SimpleNamespace(
        format='', data=bytes(data[:int(rate * len(data))])))
    data[place % len(data)] = byte
    used_or_refused(compressed_to_rgb, SimpleNamespace(format='', data=bytes(data)))


def detection(identity, x, y, width, height, theta, class_id=None):
    """Return what looks like a vision_msgs/Detection2D."""
    results = [] if class_id is None else [
        SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id))]
    center = SimpleNamespace(position=SimpleNamespace(x=x, y=y), theta=theta)
    return SimpleNamespace(id=identity, results=results, bbox=SimpleNamespace(
        center=center, size_x=width, size_y=height))


@given(identity=st.text(max_size=80), class_id=st.none() | st.text(max_size=80),
       numbers=st.tuples(*[st.floats() | st.floats(-300, 300)] * 5))
def test_detections_of_any_fields(identity, class_id, numbers):
    try:
        request = read_detection(detection(identity, *numbers, class_id), 64)
    except DetectionError as error:
        assert error.kind and error.id == identity
        return
    assert request.id == identity and len(identity) <= 64
    if request.box is not None:
        assert np.isfinite(request.box).all()


class StillTracker:
    """Keep boxes where they are; fail in `init` for one of the ids."""

    def __init__(self):
        self.boxes = {}

    def init(self, key, frame, box):
        if key.endswith('/fails'):
            raise cv2.error('no')
        self.boxes[key] = box
        return Track(box, 1., False)

    def remove(self, key):
        del self.boxes[key]

    def update(self, frame, keys):
        return {key: Track(self.boxes[key], 1., False) for key in keys}


BOXES = st.none() | st.tuples(*[st.floats(-50, 150)] * 4).map(np.array)
STEPS = st.lists(st.one_of(
    st.tuples(st.just('frame'), st.integers(0, 2)),
    st.tuples(st.just('init'), st.sampled_from(['', '1', 'a', 'fails', 'b/c']), BOXES,
              st.integers(-3, 3))), max_size=25)


@given(steps=STEPS)
def test_every_request_is_answered_and_the_state_stays_consistent(steps):
    tracker, stamp, index, open_ids = StillTracker(), 10 ** 9, 0, set()
    targets = CameraTargets(tracker, Settings(3, .3, 0, 5, 1., 10 ** 6, False))
    for kind, *arguments in steps:
        if kind == 'init':
            identity, box, ahead = arguments
            open_ids.add(identity)
            try:
                targets.request(Request(identity, box, ''), stamp + ahead * 10 ** 7)
            except RequestError as error:
                assert str(error)
        else:
            stamp += arguments[0] * 10 ** 8         # equal stamps too
            frame = Frame(index, stamp, SimpleNamespace(data=b'x' * 99), (100, 100),
                          lambda _: np.zeros((100, 100, 3), np.uint8))
            index += 1
            keys = targets.begin_frame(frame)
            targets.end_frame(tracker.update(None, keys))
        events, rows = targets.take_events()
        if rows is not None:
            open_ids -= {row.id for row in rows}
            tracked = {row.id for row in rows if row.state in ('tracked', 'lost')}
            assert tracked == set(targets.targets)
        assert {target.key for target in targets.targets.values()} == set(tracker.boxes)
        assert len(targets.targets) <= 3
    # What is still open can only wait for its image; with the next ones it is answered.
    for _ in range(2):
        stamp += 10 ** 9
        frame = Frame(index, stamp, SimpleNamespace(data=b'x'), (100, 100),
                      lambda _: np.zeros((100, 100, 3), np.uint8))
        index += 1
        targets.end_frame(tracker.update(None, targets.begin_frame(frame)))
    _, rows = targets.take_events()
    open_ids -= {row.id for row in rows or ()} | {''}
    assert open_ids == set()
