# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What a scenario is given to work with, and what it gives back."""

from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path

import numpy as np
from re3_core.io.files import atomic_write
from stress.camera import Camera
from stress.client import Client
from stress.node_process import TrackerProcess
from tqdm import tqdm


@dataclass
class Table:
    """Figures in rows; each row a list of texts and numbers as long as `columns`."""

    columns: list
    rows: list = field(default_factory=list)


@dataclass
class Result:
    """
    What a scenario found: tables, conditions with what was seen, names of plot files.

    `about` describes the measurement.
    """

    title: str
    text: str
    about: dict = field(default_factory=dict)
    tables: list = field(default_factory=list)
    checks: list = field(default_factory=list)
    plots: list = field(default_factory=list)

    def check(self, condition, passed, seen=''):
        """Record a hard condition in words, whether it holds, and its figure."""
        self.checks.append({'condition': condition, 'passed': bool(passed), 'seen': str(seen)})

    def table(self, *columns):
        """Add a Table with these columns and return it."""
        self.tables.append(Table(list(columns)))
        return self.tables[-1]

    @property
    def passed(self):
        """Whether all conditions hold, of which there must be one."""
        return bool(self.checks) and all(check['passed'] for check in self.checks)

    def write(self, path):
        """Write everything as JSON."""
        with atomic_write(Path(path)) as part:
            part.write_text(json.dumps(asdict(self), indent=1, default=float) + '\n')

    @classmethod
    def read(cls, path):
        """Return the Result that `write` wrote."""
        values = json.loads(Path(path).read_text())
        values['tables'] = [Table(**table) for table in values['tables']]
        return cls(**values)


@dataclass(frozen=True)
class StressConfig:
    """How long and how often to do things."""

    minutes: float = 30.        # of soak
    seconds: float = 20.        # of each measurement
    times: int = 20             # signals of each kind; two and a half times as many life cycles
    messages: int = 6000        # of fuzz, in each mode

    @property
    def text(self):
        """The config in words."""
        return (f'{self.seconds:g} s each, {self.times} signals, {self.messages} messages, '
                f'{self.minutes:g} min soak')

    @classmethod
    def quick(cls, minutes):
        """Return just enough to see that everything works."""
        return cls(minutes, seconds=4., times=3, messages=600)


class StressBench:
    """Starts nodes, cameras and clients for a scenario, all ended when it ends."""

    def __init__(self, output, config):
        """
        Prepare a bench.

        :param output: folder for logs and plots.
        :param config: `StressConfig`.
        """
        self.output = Path(output)
        self.config = config
        self._logs = self.output / 'logs'
        self._logs.mkdir(parents=True, exist_ok=True)

    def result_file(self, name):
        """Return the path of the file with a scenario's Result."""
        return self.output / f'{name}.json'

    def start_node(self, name, arguments=(), **parameters):
        """Return a TrackerProcess, started with these parameters and the packaged weights."""
        return TrackerProcess(self._logs / f'{name}.txt', arguments, device='cpu', **parameters)

    @contextmanager
    def running_node(self, name, **parameters):
        """Give a TrackerProcess that takes images."""
        with self.start_node(name, **parameters) as node:
            node.wait_until_active()
            yield node

    @contextmanager
    def client(self, camera='', executor=None):
        """Give a Client."""
        client = Client(camera, executor)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def following(self, name, size, targets, rate, **parameters):
        """Give (node, client, camera, scene): a node that follows the targets of a scene."""
        with Camera() as camera, self.client() as client, \
                self.running_node(name, **parameters) as node:
            scene = camera.show(size, targets)
            camera.play(rate)
            client.connect().next_tracks()
            client.start_targets(scene.boxes(0))
            yield node, client, camera, scene

    @staticmethod
    def progress(items, unit):
        """Return `items` with a progress bar."""
        return tqdm(items, unit=unit, leave=False)

    @contextmanager
    def timed_progress(self, seconds):
        """Give a function that advances a progress bar of seconds to its argument."""
        with tqdm(total=round(seconds), unit='s', leave=False) as bar:
            yield lambda value: bar.update(min(round(value), bar.total) - bar.n)


def quantiles(values):
    """Return (median, 95th percentile, maximum) of a list, NaN if it is empty."""
    if not len(values):
        return (np.nan,) * 3
    return tuple(float(value) for value in np.quantile(values, (.5, .95, 1)))


def latencies(arrivals):
    """Return the milliseconds from the images' stamps to the arrivals of their tracks."""
    return [(arrival.at - arrival.stamp) / 1e6 for arrival in arrivals]
