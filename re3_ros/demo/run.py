# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One run of the demo: the processes that it starts and their parameters."""

import argparse
from collections.abc import Callable
from functools import partial
import os
from pathlib import Path
import time

import rclpy
from rclpy.signals import SignalHandlerOptions
from re3_ros.demo import page as web
from re3_ros.demo.clips import DemoClip
from re3_ros.demo.player import read_stamps
from re3_ros.demo.processes import isolate_ros_domain, Process, ros_command
from re3_ros.demo.recorder import DemoRecorder
from re3_ros.demo.report import Observation

# File name of the frames of a camera device, in the output folder.
RECORDED_VIDEO = 'camera.mp4'
# Seconds: for the node to load its network and see an image, for the target to appear in the
# tracks, and for the next tracks after the last image. The first two are for machines that are
# busy with other things: a process that ends is noticed at once.
START_TIMEOUT, TARGET_TIMEOUT, LAST_TIMEOUT = 300, 60, 5
# Tracks of the repeated first frame before the video starts: the first ones take longer.
WARM_UP = 5


def tracker_command(options: argparse.Namespace, config: Path, **others: object) -> list[str]:
    """Return the command of the tracker node, listening to the camera player."""
    parameters = {'image_transport': options.image_transport, 'weights': options.weights,
                  'device': options.device, **others}
    return ros_command('tracker_node', parameters, (
        '--params-file', options.params_file or str(config / 'tracker.yaml'),
        '-r', 'image:=/camera/image_raw'))


def _playback(options: argparse.Namespace, clip: DemoClip) -> dict[str, object]:
    parameters = {'video': clip.video, 'rate': options.rate,
                  'image_transport': options.image_transport}
    return parameters if clip.live else {
        **parameters, 'start': clip.start, 'end': clip.end or 0}


def player_command(options: argparse.Namespace, clip: DemoClip, folder: Path) -> list[str]:
    """Return the command of the camera player, which repeats the first frame until called."""
    parameters = _playback(options, clip) | {
        'paused': True, 'wait_for_subscribers': 1, 'stamps_file': str(folder / 'stamps.csv')}
    if clip.live:
        parameters['record_file'] = str(folder / RECORDED_VIDEO)
    return ros_command('camera_player', parameters)


def loop_command(options: argparse.Namespace, clip: DemoClip) -> list[str]:
    """Return the command of the camera player that plays the clip over and over."""
    return ros_command('camera_player', _playback(options, clip) | {'loop': not clip.live})


class Run:
    """One run of the demo: its processes and the node that records."""

    def __init__(self, tracker: Process, player: Process, page: web.DemoPage,
                 recorder: DemoRecorder) -> None:
        """Take the `Process` of tracker, player and `DemoPage`, and the `DemoRecorder`."""
        self._tracker = tracker
        self._player = player
        self._page = page
        self._recorder = recorder

    def play(self, clip: DemoClip, seconds: float) -> None:
        """Give the tracker the box, play the clip (a camera for `seconds`), wait for the end."""
        self._wait('the tracker processed an image', self._recorder.can_send, START_TIMEOUT)
        self._spin_until(lambda: self._page.started, web.START_TIMEOUT)
        print(self._page.announcement(), flush=True)
        self._recorder.send_box(clip.box)
        self._wait('the target was in the tracks',
                   lambda: self._recorder.sightings >= WARM_UP, TARGET_TIMEOUT)
        if clip.live:
            self._spin_until(lambda: self._player.ended, seconds)
        else:
            self._start_video()
            self._wait('the end of the video', lambda: self._player.ended, None)
        self._player.stop()
        self._player.check()

    def wait_for_stamp(self, stamp: int) -> None:
        """Wait for the tracks of the image with this stamp (nanoseconds), while any come."""
        newest = -1
        while newest < (now := self._recorder.newest_stamp()) < stamp:
            newest = now
            self._spin_until(partial(self._is_newer, now), LAST_TIMEOUT)

    def _is_newer(self, stamp: int) -> bool:
        return self._recorder.newest_stamp() > stamp

    def _start_video(self) -> None:
        self._wait('its ~/play was there', self._recorder.can_start_video, START_TIMEOUT)
        answer = self._recorder.start_video()
        self._wait('the video started', answer.done, START_TIMEOUT)

    def _wait(self, what: str, condition: Callable[[], object], timeout: float | None) -> None:
        """Spin until the condition holds; RuntimeError with the last log lines if it does not."""
        if self._spin_until(lambda: condition() or self._player.ended, timeout):
            if condition():
                return
            raise RuntimeError(f'the camera player ended before {what}:\n{self._player.tail()}')
        raise RuntimeError(f'{timeout} s passed before {what}; the last lines of the tracker '
                           f'node:\n{self._tracker.tail()}')

    def _spin_until(self, condition: Callable[[], object], timeout: float | None) -> bool:
        deadline = time.monotonic() + (float('inf') if timeout is None else timeout)
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._tracker.check(must_run=True)
            self._player.check()
            if self._recorder.refusal:
                raise RuntimeError(f'the tracker refused the box: {self._recorder.refusal}')
            rclpy.spin_once(self._recorder, timeout_sec=0.1)
        return True


def run(clip: DemoClip, options: argparse.Namespace, config: Path, folder: Path,
        ) -> tuple[dict[int, int], list[Observation], tuple[float | None, float | None]]:
    """
    Start the processes, play the clip and return the results.

    :return: {frame number: stamp in ns}, list of `Observation`, the node's (mean, p95) time.
    """
    isolate_ros_domain(os.environ, options.domain_id, config)
    # Interrupts raise KeyboardInterrupt here, rather than errors of calls after a shutdown.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    recorder = DemoRecorder()
    try:
        with Process('tracker node', tracker_command(options, config),
                     folder / 'tracker_node.log') as tracker, \
                Process('camera player', player_command(options, clip, folder),
                        folder / 'camera_player.log') as player, \
                web.DemoPage(folder) as page:
            this_run = Run(tracker, player, page, recorder)
            this_run.play(clip, options.seconds)
            # The player repeats the first frame; the last time counts.
            played = dict(read_stamps(folder / 'stamps.csv'))
            this_run.wait_for_stamp(max(played.values(), default=0))
        return played, recorder.observations(), recorder.node_time()
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()


def play_on(clip: DemoClip, options: argparse.Namespace, config: Path, folder: Path) -> None:
    """Play the clip over and over, with tracker and page, until Enter is pressed."""
    web.play_on(clip, (
        tracker_command(options, config, init_buffer_seconds=web.BUFFER_SECONDS),
        loop_command(options, clip)), folder)
