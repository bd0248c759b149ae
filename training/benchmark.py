# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure speed: `python -m training.benchmark --json out.json`.

Training: frames per second of each part of an iteration, with the convolutions frozen and
trained, on procedural sequences, since speed does not depend on their content. Tracking, with
`--engines`: milliseconds per frame of the engines and OpenCV's trackers, for several numbers of
targets. Nothing is learned or evaluated. The output is the Markdown of docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
import sys
import tempfile
import time

import cv2
from re3_core.engines.torch_engine import choose_device
import torch
from training.config import Config, run_command, SettingsOptions, Stage
from training.engine_benchmark import compare_engines
from training.report import machine, markdown, write_json
from training.train import choose_precision, Trainer

WARM_UP = 2


# Training --------------------------------------------------------------------------------------


def training_speeds(config: Config, device: torch.device, iterations: int) -> dict[str, float]:
    """
    Return the frames per second of the parts of training, of one network.

    :param config: of one stage; its frozen parts stay frozen
    :param iterations: how many are measured, after some that are not
    :return: dict of part to frames per second; a frame has two crops
    """
    trainer = Trainer(config, Path(tempfile.gettempdir()), device)
    for _ in range(WARM_UP):
        trainer.train_step()
    trainer.times, trainer.frames = dict.fromkeys(trainer.times, 0.), 0
    began = time.perf_counter()
    for _ in range(iterations):
        trainer.train_step()
    whole = time.perf_counter() - began
    speeds = {part: trainer.frames / trainer.times[part]
              for part in ('rollout', 'forward', 'backward', 'step')}
    return {**speeds, 'whole iteration': trainer.frames / whole,
            'waiting for data': trainer.times['data'] / whole}


# Reports ---------------------------------------------------------------------------------------


def report_tables(report: dict) -> str:
    """Return the tables of a report as Markdown text."""
    place = report['machine']
    gpu = f'{place["gpu"]}; ' if place['gpu'] else ''
    machine_text = (f'{gpu}{place["cpu"]}, {place["cores"]} cores, {place["threads"]} threads, '
                    f'torch {place["torch"]}, OpenCV {place["opencv"]}; {report["precision"]}.')
    training = report['training']
    rows = [['frames/s', *training]]
    for part in next(iter(training.values())):
        style = '.1%' if part == 'waiting for data' else '.0f'
        rows.append([part, *(format(speeds[part], style) for speeds in training.values())])
    return f'{machine_text}\n\n{markdown(rows)}'


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SettingsOptions):
    """
    Measure the speed of training, or of tracking.

    :param weights: weights file of the engines; training is measured with random weights
    :param device: auto, cpu, cuda or cuda:N
    :param unroll: frames of the training clips
    :param batch: rows of a training batch
    :param iterations: of training that are measured
    :param threads: threads of torch and OpenCV in training
    :param json: file to write all figures to
    :param engines: engines whose tracking is compared, instead of training: all (that are
        installed), torch, onnxruntime, openvino or tensorrt
    :param opencv: kinds of OpenCV's trackers to compare with
    :param opencv_models: folder of the ONNX files of nano and vit
    :param targets: numbers of targets
    :param engine_threads: numbers of threads to compare the engines with
    :param document: file whose part about engines is replaced by the tables
    """

    weights: str = ''
    device: str = 'auto'
    unroll: int = 16
    batch: int = 32
    iterations: int = 5
    threads: int | None = None
    json: Path | None = None
    engines: tuple[str, ...] = ()
    opencv: tuple[str, ...] = ('csrt', 'kcf')
    opencv_models: str | None = None
    targets: tuple[int, ...] = (1, 8, 64)
    engine_threads: tuple[int, ...] = (1, 2)
    document: Path | None = None

    def training(self, frozen: bool) -> Config:
        """Return the settings with data and a stage of the measured size."""
        data = replace(Config().data[0], clips=self.batch, length=self.unroll),
        return replace(
            self.settings, init_from='', backbone_weights='', data=data, validation=data,
            validation_clips=1, validation_length=2,
            stages=(Stage(10 ** 6, self.unroll, self.batch, 1.),),
            frozen=('backbone',) if frozen else (), compile=self.settings.compile and frozen)


def run(options: BenchmarkOptions) -> int:
    """Run the command; return 1 if an engine could not be measured."""
    if options.engines:
        return compare_engines(options)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    device = choose_device(options.device)
    report = {'machine': machine(device),
              'precision': choose_precision(options.settings.precision, device),
              'training': {label: training_speeds(options.training(frozen), device,
                                                  options.iterations)
                           for label, frozen in (('convolutions frozen', True),
                                                 ('all trained', False))}}
    if options.json:
        write_json(report, options.json)
    print(report_tables(report))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(BenchmarkOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
