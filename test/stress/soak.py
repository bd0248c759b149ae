# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Half an hour with targets that come and go."""

import time

import numpy as np
from stress.bench import latencies, quantiles, Result
from stress.client import detection
from stress.load import VGA
from stress.report import plot_lines
from vision_msgs.msg import Detection2DArray

RATE = 30
MOST = 24
# The first part of the time is warm-up.
WARM_UP = 1 / 3
SLOPE, SPREAD = 60., 4      # MB per hour; threads and files


class Guests:
    """Targets of a random number, started and removed in all the ways that there are."""

    def __init__(self, client, scene):
        self.started = self.removed = 0
        self._client = client
        self._boxes = scene.boxes(0)
        self._rng = np.random.default_rng(0)
        self._present = {}      # id: place in the scene
        self._number = 0

    def settled(self):
        """Tell whether those are tracked that should be, and no others."""
        return set(self._client.arrivals[-1].boxes) == set(self._present)

    def change(self):
        """Start or remove some."""
        goal = int(self._rng.integers(0, MOST + 1))
        while len(self._present) > goal:
            self._remove(str(self._rng.choice(list(self._present))))
        new = [self._new() for _ in range(goal - len(self._present))]
        if self._rng.random() < .5:
            self._client.detections.publish(Detection2DArray(detections=new))
        else:
            for message in new:
                self._client.inits.publish(message)

    def _new(self):
        """Return the box of one more target, of the newest image or of an earlier one."""
        place = int(self._rng.choice(sorted(set(range(MOST)) - set(self._present.values()))))
        self._number += 1
        self.started += 1
        identity = f'guest {self._number}'
        self._present[identity] = place
        stamp = 0
        if self._rng.random() < .5:
            stamp = self._client.arrivals[-1].stamp - int(self._rng.integers(0, 300_000_000))
        return detection(identity, self._boxes[place], stamp)

    def _remove(self, identity):
        del self._present[identity]
        self.removed += 1
        self._client.init(identity, None)

    def leave(self):
        """Remove all, once they are tracked."""
        self._client.wait_until(self.settled, 'tracks of all targets that were started')
        for identity in list(self._present):
            self._remove(identity)
        self._client.wait_until(self.settled, 'the last target to be removed')


class Samples:
    """Resources of the node's process over time."""

    def __init__(self, node):
        self._node = node
        self._begin = time.monotonic()
        self.minutes = []
        self.lines = {'memory MB': [], 'threads': [], 'files': [], 'targets': [],
                      'latency ms': []}

    def take(self, client):
        """Take one sample and forget the tracks since the last one."""
        arrivals = list(client.arrivals)
        self.minutes.append((time.monotonic() - self._begin) / 60)
        for name, value in (
                ('memory MB', self._node.memory()), ('threads', self._node.threads()),
                ('files', self._node.files()),
                ('targets', len(arrivals[-1].boxes) if arrivals else 0),
                ('latency ms', quantiles(latencies(arrivals))[0])):
            self.lines[name].append(value)
        del client.arrivals[:-1]

    def settled(self, name):
        """Return (minutes, values) after the warm-up."""
        first = int(len(self.minutes) * WARM_UP)
        return np.array(self.minutes[first:]), np.array(self.lines[name][first:])

    def slope(self, name):
        """Return the growth per hour after the warm-up, by linear regression."""
        return 60 * float(np.polyfit(*self.settled(name), 1)[0])

    def spread(self, name):
        """Return the largest minus the smallest value after the warm-up."""
        return float(np.ptp(self.settled(name)[1]))


def run_soak(bench):
    """Let targets come and go for a long time."""
    minutes = bench.config.minutes
    result = Result('Soak', (
        f'{minutes:g} minutes of 640x480 at {RATE} Hz; every second, if the last change has come '
        f'about, the number of targets changes to a random one of 0 to {MOST}: started on `init` '
        'and on `detections`, some with boxes up to 0.3 s late, removed by request. The first '
        f'{WARM_UP:.0%} of the time are warm-up.'))
    with bench.following('soak', VGA, MOST, RATE, drop_after=0) as (
            node, client, camera, scene), bench.timed_progress(60 * minutes) as progress:
        for name in client.arrivals[-1].boxes:
            client.init(name, None)
        guests, samples = Guests(client, scene), Samples(node)
        client.wait_until(guests.settled, 'an empty scene')
        begin = time.monotonic()
        while (past := time.monotonic() - begin) < 60 * minutes:
            progress(past)
            if guests.settled():
                guests.change()
            client.spin(1)
            samples.take(client)
        guests.leave()
        left = [state for state in client.states.values() if state != 'removed']
        figures = client.next_figures()
        alive, log = node.alive, node.log
    plot_lines(bench.output / 'soak.png', samples.minutes, samples.lines)
    result.plots.append('soak.png')
    _fill(result, samples, guests)
    result.check('all targets are gone at the end: none in status, none in diagnostics',
                 not left and figures['targets_tracked'] == figures['targets_lost'] == '0',
                 f'{len(left)} of {guests.started}')
    result.check('the node lives, without a traceback', alive and 'Traceback' not in log)
    return result


def _fill(result, samples, guests):
    memory = samples.settled('memory MB')[1]
    table = result.table('quantity', 'after warm-up', 'at the end', 'largest')
    for name in ('memory MB', 'threads', 'files'):
        values = samples.settled(name)[1]
        table.rows.append([name, f'{values[0]:.0f}', f'{values[-1]:.0f}', f'{values.max():.0f}'])
    counts = result.table('targets started', 'removed', 'latency ms median', 'largest')
    delays = [value for value in samples.lines['latency ms'] if np.isfinite(value)]
    counts.rows.append([guests.started, guests.removed, f'{np.median(delays):.0f}',
                        f'{max(delays):.0f}'])
    slope = samples.slope('memory MB')
    result.check(f'memory is flat: grows by less than {SLOPE:.0f} MB per hour or 5 % in all',
                 slope < SLOPE or memory[-1] < 1.05 * memory[0], f'{slope:+.1f} MB per hour')
    for name in ('threads', 'files'):
        spread = samples.spread(name)
        result.check(f'the number of {name} stays the same, give or take {SPREAD}',
                     spread <= SPREAD, f'{spread:.0f}')
