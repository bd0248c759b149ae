# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure one tracker in a process of its own; `training.engine_benchmark` starts it.

A process of its own shows what the tracker imports and how much memory it takes: torch is only
imported by its own engine. The job is read from the standard input and the result is written to
the standard output, both as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys
import time
from typing import Any

WARM_UP = 3     # updates that are not measured


def resident_memory() -> float | None:
    """Return the resident memory of this process in MB; None if the system does not have it."""
    status = Path('/proc/self/status')
    if not status.is_file():
        return None
    [line] = [line for line in status.read_text().splitlines() if line.startswith('VmRSS')]
    return int(line.split()[1]) / 1e3


def make_tracker(job: dict[str, Any]) -> Any:
    """Return the tracker of a job."""
    import cv2
    cv2.setNumThreads(job['threads'])
    if job['opencv']:
        from training.trackers import OpenCVTracker
        return OpenCVTracker(job['opencv'], job['opencv_models'])
    from re3_core import Tracker
    return Tracker(job['model'], weights=job['weights'], device=job['device'],
                   engine=job['engine'], precision=job['precision'], threads=job['threads'])


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """
    Return the figures of a job: seconds of the imports and the start, and of updates by targets.

    Those of the imports are from the start of Python on.
    """
    import re3_core  # noqa: F401
    result: dict[str, Any] = {'import': time.process_time()}
    import numpy as np
    began = time.process_time()
    tracker = make_tracker(job)
    result['load'] = time.process_time() - began
    frames = np.load(job['frames'], mmap_mode='r')
    result.update(elapsed={}, processor={}, lost={})
    for count, updates in job['updates'].items():
        tracker.reset()
        for index, box in enumerate(job['boxes'][:int(count)]):
            tracker.init(str(index), frames[0], box)
        for index in range(WARM_UP + updates):
            if index == WARM_UP:
                elapsed, processor = time.perf_counter(), time.process_time()
            tracks = tracker.update(frames[1 + index])
        result['elapsed'][count] = (time.perf_counter() - elapsed) / updates
        result['processor'][count] = (time.process_time() - processor) / updates
        result['lost'][count] = sum(track.lost for track in tracks.values())
        result.setdefault('memory', resident_memory())      # with the first number of targets
    return result


if __name__ == '__main__':
    print(json.dumps(measure(json.load(sys.stdin))))
