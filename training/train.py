# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Train a tracker: `python -m training.train --config config/training/re3_lite.yaml`.

Without a configuration it trains re3_lite for some minutes on procedurally generated sequences.
A run can be killed at any time and continued with --resume: everything random is drawn anew for
each iteration from the seed and the iteration's number, so the losses are the same as if it had
never stopped. Under torchrun several processes share each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
import os
from pathlib import Path
import re
import sys
import time
from typing import Any, cast

import numpy as np
from re3_core import save_network, Track, Tracker
from re3_core.crops import CropSpec
from re3_core.engines.torch_engine import choose_device, PRECISIONS
from re3_core.io.files import atomic_write
from re3_core.networks import TrackerNetwork
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from training.augment import Batch, make_batch
from training.config import (
    Config,
    differences,
    dump_config,
    OptimizerConfig,
    ParameterGroup,
    run_command,
    SettingsOptions,
    Stage,
)
from training.data.cache import numbered_loader
from training.data.check import tile, with_boxes
from training.data.sources import Clip, ClipSource, make_source, MixedSource
from training.metrics import overlaps as overlaps_of
from training.metrics import success_curve
from training.pretrained import build_network
from training.rollout import Objective, roll_out, Rollout

CHECKPOINT = 'checkpoint.pt'
# After this many steps in a row without a finite gradient the run stops.
MAX_BAD_STEPS = 20
# Far from the seeds of training clips, which begin with the run's seed.
VALIDATION_SEED = 10 ** 6
# Rows and time steps of TensorBoard's image.
LOGGED_CROPS = (4, 8)


# Data ------------------------------------------------------------------------------------------


class TrainingBatches:
    """
    Batches by the number of the iteration, from 0, for one of several processes.

    A batch is a function of the seed and its place in the run: every clip has a generator of its
    own, seeded by the iteration and the clip's number. So a resumed run gets the same batches as
    an uninterrupted one, and so do several processes that share them.

    :param crop: the current crop
    :param rank: number of this process; `world` of all
    :raises ValueError: if a stage's batch cannot be shared among the processes
    """

    def __init__(self, config: Config, source: ClipSource, crop: CropSpec,
                 device: torch.device, rank: int = 0, world: int = 1):
        self.config, self.source, self.crop = config, source, crop
        self.rank, self.world, self.as_tensor = rank, world, device.type == 'cuda'
        for stage in config.stages:
            if stage.clips % world:
                raise ValueError(f'a batch of {stage.clips} clips cannot be shared by {world} '
                                 'processes')

    def __getitem__(self, iteration: int) -> Batch:
        stage = self.config.stage_at(iteration)
        share = stage.clips // self.world
        generators = [np.random.default_rng([self.config.seed, iteration, number])
                      for number in range(self.rank * share, (self.rank + 1) * share)]
        clips = [self.source.sample(rng, stage.unroll) for rng in generators]
        return make_batch(clips, generators, self.config.augment, self.crop,
                          stage.scheduled_sampling, stage.copies, self.as_tensor)


def check_lengths(source: MixedSource, stages: tuple[Stage, ...]) -> None:
    """
    Draw the longest clip that any stage needs from each source, before hours of training.

    :raises ValueError: if there is no clip as long
    """
    longest = max(stage.unroll for stage in stages if stage.iterations)
    for part in source.sources:
        try:
            part.sample(np.random.default_rng(0), longest)
        except ValueError as error:
            raise ValueError(f'a stage with unroll {longest} needs clips of {longest} frames: '
                             f'{error}') from None


# Optimization ----------------------------------------------------------------------------------


def parameter_groups(network: TrackerNetwork, settings: OptimizerConfig) -> list[dict[str, Any]]:
    """
    Return torch's parameter groups of all parameters that require a gradient.

    :raises ValueError: for a group that no parameter belongs to, or if there is none to train
    """
    groups = (*settings.groups, ParameterGroup(''))
    members: list[list[torch.nn.Parameter]] = [[] for _ in groups]
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            members[next(i for i, group in enumerate(groups)
                         if re.search(group.pattern, name))].append(parameter)
    for group, some in zip(groups[:-1], members[:-1], strict=True):
        if not some:
            raise ValueError('optimizer.groups: no parameter that is trained matches '
                             f'{group.pattern!r}')
    if not any(members):
        raise ValueError('nothing is left to train, all is frozen')
    return [{'params': some, 'lr': settings.lr * group.lr_ratio,
             'weight_decay': settings.weight_decay * group.weight_decay_ratio}
            for group, some in zip(groups, members, strict=True) if some]


def make_optimizer(network: TrackerNetwork, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration."""
    groups = parameter_groups(network, settings)
    if settings.name == 'sgd':
        return torch.optim.SGD(groups, settings.lr, settings.momentum)
    kind = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[settings.name]
    return kind(groups, settings.lr)


def take_step(optimizer: torch.optim.Optimizer, grad_clip: float) -> float:
    """Clip the gradient and take a step unless it is not finite; return its norm."""
    parameters = [some for group in optimizer.param_groups for some in group['params']]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, grad_clip or math.inf))
    if math.isfinite(norm):
        optimizer.step()
    return norm


def lr_factor(settings: OptimizerConfig, iteration: int, iterations: int) -> float:
    """Return the factor of the learning rate in an iteration (from 0) of a run."""
    if settings.schedule == 'cosine':
        cosine = (1 + math.cos(math.pi * iteration / max(1, iterations))) / 2
        factor = settings.min_lr_ratio + (1 - settings.min_lr_ratio) * cosine
    else:
        factor = settings.gamma ** sum(iteration >= place for place in settings.milestones)
    return factor * min(1., (iteration + 1) / max(1, settings.warmup))


def averaged(network: TrackerNetwork, decay: float) -> AveragedModel:
    """
    Return an exponential moving average of a network's weights.

    The decay starts lower, so that the random first weights are soon forgotten.
    """
    def average(old: torch.Tensor, new: torch.Tensor, updates: Any) -> torch.Tensor:
        kept = torch.clamp((updates + 1) / (updates + 11), max=decay)
        return torch.lerp(old, new, 1 - kept)
    return AveragedModel(network, avg_fn=average)


# Trainer ---------------------------------------------------------------------------------------


class Trainer:
    """
    The state of a training run in one process, possibly one of several.

    :param output: folder of the results
    :raises ValueError: for settings that do not fit each other, or malformed data
    :raises OSError: for files that are missing or cannot be read
    """

    def __init__(self, config: Config, output: Path, device: torch.device):
        self.config, self.output, self.device = config, Path(output), device
        self.rank, self.world = rank_and_world()
        self.precision = choose_precision(config.precision, device)
        self.network = build_network(config).to(device)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda i: lr_factor(config.optimizer, i, config.iterations))
        self.average = averaged(self.network, config.optimizer.ema_decay)
        self.averaged_network = cast(TrackerNetwork, self.average.module)
        self.features_of = self._fast_features() if features_are_frozen(self.network) else None
        self.objective: Any = Objective(self.network, config.loss)
        if self.world > 1:
            self.objective = DistributedDataParallel(
                self.objective, broadcast_buffers=False,
                # Without a loss of the confidence, its layers get no gradient.
                find_unused_parameters=not config.loss.confidence)
        source = make_source(config.data, config.cache)
        check_lengths(source, config.stages)
        self.validation = fixed_clips(make_source(config.validation, config.cache),
                                      config.validation_clips, config.validation_length)
        self.data = TrainingBatches(config, source, self.network.current_crop, device,
                                    self.rank, self.world)
        self.batches: Any = None        # of the iterations to come
        self.iteration, self.frames, self.best_auc, self.bad_steps = 0, 0, -1., 0
        self.times = dict.fromkeys(('data', 'rollout', 'forward', 'backward', 'step'), 0.)
        self.rollout: Any = None        # the last one

    # One iteration

    def train_step(self) -> dict[str, float]:
        """
        Take one step of the optimizer; return the parts of the loss, of this process.

        :raises FloatingPointError: if the gradient has not been finite for many steps
        """
        config, stage = self.config, self.config.stage_at(self.iteration)
        with self.timed('data'):
            self.batches = self.batches or iter(numbered_loader(
                self.data, range(self.iteration, config.iterations), config.workers,
                pin_memory=self.data.as_tensor))
            batch = next(self.batches).to(self.device)
        # Dropout is the same in a resumed run, and another one in each process. Not before the
        # first batch: the loader's start draws a number, too.
        torch.manual_seed(int(np.random.SeedSequence(
            [config.seed, self.iteration, self.rank]).generate_state(1)[0]))
        with self.autocast():
            with self.timed('rollout'):
                self.network.eval()
                self.rollout = roll_out(self.network, batch, config.augment, self.features_of)
            with self.timed('forward'):
                self.network.train()
                loss, parts = self.objective(self.rollout)
        with self.timed('backward'):
            if config.loss.reduction == 'sum':
                loss = loss * len(self.rollout.regions) * stage.batch
            self.network.zero_grad(set_to_none=True)
            loss.backward()
        with self.timed('step'):
            norm = take_step(self.optimizer, config.optimizer.grad_clip)
            self.schedule.step()
            self.average.update_parameters(self.network)
            losses = {name: float(value) for name, value in parts.items()}
        self._check_finite(norm, losses)
        self.iteration += 1
        self.frames += stage.batch * len(self.rollout.regions)
        return {**losses, 'norm': norm}

    def _check_finite(self, norm: float, losses: dict[str, float]) -> None:
        """Count steps that were not taken; the weights stay as they were."""
        self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        if self.bad_steps == MAX_BAD_STEPS:
            wrong = [name for name, value in losses.items() if not math.isfinite(value)]
            raise FloatingPointError(
                f'the gradient has not been finite for {MAX_BAD_STEPS} steps, since iteration '
                f'{self.iteration + 2 - MAX_BAD_STEPS}; not finite of the loss: '
                f'{", ".join(wrong) or "nothing"}. Try a smaller optimizer.lr, and '
                'loss.confidence only with a network that has one. The last checkpoint is '
                'unchanged')

    def autocast(self) -> Any:
        """Return the context of the run's precision."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype, dtype != torch.float32)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of a block, on a GPU until it is done, to `times`."""
        start = time.perf_counter()
        yield
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        self.times[name] += time.perf_counter() - start

    def _fast_features(self) -> Any:
        """Return the frozen convolutions, as fast as this machine computes them."""
        features: Any = self.network.inference_copy(PRECISIONS[self.precision]).features
        if not self.config.compile:
            return features
        return torch.compile(features, dynamic=False,
                             options={'freezing': self.device.type == 'cpu'})

    # Validation and files

    def validate(self) -> float:
        """Track the validation clips; return the mean success AUC of the averaged weights."""
        # Without re-detection, which would hide (and cost) what a network does not track.
        tracker = Tracker(network=self.averaged_network, device=str(self.device),
                          precision=self.precision, redetection_candidates=0)
        return validation_auc(tracker, self.validation)

    def save(self) -> None:
        """Write the checkpoint that --resume continues from, atomically."""
        with atomic_write(self.output / CHECKPOINT) as part, open(part, 'wb') as file:
            torch.save({'network': self.network.state_dict(), 'average': self.average.state_dict(),
                        'optimizer': self.optimizer.state_dict(),
                        'schedule': self.schedule.state_dict(), 'iteration': self.iteration,
                        'frames': self.frames, 'best_auc': self.best_auc,
                        'config': dump_config(self.config)}, file)
            file.flush()
            os.fsync(file.fileno())

    def resume(self, force: bool = False) -> None:
        """
        Continue from the last checkpoint.

        :param force: also if settings have changed
        :raises ValueError: if it was made with other settings, or is damaged
        :raises FileNotFoundError: if there is none
        """
        saved = load_checkpoint(self.output)
        found = differences(saved['config'], self.config)
        if found and not force:
            raise ValueError(f'the checkpoint in {self.output} was made with other settings ('
                             f'{"; ".join(found)}); --resume without --config continues with its '
                             'own, --force with the new ones')
        for name in ('network', 'average', 'optimizer', 'schedule'):
            getattr(self, name).load_state_dict(saved[name])
        self.iteration, self.frames = saved['iteration'], saved['frames']
        self.best_auc, self.batches = saved['best_auc'], None

    def export(self, name: str) -> None:
        """Write the averaged weights as a file for the tracker."""
        save_network(self.averaged_network, self.output / f'{name}.safetensors', {
            'frames_seen': str(self.frames), 'iteration': str(self.iteration)})


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """
    Return the checkpoint of a run.

    :raises FileNotFoundError: if there is none
    :raises ValueError: if the file is another one or damaged
    """
    path = Path(folder) / CHECKPOINT
    if not path.exists():
        raise FileNotFoundError(f'no checkpoint {path} to resume from')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:    # whatever a damaged file makes torch and pickle raise
        raise ValueError(f'{path} is damaged or no checkpoint: {error}') from error


def features_are_frozen(network: TrackerNetwork) -> bool:
    """Return whether no convolution is trained, so that they need no second pass."""
    return not any(name.startswith(network.feature_modules)
                   for name, parameter in network.named_parameters() if parameter.requires_grad)


def choose_precision(precision: str, device: torch.device) -> str:
    """Return `precision`, or for 'auto' bfloat16 where the device computes it natively."""
    if precision != 'auto':
        return precision
    if device.type == 'cuda':
        native = torch.cuda.is_bf16_supported()
    else:
        flags = Path('/proc/cpuinfo')
        native = flags.is_file() and 'avx512_bf16' in flags.read_text()
    return 'bfloat16' if native else 'float32'


def fixed_clips(source: ClipSource, count: int, length: int) -> list[Clip]:
    """Draw validation clips: the same at every validation and in every run."""
    return [source.sample(np.random.default_rng([VALIDATION_SEED, index]), length)
            for index in range(count)]


def track_clips(tracker: Tracker, clips: list[Clip]) -> list[list[Track]]:
    """Track N clips of T frames side by side from their first true boxes; return N x T Tracks."""
    tracker.reset()
    tracks = [[tracker.init(str(index), np.ascontiguousarray(clip.frames[0]), clip.boxes[0])]
              for index, clip in enumerate(clips)]
    for t in range(1, len(clips[0])):
        found = tracker.update_frames([(np.ascontiguousarray(clip.frames[t]), [str(index)])
                                       for index, clip in enumerate(clips)])
        for index, track in enumerate(found.values()):
            tracks[index].append(track)
    return tracks


def validation_auc(tracker: Tracker, clips: list[Clip]) -> float:
    """Track clips of equal length; return the mean success AUC, first frames left out."""
    overlaps = [overlaps_of(np.array([track.box for track in some[1:]]), clip.boxes[1:])
                for some, clip in zip(track_clips(tracker, clips), clips, strict=True)]
    return float(np.mean([success_curve(overlap).mean() for overlap in overlaps
                          if np.isfinite(overlap).any()]))


# Several processes -----------------------------------------------------------------------------


def join_processes() -> str | None:
    """Join the processes of torchrun, if it started this one; return its device or None."""
    if 'WORLD_SIZE' not in os.environ:
        return None
    cuda = torch.cuda.is_available()
    distributed.init_process_group('nccl' if cuda else 'gloo')
    if not cuda:
        return 'cpu'
    device = f'cuda:{os.environ["LOCAL_RANK"]}'
    torch.cuda.set_device(device)
    return device


def rank_and_world() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def broadcast_decision(decision: bool) -> bool:
    """Return the decision of the first process in all of them."""
    answer = [decision]
    if distributed.is_initialized():
        distributed.broadcast_object_list(answer, 0)
    return answer[0]


# Logging ---------------------------------------------------------------------------------------


class ProgressBar(tqdm):
    """tqdm's bar of a run; where there is no terminal it prints a line for each log entry."""

    def __init__(self, iterations: int, done: int = 0):
        super().__init__(total=iterations, initial=done, smoothing=.05, disable=None)

    def show(self, iteration: int, text: str) -> None:
        """Show a text beside the bar, or print it with the number of the iteration."""
        self.set_postfix_str(text, refresh=False)
        if self.disable:
            print(f'{iteration}/{self.total}: {text}', file=sys.stderr, flush=True)


class Logger:
    """Progress, TensorBoard, validation and weights files of a run, in its first process."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        # What a killed run wrote after its last checkpoint does not count.
        self.writer = SummaryWriter(
            trainer.output / 'tensorboard',
            purge_step=trainer.iteration + 1 if trainer.iteration else None)
        self.bar = ProgressBar(trainer.config.iterations, trainer.iteration)
        if trainer.iteration == 0:
            self._validate()

    def log(self, losses: dict[str, float], rate: float, last: bool) -> None:
        """Log, validate and save at the configured intervals, and after the last step."""
        trainer, config, iteration = self.trainer, self.trainer.config, self.trainer.iteration
        self.bar.update()
        if iteration % config.log_every == 0 or last:
            self._log_losses(losses, rate)
        if iteration % config.validate_every == 0 or last:
            auc = self._validate()
            self.writer.add_image('crops', crops_image(trainer.rollout), iteration)
            if auc > trainer.best_auc:
                trainer.best_auc = auc
                trainer.export('best')
            trainer.export('last')
        if iteration % config.checkpoint_every == 0 or last:
            trainer.save()

    def _log_losses(self, losses: dict[str, float], rate: float) -> None:
        trainer, iteration = self.trainer, self.trainer.iteration
        stage = trainer.config.stage_at(iteration - 1)
        self.bar.show(iteration, f'loss {losses["loss"]:.3f} overlap {losses["overlap"]:.3f} '
                                 f'unroll {stage.unroll} {rate:.0f} frames/s')
        lr = trainer.config.optimizer.lr * lr_factor(trainer.config.optimizer, iteration - 1,
                                                     trainer.config.iterations)
        values = {**losses, 'frames_per_second': rate, 'frames': trainer.frames, 'lr': lr,
                  'scheduled_sampling': stage.scheduled_sampling, 'unroll': stage.unroll}
        for name, value in values.items():
            self.writer.add_scalar(f'train/{name}', value, iteration)

    def _validate(self) -> float:
        auc, trainer = self.trainer.validate(), self.trainer
        self.writer.add_scalar('validation/auc', auc, trainer.iteration)
        self.bar.write(f'iteration {trainer.iteration}: {trainer.frames} frames, '
                       f'validation AUC {auc:.3f}', file=sys.stdout)
        sys.stdout.flush()
        return auc

    def close(self) -> None:
        """Close the files, and print the shares of the time."""
        self.bar.close()
        self.writer.close()
        times = self.trainer.times
        shares = ', '.join(f'{name} {value / max(sum(times.values()), 1e-9):.1%}'
                           for name, value in times.items())
        print(f'time of a step: {shares}\nresults: {self.trainer.output}', flush=True)


def crops_image(rollout: Rollout) -> np.ndarray:
    """Return the current crops of some rows over time, with the true box in green, (3, H, W)."""
    length, count = rollout.regions.shape[:2]
    crops = rollout.crops.current.view(length, count, *rollout.crops.current.shape[1:])
    side = crops.shape[-1]
    images = [with_boxes(crops[t, row].permute(1, 2, 0).cpu().numpy(),
                         side * rollout.targets[t, row, None].cpu().numpy())
              for row in range(min(count, LOGGED_CROPS[0]))
              for t in np.linspace(0, length - 1, LOGGED_CROPS[1]).astype(int)]
    return tile(images, LOGGED_CROPS[1], (side, side)).transpose(2, 0, 1)


# Command ---------------------------------------------------------------------------------------


def train(trainer: Trainer, minutes: float | None = None,
          stop: Callable[[], bool] = lambda: False) -> None:
    """
    Train to the end of the curriculum, or for some minutes; leave a checkpoint behind.

    :param stop: is called after each step; training ends if it returns true
    """
    started, config = time.monotonic(), trainer.config
    logger = Logger(trainer) if trainer.rank == 0 else None
    while trainer.iteration < config.iterations:
        frames, began = trainer.frames, time.perf_counter()
        losses = trainer.train_step()
        rate = (trainer.frames - frames) / (time.perf_counter() - began)
        over = minutes is not None and broadcast_decision(
            time.monotonic() - started > 60 * minutes)
        if logger:
            logger.log(losses, rate, over or trainer.iteration == config.iterations)
        if over or broadcast_decision(stop()):
            break
    if logger:
        logger.close()


@dataclass(frozen=True)
class TrainOptions(SettingsOptions):
    """
    Train a tracker.

    :param output: folder of the results
    :param resume: continue the run in the output folder, with its own settings
    :param force: with resume: also if settings have changed
    :param device: auto, cpu, cuda or cuda:N
    :param minutes: stop, resumably, after this time
    """

    output: Path = Path('runs/re3_lite')
    resume: bool = False
    force: bool = False
    device: str = 'auto'
    minutes: float | None = None


def start(options: TrainOptions) -> None:
    """Run the command: a new run or a resumed one."""
    output, config = options.output, options.settings
    if (output / CHECKPOINT).is_file() and not options.resume:
        raise ValueError(f'{output} holds a run already: continue it with --resume, or name '
                         'another --output')
    try:
        trainer = Trainer(config, output, choose_device(join_processes() or options.device))
        if options.resume:
            trainer.resume(options.force)
        if trainer.rank == 0:
            output.mkdir(parents=True, exist_ok=True)
            with atomic_write(output / 'config.yaml') as part:
                part.write_text(dump_config(config))
        train(trainer, options.minutes)
        if distributed.is_initialized():
            distributed.barrier()       # gloo aborts a process whose peer has left
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(TrainOptions, start, arguments,
                       {'--changed': '--force'})


if __name__ == '__main__':
    sys.exit(main())
