# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Thousands of bad messages while a well-behaved target is tracked."""

from collections import Counter

import numpy as np
from re3_ros.messages import fill_image
from sensor_msgs.msg import CompressedImage, Image
from stress import bad_messages
from stress.bench import Result
from stress.client import header_of
from stress.scene import LENGTH, Scene

# Bad messages between two good images.
BURST = 30
PERIOD = 33_333_333
SPACES = {'raw/': bad_messages.OF_RAW_CAMERA, 'packed/': bad_messages.OF_COMPRESSED_CAMERA,
          '': bad_messages.SHARED}
# Of the images; so that times years away are times too.
START = 1_500_000_000_000_000_000
# How the node calls the topics that all cameras share.
SHARED = '/re3/init: '
# So few that boxes which wait are too many.
MAX_TARGETS = 4
# Of the node's memory.
MEGABYTES = 100.


class Lane:
    """One camera of the node: a good target in sound images, one at a time."""

    def __init__(self, client, topic, kind, stamp):
        self.client = client
        self.boxes = []
        self.stamp = stamp
        self._publisher = client.publisher(kind, topic)
        self._compressed = kind is CompressedImage
        self._scene = Scene(bad_messages.SIZE, 1)
        self._number = 0

    def start(self):
        """Start the target on the first image, before there is a second one."""
        self.client.connect(self._publisher)
        self._send(0)
        self.client.init('good', self._scene.boxes(0)[0], self.stamp)
        self.client.wait_until(lambda: self.client.states.get('good') == 'tracked',
                               'the good target')

    def step(self):
        """Send the next image and note where the target is."""
        self._number += 1
        self.boxes.append(self._send(self._number).get('good'))

    def _send(self, number):
        """Send an image; return the boxes {id: box} in it."""
        self.stamp += PERIOD
        pixels = self._scene.pixels(number % LENGTH)
        message = (bad_messages.good_compressed(pixels, self.stamp) if self._compressed
                   else fill_image(Image(header=header_of(self.stamp)), pixels))
        self._publisher.publish(message)
        return self.client.wait_until(self._answer, 'tracks of a good image').boxes

    def _answer(self):
        return next((arrival for arrival in reversed(self.client.arrivals)
                     if arrival.stamp == self.stamp), None)


class Fuzz:
    """Publishes bad messages on all topics of the node; `sent` counts them by (topic, name)."""

    def __init__(self, client, stamp_of_lane):
        self.sent = Counter()
        self._rng = np.random.default_rng(0)
        self._stamp_of = stamp_of_lane
        self._kinds = [
            (prefix, topic, publisher, name, bad)
            for prefix, topics in SPACES.items() for topic, (kind, bads) in topics.items()
            for publisher in [client.publisher(kind, prefix + topic)]
            for name, bad in bads.items()]

    def publish(self, count):
        """Publish that many, each kind as often as any other."""
        for index in self._rng.integers(0, len(self._kinds), count):
            prefix, topic, publisher, name, bad = self._kinds[index]
            publisher.publish(bad.make(self._rng, self._stamp_of[prefix]()))
            self.sent[prefix + topic, name] += 1

    def unnamed(self, log):
        """Return the kinds that were sent but that no line of the log names with their topic."""
        lines = log.splitlines()
        return [f'{prefix}{topic}: {name}' for prefix, topic, _, name, bad in self._kinds
                if bad.words and self.sent[prefix + topic, name] and not any(
                    bad.words in line and (f'/re3/{prefix}{topic}: ' if prefix else SHARED) in line
                    for line in lines)]


def follow(bench, name, frames, fuzzed, **parameters):
    """
    Follow a good target in a raw and in a compressed camera.

    :param fuzzed: whether to publish bad messages before each image.
    :return: (boxes of both cameras, Fuzz, dict of figures).
    """
    with bench.running_node(
            name, cameras="['raw', 'packed']", on_old_box='refuse', lost_confidence=0.0,
            max_targets=MAX_TARGETS,
            **{'packed.image_transport': 'compressed'}, **parameters) as node, \
            bench.client('raw') as raw, bench.client('packed') as packed:
        lanes = [Lane(raw, 'raw/image', Image, START),
                 Lane(packed, 'packed/image/compressed', CompressedImage, START)]
        for lane in lanes:
            lane.start()
        fuzz = Fuzz(raw, {'raw/': lambda: lanes[0].stamp, 'packed/': lambda: lanes[1].stamp,
                          '': lambda: 0})
        memory = node.memory()
        for _ in bench.progress(range(frames), 'image'):
            if fuzzed:
                fuzz.publish(BURST)
            for lane in lanes:
                lane.step()
                lane.client.arrivals.clear()
        figures = {
            'named': int(raw.next_figures()['bad_messages']), 'log': node.log,
            'alive': node.alive, 'memory': node.memory() - memory,
            'targets': max(int(lane.client.next_figures()['targets_tracked'])
                           for lane in lanes)}
        return [lane.boxes for lane in lanes], fuzz, figures


def difference(clean, fuzzed):
    """Return the largest difference in pixels of two runs' boxes, infinite if one is missing."""
    pairs = [pair for one, other in zip(clean, fuzzed, strict=True)
             for pair in zip(one, other, strict=True)]
    if any(box is None for pair in pairs for box in pair):
        return np.inf
    return max(float(np.abs(np.subtract(*pair)).max()) for pair in pairs)


def run_fuzz(bench):
    """Publish bad messages of every kind; a good target must not notice."""
    frames = bench.config.messages // BURST
    result = Result('Bad messages', (
        'Between any two sound images bad images, boxes and bytes arrive on all topics of two '
        'cameras, one raw and one compressed, in each of which a target is followed. Its boxes '
        'are compared with those of a run without bad messages. Once in the usual mode, where '
        'only the newest image counts, and once where every message is looked at '
        '(process_every_frame).'))
    table = result.table('mode', 'bad messages', 'named by the node', 'images with the target',
                         'largest difference', 'memory grew by')
    fuzz = None
    for every in (False, True):
        mode = 'every image' if every else 'newest image'
        file = f'fuzz_{"every" if every else "newest"}'
        clean, _, _ = follow(bench, f'{file}_clean', frames, False, process_every_frame=every)
        boxes, fuzz, figures = follow(bench, file, frames, True, process_every_frame=every)
        gap = difference(clean, boxes)
        table.rows.append([mode, sum(fuzz.sent.values()), figures['named'],
                           sum(len(lane) for lane in boxes), f'{gap:g} px',
                           f'{figures["memory"]:.0f} MB'])
        _check_mode(result, mode, gap, figures)
    unnamed = fuzz.unnamed(figures['log'])
    result.check('every image: every kind of bad message is named in the log', not unnamed,
                 ', '.join(unnamed) or f'{len(fuzz.sent)} kinds')
    kinds = result.table('topic', 'bad messages of each kind in the second mode')
    for prefix, topics in SPACES.items():
        for topic in topics:
            kinds.rows.append([prefix + topic, ', '.join(
                f'{name}: {count}' for (where, name), count in sorted(fuzz.sent.items())
                if where == prefix + topic)])
    return result


def _check_mode(result, mode, gap, figures):
    result.check(f'{mode}: the node lives, without a traceback',
                 figures['alive'] and 'Traceback' not in figures['log'])
    result.check(f"{mode}: the good targets' boxes are the same as without bad messages",
                 gap == 0, f'{gap:g} px')
    result.check(f'{mode}: no bad message became a target', figures['targets'] == 1)
    result.check(f'{mode}: memory grows by at most {MEGABYTES:.0f} MB',
                 figures['memory'] <= MEGABYTES, f'{figures["memory"]:.0f} MB')
