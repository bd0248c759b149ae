# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The example of a controller, in a process of its own, with the node and the shipped network."""

from pathlib import Path
import sys

import cv2
import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'follow_target.py'
HEIGHT, WIDTH, SIZE = 240, 320, 50
LEFT, RIGHT, STEP = 40, 230, 6
# Commands in a row after which the robot counts as standing.
STILL = 10


def texture(seed, height, width, cell):
    """Return a smooth random image."""
    grid = np.random.default_rng(seed).integers(
        0, 255, (height // cell + 2, width // cell + 2, 3), np.uint8)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


BACKGROUND = texture(1, HEIGHT, WIDTH, 24) // 2
BALL = texture(2, SIZE, SIZE, 10) // 4 * 3 + 60


def box_at(x):
    """Return the ball's `xyxy` box."""
    return (x, 140., x + SIZE, 140. + SIZE)


def pixels(x):
    """Return a frame with the ball."""
    rgb = BACKGROUND.copy()
    rgb[140:140 + SIZE, x:x + SIZE] = BALL
    return rgb


class Scene:
    """A camera directed at a ball, and the robot that receives the example's commands."""

    def __init__(self, client):
        from geometry_msgs.msg import Twist
        self.client, self.x, self.commands = client, LEFT, []
        client.node.create_subscription(Twist, 'cmd_vel', self.commands.append, 100)

    def film(self):
        """Send an image and wait for its tracks."""
        return self.client.tracks_of(self.client.send(pixels(self.x)))

    def film_until(self, condition, what):
        """Send images until a condition on the commands that come meanwhile holds."""
        before = len(self.commands)
        self.client.wait_until(
            lambda: self.film() and condition(self.commands[before:]), what)

    def follow(self):
        """Send images until it turns toward the ball."""
        side = np.sign(WIDTH / 2 - self.x - SIZE / 2)
        self.film_until(lambda commands: any(
            side * command.angular.z > .1 and command.angular.y > .1 for command in commands),
            'a turn toward the ball')

    def stand_still(self):
        """Send images until it stands still."""
        self.film_until(lambda commands: len(commands) >= STILL and not any(
            map(turns, commands[-STILL:])), 'it to stand still')

    def start(self):
        """Start the target at the ball and send images until it turns there."""
        self.client.init('ball', box_at(self.x))
        self.follow()


def turns(command):
    """Tell whether a Twist moves anything."""
    parts = command.linear, command.angular
    return any(value != 0 for part in parts for value in (part.x, part.y, part.z))


@pytest.fixture
def example(start_node, start_process, make_client):
    """Run the node and the example; yield the example's process and the Scene."""
    with start_node('-r', '__ns:=/servo', weights="''"), \
            start_process([sys.executable, EXAMPLE], '-r', '/re3/tracks:=/servo/tracks',
                          '-r', '/re3/status:=/servo/status', '-r', 'cmd_vel:=/servo/cmd_vel',
                          target='ball', width=WIDTH, height=HEIGHT) as process:
        scene = Scene(make_client(namespace='/servo').connect())
        scene.stand_still()     # nothing to follow yet
        yield process, scene


def test_turns_toward_a_moving_target_and_stops_when_it_is_lost(example):
    process, scene = example
    scene.start()
    while scene.x < RIGHT:
        scene.x += STEP
        scene.film()
    scene.follow()
    set_parameters = scene.client.set_parameters
    assert set_parameters(lost_confidence=1.0, found_confidence=1.0, lost_after=1).successful
    scene.film_until(lambda _: 'stopped: target is lost' in process.log, 'the end of it')
    # It is still in the tracks, but only as what is being searched for.
    assert [track.id for track in scene.film().detections] == ['ball']
    scene.stand_still()
    assert set_parameters(lost_confidence=0.0, found_confidence=0.0, lost_after=5).successful
    scene.follow()


def test_a_refused_box_does_not_stop_it(example):
    process, scene = example
    scene.start()
    stops = process.log.count('stopped')
    scene.client.statuses.clear()
    scene.client.init('ball', (-90., -90., -20., -20.))
    scene.film_until(lambda _: any(status.message == 'refused' for message in
                                   scene.client.statuses for status in message.status),
                     'the refusal')
    scene.follow()
    assert process.log.count('stopped') == stops


def test_stops_on_removal_and_when_the_camera_or_itself_ends(example):
    process, scene = example
    scene.start()
    scene.client.init('ball', None)
    process.wait_for_log('stopped: target is removed')
    scene.stand_still()

    scene.start()
    process.wait_for_log('stopped: no tracks arrive', process.log.count('no tracks arrive') + 1)
    scene.client.wait_until(lambda: not turns(scene.commands[-1]), 'the stop')

    scene.follow()
    assert process.end() == 0
    assert 'stopped: interrupted' in process.log and 'Traceback' not in process.log
    scene.client.wait_until(lambda: not turns(scene.commands[-1]), 'the last stop')
