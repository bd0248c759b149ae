# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Processes of ROS nodes: start, watch from outside, end. The tests use them too."""

import os
from pathlib import Path
import signal
import subprocess
import time

from re3_ros.demo.processes import find_command

PATIENCE = 180
PAGE = os.sysconf('SC_PAGE_SIZE')


class RosProcess:
    """
    A node in a process of its own, its output in a file.

    Interrupted at the end of the `with` block if it still runs.
    """

    def __init__(self, log, command, arguments=(), **parameters):
        """
        Start it.

        :param log: path of the file for its output.
        :param command: list of the program and its own arguments.
        :param arguments: further ROS arguments, as for example remappings.
        :param parameters: parameters of the node.
        """
        self._log = Path(log)
        command = [*command, '--ros-args', *arguments]
        for name, value in parameters.items():
            command += ['-p', f'{name}:={_as_yaml(value)}']
        self.started = time.monotonic()
        with open(log, 'wb') as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    @property
    def pid(self):
        """The process's id."""
        return self._process.pid

    @property
    def alive(self):
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def log(self):
        """Its output so far."""
        return self._log.read_text(errors='replace')

    def wait_for_log(self, text, count=1):
        """Wait until its output has `text` that often; RuntimeError if it ends or does not."""
        end = time.monotonic() + PATIENCE
        while self.log.count(text) < count:
            if not self.alive:
                raise RuntimeError(
                    f'the node ended with {self._process.returncode}:\n{self.log[-2000:]}')
            if time.monotonic() > end:
                raise RuntimeError(f'no {text!r} in the log:\n{self.log[-2000:]}')
            time.sleep(.02)

    def wait_for_end(self):
        """Wait until it has ended; return the exit code. RuntimeError if it does not end."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(
                f'the node did not end within {PATIENCE} s:\n{self.log[-2000:]}') from None

    def end(self, which=signal.SIGINT):
        """Send a signal and wait; return the exit code."""
        self._process.send_signal(which)
        return self.wait_for_end()

    def kill(self):
        """Kill it and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        """Return the process."""
        return self

    def __exit__(self, *error):
        """End it."""
        if self.alive:
            self.end()


class TrackerProcess(RosProcess):
    """The installed tracker node, and what it uses of the machine."""

    def __init__(self, log, arguments=(), **parameters):
        """Start it; see `RosProcess`."""
        self._before = _segments()
        super().__init__(log, find_command('tracker_node'), arguments, **parameters)

    def wait_until_active(self):
        """Wait until it takes images; return the seconds since its start."""
        self.wait_for_log('active, waiting for images')
        return time.monotonic() - self.started

    def memory(self):
        """Return the resident memory in MB."""
        return int(self._proc('statm').split()[1]) * PAGE / 1e6

    def threads(self):
        """Return the number of threads."""
        return len(os.listdir(f'/proc/{self.pid}/task'))

    def files(self):
        """Return the number of open file descriptors."""
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def segments(self):
        """Return the Paths of its own shared memory: used, and not there before."""
        used = {Path(line.split()[-1]) for line in self._proc('maps').splitlines()
                if '/dev/shm/' in line}
        return used & _segments() - self._before

    def processor_seconds(self):
        """Return the processor time used so far."""
        fields = self._proc('stat').rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def _proc(self, name):
        return Path(f'/proc/{self.pid}/{name}').read_text()

    def timed_end(self, which):
        """Send a signal; return (exit code, seconds until the process had ended)."""
        begin = time.monotonic()
        code = self.end(which)
        return code, time.monotonic() - begin


def _segments():
    """Return the Paths of the middleware's shared memory that each belong to one process."""
    return {path for path in Path('/dev/shm').glob('fast*') if '_port' not in path.name}


def _as_yaml(value):
    """Return a parameter's value as `-p name:=value` takes it."""
    return str(value).lower() if isinstance(value, bool) else value
