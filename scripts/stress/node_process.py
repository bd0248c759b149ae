# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The tracker node's process: start, watch from outside, end."""

import os
from pathlib import Path
import signal
import subprocess
import time

from re3_ros.demo_processes import find_command

PATIENCE = 180
PAGE = os.sysconf('SC_PAGE_SIZE')


class NodeProcess:
    """
    The installed node in a process of its own, its output in a file.

    Interrupted at the end of the `with` block if it still runs.
    """

    def __init__(self, log, arguments=(), **parameters):
        """
        Start it.

        :param log: path of the file for its output.
        :param arguments: further ROS arguments, as for example remappings.
        :param parameters: parameters of the node.
        """
        self._log = Path(log)
        command = [*find_command('tracker_node'), '--ros-args', *arguments]
        for name, value in parameters.items():
            command += ['-p', f'{name}:={_as_yaml(value)}']
        self._before = _segments()
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
        """All that it has said so far."""
        return self._log.read_text(errors='replace')

    def wait_until_active(self):
        """Wait until it takes images; return the seconds since its start."""
        self.wait_for_log('active, waiting for images')
        return time.monotonic() - self.started

    def wait_for_log(self, text):
        """Wait until it has said `text`; RuntimeError if it ends or does not say it."""
        end = time.monotonic() + PATIENCE
        while text not in self.log:
            if not self.alive:
                raise RuntimeError(f'the node ended:\n{self.log[-2000:]}')
            if time.monotonic() > end:
                raise RuntimeError(f'no {text!r} in {self._log}')
            time.sleep(.02)

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

    def end(self, which=signal.SIGINT):
        """Send a signal; return (exit code, seconds until the process had ended)."""
        begin = time.monotonic()
        self._process.send_signal(which)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f'the node did not end within {PATIENCE} s') from None
        return code, time.monotonic() - begin

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


def _segments():
    """Return the Paths of the middleware's shared memory that each belong to one process."""
    return {path for path in Path('/dev/shm').glob('fast*') if '_port' not in path.name}


def _as_yaml(value):
    """Return a parameter's value as `-p name:=value` takes it."""
    return str(value).lower() if isinstance(value, bool) else value
