# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Teach the dense backbone: `python -m training.distill --config config/training/re3_lite.yaml`.

It learns to make of crops what EfficientNet-Lite0 with its ImageNet weights makes of them, from
the data of a training's configuration. The file that it writes is what such a configuration
names as `backbone_from`.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import sys

import numpy as np
from re3_core.crops import crop_batch, region_of
from re3_core.networks.backbone import CompactBackbone, fuse_batch_norm
from re3_core.networks.compact import CompactNet
from re3_core.networks.dense import DenseBackbone
from re3_core.tracker import choose_device, PRECISIONS
from re3_core.weights import load_network, read_metadata, save_network
import torch
from torch.utils.tensorboard import SummaryWriter
from training.backbone_weights import imagenet_state, replace_backbone, save_backbone
from training.config import load_config
from training.run import choose_precision
from training.sources import make_source
from training.train import progress_bar

# Crops show a box, moved, with as much around it as in tracking, or some more or less.
MOVE = .3
CONTEXTS = (1.2, 3.5)
VALIDATION_BATCHES = 8
LOG_EVERY = 20
SAVE_EVERY = 500


def random_crops(source, rng, count):
    """Return `count` crops (count, 3, S, S) uint8 of frames drawn from a clip source."""
    clips = [source.sample(rng, 1) for _ in range(count)]
    boxes = np.stack([clip.boxes[0] for clip in clips]).astype(np.float64)
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + sizes * np.tile(rng.normal(0, MOVE, (count, 2)), 2)
    regions = region_of(boxes, rng.uniform(*CONTEXTS, count))
    mirrored = rng.random(count) < .5
    regions[mirrored] = regions[mirrored][:, [2, 1, 0, 3]]
    return crop_batch([clip.frames[0] for clip in clips], regions, CompactNet.current_crop.size)


def spreads(maps):
    """Return the standard deviation of each channel (1, C, 1, 1) of each of the maps."""
    return [part.float().std((0, 2, 3), keepdim=True) + 1e-3 for part in maps]


def unexplained(student_maps, teacher_maps, scales):
    """Return the mean squared error of each map, in variances of the teacher's channels."""
    return [((student.float() - teacher.float()) / scale).square().mean()
            for student, teacher, scale in zip(student_maps, teacher_maps, scales, strict=True)]


class Batches:
    """Batches of crops of a clip source, number by number, each made while the last is used."""

    def __init__(self, source, seed, count):
        self.source, self.seed, self.count = source, seed, count
        self._thread = ThreadPoolExecutor(1)
        self._next = self._thread.submit(self._make, 0)

    def _make(self, number):
        return random_crops(self.source, np.random.default_rng([self.seed, number]), self.count)

    def get(self, number):
        """Return batch `number`, which must be the one after the last."""
        crops = self._next.result()
        self._next = self._thread.submit(self._make, number + 1)
        return crops


class Distillation:
    """
    A teacher, a student, and what is needed to bring the one closer to the other.

    :param device: torch.device.
    :param iterations: steps over which the rate falls to nothing.
    :param rate: the highest learning rate.
    """

    def __init__(self, device, iterations, rate):
        self.device, self.dtype = device, PRECISIONS[choose_precision('auto', device)]
        backbone = CompactBackbone()
        backbone.load_state_dict(imagenet_state())
        fused = fuse_batch_norm(backbone, self.dtype).to(device)
        self.teacher = torch.compile(fused, dynamic=False,
                                     options={'freezing': device.type == 'cpu'})
        self.student = DenseBackbone().to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, iterations, pct_start=.05)

    def scale(self, crops):
        """Measure the teacher's maps, so that every channel counts alike."""
        self.scales = spreads(self._taught(crops))

    def _taught(self, crops):
        with torch.no_grad():
            return self.teacher(crops.to(self.device))

    def errors(self, crops):
        """Return the unexplained share of variance of the maps of stride 4, 8 and 16."""
        taught = self._taught(crops)
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            return unexplained(self.student(crops.to(self.device)), taught, self.scales)

    def learn(self, crops):
        """Take one step; return the errors before it."""
        errors = self.errors(crops)
        self.optimizer.zero_grad(set_to_none=True)
        sum(errors).backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.)
        self.optimizer.step()
        self.schedule.step()
        return [float(error.detach()) for error in errors]

    @torch.no_grad()
    def judge(self, batches):
        """Return the mean errors (3,) on batches that are not learned from."""
        return np.mean([[float(error) for error in self.errors(crops)] for crops in batches], 0)


def distill(config, output, device, iterations, batch, rate):
    """Teach a student and write it to `output`; return its errors on the validation data."""
    batches = Batches(make_source(config.data, config.cache), config.seed, batch)
    unseen = make_source(config.validation, config.cache)
    held_out = [random_crops(unseen, np.random.default_rng(number), batch)
                for number in range(VALIDATION_BATCHES)]
    distillation = Distillation(device, iterations, rate)
    distillation.scale(held_out[0])
    with SummaryWriter(output.parent / 'tensorboard') as writer, \
            progress_bar(iterations) as bar:
        for number in range(iterations):
            errors = distillation.learn(batches.get(number))
            bar.update()
            if number % LOG_EVERY == 0:
                bar.set_postfix_str(' '.join(f'{error:.3f}' for error in errors), refresh=False)
                for stride, error in zip((4, 8, 16), errors, strict=True):
                    writer.add_scalar(f'distill/unexplained_{stride}', error, number)
            if number % SAVE_EVERY == SAVE_EVERY - 1:
                save_backbone(distillation.student, output)
    save_backbone(distillation.student, output)
    return distillation.judge(held_out)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m training.distill',
        description='Teach the dense backbone what the pretrained one sees.')
    parser.add_argument('--config', required=True, help='of a training: whose data is used')
    parser.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', dest='overrides',
                        help="settings that replace the file's, as for training.train")
    parser.add_argument('--output', default='runs/dense/backbone.safetensors',
                        help='file of weights to write')
    parser.add_argument('--into', metavar='WEIGHTS',
                        help='a network that gets the taught backbone instead of its own; written '
                             'beside --output')
    parser.add_argument('--iterations', type=int, default=6000)
    parser.add_argument('--batch', type=int, default=64, help='crops of an iteration')
    parser.add_argument('--rate', type=float, default=2e-3, help='highest learning rate')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the command; return the exit status."""
    options = parse_arguments(arguments)
    output = Path(options.output)
    try:
        config = load_config(options.config, options.overrides)
        output.parent.mkdir(parents=True, exist_ok=True)
        errors = distill(config, output, choose_device(options.device), options.iterations,
                         options.batch, options.rate)
        if options.into:
            network = load_network(weights=options.into)
            replace_backbone(network, output)
            save_network(network, output.parent / f'{network.name}.safetensors',
                         read_metadata(options.into))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print('share of the variance that is not explained, at stride 4, 8, 16: '
          + ', '.join(f'{error:.3f}' for error in errors) + f'\nresults: {output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
