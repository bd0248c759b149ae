# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The source of the page for ROS 2: the topics and services of the tracker node."""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeout
from threading import Thread
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from re3_ros.programs import ignore_shutdown
from re3_ros.web.camera import WebCamera
from re3_web.source import Box, Receiver, SourceState
from std_srvs.srv import SetBool, Trigger

# Seconds without diagnostics after which the tracker counts as gone, for a service's answer, and
# between looks at what the image publishers offer.
TRACKER_TIMEOUT, CALL_TIMEOUT, FOLLOW_PERIOD = 5., 5., 1.
DISABLED = 'disabled by ~/enable'


class RosSource:
    """
    A `re3_web.source.Source` on the topics of a tracker node.

    The cameras and their image topics are those that the tracker names in `/diagnostics`. Images
    are subscribed only while somebody looks at them. All of ROS runs in a thread of its own.

    :param node: a node in the tracker's namespace; it is destroyed at the end.
    :param tracker: name of the tracker node in this namespace.
    :param buffer_seconds: the tracker's `init_buffer_seconds`.
    """

    def __init__(self, node: Node, tracker: str, buffer_seconds: float) -> None:
        self.buffer_seconds = buffer_seconds
        self._node = node
        namespace = node.get_namespace().rstrip('/')
        self.title = f'{namespace}/{tracker}'
        self._prefix = f'{self.title[1:]}: '
        self._cameras: dict[str, WebCamera] = {}
        self._receiver: Receiver | None = None
        self._watched: frozenset[str] = frozenset()
        self._last_diagnostics = float('-inf')
        self._enabled: bool | None = None
        self._clients: dict[str, Any] = {
            'enable': node.create_client(SetBool, f'{tracker}/enable'),
            'reset': node.create_client(Trigger, f'{tracker}/reset')}
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._thread = Thread(target=self._spin, name='ros', daemon=True)

    # ---- Source ----

    def start(self, receiver: Receiver) -> None:
        """Subscribe and begin to deliver."""
        self._receiver = receiver
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._node.create_timer(FOLLOW_PERIOD, self._apply_watched)
        self._thread.start()

    def stop(self) -> None:
        """Stop the executor and destroy the node."""
        self._executor.shutdown(timeout_sec=2)
        self._thread.join(timeout=5)
        self._node.destroy_node()

    def state(self) -> SourceState:
        """Return the present state."""
        alive = time.monotonic() - self._last_diagnostics < TRACKER_TIMEOUT
        problems = [] if alive else [
            f'No diagnostics from {self.title}: the tracker does not run, or is not active.']
        cameras = [camera.state(alive) for camera in list(self._cameras.values())]
        return SourceState(cameras, self._enabled if alive else None, problems)

    def watch(self, cameras: frozenset[str]) -> None:
        """Subscribe to the images of these cameras only."""
        if cameras != self._watched:
            self._watched = cameras
            self._executor.create_task(self._apply_watched)

    def init(self, camera: str, target_id: str, box: Box, stamp: int) -> None:
        """Publish a box on the camera's `init`."""
        self._executor.create_task(self._cameras[camera].send_box, target_id, box, stamp)

    def remove(self, camera: str, target_id: str) -> None:
        """Publish a box of size 0 x 0 on the camera's `init`."""
        self._executor.create_task(self._cameras[camera].send_box, target_id, None, 0)

    def call(self, service: str) -> tuple[bool, str]:
        """Call `~/enable` or `~/reset` of the tracker and wait for the answer."""
        answer: Future[Any] = Future()
        self._executor.create_task(self._send_call, service, answer)
        try:
            response = answer.result(CALL_TIMEOUT)
        except CallTimeout:
            return False, 'the tracker does not answer'
        return response.success, response.message

    def _send_call(self, service: str, answer: 'Future[Any]') -> None:
        if service == 'reset':
            future = self._clients['reset'].call_async(Trigger.Request())
        else:
            request = SetBool.Request(data=service == 'enable')
            future = self._clients['enable'].call_async(request)
        future.add_done_callback(lambda done: answer.set_result(done.result()))

    # ---- the thread of ROS ----

    def _spin(self) -> None:
        with ignore_shutdown(self._node.context):
            self._executor.spin()

    def _apply_watched(self) -> None:
        """Subscribe as asked, in the way that the publishers offer by now."""
        for name, camera in self._cameras.items():
            camera.watch(name in self._watched)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        mine = [status for status in message.status if status.name.startswith(self._prefix)]
        if not mine:
            return
        self._last_diagnostics = time.monotonic()
        for status in mine:
            self._camera_of(status).on_diagnostics(status)
        self._enabled = all(status.message != DISABLED for status in mine)

    def _camera_of(self, status: DiagnosticStatus) -> WebCamera:
        name = status.name[len(self._prefix):]
        # A camera without a name is called 'camera' in the diagnostics; its topics have no prefix.
        if name == 'camera' and not self._node.count_publishers(f'{name}/tracks'):
            name = ''
        if name not in self._cameras:
            assert self._receiver is not None
            self._cameras[name] = WebCamera(self._node, name, self._receiver)
        return self._cameras[name]
