# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what viewers of the web page cost: the tracker node, and the page's own process.

    PYTHONPATH=test:$PYTHONPATH python -m stress.web_bench VIDEO --box x,y,width,height

in the environment of scripts/in_env.sh, see docs/performance.md.

The node tracks one target in the looped video; viewers without a browser acknowledge each image
at once. Processor times are those of the processes, so other load hardly changes them.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
import re
import tempfile
from threading import Event, Thread
import time
from typing import Any, Callable

from aiohttp import ClientSession
import cv2
import numpy as np
from stress.node_process import RosProcess

SIDE = 1280
# Seconds for the sizes of the images to settle before the measurement.
SETTLE = 15.


class Viewers:
    """Viewers in a thread of their own; count images, their bytes and their last size."""

    def __init__(self, address: str, number: int) -> None:
        self.images = self.bytes = 0
        self.width = 0
        self._address, self._number = address, number
        self._end = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> 'Viewers':
        """Connect."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave."""
        self._end.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._view() for _ in range(self._number)))

    async def _view(self) -> None:
        origin = self._address.rstrip('/')
        async with ClientSession() as session, session.ws_connect(
                f'{origin}/ws', headers={'Origin': origin}, max_msg_size=0) as socket:
            async for item in socket:
                if self._end.is_set():
                    return
                if isinstance(item.data, str):
                    message = json.loads(item.data)
                    if message['type'] == 'state' and message['cameras']:
                        await socket.send_json({
                            'type': 'watch', 'camera': message['cameras'][0]['name'],
                            'side': SIDE})
                    continue
                length = int.from_bytes(item.data[:4], 'big')
                header = json.loads(item.data[4:4 + length])
                self._count(item.data[4 + length:])
                await socket.send_json({'type': 'ack', 'sequence': header['sequence']})

    def _count(self, jpeg: bytes) -> None:
        if not jpeg:
            return
        if self.images % 50 == 0:
            self.width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[1]
        self.images += 1
        self.bytes += len(jpeg)


def processor_seconds(process: RosProcess) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Probe:
    """Starts the target, and reads the node's own count of images."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from vision_msgs.msg import Detection2D, Detection2DArray
        self.tracked = False
        self.processed: list[int] = []
        self._node = node
        node.create_subscription(Detection2DArray, '/re3/tracks', self._on_tracks, 1)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._init = node.create_publisher(Detection2D, '/re3/init', 10)

    def _on_tracks(self, message: Any) -> None:
        self.tracked = bool(message.detections)

    def _on_diagnostics(self, message: Any) -> None:
        self.processed += [int(item.value) for status in message.status for item in status.values
                           if item.key == 'frames_processed']

    def _spin_until(self, condition: Callable[[], bool]) -> None:
        import rclpy
        while not condition():
            rclpy.spin_once(self._node, timeout_sec=.1)

    def start_target(self, box: np.ndarray) -> None:
        """Publish the box until the node tracks it."""
        from re3_ros.web.camera import Detection2D, fill_box
        message = Detection2D(id='target')
        fill_box(message.bbox, box)
        while not self.tracked:
            self._init.publish(message)
            end = time.monotonic() + 2
            self._spin_until(lambda end=end: self.tracked or time.monotonic() > end)

    def count_after(self, seconds: float) -> int:
        """Return the node's count of images in the first diagnostics after some seconds."""
        end = time.monotonic() + seconds
        self._spin_until(lambda: time.monotonic() > end)
        before = len(self.processed)
        self._spin_until(lambda: len(self.processed) > before)
        return self.processed[-1]


def measure(probe: Probe, tracker: RosProcess, web: RosProcess, number: int, seconds: float
            ) -> dict[str, float]:
    """Return the figures of a run with a number of viewers."""
    address = re.search(r'open (http\S+)', web.log)[1]    # type: ignore[index]
    with Viewers(address, number) as viewers:
        def look(after: float) -> tuple[float, ...]:
            images = probe.count_after(after)
            return (images, time.monotonic(), processor_seconds(tracker), processor_seconds(web),
                    viewers.images, viewers.bytes)
        before, after = look(SETTLE if number else 3.), look(seconds)
        images, passed, node, page, shown, size = (
            now - then for now, then in zip(after, before, strict=True))
        shown_each = shown / max(number, 1)
        return {'viewers': number, 'node_ms': 1e3 * node / images, 'node_rate': images / passed,
                'page_ms': 1e3 * page / max(shown_each, 1), 'rate': shown_each / passed,
                'kilobytes': size / 1e3 / max(shown, 1), 'width': viewers.width}


def format_row(row: dict[str, float]) -> str:
    """Return a row of the Markdown table."""
    cells = [f'{row["viewers"]:.0f}', f'{row["node_rate"]:.1f}', f'{row["node_ms"]:.1f}']
    if row['viewers']:
        cells += [f'{row[name]:.{digits}f}' for name, digits in (
            ('page_ms', 1), ('rate', 1), ('width', 0), ('kilobytes', 0))]
    else:
        cells += [''] * 4
    return f'| {" | ".join(cells)} |'


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('video')
    parser.add_argument('--box', required=True, help='x,y,width,height in the first frame')
    parser.add_argument('--start', type=int, default=0, help='first frame')
    parser.add_argument('--rate', type=float, default=15., help='images per second')
    parser.add_argument('--viewers', type=int, nargs='+', default=[0, 1, 5, 0, 5])
    parser.add_argument('--seconds', type=float, default=20.)
    options = parser.parse_args()
    import rclpy
    from re3_core.boxes import xywh_to_xyxy
    from re3_ros.demo.processes import find_command
    box = xywh_to_xyxy(np.array([float(side) for side in options.box.split(',')]))
    rclpy.init()
    probe = Probe(rclpy.create_node('web_bench'))
    with tempfile.TemporaryDirectory() as folder, RosProcess(
            f'{folder}/tracker', find_command('tracker_node'),
            ('-r', 'image:=/camera/image_raw'), device='cpu', drop_after=0) as tracker, \
            RosProcess(f'{folder}/camera', find_command('camera_player'), video=options.video,
                       start=options.start, loop=True, rate=options.rate), \
            RosProcess(f'{folder}/web', find_command('web'), web_port=0,
                       web_rate=options.rate) as web:
        web.wait_for_log('open http')
        probe.start_target(box)
        print('| viewers | node: images/s | node: CPU ms per image '
              '| page: CPU ms per image shown | images/s per viewer | width | kB per image |')
        print('|---|---|---|---|---|---|---|')
        for number in options.viewers:
            print(format_row(measure(probe, tracker, web, number, options.seconds)), flush=True)
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
