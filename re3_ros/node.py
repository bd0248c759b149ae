# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The tracker node: images and boxes in, tracks out (topics and parameters: docs/node.md)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
import faulthandler
import gc
import os
import signal
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile
from re3_core import Track, Tracker
from re3_ros import messages, qos
from re3_ros.camera import Camera, REQUEST_DEPTH, status_message
from re3_ros.declare import Parameters, warn_of_unknown_parameters, warn_of_unused_sections
from re3_ros.diagnostics import InputWarnings, PublicationId
from re3_ros.messages import DetectionError, InputError, read_detection, Request, stamp_of
from re3_ros.parameters import TRACKER_SETTINGS
from re3_ros.programs import ignore_shutdown, init_ros
from re3_ros.targets import CameraTargets, RefusedRequests, Settings, UnbatchedTracker
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray, VisionInfo

# More boxes in one message are a fault of the detector, and would take the node minutes.
MAX_DETECTIONS = 1000
# Seconds between two checks of what arrives and of what publishers offer.
MONITOR_PERIOD = 0.5
SHUTDOWN_TIMEOUT = 4.5      # s; ros2 launch kills after 5
WARM_UP_SIZE = (480, 640, 3)


class TrackerNode(LifecycleNode):
    """
    Tracks targets in the images of one or more cameras.

    Configure loads the network, activate subscribes, deactivate unsubscribes and keeps the
    targets, cleanup frees everything. All callbacks run one after the other.
    """

    def __init__(self, **kwargs: Any) -> None:
        """
        Declare the parameters.

        :raises ValueError: parameters that are not allowed.
        """
        super().__init__('tracker', namespace='re3', **kwargs)
        self.parameters = Parameters(self)
        warn_of_unknown_parameters(self)
        self._input_warnings = InputWarnings(lambda: get_logger(self.get_logger().name))
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._tracker: Any = None
        self._cameras: list[Camera] = []
        self._own_services: list[Any] = []
        self._own_timers: list[Any] = []
        self._shared_subscriptions: list[Any] = []
        self._shared_status: Any = None
        self._refused = RefusedRequests()
        self._enabled = True
        self._busy = 0.
        self._failure = ''

    # ---- lifecycle ----

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and create publishers and services."""
        try:
            self._load_tracker()
            self._create_cameras()
            self._create_interfaces()
        except Exception as error:      # rclpy would drop it without a word
            self.get_logger().error(f'cannot configure: {_reason(error)}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run the network once, for its first run is slow, and subscribe."""
        try:
            self._warm_up()
            self._open()
        except Exception as error:
            self.get_logger().error(f'cannot activate: {_reason(error)}')
            self._close()
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        self._vision_info.publish(self._describe_network())
        for camera in self._cameras:
            camera.pause(not self._enabled)
        topics = ', '.join(camera.topic for camera in self._cameras)
        self.get_logger().info(f'active, waiting for images on {topics}')
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the targets stay."""
        self._close()
        self.get_logger().info('inactive, targets are kept')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network and remove the targets."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._close()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        self._close()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def start(self) -> bool:
        """Configure and activate; return whether that worked."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def _load_tracker(self) -> None:
        values = self.parameters
        self._tracker = Tracker(
            values['model'] or None, weights=values['weights'] or None, device=values['device'],
            engine=values['engine'], precision=values['precision'], threads=values['threads'],
            **{name: values[name] for name in TRACKER_SETTINGS})
        self.get_logger().info(
            f'network {self._tracker.network.name} on {self._tracker.device}, '
            f'{self._tracker.engine}, {self._tracker.precision} ({self._tracker.engine_reason})')

    def _create_cameras(self) -> None:
        values = self.parameters
        tracker = UnbatchedTracker(self._tracker) if values['process_every_frame'] \
            else self._tracker
        self._update_frames = tracker.update_frames
        self._settings = Settings.from_parameters(values)
        convert = messages.choose_converter()
        for name in values.cameras:
            targets = CameraTargets(tracker, self._settings, name)
            self._cameras.append(Camera(self, name, targets, values, convert))

    def _create_interfaces(self) -> None:
        """Create the publishers and services of the node as a whole."""
        self._vision_info = self.create_lifecycle_publisher(
            VisionInfo, 'vision_info', qos.latched_profile())
        self._diagnostics = self.create_lifecycle_publisher(DiagnosticArray, '/diagnostics', 10)
        if len(self._cameras) > 1:
            self._shared_status = self.create_publisher(
                DiagnosticArray, 'status', qos.latched_profile())
        self._own_services = [
            self.create_service(SetBool, '~/enable', self._on_enable),
            self.create_service(Trigger, '~/reset', self._on_reset)]
        self._frames_wait = self.create_guard_condition(self._track_pending)

    def _warm_up(self) -> None:
        black = np.zeros(WARM_UP_SIZE, np.uint8)
        self._tracker.init('warm-up', black, (100., 100., 200., 200.))
        self._tracker.update(black, ['warm-up'])
        self._tracker.remove('warm-up')

    def _open(self) -> None:
        """Subscribe and start the timers."""
        now = time.monotonic()
        for camera in self._cameras:
            camera.open(self._on_image, self._on_init, self._on_detections, now)
        if len(self._cameras) > 1:
            depth = QoSProfile(depth=REQUEST_DEPTH)
            self._shared_subscriptions = [
                self.create_subscription(Detection2D, 'init', self._on_shared_init, depth),
                self.create_subscription(
                    Detection2DArray, 'detections', self._on_shared_detections, depth)]
        # On the steady clock: a simulated one may be paused just when there is much to report.
        self._own_timers = [
            self.create_timer(period, callback, clock=self._steady_clock) for period, callback in (
                (MONITOR_PERIOD, self._monitor_streams),
                (self.parameters['diagnostics_period'], self._publish_diagnostics))]

    def _close(self) -> None:
        """Undo `_open`."""
        for camera in self._cameras:
            camera.close()
        for subscription in self._shared_subscriptions:
            self.destroy_subscription(subscription)
        for timer in self._own_timers:
            self.destroy_timer(timer)
        self._shared_subscriptions, self._own_timers = [], []
        self._refused.clear()
        self._publish_shared_status()

    def _release(self) -> None:
        """Undo `on_configure`, as far as that succeeded."""
        now = time.monotonic()
        for camera in self._cameras:
            camera.destroy(now)
        for service in self._own_services:
            self.destroy_service(service)
        if self._shared_status is not None:
            self.destroy_publisher(self._shared_status)
        if self._own_services:
            self.destroy_lifecycle_publisher(self._vision_info)
            self.destroy_lifecycle_publisher(self._diagnostics)
            self.destroy_guard_condition(self._frames_wait)
        self._cameras, self._own_services, self._shared_status = [], [], None
        self._tracker = self._update_frames = None
        # Cameras and node refer to each other: until they are collected, the network stays.
        gc.collect()
        torch = sys.modules.get('torch')    # not every engine needs it
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _describe_network(self) -> VisionInfo:
        message = VisionInfo()
        message.header.stamp = self.get_clock().now().to_msg()
        message.method = self._tracker.network.name
        message.database_location = self.parameters['weights'] or 'packaged weights'
        return message

    # ---- images ----

    def _on_image(self, camera: Camera, message: Any, sequence: PublicationId) -> None:
        """
        Process one image; with several cameras, track when each has had its turn.

        With `process_every_frame` at once: the camera's next image may have its turn before that.
        """
        if not self._enabled:
            return
        with self._guard_inference():
            if not self._receive_image(camera, message, sequence):
                return
            if len(self._cameras) == 1 or self._settings.every_frame:
                self._track([camera])
            else:
                self._frames_wait.trigger()

    def _receive_image(self, camera: Camera, message: Any, sequence: PublicationId) -> bool:
        """Make an image the camera's pending frame; return False if it cannot be used."""
        now, monotonic = self.get_clock().now().nanoseconds, time.monotonic()
        stamp = stamp_of(message.header)
        busy, camera.busy_before = self._busy - camera.busy_before, self._busy
        camera.health.frame_arrived(stamp, now, monotonic)
        try:
            frame, jumped = camera.stream.receive(message, now, monotonic, busy, sequence)
            if jumped:
                self._log_time_jump(camera)
            camera.accept(frame)
        except ValueError as error:
            camera.health.refused += 1
            self._input_warnings.report(camera.topic, error)
            return False
        return True

    def _log_time_jump(self, camera: Camera) -> None:
        kept = self.parameters['on_time_jump'] == 'keep'
        self.get_logger().warning(f'{camera.topic}: image stamps jumped back; targets '
                                  f'{"kept" if kept else "removed"} (see on_time_jump)')

    def _track_pending(self) -> None:
        """Track in all cameras that have a new frame, in one batch."""
        cameras = [camera for camera in self._cameras if camera.pending is not None]
        if cameras:
            with self._guard_inference():
                self._track(cameras)

    def _track(self, cameras: list[Camera]) -> None:
        """Update all targets with the cameras' pending frames and publish."""
        self._apply_changes()
        work = []
        for camera in cameras:
            frame = camera.take_pending()
            work.append((camera, frame, camera.targets.begin_frame(frame)))
        tracks = self._update([(camera, frame.rgb(), keys) for camera, frame, keys in work
                               if keys])
        for camera, frame, _ in work:
            camera.publish_tracks(frame, camera.targets.end_frame(tracks))
            camera.health.published(
                stamp_of(frame.header), self.get_clock().now().nanoseconds, time.monotonic(),
                time.perf_counter() - self._started)
            self._publish_events(camera)

    def _update(self, work: list[tuple[Camera, np.ndarray, list[str]]]) -> dict[str, Track]:
        """Update targets in one batch; where that fails, each alone, without those that fail."""
        try:
            return self._update_frames([(rgb, keys) for _, rgb, keys in work])
        except Exception as error:
            reason = f'tracking failed: {_reason(error)}'
            tracks: dict[str, Track] = {}
            failed = []
            for camera, rgb, keys in work:
                for key in keys:
                    try:
                        tracks.update(self._update_frames([(rgb, [key])]))
                    except Exception:
                        failed.append((camera, key))
            if not tracks:      # out of memory or a lost GPU: nothing wrong with the targets
                raise
        for camera, key in failed:
            camera.targets.remove(key.partition('/')[2], reason)
        return tracks

    @contextmanager
    def _guard_inference(self) -> Iterator[None]:
        """
        Count the time spent, and log inference errors instead of ending the node.

        Out of memory or a lost GPU: the next image may fare better.
        """
        self._started = time.perf_counter()
        try:
            yield
            self._failure = ''
        except Exception as error:
            if not self.context.ok():
                raise
            self._failure = f'tracking failed: {_reason(error)}'
            self.get_logger().error(self._failure, throttle_duration_sec=5.0)
        finally:
            self._busy += time.perf_counter() - self._started

    def _apply_changes(self) -> None:
        """Apply parameters that have changed, between two images."""
        changed = self.parameters.take_changes()
        for name, value in changed.items():
            if name in TRACKER_SETTINGS:
                setattr(self._tracker, name, value)
            elif name == 'on_old_box':
                self._settings.refuse_old = value == 'refuse'
            elif hasattr(self._settings, name):
                setattr(self._settings, name, value)

    def _publish_events(self, camera: Camera) -> None:
        """Log and publish a camera's events, and log its warnings."""
        camera.publish_events(time.monotonic())
        warnings, camera.targets.warnings = camera.targets.warnings, []
        for warning in warnings:
            self._input_warnings.report(camera.topic, warning)

    # ---- boxes ----

    def _on_shared_init(self, message: Detection2D) -> None:
        """Process a box on the topic that all cameras share."""
        try:
            camera = self._named_camera(message.header.frame_id, message.id)
        except InputError as error:
            self._input_warnings.report(self.resolve_topic_name('init'), error)
            self._refused.answer(message.id, str(error), time.monotonic())
            self._publish_shared_status()
            return
        self._refused.answer(message.id, '', time.monotonic())
        self._publish_shared_status()
        self._on_init(camera, message)

    def _on_shared_detections(self, message: Detection2DArray) -> None:
        """Process a detector's boxes on the topic that all cameras share."""
        try:
            camera = self._named_camera(message.header.frame_id)
        except InputError as error:
            self._input_warnings.report(self.resolve_topic_name('detections'), error)
            return
        self._on_detections(camera, message)

    def _named_camera(self, frame_id: str, identity: str = '') -> Camera:
        """Return the one camera that a frame_id names; InputError if there are none or more."""
        matching = [camera for camera in self._cameras if camera.matches(frame_id)]
        if len(matching) == 1:
            return matching[0]
        names = ', '.join(camera.name for camera in matching or self._cameras)
        which = 'is ambiguous, it names' if matching else 'names no camera; they are'
        raise InputError('camera', f'refusing box of {identity!r}: its frame_id '
                         f'{frame_id[:messages.MAX_TEXT]!r} {which} {names} (give the name of '
                         'the camera, or use its own topic)', identity)

    def _on_init(self, camera: Camera, message: Detection2D) -> None:
        """Start, restart or remove one target."""
        with self._guard_inference():
            self._apply_changes()
            try:
                request = read_detection(message, self.parameters['max_id_length'])
                camera.targets.request(request, stamp_of(message.header))
            except InputError as error:
                if isinstance(error, DetectionError):
                    camera.targets.refuse(error.id, str(error))
                self._input_warnings.report(camera.init_topic, error)
            camera.targets.catch_up()
            self._publish_events(camera)

    def _on_detections(self, camera: Camera, message: Detection2DArray) -> None:
        """Start targets at those boxes of a detector that are not tracked yet."""
        topic = camera.detections_topic
        if len(message.detections) > MAX_DETECTIONS:
            self._input_warnings.report(topic, DetectionError('many', (
                f'{len(message.detections)} detections in one message; only the first '
                f'{MAX_DETECTIONS} are used')))
        with self._guard_inference():
            self._apply_changes()
            requests = list(self._read(topic, message.detections[:MAX_DETECTIONS]))
            for error in camera.targets.detections(requests, stamp_of(message.header)):
                self._input_warnings.report(topic, error)
            camera.targets.catch_up()
            self._publish_events(camera)

    def _read(self, topic: str, detections: Iterable[Detection2D]) -> Iterator[Request]:
        """Yield the Requests of the valid detections; log the others."""
        for detection in detections:
            try:
                yield read_detection(detection, self.parameters['max_id_length'])
            except DetectionError as error:
                self._input_warnings.report(topic, error)

    # ---- services and health ----

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response
                   ) -> SetBool.Response:
        """Stop or go on processing images; the targets stay."""
        self._enabled = request.data
        for camera in self._cameras:
            camera.pause(not (self._enabled and self._own_timers))
        response.success = True
        response.message = 'enabled' if self._enabled else 'disabled, targets are kept'
        self.get_logger().info(response.message)
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        """Remove all targets of all cameras."""
        number = sum(len(camera.targets.targets) for camera in self._cameras)
        for camera in self._cameras:
            camera.targets.reset()
            self._publish_events(camera)
        response.success = True
        response.message = f'{number} targets removed'
        return response

    def _monitor_streams(self) -> None:
        now = time.monotonic()
        for camera in self._cameras:
            camera.match_publisher_qos(now)
            camera.publish_events(now)      # refused requests leave the table
            if self._enabled:
                camera.check_stream(now)
        if self._refused.expire(now):
            self._publish_shared_status()

    def _publish_shared_status(self) -> None:
        """Publish the refused requests that name no camera; those of cameras are in theirs."""
        if self._shared_status is not None:
            self._shared_status.publish(status_message(
                self._refused.rows(), self.get_clock().now().to_msg()))

    def _publish_diagnostics(self) -> None:
        now = time.monotonic()
        message = DiagnosticArray(status=[
            self._add_node_status(camera.diagnostics(now)) for camera in self._cameras])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _add_node_status(self, status: DiagnosticStatus) -> DiagnosticStatus:
        """Add the status of the whole node to a camera's."""
        if not self._enabled:
            status.level, status.message = DiagnosticStatus.OK, 'disabled by ~/enable'
        elif self._failure:
            status.level, status.message = DiagnosticStatus.ERROR, self._failure
        elif self._tracker.engine_problem:
            status.level, status.message = DiagnosticStatus.WARN, self._tracker.engine_problem
        shown = {'device': str(self._tracker.device), 'engine': self._tracker.engine,
                 'precision': self._tracker.precision,
                 'engine_reason': self._tracker.engine_reason,
                 'bad_messages': str(self._input_warnings.total)}
        if self._tracker.engine == 'torch' and self._tracker.device.type == 'cuda':
            import torch
            used = torch.cuda.memory_allocated(self._tracker.device) / 1e6
            shown['device_memory_mb'] = f'{used:.1f}'
        status.values.extend(KeyValue(key=key, value=value) for key, value in shown.items())
        return status


def _reason(error: Exception) -> str:
    """Return an exception's text, with its type where the text is not a sentence."""
    bare = isinstance(error, (LookupError, AttributeError, TypeError)) or not str(error)
    return f'{type(error).__name__}: {error}' if bare else str(error)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM, and end the process."""
    code = 0
    with ignore_shutdown():
        init_ros('tracker_node', args)
        code = run(args)
    exit_now(code)


def run(args: Sequence[str] | None) -> int:
    """Create the node and spin it; return an exit code if it cannot even start."""
    # The libraries stay to the end: no need to look for garbage among them.
    gc.freeze()
    try:
        node = TrackerNode()
    except Exception as error:
        get_logger('tracker').error(f'cannot start: {_reason(error)}')
        return 1
    warn_of_unused_sections(node, sys.argv if args is None else args)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.parameters['autostart'] and not node.start():
            return 1
        executor.spin()
    finally:
        # Fast DDS with TCP (LARGE_DATA) may block forever here, eProsima/Fast-DDS#6066.
        faulthandler.dump_traceback_later(SHUTDOWN_TIMEOUT, exit=True)
        executor.shutdown()
        node.destroy_node()
    return 0


def exit_now(code: int) -> None:
    """
    End the process at once: to unload torch's libraries would take another second.

    Only without the last reference to the node does the middleware remove its files in shared
    memory, and a lifecycle node refers to itself.
    """
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_IGN)
    gc.collect()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

