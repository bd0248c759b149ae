# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A training run: what is trained, what it learns from, and where its results go."""

from contextlib import nullcontext
from pathlib import Path
import time

import numpy as np
from re3_core import save_network, Tracker
from re3_core.tracker import PRECISIONS
from re3_core.weights import load_network, network_class
import torch
from torch.nn.parallel import DistributedDataParallel
from training.averaging import AveragedNetwork
from training.backbone_weights import load_backbone, load_imagenet, replace_backbone
from training.checkpoints import load_checkpoint, save_checkpoint
from training.config import differences, dump_config
from training.loader import Loader
from training.optimizers import Optimizer
from training.processes import first_process_first, rank_and_world
from training.sources import DRAWN, DRAWN_VALIDATION, make_source
from training.unroll import Learner, rollout
from training.validation import fixed_clips, validation_auc

# So many steps in a row without a finite gradient are no accident any more.
MAX_REFUSED = 20


def check_lengths(source, stages):
    """
    Draw the longest clip that any stage needs from each part of a MixedSource.

    A run is not to fail at its last stage, after hours.

    :raises ValueError: if there is no clip as long.
    """
    longest = max((stage for stage in stages if stage.iterations),
                  key=lambda stage: stage.clip_length)
    for part in source.sources:
        try:
            part.sample(np.random.default_rng(0), longest.clip_length)
        except ValueError as error:
            raise ValueError(f'a stage with unroll {longest.unroll} and gap {longest.gap} needs '
                             f'clips of {longest.clip_length} frames: {error}') from None


class Run:
    """
    A training run of one process, possibly one of several.

    :param config: training.config.Config.
    :param output: folder of the results.
    :param device: torch.device.
    :raises ValueError: for settings that do not go together, or malformed data.
    :raises OSError: for files that are missing or cannot be read.
    """

    def __init__(self, config, output, device):
        self.config, self.output, self.device = config, Path(output), device
        self.rank, self.world = rank_and_world()
        self.precision = choose_precision(config.precision, device)
        self.network = build_network(config).to(device)
        self.optimizer = Optimizer(self.network, config.optimizer, config.iterations)
        self.average = AveragedNetwork(self.network, config.optimizer.ema)
        self.features_of = self._fast_features() if features_are_frozen(self.network) else None
        self.learner = Learner(self.network, config.loss)
        if self.world > 1:
            self.learner = DistributedDataParallel(
                self.learner, broadcast_buffers=False,
                # Without a loss on the score, the layers of the score get no gradient.
                find_unused_parameters=not config.loss.score)
        with first_process_first():
            source = make_source(config.data or (DRAWN,), config.cache)
            check_lengths(source, config.stages)
            self.validation = fixed_clips(
                make_source(config.validation or (DRAWN_VALIDATION,), config.cache),
                config.validation_clips, config.validation_length)
        self.loader = Loader(config, source, self.network.current_crop.context, device,
                             self.rank, self.world)
        self.iteration, self.frames, self.best, self.refused = 0, 0, -1., 0
        self.times = dict.fromkeys(('data', 'rollout', 'forward', 'backward', 'step'), 0.)

    # One iteration ---------------------------------------------------------------------------

    def train_step(self):
        """
        Take one step of the optimizer; return the parts of the loss, of this process, as floats.

        :raises FloatingPointError: if the gradient has not been finite for many steps.
        """
        stage = self.config.stage_at(self.iteration)
        self.network.zero_grad(set_to_none=True)
        parts = [self._learn(stage, part) for part in range(stage.accumulate)]
        with self._timed('step'):
            norm = self.optimizer.step(self.iteration)
            self.average.update(self.network, self.iteration + 1)
            parts = {name: float(sum(part[name] for part in parts)) / len(parts)
                     for name in parts[0]}
        self._refuse(norm, parts)
        self.iteration += 1
        self.frames += stage.batch * len(self.seen.regions)
        return {**parts, 'norm': norm}

    def _learn(self, stage, part):
        """Follow one part of the batch and add the gradients of its loss."""
        # Dropout is to be the same in a resumed run, and another one in each process.
        torch.manual_seed(int(np.random.SeedSequence(
            [self.config.seed, self.iteration, part, self.rank]).generate_state(1)[0]))
        with self._timed('data'):
            batch = self.loader.get(self.iteration, part)
        last = part + 1 == stage.accumulate
        with self.learner.no_sync() if self.world > 1 and not last else nullcontext():
            with self.autocast():
                with self._timed('rollout'):
                    self.network.eval()
                    self.seen = rollout(self.network, batch, self.config.noise, self.features_of)
                with self._timed('forward'):
                    self.network.train()
                    loss, parts = self.learner(self.seen)
            with self._timed('backward'):
                moments = len(self.seen.regions) * stage.batch if self.config.loss.sum else 1
                (loss * moments / stage.accumulate).backward()
        return parts

    def _refuse(self, norm, parts):
        """Count steps that were not taken; the weights stay as they were."""
        self.refused = 0 if np.isfinite(norm) else self.refused + 1
        if self.refused == MAX_REFUSED:
            wrong = [name for name, value in parts.items() if not np.isfinite(value)]
            raise FloatingPointError(
                f'the gradient has not been finite for {MAX_REFUSED} steps, since iteration '
                f'{self.iteration + 2 - MAX_REFUSED}; not finite of the loss: '
                f'{", ".join(wrong) or "nothing"}. Try a smaller optimizer.rate, and loss.score '
                f'only with a network that has a score. The last checkpoint is as it was')

    def autocast(self):
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype == torch.float32 else torch.autocast(
            self.device.type, dtype)

    def _timed(self, name):
        return Timer(self.times, name, self.device)

    def _fast_features(self):
        """Return the frozen convolutions, as fast as this machine computes them."""
        features = self.network.inference_copy(PRECISIONS[self.precision]).features
        if not self.config.compile:
            return features
        return torch.compile(features, dynamic=False,
                             options={'freezing': self.device.type == 'cpu'})

    # Judging and keeping ---------------------------------------------------------------------

    def validate(self):
        """Track the validation clips; return the mean success AUC of the averaged weights."""
        # Without the search, which would hide (and cost) what a network does not follow.
        tracker = Tracker(network=self.average.network, device=str(self.device),
                          precision=self.precision, redetection_candidates=0)
        return validation_auc(tracker, self.validation)

    def save(self):
        """Write the checkpoint that --resume continues from."""
        save_checkpoint(
            self.output, network=self.network.state_dict(),
            average=self.average.network.state_dict(),
            optimizer=self.optimizer.core.state_dict(), iteration=self.iteration,
            frames=self.frames, best=self.best, config=dump_config(self.config))

    def resume(self, changed=False):
        """
        Continue from the last checkpoint.

        :param changed: go on although settings are others now.
        :raises ValueError: if it was made with other settings, or is damaged.
        :raises FileNotFoundError: if there is none.
        """
        parts = load_checkpoint(self.output)
        found = differences(parts['config'], self.config)
        if found and not changed:
            raise ValueError(f'the checkpoint in {self.output} was made with other settings ('
                             f'{"; ".join(found)}); --resume without --config goes on with its '
                             'own, --changed with the new ones')
        self.network.load_state_dict(parts['network'])
        self.average.network.load_state_dict(parts['average'])
        self.optimizer.core.load_state_dict(parts['optimizer'])
        self.iteration, self.frames, self.best = (
            parts[name] for name in ('iteration', 'frames', 'best'))

    def export(self, name):
        """Write the averaged weights as a file for the tracker."""
        save_network(self.average.network, self.output / f'{name}.safetensors', {
            'frames_seen': str(self.frames), 'iteration': str(self.iteration)})


class Timer:
    """Add the time spent in a block, on a GPU until it is done, to an entry of a dict."""

    def __init__(self, times, name, device):
        self.times, self.name, self.device = times, name, device

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *error):
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        self.times[self.name] += time.perf_counter() - self.start


def build_network(config):
    """
    Build the network of a configuration, with the weights that it starts from.

    :raises ValueError: for arguments the network does not know, weights of another network, or
        a part to freeze that it does not have.
    """
    torch.manual_seed(config.seed)
    try:
        network = network_class(config.model)(**config.network)
    except TypeError as error:
        raise ValueError(f'network: {config.model} has other arguments: {error}') from None
    if config.start_from not in ('', 'backbone', 'imagenet'):
        network = _started(config, network)
    elif config.backbone_from:
        load_backbone(network, config.backbone_from)
    elif config.start_from == 'imagenet':
        load_imagenet(network)
    elif config.start_from:
        load_backbone(network)
    for prefix in config.frozen:
        if not any(name.startswith(prefix) for name, _ in network.named_parameters()):
            parts = sorted({name.split('.')[0] for name, _ in network.named_parameters()})
            raise ValueError(f'frozen: {config.model} has no part {prefix!r}, but {parts}')
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen))
    return network.to(memory_format=torch.channels_last)


def _started(config, network):
    """Return a network with a file's weights, but for a backbone that is replaced."""
    loaded = load_network(config.model, config.start_from)
    if config.backbone_from:
        replace_backbone(loaded, config.backbone_from)
    if config.network and loaded.config != network.config:
        raise ValueError(f'start_from: {config.start_from} holds a network with the arguments '
                         f'{loaded.config}, asked for are {network.config}')
    return loaded


def features_are_frozen(network):
    """Say whether the convolutions are trained not at all, so that they need no second pass."""
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    return not any(name.startswith(network.feature_modules) for name in trained)


def choose_precision(precision, device):
    """Return `precision`, or for 'auto' bfloat16 where the device computes it natively."""
    if precision != 'auto':
        return precision
    if device.type == 'cuda':
        native = torch.cuda.is_bf16_supported()
    else:
        flags = Path('/proc/cpuinfo')
        native = flags.is_file() and 'avx512_bf16' in flags.read_text()
    return 'bfloat16' if native else 'float32'
