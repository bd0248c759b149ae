# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The batches of a run, each made while the one before it is learned from."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from training.batches import make_batch
from training.clips import without


class Loader:
    """
    Make the batches of a run, one ahead in a thread.

    A batch is a function of the seed and its place in the run: every clip has a generator of its
    own, seeded by the iteration and the clip's number. So a resumed run sees what an
    uninterrupted one would have seen, and so do several processes that share the batches.

    :param config: training.config.Config.
    :param source: clip source.
    :param context: size of the current crop in multiples of the box.
    :param device: where batches are to lie.
    :param rank: number of this process; `world` of all.
    :raises ValueError: if a stage's batch cannot be shared among the processes.
    """

    def __init__(self, config, source, context, device, rank=0, world=1):
        self.config, self.source, self.context, self.device = config, source, context, device
        self.rank, self.world = rank, world
        for stage in config.stages:
            if stage.clips % (stage.accumulate * world):
                raise ValueError(f'a batch of {stage.clips} clips cannot be shared by {world} '
                                 f'processes in {stage.accumulate} parts')
        self._thread = ThreadPoolExecutor(1) if device.type == 'cpu' else ThreadPoolExecutor(
            1, initializer=torch.cuda.set_device, initargs=(device,))
        self._ahead = {}

    def get(self, iteration, part):
        """Return a part (from 0) of the batch of an iteration (from 0) for this process."""
        place = (iteration, part)
        waiting = self._ahead.pop(place, None) or self._thread.submit(self._make, *place)
        batch = waiting.result()
        following = self._following(*place)
        if following[0] < self.config.iterations:
            self._ahead = {following: self._thread.submit(self._make, *following)}
        return batch

    def _following(self, iteration, part):
        if part + 1 < self.config.stage_at(iteration).accumulate:
            return iteration, part + 1
        return iteration + 1, 0

    def _make(self, iteration, part):
        stage = self.config.stage_at(iteration)
        shares = np.arange(stage.clips).reshape(stage.accumulate, self.world, -1)
        generators = [np.random.default_rng([self.config.seed, iteration, int(number)])
                      for number in shares[part, self.rank]]
        looks = [bool(stage.second_looks) and rng.random() < stage.second_looks
                 for rng in generators]
        clips = [self._draw(rng, stage, look)
                 for rng, look in zip(generators, looks, strict=True)]
        return make_batch(clips, generators, self.config.noise, self.context, self.device,
                          stage.own, stage.copies, looks)

    def _draw(self, rng, stage, second_look):
        """Draw a clip; one for a second look may leave out frames after the first one."""
        gap = int(rng.integers(stage.gap + 1)) if second_look else 0
        clip = self.source.sample(rng, stage.unroll + gap)
        return without(clip, slice(1, 1 + gap)) if gap else clip
