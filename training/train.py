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

"""
Train a tracker: `python -m training.train --config config/training/re3_lite.yaml`.

Without a configuration it trains re3_lite for some minutes on sequences that it draws itself.
A run can be killed at any time and continued with --resume: everything random is drawn anew for
each iteration from the seed and the iteration's number, so the losses are the same as if it had
never stopped.
"""

import argparse
from contextlib import nullcontext
import os
from pathlib import Path
import time

import numpy as np
import torch
from torch import distributed
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from re3_core import boxes as box_ops
from re3_core import save_network, Tracker
from re3_core.tracker import choose_device, PRECISIONS
from re3_core.weights import load_network, network_class
from training.averaging import AveragedNetwork
from training.backbone_weights import load_imagenet
from training.checkpoints import load_checkpoint, save_checkpoint
from training.config import dump_config, load_config
from training.losses import unroll_loss
from training.metrics import success_curve
from training.sources import make_source
from training.unroll import make_batch, rollout, targets_of, Unroll


def build_network(config):
    """Build the network of a configuration, with the weights that it starts from."""
    torch.manual_seed(config.seed)
    if config.start_from and config.start_from != 'imagenet':
        network = load_network(config.model, config.start_from)
    else:
        network = network_class(config.model)(**config.network)
        if config.start_from == 'imagenet':
            load_imagenet(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(config.frozen)))
    return network.to(memory_format=torch.channels_last)


def learning_rate(config, iteration):
    """Return the rate of an iteration, as the schedule has it."""
    settings, progress = config.optimizer, iteration / max(1, config.iterations)
    if settings.schedule == 'cosine':
        factor = settings.final + (1 - settings.final) * (1 + np.cos(np.pi * progress)) / 2
    elif settings.schedule == 'step':
        factor = settings.final if iteration >= settings.step else 1.
    else:
        raise ValueError(f"optimizer.schedule must be 'cosine' or 'step', "
                         f'got {settings.schedule!r}')
    return settings.rate * factor * min(1., (iteration + 1) / max(1, settings.warmup))


class Run:
    """A training run: what is trained, what it learns from, and where its results go."""

    def __init__(self, config, output, device):
        self.config, self.output, self.device = config, Path(output), device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.network = build_network(config).to(device)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, config.optimizer.rate, weight_decay=config.optimizer.weight_decay)
        self.average = AveragedNetwork(self.network, config.optimizer.ema)
        frozen = _features_are_frozen(self.network)
        unroll = Unroll(self.network, frozen)
        self.features_of = fast_features(self.network, config, device) if frozen else None
        self.unroll = unroll if not distributed.is_initialized() else (
            torch.nn.parallel.DistributedDataParallel(unroll))
        self.source = make_source(config.data)
        self.validation = _fixed_clips(config)
        self.iteration, self.frames, self.best = 0, 0, -1.
        self.times = {'data': 0., 'rollout': 0., 'forward': 0., 'backward': 0., 'step': 0.}

    # One iteration ---------------------------------------------------------------------------

    def train_step(self):
        """Take one step of the optimizer; return the parts of the loss as floats."""
        config, stage = self.config, self.config.stage_at(self.iteration)
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate(config, self.iteration)
        self.optimizer.zero_grad(set_to_none=True)
        for part in range(stage.accumulate):
            parts = self._learn(stage, part)
        with self._timed('step'):
            trained = [p for p in self.network.parameters() if p.requires_grad]
            limit = config.optimizer.clip or float('inf')
            norm = torch.nn.utils.clip_grad_norm_(trained, limit)
            if torch.isfinite(norm):
                self.optimizer.step()
            self.average.update(self.network, self.iteration + 1)
        self.iteration += 1
        return {**{name: float(value) for name, value in parts.items()}, 'norm': float(norm)}

    def _learn(self, stage, part):
        """Follow one batch of clips and add the gradients of its loss."""
        rng = np.random.default_rng([self.config.seed, self.rank, self.iteration, part])
        noise = self.config.noise
        with self._timed('data'):
            clips = [self.source.sample(rng, stage.unroll) for _ in range(stage.batch)]
            batch = make_batch(clips, stage.own, noise, rng, self.device)
        with self._autocast():
            with self._timed('rollout'):
                self.network.eval()
                seen = rollout(self.network, batch, noise, self.features_of)
            with self._timed('forward'):
                self.network.train()
                prediction = self.unroll(seen)
        with self._timed('backward'):
            loss, parts = unroll_loss(
                prediction, targets_of(batch, seen), batch.visible, self.config.loss)
            (loss / stage.accumulate).backward()
        self.frames += stage.batch * stage.unroll
        self.seen = seen
        return parts

    def _autocast(self):
        dtype = PRECISIONS[self.config.precision]
        half = dtype != torch.float32
        return torch.autocast(self.device.type, dtype) if half else nullcontext()

    def _timed(self, name):
        return _Timer(self.times, name, self.device)

    # Judging and keeping ---------------------------------------------------------------------

    def validate(self):
        """Track the validation clips; return the mean success AUC of the averaged weights."""
        tracker = Tracker(network=self.average.network, device=str(self.device),
                          precision=self.config.precision)
        return validation_auc(tracker, self.validation)

    def save(self):
        """Write the checkpoint that --resume continues from."""
        save_checkpoint(
            self.output, network=self.network.state_dict(),
            average=self.average.network.state_dict(), optimizer=self.optimizer.state_dict(),
            iteration=self.iteration, frames=self.frames, best=self.best,
            config=dump_config(self.config))

    def resume(self):
        """Continue from the last checkpoint; ValueError if it is of another configuration."""
        parts = load_checkpoint(self.output)
        if parts['config'] != dump_config(self.config):
            raise ValueError(f'the checkpoint in {self.output} was made with other settings, '
                             f'see {self.output / "config.yaml"}; use another --output')
        self.network.load_state_dict(parts['network'])
        self.average.network.load_state_dict(parts['average'])
        self.optimizer.load_state_dict(parts['optimizer'])
        self.iteration, self.frames, self.best = (
            parts[name] for name in ('iteration', 'frames', 'best'))

    def export(self, name):
        """Write the averaged weights as a file for the tracker."""
        save_network(self.average.network, self.output / f'{name}.safetensors', {
            'frames_seen': str(self.frames), 'iteration': str(self.iteration)})


class _Timer:
    """Add the time spent in a block to an entry of a dict; on a GPU, of the queue's end."""

    def __init__(self, times, name, device):
        self.times, self.name, self.device = times, name, device

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *error):
        self.times[self.name] += time.perf_counter() - self.start


def _features_are_frozen(network):
    """Say whether the convolutions are trained not at all, so that they need no second pass."""
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    return not any(name.startswith(network.feature_modules) for name in trained)


def fast_features(network, config, device):
    """Return the frozen convolutions of a network, as fast as this machine computes them."""
    features = network.inference_copy(PRECISIONS[config.precision]).features
    if not config.compile:
        return features
    return torch.compile(features, dynamic=False, options={'freezing': device.type == 'cpu'})


def _fixed_clips(config):
    """Draw the clips to validate on: the same at every validation and in every run."""
    source = make_source(config.validation)
    return [source.sample(np.random.default_rng([10**6, index]), config.validation_length)
            for index in range(config.validation_clips)]


def validation_auc(tracker, clips):
    """Track all clips side by side from their first true boxes; return the mean success AUC."""
    overlaps = [[] for _ in clips]
    tracker.reset()
    for index, clip in enumerate(clips):
        tracker.init(str(index), np.ascontiguousarray(clip.frames[0]), clip.boxes[0])
    for t in range(1, len(clips[0])):
        frames = [(np.ascontiguousarray(clip.frames[t]), [str(index)])
                  for index, clip in enumerate(clips)]
        tracks = tracker.update_frames(frames)
        for index, clip in enumerate(clips):
            if np.isfinite(clip.boxes[t]).all():
                overlaps[index].append(box_ops.iou(tracks[str(index)].box, clip.boxes[t]))
    return float(np.mean([success_curve(np.array(some)).mean() for some in overlaps if some]))


# Running -------------------------------------------------------------------------------------


def train(run, minutes=None):
    """Go through the curriculum, or until the minutes are over; leave a checkpoint behind."""
    started, config = time.monotonic(), run.config
    writer = SummaryWriter(run.output / 'tensorboard', purge_step=run.iteration)
    bar = tqdm(total=config.iterations, initial=run.iteration, unit='it', smoothing=.05,
               disable=None if run.rank == 0 else True)
    with writer, bar:
        while run.iteration < config.iterations:
            frames, began = run.frames, time.perf_counter()
            parts = run.train_step()
            rate = (run.frames - frames) / (time.perf_counter() - began)
            bar.update()
            last = run.iteration == config.iterations or (
                minutes is not None and time.monotonic() - started > 60 * minutes)
            if run.rank == 0:
                report(run, parts, rate, writer, bar, last)
            if last:
                break


def report(run, parts, rate, writer, bar, last):
    """Log, validate and save as often as the configuration says."""
    config, iteration = run.config, run.iteration
    if iteration % config.log_every == 0 or last:
        stage = config.stage_at(iteration - 1)
        bar.set_postfix_str(f'loss {parts["loss"]:.3f} overlap {parts["overlap"]:.3f} '
                            f'unroll {stage.unroll} {rate:.0f} frames/s')
        for name, value in {**parts, 'frames_per_second': rate, 'frames': run.frames,
                            'rate': run.optimizer.param_groups[0]['lr'], 'own': stage.own,
                            'unroll': stage.unroll}.items():
            writer.add_scalar(f'train/{name}', value, iteration)
        total = sum(run.times.values())
        for name, value in run.times.items():
            writer.add_scalar(f'time/{name}', value / total, iteration)
    if iteration % config.validate_every == 0 or last:
        auc = run.validate()
        writer.add_scalar('validation/auc', auc, iteration)
        writer.add_images('crops/current', _picture(run.seen), iteration)
        bar.write(f'iteration {iteration}: {run.frames} frames, validation AUC {auc:.3f}')
        if auc > run.best:
            run.best = auc
            run.export('best')
        run.export('last')
    if iteration % config.checkpoint_every == 0 or last:
        run.save()


def _picture(seen):
    """Return some current crops as a batch of images."""
    return seen.crops.current[::max(1, len(seen.crops.current) // 32)][:32].cpu()


def start_distributed():
    """Join the processes that torchrun started, if it did; return this one's device or None."""
    if 'WORLD_SIZE' not in os.environ:
        return None
    cuda = torch.cuda.is_available()
    distributed.init_process_group('nccl' if cuda else 'gloo')
    return f'cuda:{os.environ["LOCAL_RANK"]}' if cuda else 'cpu'


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m training.train', description='Train a tracker.')
    parser.add_argument('--config', help='YAML file; without, a short run on drawn sequences')
    parser.add_argument('--output', default='runs/re3_lite', help='folder of the results')
    parser.add_argument('--resume', action='store_true', help='continue the run in --output')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--minutes', type=float, help='stop, resumably, after this time')
    parser.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', dest='overrides',
                        help="settings that replace the file's, e.g. optimizer.rate=1e-4")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    config = load_config(options.config, options.overrides)
    device = start_distributed() or options.device
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    run = Run(config, output, choose_device(device))
    if options.resume:
        run.resume()
    if run.rank == 0:
        (output / 'config.yaml').write_text(dump_config(config))
    train(run, options.minutes)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == '__main__':
    main()
