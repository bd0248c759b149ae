# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The source without ROS: reading, late boxes, lost targets, lost cameras."""

from collections import deque
import threading
import time

import numpy as np
import pytest
from re3_core import Track
from re3_core.io.video import FrameSource
from re3_web.__main__ import main
from re3_web.source import ERROR, OK
from re3_web.video import DROP_AFTER, Image, Kept, MAX_TARGETS, VideoReader, VideoSource

PATIENCE = 60
BOX = (10., 20., 30., 50.)


def eventually(condition):
    """Wait until `condition()` is true; return what it returned."""
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(.005)
    return result


class Steps:
    """Frames that are read one by one, as a test asks for them; None ends the video."""

    def __init__(self, live=False):
        self.given = deque()
        self.opened = self.rewound = 0
        self.stopped = False
        self.live = live
        self.open_error = None

    def open(self):  # noqa: A003
        """Return a FrameSource of these."""
        if self.open_error:
            raise self.open_error
        self.opened += 1
        return SteppedSource(self)

    def give(self, value=0):
        """Let a frame of this gray value be read, or the end if it is None."""
        self.given.append(value)


class SteppedSource(FrameSource):

    def __init__(self, steps):
        super().__init__('steps')
        self.rate, self.live, self._steps = 500., steps.live, steps

    def read(self):
        while not self._steps.given:
            if self._steps.stopped:
                return None
            time.sleep(.001)
        value = self._steps.given.popleft()
        if isinstance(value, Exception):
            raise value
        if value is None:
            return None
        self.index += 1
        return np.full((120, 160, 3), value, np.uint8)

    def rewind(self):
        super().rewind()
        self._steps.rewound += 1


class FakeTracker:
    """Remembers the gray values of the frames that each target went through."""

    device = 'cpu'

    def __init__(self):
        self.seen, self.lost = {}, set()

    @property
    def ids(self):
        return tuple(self.seen)

    def track(self, target_id):
        lost = target_id in self.lost
        return Track(self.boxes[target_id], .2 if lost else .9, lost)

    boxes: dict = {}

    def init(self, target_id, frame, box):
        if box[0] > frame.shape[1]:
            raise ValueError('box lies outside the frame')
        self.seen[target_id] = [frame[0, 0, 0]]
        self.boxes[target_id] = np.asarray(box, np.float32)
        return self.track(target_id)

    def update(self, frame, ids=None):
        for target_id in self.ids if ids is None else ids:
            self.seen[target_id].append(frame[0, 0, 0])
        return {target_id: self.track(target_id)
                for target_id in (self.ids if ids is None else ids)}

    def remove(self, target_id):
        if target_id not in self.seen:
            raise KeyError(f'no target {target_id!r}')
        del self.seen[target_id]

    def reset(self):
        self.seen.clear()


class Receiver:
    """Keeps all frames and messages."""

    def __init__(self):
        self.frames, self.notices = [], []

    def offer(self, camera, frame):
        self.frames.append(frame)

    def notice(self, level, text):
        self.notices.append((level, text))


class Running:
    """A VideoSource on stepped frames."""

    def __init__(self, live=False):
        self.steps, self.tracker, self.receiver = Steps(live), FakeTracker(), Receiver()
        self.tracker.boxes = {}
        self.source = VideoSource(
            'clip', VideoReader(self.steps.open, self.steps.open()), self.tracker)
        self.source.start(self.receiver)

    def step(self, value=0):
        """Let a frame pass; return the Frame that was delivered."""
        before = len(self.receiver.frames)
        self.steps.give(value)
        eventually(lambda: len(self.receiver.frames) > before)
        return self.receiver.frames[-1]

    def camera(self):
        """Return the state of the camera."""
        return self.source.state().cameras[0]

    def texts(self):
        """Return the texts of all messages."""
        return [text for _, text in self.receiver.notices]


@pytest.fixture
def run():
    """Return a function that starts a Running; all are stopped at the end."""
    started = []

    def start(**options):
        started.append(Running(**options))
        return started[-1]
    yield start
    for one in started:
        one.steps.stopped = True
        one.source.stop()
        assert not [thread for thread in threading.enumerate()
                    if thread.name in ('video reader', 'tracking')]


def test_a_box_on_the_newest_image(run):
    it = run()
    frame = it.step(1)
    assert frame.tracks == ()
    assert frame.number == 0
    it.source.init('camera', 'cup', BOX, frame.stamp)
    track, = it.step(2).tracks
    assert (track.id, track.box, track.confidence) == ('cup', BOX, .9)
    assert it.tracker.seen['cup'] == [1, 2]
    assert it.camera().states == {'cup': 'tracked'}


def test_a_box_on_an_older_image_goes_through_all_images_since(run):
    it = run()
    frames = [it.step(value) for value in range(1, 7)]
    it.source.init('camera', 'cup', BOX, frames[2].stamp)
    it.step(7)
    assert it.tracker.seen['cup'] == [3, 4, 5, 6, 7]


def test_a_box_whose_image_is_not_kept_is_refused(run):
    it = run()
    it.step()
    it.source.init('camera', 'cup', BOX, 12345)
    it.step()
    (level, text), = it.receiver.notices
    assert level == ERROR
    assert 'too old' in text
    assert it.camera().states == {}


@pytest.mark.parametrize(('action', 'text'), [
    (lambda source: source.init('camera', 'cup', (500., 0., 510., 10.), 0), 'outside the frame'),
    (lambda source: source.remove('camera', 'cup'), "no target 'cup'")])
def test_refused_requests_are_reported_and_nothing_is_lost(run, action, text):
    it = run()
    it.step()
    it.source.init('camera', 'mug', BOX, 0)
    action(it.source)
    assert [track.id for track in it.step().tracks] == ['mug']
    assert text in it.texts()[0]


def test_boxes_without_an_id_restart_what_they_overlap_or_get_a_number(run):
    it = run()
    it.step()
    it.source.init('camera', '', BOX, 0)
    it.source.init('camera', '', (12., 20., 32., 50.), 0)
    it.source.init('camera', '', (80., 60., 90., 70.), 0)
    assert [(track.id, track.box) for track in it.step().tracks] == [
        ('1', (12., 20., 32., 50.)), ('2', (80., 60., 90., 70.))]


def test_no_more_targets_than_allowed(run):
    it = run()
    it.step()
    for number in range(MAX_TARGETS + 1):
        it.source.init('camera', f't{number}', BOX, 0)
    assert len(it.step().tracks) == MAX_TARGETS
    assert 'the most' in it.texts()[-1]


def test_lost_and_found_and_removed(run):
    it = run()
    it.step()
    it.source.init('camera', 'cup', BOX, 0)
    it.step()
    it.tracker.lost.add('cup')
    it.step()
    assert it.camera().states == {'cup': 'lost'}
    assert it.camera().message == '1 of 1 targets lost'
    it.tracker.lost.clear()
    it.step()
    it.tracker.lost.add('cup')
    for _ in range(DROP_AFTER + 1):
        frame = it.step()
    assert frame.tracks == ()
    assert it.texts() == ["target 'cup' lost", "target 'cup' found again", "target 'cup' lost",
                          f"target 'cup' removed: lost for {DROP_AFTER} frames"]


def test_services(run):
    it = run()
    it.step()
    it.source.init('camera', 'cup', BOX, 0)
    it.step()
    assert it.source.call('disable')[0]
    assert it.source.state().enabled is False
    assert it.step().tracks == ()
    it.source.init('camera', 'mug', BOX, 0)
    it.step()
    assert 'paused' in it.texts()[-1]
    it.source.call('enable')
    assert [track.id for track in it.step().tracks] == ['cup']
    it.source.call('reset')
    assert it.step().tracks == ()


def test_a_file_starts_again_without_its_targets(run):
    it = run()
    it.step()
    it.source.init('camera', 'cup', BOX, 0)
    it.step()
    it.steps.give(None)
    frame = it.step()
    assert (frame.tracks, frame.number, it.steps.rewound) == ((), 0, 1)
    assert it.receiver.notices == [(OK, 'the video starts again: all targets were removed')]


def test_a_file_without_frames_is_reported_and_not_read_without_pause(run):
    it = run()
    for _ in range(50):
        it.steps.give(None)
    eventually(lambda: it.camera().problems == ['no frame can be read'])
    assert it.steps.opened == 1
    assert len(it.steps.given) >= 48


@pytest.mark.parametrize('end', [None, ValueError('cannot read it'), OSError('gone')])
def test_a_camera_that_is_lost_is_reported_and_opened_again(run, end):
    it = run(live=True)
    it.step()
    it.steps.open_error = ValueError('cannot open camera 0')
    it.steps.give(end)
    eventually(lambda: it.camera().problems == ['cannot open camera 0'])
    assert it.camera().level == ERROR
    it.steps.open_error = None
    it.step()
    assert it.camera().problems == []
    assert it.steps.opened == 2


def test_kept_images_are_bounded_in_time_and_memory():
    def image(second):
        return Image(np.zeros((10, 10, 3), np.uint8), int(second * 1e9), second)
    kept = Kept(seconds=5, limit=10 ** 6)
    for second in range(20):
        kept.add(image(second))
    assert [one.number for one in kept.since(int(14e9))] == [14, 15, 16, 17, 18, 19]
    kept = Kept(seconds=100, limit=1000)
    for second in range(20):
        kept.add(image(second))
    assert [one.number for one in kept.since(int(17e9))] == [17, 18, 19]
    with pytest.raises(ValueError, match='too old'):
        kept.since(int(16e9))


@pytest.mark.parametrize(('arguments', 'text'), [
    (['missing.mp4'], 'no video at missing.mp4'),
    (['{video}', '--port', '70000'], 'port must be'),
    (['{video}', '--host', '203.0.113.1'], 'cannot listen on 203.0.113.1'),
    (['{video}', '--host', 'nowhere.invalid'], 'cannot listen on nowhere.invalid'),
    (['{video}', '--start', '5'], 'has 1 frames, none from number 5 on'),
    (['{video}', '--weights', 'missing.safetensors'], 'missing.safetensors'),
    (['{video}', '--device', 'tpu'], 'device must be')])
def test_command_line_errors_are_one_line(tmp_path, capsys, arguments, text):
    from re3_core.io.video import video_writer
    video = tmp_path / 'video.mp4'
    with video_writer(video, 10) as write:
        write(np.zeros((120, 160, 3), np.uint8))
    assert main([argument.format(video=video) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert text in error and 'Unknown' not in error
    assert error.count('\n') == 1
