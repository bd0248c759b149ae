# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A camera in a process of its own, which can be paused, sped up and changed in resolution."""

from contextlib import suppress
import multiprocessing
import time

import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from stress.scene import LENGTH, PrerenderedSequence, Scene

PATIENCE = 180


class VideoPublisher:
    """What the camera's process does: publish the scene at a rate, obey commands."""

    def __init__(self, connection, topic):
        rclpy.init()
        node = rclpy.create_node(topic.strip('/').replace('/', '_'))
        self._publisher = node.create_publisher(Image, topic, QoSProfile(depth=5))
        self._connection = connection
        self._frame_id = f'{node.get_name()}_optical_frame'
        self._sequence = None
        self._rate = 0.
        self._next = 0.
        self._sent = 0

    def run(self):
        """Publish and handle commands until `stop`."""
        while self._handle_command(self._due()):
            if self._rate and self._due() <= 0:
                self._publish()

    def _due(self):
        """Return the seconds until the next image; None while paused."""
        return max(0., self._next - time.monotonic()) if self._rate else None

    def _handle_command(self, seconds):
        """Wait that long for a command, or for ever if None; return whether to go on."""
        while self._connection.poll(seconds):
            command, *arguments = self._connection.recv()
            if command == 'stop':
                return False
            if command == 'show':
                self._sequence = PrerenderedSequence(Scene(*arguments), self._frame_id)
            if command == 'rate':
                self._rate, = arguments
                self._next = time.monotonic()
            self._connection.send(self._sent)
            seconds = 0 if self._rate else None
        return True

    def _publish(self):
        # The stamp's last nanoseconds are the number of the image in the loop.
        stamp = time.time_ns() // LENGTH * LENGTH + self._sent % LENGTH
        self._publisher.publish(self._sequence.message(self._sent, stamp))
        self._sent += 1
        # A camera that is late does not hurry after its time.
        self._next = max(self._next + 1 / self._rate, time.monotonic())


def _film(connection, topic):
    VideoPublisher(connection, topic).run()


class Camera:
    """
    The camera's process, seen from outside; ends with its `with` block.

    An image's stamp modulo LENGTH is its position in the scene.
    """

    def __init__(self, topic='/re3/image'):
        self.rate = 0.
        context = multiprocessing.get_context('spawn')
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_film, args=(other, topic), daemon=True)
        self._process.start()

    def _command(self, *command):
        self._connection.send(command)
        if not self._connection.poll(PATIENCE):
            raise RuntimeError(f'the camera does not answer to {command[0]!r}')
        return self._connection.recv()

    def show(self, size, targets, seed=0):
        """Show another scene (see `Scene`); return that Scene."""
        self._command('show', size, targets, seed)
        return Scene(size, targets, seed)

    def play(self, rate):
        """Publish `rate` images a second from now on; return how many were sent so far."""
        self.rate = rate
        return self._command('rate', float(rate))

    def pause(self):
        """Pause; return how many images were sent so far."""
        return self._command('rate', 0.)

    def __enter__(self):
        """Return the camera."""
        return self

    def __exit__(self, *error):
        """End the process."""
        with suppress(OSError):     # if it has ended by itself
            self._connection.send(('stop',))
        self._process.join(PATIENCE)
