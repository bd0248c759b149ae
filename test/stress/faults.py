# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Cameras that drop out or change their resolution, and a life cycle in fast motion."""

import time

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from stress.bench import quantiles, Result
from stress.load import share_on_target, VGA

RATE = 30
TARGETS = 4
FRAME_TIMEOUT = 2.
# Seconds that the camera pauses: unnoticed, noticed.
PAUSES = (.5, 1., 3., 6.)
# The same view in other resolutions, in turn.
RESOLUTIONS = ((720, 960), (240, 320), (1080, 1440), VGA)
# One in so many life cycles goes all the way.
WHOLE_CYCLE = 5
# What may come and go by itself: a thread of the middleware, a socket.
FEW = 4
STATES = {'configure': 'inactive', 'activate': 'active', 'deactivate': 'inactive',
          'cleanup': 'unconfigured'}


def run_dropouts(bench):
    """Let the camera drop out for a while, and change its resolution."""
    result = Result('Dropouts and changes of resolution', (
        f'A camera of {RATE} Hz, {TARGETS} targets. It pauses for some seconds, then continues; '
        'then it changes to the same view in another resolution while running. Targets must keep '
        'their ids.'))
    with bench.following('dropouts', VGA, TARGETS, RATE, frame_timeout=FRAME_TIMEOUT) as (
            node, client, camera, scene):
        pauses = result.table('pause', 'targets before', 'targets after', 'IoU >= 0.5 after',
                              'ms until the first tracks')
        # At the start, too, the node may have waited for the camera, and logged it.
        begin = len(node.log)
        for seconds in bench.progress(PAUSES, 'pause'):
            pauses.rows.append(_pause(client, camera, scene, seconds))
        log = node.log[begin:]
        changes = result.table('change to', 'targets before', 'targets after',
                               'IoU >= 0.5 after', 'ms until the first tracks')
        for size in bench.progress(RESOLUTIONS, 'change'):
            changes.rows.append(_change(client, camera, size))
        resized = node.log.count('image size changed')
    rows = pauses.rows + changes.rows
    result.check(f'all {TARGETS} targets are there before and after',
                 all(row[1] == row[2] == TARGETS for row in rows))
    result.check('at least 90 % of the boxes have an IoU of at least 0.5 afterwards',
                 all(float(row[3].rstrip('%')) >= 90 for row in rows))
    silent, again = log.count('no image on'), log.count('images arrive again')
    long = sum(seconds > FRAME_TIMEOUT for seconds in PAUSES)
    result.check(f'each pause longer than frame_timeout ({FRAME_TIMEOUT:.0f} s) is logged once, '
                 'and its end', silent == again == long, f'{silent} and {again} of {long}')
    result.check('the change of size is logged', resized >= 1, f'{resized} lines')
    return result


def _pause(client, camera, scene, seconds):
    before = client.next_tracks()
    camera.pause()
    client.spin(seconds)
    camera.play(RATE)
    return [f'{seconds} s', *_afterwards(client, before, scene)]


def _change(client, camera, size):
    before = client.next_tracks()
    camera.pause()
    scene = camera.show(size, TARGETS)
    client.spin(.2)
    camera.play(RATE)
    return [f'{size[1]}x{size[0]}', *_afterwards(client, before, scene)]


def _afterwards(client, before, scene):
    """Return the columns about the time after `before`."""
    client.arrivals.clear()
    begin = time.monotonic()
    client.next_tracks()
    waited = time.monotonic() - begin
    client.next_tracks(10)
    share = share_on_target(client.arrivals[-10:], scene)
    return [len(before.boxes), len(client.arrivals[-1].boxes), f'{share:.0%}',
            f'{waited * 1e3:.0f}']


def run_lifecycle(bench):
    """Send the node through its life cycle again and again while images flow."""
    cycles = round(2.5 * bench.config.times)
    result = Result('Life cycle under load', (
        f'Deactivate and activate, every {WHOLE_CYCLE}th time with cleanup and configure in '
        f'between, while a camera of {RATE} Hz plays and boxes are sent.'))
    table = result.table('transition', 'times', 'median ms', 'max ms')
    with bench.following('lifecycle', VGA, TARGETS, RATE) as (node, client, camera, scene):
        history = _History(node, client)
        for number in bench.progress(range(cycles), 'cycle'):
            history.cycle(scene, whole=number % WHOLE_CYCLE == WHOLE_CYCLE - 1)
        end = history.end()
        log = node.log
    for name, times in history.times.items():
        median, _, maximum = quantiles(times)
        table.rows.append([name, len(times), f'{1e3 * median:.0f}', f'{1e3 * maximum:.0f}'])
    result.check(f'all transitions of {cycles} cycles succeed', not history.failures,
                 ', '.join(history.failures))
    result.check('deactivate keeps the targets, cleanup forgets them', not history.wrong_targets,
                 ', '.join(history.wrong_targets))
    result.check('the log has no traceback', 'Traceback' not in log)
    for name in ('threads', 'files'):
        result.check(f'open {name} as before, give or take {FEW}',
                     abs(end[name] - history.begin[name]) <= FEW,
                     f'{history.begin[name]}, then {end[name]}')
    result.check('memory grows by at most 100 MB from the first whole cycle on',
                 end['memory'] - history.first_memory <= 100,
                 f'{history.first_memory:.0f} MB, then {end["memory"]:.0f} MB')
    return result


class _History:
    """Life cycles of a node, and what became of it."""

    def __init__(self, node, client):
        self.times = {name: [] for name in STATES}
        self.failures, self.wrong_targets = [], []
        self.first_memory = None
        self._node, self._client = node, client
        self.begin = self._resources()

    def _resources(self):
        return {'threads': self._node.threads(), 'files': self._node.files(),
                'memory': self._node.memory()}

    def cycle(self, scene, whole):
        """Go through one cycle; a `whole` one loses the targets, which are started again."""
        names = ('deactivate', 'cleanup', 'configure', 'activate') if whole else (
            'deactivate', 'activate')
        for name in names:
            self._change(name)
            # Boxes that nobody listens to, or that arrive in the middle.
            self._client.init('target 0', scene.boxes(0)[0])
        self._client.connect()
        self._client.arrivals.clear()
        found = set(self._client.next_tracks(2).boxes) - {'target 0'}
        if len(found) != (0 if whole else TARGETS - 1):
            self.wrong_targets.append(f'{len(found)} after {" ".join(names)}')
        if whole:
            self._client.start_targets(scene.boxes(0))
            self.first_memory = self.first_memory or self._node.memory()

    def _change(self, name):
        begin = time.monotonic()
        self._client.call(ChangeState, 'tracker/change_state', transition=Transition(
            id=getattr(Transition, f'TRANSITION_{name.upper()}')))
        self.times[name].append(time.monotonic() - begin)
        label = self._client.call(GetState, 'tracker/get_state').current_state.label
        if label != STATES[name]:
            self.failures.append(f'{label} after {name}')

    def end(self):
        """Return threads, files and memory after some more tracks."""
        self._client.next_tracks(10)
        return self._resources()
