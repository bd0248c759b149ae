# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Processes that the demo starts: their commands, their environment, their end."""

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
import signal
import subprocess
import sys
from typing import TypeVar

from ament_index_python.packages import get_package_prefix, PackageNotFoundError

PACKAGE = 're3_ros'
# Seconds that a process may take to end after an interrupt.
PATIENCE = 10
# The distributions whose Fast DDS is older than 3 and knows the variable by its former name.
FAST_DDS_2 = ('humble', 'iron', 'jazzy')
ProcessType = TypeVar('ProcessType', bound='Process')


def _installed_prefix() -> Path | None:
    """Return the prefix that this package is installed under, or None."""
    try:
        return Path(get_package_prefix(PACKAGE))
    except (PackageNotFoundError, OSError):   # OSError: no ROS environment is sourced at all
        return None


def find_command(executable: str) -> list[str]:
    """
    Return the command (list) that starts an executable of this package.

    That is the installed entry point, or the module if the package runs from its source folder.
    """
    prefix = _installed_prefix()
    if prefix is None:
        return [sys.executable, '-m', PACKAGE, executable]
    return [str(prefix / 'lib' / PACKAGE / executable)]


def ros_command(executable: str, parameters: Mapping[str, object],
                arguments: Sequence[str] = ()) -> list[str]:
    """Return a command with ROS arguments; parameters that are empty text are left out."""
    settings = [part for name, value in parameters.items() if value != ''
                for part in ('-p', f'{name}:={_as_yaml(value)}')]
    return [*find_command(executable), '--ros-args', *arguments, *settings]


def _as_yaml(value: object) -> str:
    """Quote texts, so that the camera `0` and a folder `true` stay texts."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


def find_config() -> Path:
    """Return the folder with `tracker.yaml` and `demo/`: the installed one or the source's."""
    prefix = _installed_prefix()
    folder = (Path(__file__).resolve().parents[1] if prefix is None
              else prefix / 'share' / PACKAGE) / 'config'
    if not (folder / 'tracker.yaml').exists():
        raise FileNotFoundError(f'no tracker.yaml in {folder}: build the package anew')
    return folder


def isolate_ros_domain(environ: MutableMapping[str, str], domain_id: int,
                       config: Path) -> None:
    """
    Give the processes of a demo one ROS domain and one transport, apart from all others.

    Images between processes arrive whole with Fast DDS only if the transport has room for them,
    see `fastdds.xml`; variables that would override that file are removed. To be done before
    rclpy.init.

    :param environ: the environment to change, `os.environ`.
    :param config: the folder from `find_config`.
    """
    for name in ('FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE',
                 'FASTRTPS_DEFAULT_PROFILES_FILE', 'ROS_AUTOMATIC_DISCOVERY_RANGE',
                 'ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS'):
        environ.pop(name, None)
    maker = 'FASTRTPS' if environ.get('ROS_DISTRO') in FAST_DDS_2 else 'FASTDDS'
    environ.update({f'{maker}_DEFAULT_PROFILES_FILE': str(config / 'fastdds.xml'),
                    'ROS_DOMAIN_ID': str(domain_id), 'PYTHONUNBUFFERED': '1'})


class Process:
    """A process with its output in a log file, interrupted at the end of the `with` block."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start `command` (list of text) with standard output and errors into the path `log`."""
        self.name = name
        self._log = Path(log)
        self._file = open(self._log, 'wb')
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT)
        except OSError as error:
            self._file.close()
            raise RuntimeError(f'{name} did not start: {error}') from error

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def check(self, must_run: bool = False) -> None:
        """
        Raise RuntimeError with the last log lines of the process if it ended with an error.

        :param must_run: whether it is an error to have ended at all.
        """
        if self.ended and (must_run or self._process.returncode != 0):
            raise RuntimeError(f'{self.name} ended with code {self._process.returncode}; '
                               f'its last lines (all of them in {self._log}):\n{self.tail()}')

    def tail(self, lines: int = 8) -> str:
        """Return the last lines of the process's output."""
        return '\n'.join(self._log.read_text(errors='replace').splitlines()[-lines:])

    def stop(self) -> None:
        """Interrupt the process and wait for its end; kill it on timeout."""
        if not self.ended:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._file.close()

    def __enter__(self: ProcessType) -> ProcessType:
        """Return the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the process."""
        self.stop()
