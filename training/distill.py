# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Feature distillation: `python -m training.distill --config config/training/re3_lite.yaml`.

The dense backbone learns the features of EfficientNet-Lite0 with its ImageNet weights, on the
data of a training configuration. The resulting file is for `backbone_weights` of such a
configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys

import numpy as np
from re3_core.crops import crop_batch, region_of
from re3_core.engines.torch_engine import choose_device, PRECISIONS
from re3_core.networks.backbone import CompactBackbone, fuse_batch_norm
from re3_core.networks.compact import CompactNet
from re3_core.networks.dense import DenseBackbone
from re3_core.weights import load_network, read_metadata, save_network
import torch
from torch import Tensor
from training.config import Config, run_command, SettingsOptions
from training.data.cache import numbered_loader
from training.data.sources import ClipSource, make_source
from training.pretrained import imagenet_state, replace_backbone, save_backbone
from training.train import choose_precision, ProgressBar

# Crops show a box, moved, with as much around it as in tracking, or some more or less.
SHIFT_STD = .3
CONTEXTS = (1.2, 3.5)
VALIDATION_BATCHES = 8
LOG_EVERY = 20
SAVE_EVERY = 500


class RandomCrops:
    """Crops (count, 3, S, S) uint8 of frames drawn from a clip source, by number."""

    def __init__(self, source: ClipSource, count: int, *seed: int):
        self.source, self.count, self.seed = source, count, seed

    def __getitem__(self, number: int) -> Tensor:
        rng, count = np.random.default_rng((*self.seed, number)), self.count
        clips = [self.source.sample(rng, 1) for _ in range(count)]
        boxes = np.stack([clip.boxes[0] for clip in clips]).astype(np.float64)
        sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + sizes * np.tile(rng.normal(0, SHIFT_STD, (count, 2)), 2)
        regions = region_of(boxes, rng.uniform(*CONTEXTS, count))
        mirrored = rng.random(count) < .5
        regions[mirrored] = regions[mirrored][:, [2, 1, 0, 3]]
        return crop_batch([clip.frames[0] for clip in clips], regions,
                          CompactNet.current_crop.size)


class Distillation:
    """
    A teacher, a student, and the student's optimizer.

    :param iterations: steps over which the learning rate falls to 0
    :param lr: the highest learning rate
    """

    def __init__(self, device: torch.device, iterations: int, lr: float):
        self.device, self.dtype = device, PRECISIONS[choose_precision('auto', device)]
        backbone = CompactBackbone()
        backbone.load_state_dict(imagenet_state())
        fused = fuse_batch_norm(backbone, self.dtype).to(device)
        self.teacher = torch.compile(fused, dynamic=False,
                                     options={'freezing': device.type == 'cpu'})
        self.student = DenseBackbone().to(device)
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=lr, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, lr, iterations, pct_start=.05)
        self.scales: list[Tensor] = []

    def errors(self, crops: Tensor) -> list[Tensor]:
        """
        Return the unexplained fraction of variance of the maps of stride 4, 8 and 16.

        That is the mean squared error in variances of the teacher's channels.
        """
        crops = crops.to(self.device)
        with torch.no_grad():
            wanted = [part.float() for part in self.teacher(crops)]
        # Measured once, so that every channel counts alike.
        self.scales = self.scales or [part.std((0, 2, 3), keepdim=True) + 1e-3 for part in wanted]
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            found = self.student(crops)
        return [((student.float() - teacher) / scale).square().mean()
                for student, teacher, scale in zip(found, wanted, self.scales, strict=True)]

    def train_step(self, crops: Tensor) -> list[float]:
        """Take one step; return the errors before it."""
        errors = self.errors(crops)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(errors).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.)
        self.optimizer.step()
        self.schedule.step()
        return [float(error.detach()) for error in errors]

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Tensor]) -> np.ndarray:
        """Return the mean errors (3,) on validation batches."""
        return np.mean([[float(error) for error in self.errors(crops)] for crops in batches], 0)


def distill(config: Config, output: Path, device: torch.device, iterations: int, batch: int,
            lr: float) -> np.ndarray:
    """Train a student and write it to `output`; return its errors on the validation data."""
    crops_of = RandomCrops(make_source(config.data, config.cache), batch, config.seed)
    batches = numbered_loader(crops_of, range(iterations), config.workers)
    validation = RandomCrops(make_source(config.validation, config.cache), batch)
    held_out = [validation[number] for number in range(VALIDATION_BATCHES)]
    distillation = Distillation(device, iterations, lr)
    distillation.evaluate(held_out[:1])
    with ProgressBar(iterations) as bar:
        for number, crops in enumerate(batches):
            errors = distillation.train_step(crops)
            bar.update()
            if number % LOG_EVERY == 0:
                bar.show(number, ' '.join(f'{error:.3f}' for error in errors))
            if number % SAVE_EVERY == SAVE_EVERY - 1:
                save_backbone(distillation.student, output)
    save_backbone(distillation.student, output)
    return distillation.evaluate(held_out)


@dataclass(frozen=True)
class DistillOptions(SettingsOptions):
    """
    Distill the features of the pretrained backbone into the dense one.

    :param output: file of weights to write
    :param into: a network's weights whose backbone is replaced, written beside output
    :param iterations: number of steps
    :param batch: crops of an iteration
    :param lr: highest learning rate
    :param device: auto, cpu, cuda or cuda:N
    """

    output: Path = Path('runs/dense/backbone.safetensors')
    into: Path | None = None
    iterations: int = 6000
    batch: int = 64
    lr: float = 2e-3
    device: str = 'auto'


def run(options: DistillOptions) -> None:
    """Run the command."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    errors = distill(options.settings, options.output, choose_device(options.device),
                     options.iterations, options.batch, options.lr)
    if options.into:
        network = load_network(weights=options.into)
        replace_backbone(network, options.output)
        save_network(network, options.output.parent / f'{network.name}.safetensors',
                     read_metadata(options.into))
    print('unexplained fraction of the variance at stride 4, 8, 16: '
          + ', '.join(f'{error:.3f}' for error in errors) + f'\nresults: {options.output}')


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(DistillOptions, run, arguments,
                       {'--rate': '--lr'})


if __name__ == '__main__':
    sys.exit(main())
