# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""How much the node can do: many targets, large images, two cameras, a camera too fast for it."""

import time

import numpy as np
from re3_core.boxes import iou
from stress.bench import latencies, quantiles, Result
from stress.camera import Camera
from stress.scene import LENGTH

VGA = (480, 640)
# (height, width) and the rate of the camera: what a camera in Python can send.
SIZES = {VGA: 30, (1080, 1920): 30, (2160, 3840): 10}
TARGETS = (1, 4, 16, 64)
FAST = 120
ON_TARGET = 0.5
# A delay grows if the last third's median exceeds the first third's by this factor and offset.
GROWTH, GROWTH_MS = 1.5, 50.
# Of the images, in the diagnostics.
COUNTS = ('processed', 'skipped', 'lost')
COLUMNS = ('camera images/s', 'tracks/s', 'skipped', 'latency ms median', 'p95', 'max',
           'node ms mean', 'node ms p95', 'processor', 'MB', 'IoU >= 0.5')


class Measurement:
    """What happens to the images of one camera while it plays for some time."""

    def __init__(self, client, camera, node, scene):
        """Let the camera stand still and count."""
        self._client, self._camera, self._node, self._scene = client, camera, node, scene
        self._begin = self._counts()

    def _counts(self):
        """Let the camera stand still; return all counts once nothing more comes."""
        sent = self._camera.pause()
        self._client.next_figures()
        figures = self._client.next_figures()
        return {**{name: int(figures[f'frames_{name}']) for name in COUNTS}, 'sent': sent}

    def start(self):
        """Let the camera play."""
        self._client.arrivals.clear()
        self._started = time.monotonic(), self._node.processor_seconds()
        self._camera.play(self._camera.rate)

    def stop(self):
        """Let the camera stand still again."""
        self._camera.pause()
        self.seconds = time.monotonic() - self._started[0]
        self._processor = (self._node.processor_seconds() - self._started[1]) / self.seconds
        self._memory = self._node.memory()

    def take_stock(self):
        """Note what came of it, once all cameras stand still."""
        end = self._counts()
        self.counts = {name: end[name] - self._begin[name] for name in end}
        self.figures = dict(self._client.figures)
        self.arrivals = list(self._client.arrivals)
        self.on_target = share_on_target(self.arrivals, self._scene)
        self.latencies = latencies(self.arrivals)

    def row(self):
        """Return what `COLUMNS` names."""
        median, p95, maximum = quantiles(self.latencies)
        return [f'{self.counts["sent"] / self.seconds:.1f}',
                f'{self.counts["processed"] / self.seconds:.1f}', self.counts['skipped'],
                f'{median:.0f}', f'{p95:.0f}', f'{maximum:.0f}',
                self.figures['processing_ms_mean'], self.figures['processing_ms_p95'],
                f'{self._processor:.0%}', f'{self._memory:.0f}', f'{self.on_target:.0%}']

    def grows(self):
        """Tell whether the latency grew all the time."""
        third = max(1, len(self.latencies) // 3)
        first, last = (np.median(part) for part in (self.latencies[:third],
                                                    self.latencies[-third:]))
        return last > GROWTH * first + GROWTH_MS


def measure(seconds, node, *subjects):
    """
    Return the Measurements of some cameras that play at the same time.

    :param subjects: (client, camera, scene) each; the clients share an executor.
    """
    measured = [Measurement(client, camera, node, scene) for client, camera, scene in subjects]
    for one in measured:
        one.start()
    subjects[0][0].spin(seconds)
    # One that continues while others are counted would have the network to itself.
    for one in measured:
        one.stop()
    for one in measured:
        one.take_stock()
    return measured


def share_on_target(arrivals, scene):
    """Return the share of published boxes that overlap the true ones by ON_TARGET."""
    overlaps = []
    for arrival in arrivals:
        truth = scene.boxes(arrival.stamp % LENGTH)
        overlaps += [iou(box, truth[int(name.split()[-1])])
                     for name, box in arrival.boxes.items()]
    return float(np.mean(np.array(overlaps) >= ON_TARGET)) if overlaps else 0.


def check_load(result, measured, expected):
    """Note the conditions on Measurements {name: (Measurement, number of targets)}."""
    result.check(
        'tracks come in each case, with all targets',
        all(m.arrivals and len(m.arrivals[-1].boxes) == expected[name]
            for name, m in measured.items()))
    worst = min(measured, key=lambda name: measured[name].on_target)
    result.check('boxes with an IoU of at least 0.5 in at least 90 % of all tracks',
                 measured[worst].on_target >= .9, f'{measured[worst].on_target:.0%} ({worst})')
    growing = [name for name, m in measured.items() if not m.arrivals or m.grows()]
    result.check(f'the delay does not grow (last third below {GROWTH} x first third + '
                 f'{GROWTH_MS:.0f} ms)', not growing, ', '.join(growing))


def run_load(bench):
    """Follow 1 to 64 targets in images of three sizes."""
    result = Result('Load', (
        'Images of a drawn scene, reliable, depth 5; latency is from the image stamp to the '
        "tracks in another process, node time the node's own part of it; processor 100 % is one "
        'core.'))
    table = result.table('image', 'targets', *COLUMNS)
    measured, expected = {}, {}
    cases = [(size, number) for size in SIZES for number in TARGETS]
    for size, numbers in _by_size(bench.progress(cases, 'case')):
        with Camera() as camera, bench.client() as client, \
                bench.running_node(f'load_{size[0]}') as node:
            for number in numbers:
                scene = camera.show(size, number)
                camera.play(SIZES[size])
                client.connect().next_tracks()
                client.start_afresh()
                client.next_tracks()
                client.start_targets(scene.boxes(0))
                name = f'{size[1]}x{size[0]}, {number}'
                measured[name], = measure(bench.config.seconds, node, (client, camera, scene))
                expected[name] = number
                table.rows.append([f'{size[1]}x{size[0]}', number, *measured[name].row()])
    check_load(result, measured, expected)
    return result


def _by_size(cases):
    """Yield (size, generator of target numbers) for cases sorted by size."""
    import itertools
    for size, group in itertools.groupby(cases, key=lambda case: case[0]):
        yield size, (number for _, number in group)


def run_two_cameras(bench):
    """Follow four targets in each of two cameras of one process."""
    result = Result('Two cameras in one process', (
        'Two cameras of 640x480 at 30 Hz with four targets each; both have the same ids.'))
    table = result.table('camera', 'targets', *COLUMNS)
    names = ('front', 'rear')
    with bench.running_node('two_cameras', cameras=str(list(names))) as node, \
            Camera('/re3/front/image') as front, Camera('/re3/rear/image') as rear, \
            bench.client('front') as front_client, \
            bench.client('rear', front_client.executor) as rear_client:
        subjects = []
        for seed, (camera, client) in enumerate(((front, front_client), (rear, rear_client))):
            scene = camera.show(VGA, 4, seed)
            camera.play(30)
            client.connect().next_tracks()
            client.start_targets(scene.boxes(0))
            subjects.append((client, camera, scene))
        measured = dict(zip(names, measure(bench.config.seconds, node, *subjects), strict=True))
    for name, one in measured.items():
        table.rows.append([name, 4, *one.row()])
    check_load(result, measured, dict.fromkeys(names, 4))
    rates = [len(m.arrivals) for m in measured.values()]
    result.check('neither camera gets less than 80 % of the other one', min(rates) >=
                 .8 * max(rates), ' and '.join(map(str, rates)) + ' tracks')
    return result


def run_fast_camera(bench):
    """Let a camera send more images than the node can use."""
    result = Result('A camera that is too fast', (
        f'A camera of 640x480 at {FAST} Hz, 16 targets. The newest image is used, the others are '
        'skipped and counted.'))
    table = result.table('image', 'targets', *COLUMNS)
    seconds = 2 * bench.config.seconds
    with bench.following('fast_camera', VGA, 16, FAST) as (node, client, camera, scene):
        measured, = measure(seconds, node, (client, camera, scene))
    table.rows.append(['640x480', 16, *measured.row()])
    check_load(result, {'fast': measured}, {'fast': 16})
    _, p95, _ = quantiles(measured.latencies)
    bound = 3 * float(measured.figures['processing_ms_p95']) + 100
    result.check('the delay stays bounded: p95 at most three times the node time p95 + 100 ms',
                 p95 <= bound, f'{p95:.0f} ms of {bound:.0f} ms')
    counted, sent = sum(measured.counts[name] for name in COUNTS), measured.counts['sent']
    result.check('images processed, skipped and lost add up to those sent, within 5 %',
                 abs(counted - sent) <= .05 * sent,
                 ' + '.join(f'{measured.counts[name]} {name}' for name in COUNTS) + f' of {sent}')
    return result
