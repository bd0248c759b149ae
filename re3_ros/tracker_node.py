# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The tracker node: images and boxes in, tracks out (topics and parameters: docs/node.md)."""

from contextlib import contextmanager
import faulthandler
import gc
import os
import signal
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile
from re3_core import Tracker
from re3_ros import images, qos
from re3_ros.camera import Camera, REQUEST_DEPTH
from re3_ros.declare import Parameters
from re3_ros.detections import DetectionError, read_detection
from re3_ros.image_stream import stamp_of
from re3_ros.problem_log import ProblemLog
from re3_ros.shutdown import shutdown_is_no_error
from re3_ros.targets import CameraTargets, Settings, UnbatchedTracker
from std_srvs.srv import SetBool, Trigger
import torch
from vision_msgs.msg import Detection2D, Detection2DArray, VisionInfo

# Boxes of one Detection2DArray that are looked at.
MAX_DETECTIONS = 1000
# How often to look whether the publishers' quality of service has changed.
FOLLOW_PERIOD = 0.5
# Seconds that the middleware may take to say goodbye: ros2 launch waits for five.
LEAVE_TIMEOUT = 4.5
WARM_UP_SIZE = (480, 640, 3)
TRACKER_SETTINGS = ('lost_confidence', 'found_confidence', 'lost_after', 'redetection_candidates',
                    'redetection_limit')
PARAMETER_ERRORS = (ValueError, InvalidParameterTypeException, InvalidParameterValueException)
# What loading a network may raise when file, device or parameters are not as they should be.
SETUP_ERRORS = (ValueError, OSError, RuntimeError)


class TrackerNode(LifecycleNode):
    """
    Follow targets in the images of one or more cameras.

    Configure loads the network, activate subscribes, deactivate unsubscribes and keeps the
    targets, cleanup frees everything. All callbacks run one after the other.
    """

    def __init__(self, **kwargs):
        """
        Declare the parameters.

        :raises ValueError: parameters that are not allowed.
        """
        super().__init__('tracker', namespace='re3', **kwargs)
        self.parameters = Parameters(self)
        self._problems = ProblemLog(self.get_logger())
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._tracker = None
        self._cameras = []
        self._own_services = []
        self._own_timers = []
        self._shared_subscriptions = []
        self._enabled = True
        self._busy = 0.
        self._failure = ''

    # ---- lifecycle ----

    def on_configure(self, state):
        """Load the network and create publishers and services."""
        try:
            self._load_tracker()
            self._create_cameras()
            self._create_interfaces()
        except SETUP_ERRORS as error:
            self.get_logger().error(f'cannot configure: {error}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state):
        """Run the network once, for its first run is slow, and subscribe."""
        try:
            self._warm_up()
            self._open()
        except SETUP_ERRORS as error:
            self.get_logger().error(f'cannot activate: {error}')
            self._close()
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        self._vision_info.publish(self._describe_network())
        topics = ', '.join(camera.topic for camera in self._cameras)
        self.get_logger().info(f'active, waiting for images on {topics}')
        return result

    def on_deactivate(self, state):
        """Unsubscribe; the targets stay."""
        self._close()
        self.get_logger().info('inactive, targets are kept')
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        """Free the network and forget the targets."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state):
        """Free everything, from any state."""
        self._close()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state):
        """Free everything, so that the node can be configured again."""
        self._close()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def start(self):
        """Configure and activate; return whether that worked."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def _load_tracker(self):
        values = self.parameters
        if values['threads']:
            torch.set_num_threads(values['threads'])
        self._tracker = Tracker(
            values['model'] or None, weights=values['weights'] or None, device=values['device'],
            precision=values['precision'],
            **{name: values[name] for name in TRACKER_SETTINGS})
        self.get_logger().info(f'network {self._tracker.network.name} on '
                               f'{self._tracker.device}, {values["precision"]}')

    def _create_cameras(self):
        values = self.parameters
        every = values['process_every_frame']
        tracker = UnbatchedTracker(self._tracker) if every else self._tracker
        self._update_frames = tracker.update_frames
        self._settings = Settings.from_parameters(values)
        convert = images.choose_converter()
        for name in values.cameras:
            targets = CameraTargets(tracker, self._settings, name)
            self._cameras.append(Camera(self, name, targets, values, convert))

    def _create_interfaces(self):
        """Create what belongs to the node rather than to a camera."""
        self._vision_info = self.create_lifecycle_publisher(
            VisionInfo, 'vision_info', qos.latched_profile())
        self._diagnostics = self.create_lifecycle_publisher(DiagnosticArray, '/diagnostics', 10)
        self._own_services = [
            self.create_service(SetBool, '~/enable', self._on_enable),
            self.create_service(Trigger, '~/reset', self._on_reset)]
        self._frames_wait = self.create_guard_condition(self._track_pending)

    def _warm_up(self):
        black = np.zeros(WARM_UP_SIZE, np.uint8)
        self._tracker.init('warm-up', black, (100., 100., 200., 200.))
        self._tracker.update(black, ['warm-up'])
        self._tracker.remove('warm-up')

    def _open(self):
        """Subscribe and start the timers."""
        now = time.monotonic()
        for camera in self._cameras:
            camera.open(self._on_image, self._on_init, self._on_detections, now)
        if len(self._cameras) > 1:
            depth = QoSProfile(depth=REQUEST_DEPTH)
            self._shared_subscriptions = [
                self.create_subscription(
                    Detection2D, 'init',
                    lambda message: self._for_named_camera(self._on_init, message), depth),
                self.create_subscription(
                    Detection2DArray, 'detections',
                    lambda message: self._for_named_camera(self._on_detections, message), depth)]
        # On the steady clock: a simulated one may stand still just when there is much to say.
        self._own_timers = [
            self.create_timer(period, callback, clock=self._steady_clock) for period, callback in (
                (FOLLOW_PERIOD, self._look_after_streams),
                (self.parameters['diagnostics_period'], self._publish_diagnostics))]

    def _close(self):
        """Undo `_open`."""
        for camera in self._cameras:
            camera.close()
        for subscription in self._shared_subscriptions:
            self.destroy_subscription(subscription)
        for timer in self._own_timers:
            self.destroy_timer(timer)
        self._shared_subscriptions, self._own_timers = [], []

    def _release(self):
        """Undo `on_configure`, wherever that got to."""
        for camera in self._cameras:
            camera.destroy()
        for service in self._own_services:
            self.destroy_service(service)
        if self._own_services:
            self.destroy_lifecycle_publisher(self._vision_info)
            self.destroy_lifecycle_publisher(self._diagnostics)
            self.destroy_guard_condition(self._frames_wait)
        self._cameras, self._own_services = [], []
        self._tracker = self._update_frames = None
        # Cameras and node refer to each other: until they are collected, the network stays.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _describe_network(self):
        message = VisionInfo()
        message.header.stamp = self.get_clock().now().to_msg()
        message.method = self._tracker.network.name
        message.database_location = self.parameters['weights'] or 'packaged weights'
        return message

    # ---- images ----

    def _on_image(self, camera, message, sequence):
        """
        Take in one image; with several cameras, track once all of them had their turn.

        Unless every image counts: the next one of a camera may have its turn before that.
        """
        if not self._enabled:
            return
        with self._working():
            if not self._take(camera, message, sequence):
                return
            if len(self._cameras) == 1 or self._settings.every_frame:
                self._track([camera])
            else:
                self._frames_wait.trigger()

    def _take(self, camera, message, sequence):
        """Make an image the camera's pending frame; return whether it can be used."""
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
            self._problems.report(camera.topic, error)
            return False
        return True

    def _log_time_jump(self, camera):
        kept = self.parameters['on_time_jump'] == 'keep'
        self.get_logger().warning(f'{camera.topic}: image stamps jumped back; targets '
                                  f'{"kept" if kept else "removed"} (see on_time_jump)')

    def _track_pending(self):
        """Track in all cameras that have a new frame, in one batch."""
        cameras = [camera for camera in self._cameras if camera.pending is not None]
        if cameras:
            with self._working():
                self._track(cameras)

    def _track(self, cameras):
        """Follow all targets to the cameras' pending frames and publish."""
        self._apply_changes()
        work = []
        for camera in cameras:
            frame = camera.take_pending()
            work.append((camera, frame, camera.targets.begin_frame(frame)))
        tracks = self._update_frames([(frame.rgb(), keys) for _, frame, keys in work if keys])
        for camera, frame, _ in work:
            camera.publish_tracks(frame, camera.targets.end_frame(tracks))
            camera.health.published(
                stamp_of(frame.header), self.get_clock().now().nanoseconds, time.monotonic(),
                time.perf_counter() - self._started)
            self._tell(camera)

    @contextmanager
    def _working(self):
        """
        Count the time spent, and survive what the network may run into.

        Out of memory or a lost GPU must not end the node: the next image may fare better.
        """
        self._started = time.perf_counter()
        try:
            yield
            self._failure = ''
        except (RuntimeError, ValueError) as error:
            if not self.context.ok():
                raise
            self._failure = f'tracking failed: {error}'
            self.get_logger().error(self._failure, throttle_duration_sec=5.0)
        finally:
            self._busy += time.perf_counter() - self._started

    def _apply_changes(self):
        """Put parameters that have changed into effect, between two images."""
        changed = self.parameters.take_changes()
        for name, value in changed.items():
            if name in TRACKER_SETTINGS:
                setattr(self._tracker, name, value)
            elif name == 'on_old_box':
                self._settings.refuse_old = value == 'refuse'
            elif hasattr(self._settings, name):
                setattr(self._settings, name, value)

    def _tell(self, camera):
        """Log and publish what happened to a camera's targets, and what is wrong."""
        camera.publish_events(self.get_clock().now().to_msg())
        warnings, camera.targets.warnings = camera.targets.warnings, []
        for warning in warnings:
            self._problems.report(camera.topic, warning)

    # ---- boxes ----

    def _for_named_camera(self, callback, message):
        """Hand a message of the shared topics to the camera that its frame_id names."""
        name = message.header.frame_id
        camera = next((camera for camera in self._cameras if camera.is_called(name)), None)
        if camera is not None:
            callback(camera, message)
            return
        names = ', '.join(camera.name for camera in self._cameras)
        self._problems.report('init or detections', DetectionError(
            'frame_id', f'header.frame_id {name[:32]!r} names no camera; expected one of {names} '
            'or the frame_id of their images'))

    def _on_init(self, camera, message):
        """Start, restart or remove one target."""
        with self._working():
            self._apply_changes()
            for request in self._read(camera.init_topic, [message]):
                self._start(camera, request, stamp_of(message.header))
            camera.targets.catch_up()
            self._tell(camera)

    def _start(self, camera, request, stamp):
        try:
            camera.targets.request(request, stamp)
        except ValueError as error:
            self._problems.report(camera.init_topic, error)

    def _on_detections(self, camera, message):
        """Start targets at those boxes of a detector that are not tracked yet."""
        topic = camera.detections_topic
        if len(message.detections) > MAX_DETECTIONS:
            self._problems.report(topic, DetectionError('many', (
                f'{len(message.detections)} detections in one message; only the first '
                f'{MAX_DETECTIONS} are used')))
        with self._working():
            self._apply_changes()
            requests = list(self._read(topic, message.detections[:MAX_DETECTIONS]))
            for error in camera.targets.detections(requests, stamp_of(message.header)):
                self._problems.report(topic, error)
            camera.targets.catch_up()
            self._tell(camera)

    def _read(self, topic, detections):
        """Yield the Requests of those detections that are sound; report the others."""
        for detection in detections:
            try:
                yield read_detection(detection, self.parameters['max_id_length'])
            except ValueError as error:
                self._problems.report(topic, error)

    # ---- services and health ----

    def _on_enable(self, request, response):
        """Stop or go on using images; the targets stay."""
        self._enabled = request.data
        for camera in self._cameras:
            camera.pause()
        response.success = True
        response.message = 'enabled' if self._enabled else 'disabled, targets are kept'
        self.get_logger().info(response.message)
        return response

    def _on_reset(self, request, response):
        """Forget all targets of all cameras."""
        number = sum(len(camera.targets.targets) for camera in self._cameras)
        for camera in self._cameras:
            camera.targets.reset()
            self._tell(camera)
        response.success = True
        response.message = f'{number} targets removed'
        return response

    def _look_after_streams(self):
        now = time.monotonic()
        for camera in self._cameras:
            camera.follow_publishers()
            if self._enabled:
                camera.look_after_stream(now)

    def _publish_diagnostics(self):
        now = time.monotonic()
        message = DiagnosticArray(status=[
            self._judged(camera.diagnostics(now)) for camera in self._cameras])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _judged(self, status):
        """Add to a camera's status what holds for the whole node."""
        if not self._enabled:
            status.level, status.message = DiagnosticStatus.OK, 'disabled by ~/enable'
        elif self._failure:
            status.level, status.message = DiagnosticStatus.ERROR, self._failure
        shown = {'device': str(self._tracker.device), 'bad_messages': str(self._problems.total)}
        if self._tracker.device.type == 'cuda':
            used = torch.cuda.memory_allocated(self._tracker.device) / 1e6
            shown['device_memory_mb'] = f'{used:.1f}'
        status.values.extend(KeyValue(key=key, value=value) for key, value in shown.items())
        return status


def main(args=None):
    """Run the node until SIGINT or SIGTERM, and end the process."""
    # As SIGINT does: interrupts the network's run, where rclpy's own handler would wait for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 0
    with shutdown_is_no_error():
        rclpy.init(args=args)
        code = run()
    leave(code)


def run():
    """Create the node and spin it; return an exit code if it cannot even start."""
    # The libraries stay to the end: no need to look for garbage among them.
    gc.freeze()
    try:
        node = TrackerNode()
    except PARAMETER_ERRORS as error:
        get_logger('tracker').error(f'cannot start: {error}')
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.parameters['autostart'] and not node.start():
            return 1
        executor.spin()
    finally:
        # Fast DDS with TCP (LARGE_DATA) may wait for ever here, eProsima/Fast-DDS#6066.
        faulthandler.dump_traceback_later(LEAVE_TIMEOUT, exit=True)
        executor.shutdown()
        node.destroy_node()
    return 0


def leave(code):
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


if __name__ == '__main__':
    main()
