# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Track targets through the images of a bag, as the node does with `process_every_frame`."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from re3_core import Tracker
from re3_core.boxes import check_box
from re3_core.io.files import printable
from re3_core.io.video import DEFAULT_RATE
from re3_ros import parameters
from re3_ros.bag import BagError
from re3_ros.bag.inits import detections_of, init_topics, Inits
from re3_ros.bag.message_types import COMPRESSED_IMAGE
from re3_ros.bag.outputs import atomic_folder, check_folder, Names, Outputs
from re3_ros.bag.reader import Bag, Topic
from re3_ros.bag.storage import Message
from re3_ros.diagnostics import InputWarnings, LogOnce
from re3_ros.image_stream import ImageStream
from re3_ros.messages import (
    compressed_to_rgb,
    DetectionError,
    image_to_rgb,
    read_detection,
    Request,
    stamp_of,
)
from re3_ros.targets import CameraTargets, Settings, UnbatchedTracker
from tqdm import tqdm

RUN_FILE = 'run.json'
# Images from which the frame rate is taken.
RATE_IMAGES = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Camera:
    """An image topic and the name of its camera, '' for the only one."""

    topic: str
    name: str = ''


@dataclass(frozen=True)
class Span:
    """The part of a bag that is used, in seconds from its first message; None: to the end."""

    start: float = 0.
    end: float | None = None

    def of(self, bag: Bag) -> tuple[int | None, int | None]:
        """Return (start, stop) in nanoseconds for `Bag.messages`; None is no limit."""
        start = bag.start + round(self.start * 1e9) if self.start else None
        stop = None if self.end is None else bag.start + round(self.end * 1e9)
        if self.start and start is not None and start > bag.end:
            raise BagError(f'{printable(bag.path)}: the bag ends before {self.start:g} s: it '
                           f'lasts {(bag.end - bag.start) / 1e9:.3f} s')
        return start, stop


@dataclass(frozen=True)
class Job:
    """What to do with each camera of each bag."""

    inits: Inits
    values: dict[str, Any]
    formats: tuple[str, ...]
    namespace: str
    storage: str
    span: Span
    progress: bool = True
    overwrite: bool = False


@dataclass
class Summary:
    """Counts of a finished run."""

    images: int = 0
    refused: int = 0
    targets: int = 0
    complete: bool = True
    skipped: bool = False


def parameter_values(given: dict[str, Any]) -> dict[str, Any]:
    """
    Return the node's parameters as for a recording.

    :param given: values by name; of type str they are converted to the parameter's type.
    :raises BagError: naming what is wrong.
    """
    values = {item.name: item.default for item in parameters.PARAMETERS}
    for name, value in given.items():
        if name not in values:
            raise BagError(f'there is no parameter {name}; there are {", ".join(sorted(values))}')
        values[name] = _converted(name, value, type(values[name]))
    values['process_every_frame'] = True
    wrong = parameters.validate(values)
    if wrong:
        raise BagError('; '.join(wrong))
    return values


def _converted(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    try:
        if kind is bool:
            return {'true': True, 'false': False}[str(value).lower()]
        if kind in (int, float):
            return kind(value)
    except (KeyError, ValueError):
        pass
    raise BagError(f'parameter {name} must be of type {kind.__name__}, got {value!r}')


def make_tracker(values: dict[str, Any]) -> Tracker:
    """Return a tracker by the node's parameters."""
    return Tracker(values['model'] or None, weights=values['weights'] or None,
                   device=values['device'], engine=values['engine'],
                   precision=values['precision'], threads=values['threads'],
                   **{name: values[name] for name in parameters.TRACKER_SETTINGS})


def choose_cameras(bag: Bag, texts: Iterable[str]) -> list[Camera]:
    """
    Return the cameras to track in.

    :param texts: values of `--topic`, each TOPIC or NAME=TOPIC; several topics without a name
        are named after themselves; none: the bag's only topic of images.
    """
    chosen = [text.partition('=')[::2] if '=' in text else ('', text) for text in texts]
    if not chosen:
        return [Camera(bag.image_topic(None).name)]
    cameras = []
    for name, topic in chosen:
        bag.image_topic(topic)
        if not name and len(chosen) > 1:
            name = topic.strip('/').replace('/', '_')
        if name and not name.isidentifier():
            raise BagError(f'--topic {name}={topic}: a camera has a name of letters, digits and _')
        cameras.append(Camera(topic, name))
    if len({camera.name for camera in cameras}) < len(cameras):
        raise BagError('--topic: the names of the cameras must differ')
    return cameras


class CameraRun:
    """Tracks the targets of one camera; its messages come in the order of the bag."""

    def __init__(self, tracker: Tracker, camera: Camera, bag: Bag, job: Job,
                 outputs: Outputs) -> None:
        """Start without targets; the tracker must have none."""
        self.summary = Summary()
        self.problems = InputWarnings(lambda: LogOnce(_log))
        self.last_error: Exception | None = None
        topic = bag.topics[camera.topic]
        compressed = topic.type == COMPRESSED_IMAGE
        self._tracker = UnbatchedTracker(tracker)
        self._camera = camera
        self._values = job.values
        self._outputs = outputs
        self._targets = CameraTargets(self._tracker, Settings.from_parameters(job.values),
                                      camera.name)
        self._stream = ImageStream(self._targets, job.values, compressed,
                                   compressed_to_rgb if compressed else image_to_rgb)
        self._boxes = [init for init in job.inits.boxes if init.camera == camera.name]
        self._first: int | None = None
        self._started: set[str] = set()

    def image(self, message: Any, received: int) -> None:
        """Track the targets in the next image message."""
        self.summary.images += 1
        try:
            frame, jumped = self._stream.receive(message, received)
        except ValueError as error:
            self._report(self._camera.topic, error)
            self.summary.refused += 1
            return
        if jumped:
            _log.warning('%s: image stamps jumped back (see on_time_jump)', self._camera.topic)
        self._start_boxes(frame.stamp, frame.size)
        keys = self._targets.begin_frame(frame)
        tracks = self._tracker.update_frames([(frame.rgb(), keys)]) if keys else {}
        self._outputs.frame(frame, received, self._targets.end_frame(tracks))
        self._take_events(received)

    def _start_boxes(self, stamp: int, size: tuple[int, int]) -> None:
        """Request the user's boxes up to this stamp; BagError if one lies outside the image."""
        first = self._first = stamp if self._first is None else self._first
        due = [init for init in self._boxes if init.stamp(first) <= stamp]
        self._boxes = [init for init in self._boxes if init not in due]
        for init in due:
            try:
                check_box(init.request.box, size)
                self._targets.request(init.request, init.stamp(first))
            except ValueError as error:
                raise BagError(f'{init.source}: {error}') from None
        if due:
            self._targets.catch_up()

    def boxes(self, topic: Topic, message: Any, received: int) -> None:
        """Start, restart or remove targets by a recorded Detection2D or Detection2DArray."""
        frame_ids = (self._camera.name, self._stream.frame_id)
        if self._camera.name and not topic.name.endswith(f'/{self._camera.name}/init') and \
                (not message.header.frame_id or message.header.frame_id not in frame_ids):
            return      # of another camera
        requests = []
        detected = hasattr(message, 'detections')
        for detection in detections_of(message):
            try:
                requests.append(read_detection(detection, self._values['max_id_length']))
            except DetectionError as error:
                if not detected:
                    self._targets.refuse(error.id, str(error))
                self._report(topic.name, error)
        self._request(topic, requests, stamp_of(message.header), detected)
        self._targets.catch_up()
        self._take_events(received)

    def _request(self, topic: Topic, requests: list[Request], stamp: int, detected: bool) -> None:
        if detected:
            for error in self._targets.detections(requests, stamp):
                self._report(topic.name, error)
            return
        for request in requests:
            try:
                self._targets.request(request, stamp)
            except ValueError as error:
                self._report(topic.name, error)

    def _report(self, where: str, error: Exception) -> None:
        self.last_error = error
        self.problems.report(where, error)

    def _take_events(self, received: int) -> None:
        events, rows = self._targets.take_events(received / 1e9)
        for event in events:
            if event.kind == 'started':
                self._started.add(event.id)
            _log.info('target %r %s%s', event.id, event.kind, f': {event.text}' * bool(event.text))
        if rows is not None:
            self._outputs.status(rows, self._stream.frame_id, received)
        warnings, self._targets.warnings = self._targets.warnings, []
        for warning in warnings:
            self._report(self._camera.topic, warning)

    def finish(self) -> None:
        """Raise BagError if no image could be used, or no target was started."""
        summary = self.summary
        summary.targets = len(self._started)
        if not summary.images:
            raise BagError(f'{self._camera.topic}: there are no images in the chosen part')
        if summary.images == summary.refused:
            reason = f': {self.last_error}' if self.last_error else ''
            raise BagError(f'{self._camera.topic}: none of {summary.images} images can be used'
                           f'{reason}')
        if self._boxes:
            init = self._boxes[0]
            raise BagError(f'{init.source}: the images end before {init.time:g} s')
        if not self._started:
            reason = str(self.last_error or 'no box came')
            raise BagError(f'{self._camera.topic}: no target was started: {reason}')


def track_camera(bag: Bag, camera: Camera, folder: Path, job: Job, tracker: Tracker) -> Summary:
    """
    Track one camera of a bag and put the results into `folder`, all at once at the end.

    A folder with the results of the same run is left as it is.

    :raises BagError: an input cannot be used, or `folder` is there already and not to be
        overwritten. OSError: a file cannot be written.
    """
    topic = bag.image_topic(camera.topic)
    bag.check(topic)
    settings = _settings(bag, camera, job)
    if not job.overwrite and _same_run(folder, settings):
        return Summary(skipped=True, complete=_recorded(folder).get('complete', True))
    check_folder(folder, job.overwrite)
    recorded = init_topics(bag, job.inits.topics, job.namespace, camera.name)
    _log.info('%s: %d images of %s', printable(bag.path), topic.count, topic.name)
    tracker.reset()
    start, stop = job.span.of(bag)
    with atomic_folder(folder) as part:
        names = Names.of_camera(job.namespace, camera.name)
        with Outputs(part, job.formats, names, camera.name, job.storage or bag.storage,
                     image_rate(bag, topic, start, stop)) as outputs:
            run = CameraRun(tracker, camera, bag, job, outputs)
            messages = bag.messages({topic.name, *(item.name for item in recorded)}, start, stop)
            _run(run, bag, topic, _with_progress(messages, topic, job.progress), outputs, tracker,
                 job)
            run.finish()
        run.summary.complete = not (bag.problems or run.summary.refused)
        text = json.dumps({**settings, **asdict(run.summary), 'problems': bag.problems}, indent=1)
        (part / RUN_FILE).write_text(text + '\n', encoding='utf-8')
    return run.summary


def _run(run: CameraRun, bag: Bag, topic: Topic, messages: Iterable[Message], outputs: Outputs,
         tracker: Tracker, job: Job) -> None:
    described = False
    for message in messages:
        if not described:
            described = True
            outputs.vision_info(tracker.network.name, job.values['weights'] or 'packaged weights',
                                message.received)
        try:
            content = bag.deserialize(message)
        except BagError as error:
            bag.problems.append(str(error))
            continue
        if message.topic == topic.name:
            run.image(content, message.received)
        else:
            run.boxes(bag.topics[message.topic], content, message.received)


def _with_progress(messages: Iterator[Message], topic: Topic, show: bool) -> Iterator[Message]:
    """Yield the messages with a progress bar that counts those of `topic`."""
    # disable=None: none where the output is no terminal.
    with tqdm(total=topic.count, unit=' images', disable=None if show else True) as bar:
        for message in messages:
            yield message
            if message.topic == topic.name:
                bar.update()


def image_rate(bag: Bag, topic: Topic, start: int | None = None,
               stop: int | None = None) -> float:
    """Return the images per second of a topic, by the median gap of the first stamps."""
    stamps: list[int] = []
    for message in bag.messages({topic.name}, start, stop):
        try:
            stamps.append(stamp_of(bag.deserialize(message).header) or message.received)
        except BagError:
            continue
        if len(stamps) == RATE_IMAGES:
            break
    gap = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.
    return float(np.clip(1e9 / gap, 1, 500)) if gap > 0 else DEFAULT_RATE


def _settings(bag: Bag, camera: Camera, job: Job) -> dict[str, Any]:
    """Return all that the results depend on, as JSON has it."""
    weights = job.values['weights']
    files = [*bag.files, *([Path(weights)] if weights else [])]
    settings = {
        'bag': str(bag.path.resolve()),
        'files': [(path.name, path.stat().st_size, path.stat().st_mtime_ns)
                  for path in files if path.exists()],
        'topic': camera.topic, 'camera': camera.name, 'namespace': job.namespace,
        'inits': [f'{init.time} {init.camera} {init.request.id} {init.request.class_id} '
                  f'{np.asarray(init.request.box).tolist()}' for init in job.inits.boxes],
        'init_topics': list(job.inits.topics), 'parameters': job.values,
        'formats': list(job.formats), 'storage': job.storage or bag.storage,
        'start': job.span.start, 'end': job.span.end}
    return json.loads(json.dumps(settings))


def _recorded(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RUN_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}


def _same_run(folder: Path, settings: dict[str, Any]) -> bool:
    recorded = _recorded(folder)
    return bool(recorded) and all(recorded.get(key) == value for key, value in settings.items())

