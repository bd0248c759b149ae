# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The source for the page without ROS: a video file or camera, tracked in this process."""

from collections import deque
from dataclasses import dataclass
import logging
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread
import time
from typing import Callable

import numpy as np
from re3_core import Track, Tracker
from re3_core.boxes import iou
from re3_core.io.video import FrameSource
from re3_web.source import (
    Box,
    CameraState,
    ERROR,
    Frame,
    OK,
    Receiver,
    ShownTrack,
    SourceState,
    WARN,
)

log = logging.getLogger('re3_web')

# Images kept so that a box drawn on a paused image starts on its own image.
BUFFER_SECONDS = 10.
BUFFER_BYTES = 512_000_000
# A late target goes through at most this many of the kept images, evenly spaced.
CATCH_UP_FRAMES = 60
# Frames after which a lost target is removed, and the number of targets: as the node's defaults.
DROP_AFTER = 300
MAX_TARGETS = 64
# A box without id that overlaps a target by at least this IoU restarts it.
ASSOCIATION_IOU = .3
# Seconds without an image after which the page reports it, and between attempts to open a camera.
SILENCE, RETRY = 3., 1.
CAMERA = 'camera'


@dataclass(frozen=True)
class Image:
    """A frame (H x W x 3 uint8 RGB) with its time in nanoseconds and its number in the file."""

    rgb: np.ndarray
    stamp: int
    number: int


class VideoReader:
    """
    Reads a video in a thread at its own rate, and keeps the newest image only.

    A file starts again at its end; a camera that stops is opened again and again.

    :param open_source: returns the opened FrameSource; ValueError or OSError if it cannot.
    :param first: the source as opened already.
    """

    def __init__(self, open_source: Callable[[], FrameSource], first: FrameSource) -> None:
        self.problem = ''
        self.skipped = 0
        self.restarts = 0
        self._open, self._source = open_source, first
        self._newest: Image | None = None
        self._arrived = Condition()
        self._stop = Event()
        self._last = time.monotonic()
        self._thread = Thread(target=self._run, name='video reader', daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the video."""
        self._stop.set()
        self._thread.join(timeout=5)

    def take(self, timeout: float) -> Image | None:
        """Return the newest image that was not taken yet, or None after `timeout` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None, timeout)
            image, self._newest = self._newest, None
            return image

    def silence(self) -> float:
        """Return the seconds since the last image."""
        return time.monotonic() - self._last

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                rgb = self._source.read()
            except (ValueError, OSError) as error:
                self.problem = str(error)
                rgb = None
            if rgb is None:
                self._begin_again()
                continue
            self.problem = ''
            self._deliver(Image(rgb, time.time_ns(), self._source.index))
            if not self._source.live:
                due = max(due + 1 / self._source.rate, time.monotonic() - 1)
                self._stop.wait(max(0., due - time.monotonic()))
        self._source.release()

    def _deliver(self, image: Image) -> None:
        with self._arrived:
            self.skipped += self._newest is not None
            self._newest = image
            self._last = time.monotonic()
            self._arrived.notify()

    def _begin_again(self) -> None:
        """Rewind a file; open a camera again once it is there."""
        if not self._source.live and not self.problem and self._source.index >= 0:
            self._source.rewind()
            self.restarts += 1
            return
        self.problem = self.problem or (
            'the camera sends no more images' if self._source.live else 'no frame can be read')
        self._source.release()
        while not self._stop.wait(RETRY):
            try:
                self._source = self._open()
                return
            except (ValueError, OSError) as error:
                self.problem = str(error)


class Kept:
    """The images of the last seconds, for boxes that come late."""

    def __init__(self, seconds: float = BUFFER_SECONDS, limit: int = BUFFER_BYTES) -> None:
        self._seconds, self._limit = seconds, limit
        self._images: deque[Image] = deque()
        self._bytes = 0

    def add(self, image: Image) -> None:
        """Keep an image; the oldest ones beyond the limits go."""
        self._images.append(image)
        self._bytes += image.rgb.nbytes
        oldest = image.stamp - int(self._seconds * 1e9)
        while len(self._images) > 1 and (
                self._bytes > self._limit or self._images[0].stamp < oldest):
            self._bytes -= self._images.popleft().rgb.nbytes

    def since(self, stamp: int) -> list[Image]:
        """Return the images from `stamp` on; ValueError if that one is not kept any more."""
        if not self._images:
            raise ValueError('no image has arrived yet')
        if stamp == 0:
            return [self._images[-1]]
        found = [image for image in self._images if image.stamp >= stamp]
        if not found or found[0].stamp != stamp:
            raise ValueError('its image is too old: only the images of the last '
                             f'{self._seconds:.0f} s are kept')
        return found

    def clear(self) -> None:
        """Forget all images."""
        self._images.clear()
        self._bytes = 0


class VideoSource:
    """
    A `re3_web.source.Source` that runs a Tracker on a video.

    :param title: name of the video, for the page.
    :param reader: the VideoReader.
    :param tracker: the Tracker; used in one thread only.
    """

    buffer_seconds = BUFFER_SECONDS

    def __init__(self, title: str, reader: VideoReader, tracker: Tracker) -> None:
        self.title = title
        self._reader, self._tracker = reader, tracker
        self._receiver: Receiver | None = None
        self._kept = Kept()
        self._actions: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stop = Event()
        self._enabled = True
        self._lost: dict[str, int] = {}      # frames in a row, by id
        self._states: dict[str, str] = {}
        self._processing: deque[float] = deque(maxlen=100)
        self._arrivals: deque[float] = deque(maxlen=30)
        self._restarts = 0
        self._thread = Thread(target=self._run, name='tracking', daemon=True)

    # ---- Source ----

    def start(self, receiver: Receiver) -> None:
        """Begin to read, track and deliver."""
        self._receiver = receiver
        self._reader.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop both threads and close the video."""
        self._stop.set()
        self._reader.stop()
        self._thread.join(timeout=10)

    def state(self) -> SourceState:
        """Return the state of the one camera."""
        problem, silence = self._reader.problem, self._reader.silence()
        if not problem and silence > SILENCE:
            problem = f'no image for {silence:.0f} s'
        states = dict(self._states)
        lost = sum(state == 'lost' for state in states.values())
        message = (f'{lost} of {len(states)} targets lost' if lost
                   else f'tracking {len(states)} target{"s" * (len(states) != 1)}')
        level = ERROR if problem else WARN if lost else OK
        camera = CameraState(CAMERA, self.title, [problem] if problem else [], level,
                             message if self._enabled else 'tracking is paused',
                             self._figures(), states)
        return SourceState([camera], self._enabled)

    def _figures(self) -> dict[str, str]:
        times, arrivals = list(self._processing), list(self._arrivals)
        figures = {'frames_skipped': str(self._reader.skipped),
                   'device': str(self._tracker.device)}
        if len(arrivals) > 1 and arrivals[-1] > arrivals[0]:
            figures['output_rate_hz'] = f'{(len(arrivals) - 1) / (arrivals[-1] - arrivals[0]):.1f}'
        if times:
            figures['processing_ms_mean'] = f'{np.mean(times) * 1e3:.1f}'
            figures['processing_ms_p95'] = f'{np.quantile(times, .95) * 1e3:.1f}'
        return figures

    def watch(self, cameras: frozenset[str]) -> None:
        """Do nothing: the images are read anyway, and only encoded for viewers."""

    def init(self, camera: str, target_id: str, box: Box, stamp: int) -> None:
        """Start or restart a target before the next image."""
        self._actions.put(lambda: self._init(target_id, np.array(box), stamp))

    def remove(self, camera: str, target_id: str) -> None:
        """Remove a target before the next image."""
        self._actions.put(lambda: self._remove(target_id, 'as asked'))

    def call(self, service: str) -> tuple[bool, str]:
        """Pause or resume tracking, or remove all targets."""
        if service == 'reset':
            self._actions.put(self._reset)
            return True, 'all targets removed'
        self._enabled = service == 'enable'
        return True, 'enabled' if self._enabled else 'disabled, targets are kept'

    # ---- the tracking thread ----

    def _notice(self, level: int, text: str) -> None:
        if self._receiver is not None:
            self._receiver.notice(level, text)

    def _run(self) -> None:
        while not self._stop.is_set():
            image = self._reader.take(timeout=.1)
            if image is not None and self._restarts != self._reader.restarts:
                self._restarts = self._reader.restarts
                self._kept.clear()
                if self._states:
                    self._reset()
                    self._notice(OK, 'the video starts again: all targets were removed')
            self._act()
            if image is not None:
                self._process(image)

    def _act(self) -> None:
        """Execute the requests of the viewers."""
        while True:
            try:
                action = self._actions.get_nowait()
            except Empty:
                return
            try:
                action()
            except (ValueError, KeyError) as error:
                self._notice(ERROR, f'refused: {error.args[0]}')

    def _process(self, image: Image) -> None:
        begin = time.perf_counter()
        tracks = self._tracker.update(image.rgb) if self._enabled else {}
        if self._enabled:
            self._kept.add(image)
            self._processing.append(time.perf_counter() - begin)
            self._arrivals.append(time.monotonic())
        for target_id, track in tracks.items():
            self._note(target_id, track)
        shown = tuple(ShownTrack(target_id, _as_box(track.box), float(track.confidence))
                      for target_id, track in tracks.items() if target_id in self._states)
        height, width = image.rgb.shape[:2]
        if self._receiver is not None:
            self._receiver.offer(CAMERA, Frame(
                image.stamp, shown, (width, height), lambda: image.rgb, image.number,
                (time.time_ns() - image.stamp) / 1e9))

    def _note(self, target_id: str, track: Track) -> None:
        """Keep a target's state; report its changes, and remove it if it is lost for long."""
        before, now = self._states.get(target_id), 'lost' if track.lost else 'tracked'
        self._states[target_id] = now
        self._lost[target_id] = self._lost.get(target_id, 0) + 1 if track.lost else 0
        if before and before != now:
            text = 'lost' if track.lost else 'found again'
            self._notice(WARN if track.lost else OK, f'target {target_id!r} {text}')
        if self._lost[target_id] > DROP_AFTER:
            self._remove(target_id, f'lost for {DROP_AFTER} frames')

    def _init(self, target_id: str, box: np.ndarray, stamp: int) -> None:
        if not self._enabled:
            raise ValueError('tracking is paused; enable it first')
        target_id = target_id or self._choose_id(box)
        if target_id not in self._states and len(self._states) >= MAX_TARGETS:
            raise ValueError(f'{MAX_TARGETS} targets are the most')
        first, *later = self._kept.since(stamp)
        track = self._tracker.init(target_id, first.rgb, box)
        step = max(1, -(-len(later) // CATCH_UP_FRAMES))
        # Backwards in steps, so that the newest image is among them.
        for image in later[::-1][::step][::-1]:
            track = self._tracker.update(image.rgb, [target_id])[target_id]
        self._states.pop(target_id, None)    # a restart is no recovery
        self._note(target_id, track)

    def _choose_id(self, box: np.ndarray) -> str:
        """Return the id of the target that a box overlaps most, or a new number."""
        overlaps = {target_id: float(iou(box, self._tracker.track(target_id).box))
                    for target_id in self._states}
        best = max(overlaps, key=lambda target_id: overlaps[target_id], default='')
        if best and overlaps[best] >= ASSOCIATION_IOU:
            return best
        return next(str(number) for number in range(1, MAX_TARGETS + 2)
                    if str(number) not in self._states)

    def _remove(self, target_id: str, reason: str) -> None:
        self._tracker.remove(target_id)
        self._states.pop(target_id, None)
        self._lost.pop(target_id, None)
        self._notice(OK, f'target {target_id!r} removed: {reason}')

    def _reset(self) -> None:
        self._tracker.reset()
        self._states, self._lost = {}, {}


def _as_box(box: np.ndarray) -> Box:
    x1, y1, x2, y2 = (round(float(side), 1) for side in box)
    return x1, y1, x2, y2
