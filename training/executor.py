# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Work on many items: in processes of this machine, or on a Ray cluster.

Both back ends give the same results: an item's result is a function of the item alone, and
results come in the order of the items. The code runs where the items are sent, so a cluster's
machines need this package, too, and the files that the items name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Timeout
from dataclasses import dataclass
from functools import partial
import multiprocessing
import os
import socket
import threading
from typing import Any, Literal, NamedTuple

from pebble import ProcessExpired, ProcessPool
from training.config import one_line

# Items that are sent ahead of the one that is waited for, per worker.
AHEAD = 2
# Seconds in which a process of a cluster must start, and characters of the reason if it does not.
START_TIMEOUT = 600
CONNECT_TIMEOUT = 20
MAX_REASON = 200


def use_one_thread(worker: int = 0) -> None:
    """Have the libraries use one thread: there is a process for each core, whatever its number."""
    import cv2
    import torch
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class WorkerDied(RuntimeError):
    """The process that worked on an item has died; the message is the reason."""


class ExecutorError(ValueError):
    """A back end that cannot be used; one line for the user."""


class Outcome(NamedTuple):
    """
    Outcome of one item.

    :param number: of the item, from 0
    :param result: what the function returned, None if it failed
    :param error: empty, or why the last try failed
    :param tries: how often it was tried
    """

    number: int
    result: Any
    error: str
    tries: int


class Executor(ABC):
    """Calls functions elsewhere; a context manager."""

    workers: int

    @abstractmethod
    def submit(self, function: Callable[[Any], Any], item: Any,
               timeout: float | None = None) -> Future:
        """
        Call `function(item)` elsewhere; both can be pickled.

        :param timeout: seconds after which the call is aborted
        """

    @abstractmethod
    def close(self) -> None:
        """Abort what is running, and free everything."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @staticmethod
    def result(future: Future) -> Any:
        """
        Wait for the result of a call.

        :raises WorkerDied: if its process has died
        :raises concurrent.futures.TimeoutError: if it took too long
        :raises Exception: whatever the function raised
        """
        try:
            return future.result()
        except ProcessExpired as error:
            raise WorkerDied(one_line(error)) from None

    def map(self, function: Callable[[Any], Any], items: Sequence[Any],  # noqa: A003
            retries: int = 1, timeout: float | None = None) -> Iterator[Outcome]:
        """
        Yield the Outcome of each item, in their order.

        :param retries: how often an item that failed is tried again
        """
        waiting: deque[tuple[int, Future]] = deque()
        following = iter(enumerate(items))
        while True:
            while len(waiting) < AHEAD * self.workers:
                number, item = next(following, (-1, None))
                if number < 0:
                    break
                waiting.append((number, self.submit(function, item, timeout)))
            if not waiting:
                return
            number, future = waiting.popleft()
            yield self._outcome(number, future, partial(
                self.submit, function, items[number], timeout), retries)

    def _outcome(self, number: int, future: Future, again: Callable[[], Future],
                 retries: int) -> Outcome:
        """Wait for an item, trying it again if it fails."""
        error = ''
        for tries in range(1, retries + 2):
            try:
                return Outcome(number, self.result(future), '', tries)
            except Timeout:
                error = 'it took too long'
            except Exception as failure:  # noqa: B902  whatever the function raises
                error = one_line(failure)
            if tries <= retries:
                future = again()
        return Outcome(number, None, error, retries + 1)


class InlineExecutor(Executor):
    """Calls functions in this process, one after the other."""

    workers = 1

    def submit(self, function: Callable[[Any], Any], item: Any,
               timeout: float | None = None) -> Future:
        """Call `function(item)` now; there is no time limit."""
        future: Future = Future()
        try:
            future.set_result(function(item))
        except Exception as error:  # noqa: B902  it is raised by the future
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing."""


class LocalExecutor(Executor):
    """
    Processes of this machine, freshly started.

    :param workers: their number; 0: one per core
    :param initialize: is called once in each of them
    """

    def __init__(self, workers: int = 0, initialize: Callable[[], object] | None = None):
        self.workers = workers or os.cpu_count() or 1
        self._pool = ProcessPool(self.workers, initializer=initialize,
                                 context=multiprocessing.get_context('spawn'))

    def submit(self, function: Callable[[Any], Any], item: Any,
               timeout: float | None = None) -> Future:
        """Call `function(item)` in a process, which is killed after `timeout` seconds."""
        return self._pool.schedule(function, args=[item], timeout=timeout)

    def close(self) -> None:
        """Kill the processes."""
        self._pool.stop()
        self._pool.join()


class _RayWorker:
    """Runs in a process of a cluster."""

    def __init__(self, initialize: Callable[[], object] | None):
        if initialize is not None:
            initialize()

    def call(self, function: Callable[[Any], Any], item: Any) -> Any:
        return function(item)


def check_address(address: str) -> None:
    """
    Try to connect to HOST:PORT or ray://HOST:PORT; Ray itself would try for minutes.

    :raises ExecutorError: if nothing answers there
    """
    host, colon, port = address.removeprefix('ray://').rpartition(':')
    if not colon or not port.isdigit():     # auto, local, or none
        return
    try:
        socket.create_connection((host.strip('[]'), int(port)), CONNECT_TIMEOUT).close()
    except OSError as error:
        raise ExecutorError(f'no Ray cluster at {address}: {error.strerror or error}') from None


class RayExecutor(Executor):
    """
    Processes of a Ray cluster, one CPU each, spread over its machines.

    :param address: of the cluster, as `ray start` prints it, or ray://HOST:PORT; empty: that of
        RAY_ADDRESS, else a cluster on this machine that ends with this program
    :param workers: their number; 0: one per CPU of the cluster
    :param initialize: is called once in each of them
    :raises ExecutorError: if Ray is not installed, there is no cluster, or it is too small
    """

    def __init__(self, address: str = '', workers: int = 0,
                 initialize: Callable[[], object] | None = None):
        try:
            import ray
        except ImportError:
            raise ExecutorError('Ray is not installed: pip install "re3_ros[ray]"') from None
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            check_address(address or os.environ.get('RAY_ADDRESS', ''))
            try:
                ray.init(address=address or None, log_to_driver=False, configure_logging=False,
                         include_dashboard=False if not address else None)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ExecutorError(f'no Ray cluster at {address or "this machine"}: '
                                    f'{one_line(error)}') from None
        count = int(ray.cluster_resources().get('CPU', 0))
        if workers > count or not count:
            self._shutdown()
            raise ExecutorError(f'{workers} workers, but the Ray cluster has {count} CPUs')
        self.workers = workers or count
        self._initialize = initialize
        self._make = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy='SPREAD')(
            _RayWorker).remote
        # One thread for each remote process: it waits, and replaces the process if it dies.
        self._threads = ThreadPoolExecutor(self.workers, 'ray')
        self._local = threading.local()
        self._actors: list[Any] = []
        self._closed = False

    def submit(self, function: Callable[[Any], Any], item: Any,
               timeout: float | None = None) -> Future:
        """Call `function(item)` in a process, which is killed after `timeout` seconds."""
        return self._threads.submit(self._call, function, item, timeout)

    def _call(self, function: Callable[[Any], Any], item: Any, timeout: float | None) -> Any:
        actor = getattr(self._local, 'actor', None)
        if actor is None:
            if self._closed:
                raise WorkerDied('the executor is closed')
            actor = self._local.actor = self._make(self._initialize)
            self._actors.append(actor)
            self._wait_for(actor)       # not part of the item's time
        try:
            return self._ray.get(actor.call.remote(function, item), timeout=timeout)
        except self._ray.exceptions.GetTimeoutError:
            self._drop(actor)
            raise Timeout from None
        except self._ray.exceptions.RayTaskError as error:      # raised by the function
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except self._ray.exceptions.RayError as error:
            self._drop(actor)
            raise WorkerDied(one_line(error)[:MAX_REASON]) from None

    def _wait_for(self, actor: Any) -> None:
        """Wait until a process runs; WorkerDied if it does not."""
        try:
            self._ray.get(actor.__ray_ready__.remote(), timeout=START_TIMEOUT)
        except self._ray.exceptions.GetTimeoutError:
            self._drop(actor)
            raise WorkerDied(f'no CPU of the cluster was free within {START_TIMEOUT} s') from None
        except self._ray.exceptions.RayError as error:
            self._drop(actor)
            raise WorkerDied(one_line(error)[:MAX_REASON]) from None

    def _drop(self, actor: Any) -> None:
        """Have the next call of this thread start a new process."""
        self._local.actor = None
        self._actors.remove(actor)
        self._ray.kill(actor)

    def close(self) -> None:
        """Kill the processes, and leave the cluster."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for actor in list(self._actors):
            self._ray.kill(actor)
        self._threads.shutdown()
        self._shutdown()

    def _shutdown(self) -> None:
        if self._own:
            self._ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """
    Where items are worked on.

    :param executor: local: processes of this machine; ray: a Ray cluster
    :param address: of the Ray cluster; empty: that of RAY_ADDRESS, else one on this machine
    :param workers: processes; 0: one per core, or per CPU of the cluster
    """

    executor: Literal['local', 'ray'] = 'local'
    address: str = ''
    workers: int = 1

    def make_executor(self, initialize: Callable[[], object] | None = None,
                      separate: bool = False) -> Executor:
        """
        Return the executor; with one local worker it is this process.

        :param initialize: is called once in each process, but not in this one
        :param separate: use another process for one local worker, too: its calls can be aborted
        :raises ExecutorError: if it cannot be used
        """
        if self.workers < 0:
            raise ExecutorError(f'--workers must be at least 0, got {self.workers}')
        if self.executor == 'ray':
            return RayExecutor(self.address, self.workers, initialize)
        if self.address:
            raise ExecutorError('--address is for --executor ray')
        if self.workers == 1 and not separate:
            return InlineExecutor()
        return LocalExecutor(self.workers, initialize)
