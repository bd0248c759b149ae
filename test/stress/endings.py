# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""How the node ends: interrupted in the middle of its work, killed and started again."""

import signal
import time

import numpy as np
from stress.bench import quantiles, Result
from stress.camera import Camera
from stress.load import VGA

RATE = 30
# So many that the network runs nearly all the time.
TARGETS = 16
LIMIT = 1.
# A random time within this many seconds.
WITHIN = .5


def run_signals(bench):
    """Interrupt the node in the middle of its work."""
    result = Result('SIGINT and SIGTERM', (
        f'Sent at a random time while {TARGETS} targets are tracked at {RATE} Hz, to a new '
        'process each time; the time is that until the process has ended.'))
    table = result.table('signal', 'times', 'median s', 'p95 s', 'max s', 'exit codes')
    rng = np.random.default_rng(0)
    signals = (signal.SIGINT, signal.SIGTERM)
    runs = [which for which in signals for _ in range(bench.config.times)]
    ends = {which: [] for which in signals}
    tracebacks, left = 0, 0
    with Camera() as camera, bench.client() as client:
        scene = camera.show(VGA, TARGETS)
        camera.play(RATE)
        for which in bench.progress(runs, 'signal'):
            with bench.running_node(f'signal_{which.name}_{len(ends[which])}') as node:
                client.arrivals.clear()
                client.connect()
                client.start_targets(scene.boxes(0))
                client.spin(rng.uniform(0, WITHIN))
                segments = node.segments()
                ends[which].append(node.timed_end(which))
                left += sum(path.exists() for path in segments)
                tracebacks += 'Traceback' in node.log
    for which, results in ends.items():
        codes = sorted({code for code, _ in results})
        times = quantiles([seconds for _, seconds in results])
        table.rows.append([which.name, len(results), *(f'{value:.2f}' for value in times),
                           ', '.join(map(str, codes))])
    everything = [end for results in ends.values() for end in results]
    result.check('the exit code is always 0', all(code == 0 for code, _ in everything))
    slowest = max(seconds for _, seconds in everything)
    result.check(f'the process ends within {LIMIT:.0f} s', slowest <= LIMIT, f'{slowest:.2f} s')
    result.check('the log has no traceback', not tracebacks, f'{tracebacks} of {len(everything)}')
    result.check('no shared memory is left behind', not left, f'{left} segments')
    return result


def run_kill(bench):
    """Kill the node and start it again."""
    result = Result('Killed and started again', (
        'The node is killed (signal 9) in the middle of its work and started again; the camera '
        'continues all the time, the box is sent again.'))
    table = result.table('', 'median', 'max')
    kills = max(3, bench.config.times // 4)
    starts, tracks, segments = [], [], []
    with Camera() as camera, bench.client() as client:
        scene = camera.show(VGA, 1)
        camera.play(RATE)
        for number in bench.progress(range(kills + 1), 'start'):
            with bench.start_node(f'kill_{number}') as node:
                starts.append(node.wait_until_active())
                begin = time.monotonic()
                client.connect()
                client.start_targets(scene.boxes(0))
                tracks.append(time.monotonic() - begin)
                client.next_tracks(5)
                segments.append(node.segments())
                if number < kills:
                    node.kill()
                client.arrivals.clear()
    left = [path for paths in segments for path in paths if path.exists()]
    for name, times in (('s from start to active', starts),
                        ('s from active to tracks of the box sent again', tracks)):
        table.rows.append([name, f'{np.median(times):.2f}', f'{max(times):.2f}'])
    result.check(f'after each of {kills} kills the target is tracked again',
                 len(tracks) == kills + 1)
    result.check('a killed process leaves one segment of shared memory at most, one that ended '
                 'none', len(left) <= kills and not segments[-1] & set(left),
                 f'{len(left)} after {kills} kills, '
                 f'{sum(path.stat().st_size for path in left) / 1e6:.0f} MB in all')
    for path in left:   # as `fastdds shm clean` does
        for file in (path, path.with_name(f'{path.name}_el')):
            file.unlink(missing_ok=True)
    return result
