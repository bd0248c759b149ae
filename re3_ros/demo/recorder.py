# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo's own node: sends the box, starts the video, records the tracker's messages."""

from bisect import bisect_right
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from re3_ros.demo.report import Observation
from re3_ros.messages import fill_box, read_box, stamp_of
from re3_ros.targets import REFUSED
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2D, Detection2DArray

TARGET_ID = 'target'
# Deep enough that no message is lost while this process is busy.
DEPTH = 1000


class DemoRecorder(Node):
    """
    Sends the box of one target to the tracker and records its tracks, states and diagnostics.

    `newest_header` is the header of the newest tracks, None before the first, `sightings` how
    many of them had the target, `refusal` the reason for which the tracker refused the box.
    """

    def __init__(self, **options: Any) -> None:
        """Create the topics under their full names, as any other package would use them."""
        super().__init__('demo_recorder', **options)
        self.newest_header: Any = None
        self.sightings = 0
        self.refusal = ''
        self._tracks: list[tuple[int, int, np.ndarray | None, float]] = []
        self._transitions = [(0, 'tracked')]
        self._figures: dict[str, str] = {}
        self._init = self.create_publisher(Detection2D, '/re3/init', QoSProfile(depth=10))
        self._play = self.create_client(SetBool, '/camera/camera_player/play')
        latched = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Detection2DArray, '/re3/tracks', self._on_tracks, DEPTH)
        self.create_subscription(DiagnosticArray, '/re3/status', self._on_status, latched)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, DEPTH)

    def _on_tracks(self, message: Detection2DArray) -> None:
        arrival = self.get_clock().now().nanoseconds
        self.newest_header = message.header
        box, confidence = None, 0.0
        for entry in message.detections:
            if entry.id == TARGET_ID:
                box, confidence = read_box(entry.bbox), entry.results[0].hypothesis.score
                self.sightings += 1
        self._tracks.append((stamp_of(message.header), arrival, box, confidence))

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == TARGET_ID and status.message == REFUSED:
                self.refusal = ', '.join(pair.value for pair in status.values)
            elif status.name == TARGET_ID:
                self._transitions.append((stamp_of(message.header), status.message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            figures = {entry.key: entry.value for entry in status.values}
            if 'processing_ms_mean' in figures:
                self._figures = figures

    def can_send(self) -> bool:
        """Return whether the tracker has processed an image and subscribes to boxes."""
        return self.newest_header is not None and self._init.get_subscription_count() > 0

    def send_box(self, box: np.ndarray) -> None:
        """Publish the `xyxy` box (4,) for the newest image that the tracker has processed."""
        message = Detection2D(header=self.newest_header, id=TARGET_ID)
        fill_box(message.bbox, box)
        self._init.publish(message)

    def can_start_video(self) -> bool:
        """Return whether the service of the camera player is ready."""
        return self._play.service_is_ready()

    def start_video(self) -> Future:
        """Ask the camera player to go on; returns a future that is done when it does."""
        return self._play.call_async(SetBool.Request(data=True))

    def newest_stamp(self) -> int:
        """Return the image stamp of the newest tracks in nanoseconds, 0 before the first."""
        return 0 if self.newest_header is None else stamp_of(self.newest_header)

    def node_time(self) -> tuple[float | None, float | None]:
        """Return the node's mean and p95 time per frame in ms, each None without diagnostics."""
        mean, p95 = (self._figures.get(f'processing_ms_{kind}') for kind in ('mean', 'p95'))
        return (None, None) if mean is None or p95 is None else (float(mean), float(p95))

    def observations(self) -> list[Observation]:
        """Return an `Observation` for each message; lost from the status of its time."""
        transitions = sorted(self._transitions, key=lambda change: change[0])
        stamps = [stamp for stamp, _ in transitions]
        return [Observation(stamp, arrival, box, confidence,
                            transitions[bisect_right(stamps, stamp) - 1][1] == 'lost')
                for stamp, arrival, box, confidence in self._tracks]
