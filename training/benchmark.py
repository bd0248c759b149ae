# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Measure speed: `python -m training.benchmark --json out.json`.

Training: frames per second of each part of an iteration, with the convolutions frozen and
trained. Tracking: milliseconds per frame for several numbers of targets, beside OpenCV's
trackers in the same run. Everything runs on drawn sequences, since speed does not depend on what
is to be seen; nothing is learned or judged. The output is the Markdown of docs/performance.md.
"""

import argparse
from dataclasses import replace
import os
from pathlib import Path
import platform
import sys
import tempfile
import time

import cv2
import numpy as np
from re3_core import Tracker
from re3_core.boxes import cxcywh_to_xyxy
from re3_core.crops import crop_batch, region_of
from re3_core.tracker import choose_device
from re3_core.weights import available_models
import torch
from training.config import Config, load_config, PRECISIONS, Stage
from training.evaluate import write_json
from training.losses import LossWeights
from training.run import build_network, choose_precision, Run, Timer
from training.runners import OPENCV_TRACKERS, OpenCVTracker
from training.simulator.material import DrawnMaterial
from training.simulator.simulator import Simulator
from training.sources import DRAWN

FRAME = (480, 640)      # of the tracked sequence
SIDE = 64               # of the tracked boxes, in pixels
WARM_UP = 2


def seconds_of(function, repeats, device):
    """Return the median time of a call, after some that do not count."""
    times = []
    for _ in range(WARM_UP + repeats):
        taken = {'call': 0.}
        with Timer(taken, 'call', device):
            function()
        times.append(taken['call'])
    return float(np.median(times[WARM_UP:]))


# Training ------------------------------------------------------------------------------------


def training_speeds(config, device, iterations):
    """
    Return the frames per second of the parts of training, of one network.

    :param config: training.config.Config of one stage; what it freezes stays frozen.
    :param device: torch.device.
    :param iterations: how many are measured, after some that are not.
    :return: dict of part to frames per second; a frame has two crops.
    """
    run = Run(config, tempfile.gettempdir(), device)
    for _ in range(WARM_UP):
        run.train_step()
    run.times, run.frames = dict.fromkeys(run.times, 0.), 0
    began = time.perf_counter()
    for _ in range(iterations):
        run.train_step()
    whole = time.perf_counter() - began
    batch = run.loader.get(0, 0)
    rows, seen = len(batch.own), run.seen
    boxes, frames = batch.given[0], batch.frames[0]
    specs = (run.network.previous_crop, run.network.current_crop)

    def cut():
        for spec in specs:
            crop_batch(frames, region_of(boxes, spec.context), spec.size)
    some = type(seen.crops)(*(crops[:rows] for crops in seen.crops))
    features_of = run.features_of or run.network.features

    def look():
        with torch.no_grad(), run.autocast():
            features_of(some)
    speeds = {'crops': rows / seconds_of(cut, iterations, device),
              'features': rows / seconds_of(look, iterations, device)}
    for part in ('rollout', 'forward', 'backward', 'step'):
        speeds[part] = run.frames / run.times[part]
    return {**speeds, 'whole iteration': run.frames / whole,
            'waiting for data': run.times['data'] / whole}


# Tracking ------------------------------------------------------------------------------------


def drawn_sequence(frames):
    """Return drawn frames, each (480, 640, 3) uint8 RGB."""
    simulator = Simulator(DrawnMaterial(FRAME), FRAME)
    return list(simulator.sample(np.random.default_rng(0), frames).frames)


def spread_boxes(count):
    """Return `count` boxes (count, 4), `xyxy`, spread over the frame."""
    centres = np.random.default_rng(1).uniform(SIDE, np.array(FRAME[::-1]) - SIDE, (count, 2))
    return cxcywh_to_xyxy(np.concatenate((centres, np.full((count, 2), float(SIDE))), 1))


def tracking_time(tracker, frames, count):
    """Return the mean milliseconds of an update of `count` targets: not all take the same."""
    tracker.reset()
    for index, box in enumerate(spread_boxes(count)):
        tracker.init(str(index), frames[0], box)
    times = []
    for frame in frames[1:]:
        began = time.perf_counter()
        tracker.update(frame)       # returns arrays: a GPU is done then
        times.append(time.perf_counter() - began)
    return float(np.mean(times[WARM_UP:])) * 1e3


def tracking_times(trackers, frames, counts):
    """Return {label: {count: milliseconds}} of trackers, made one after the other."""
    times = {}
    for label, make in trackers.items():
        tracker = make()
        times[label] = {count: tracking_time(tracker, frames, count) for count in counts}
        print(f'measured: {label}', file=sys.stderr)
    return times


# Reports -------------------------------------------------------------------------------------


def machine(device):
    """Return what the figures were measured on, as a dict."""
    cpu = platform.processor() or platform.machine()
    facts = Path('/proc/cpuinfo')
    if facts.is_file():
        names = [line.partition(':')[2].strip() for line in facts.read_text().splitlines()
                 if line.startswith('model name')]
        cpu = names[0] if names else cpu
    gpu = torch.cuda.get_device_name(device) if device.type == 'cuda' else None
    return {'cpu': cpu, 'cores': os.cpu_count(), 'threads': torch.get_num_threads(), 'gpu': gpu,
            'torch': torch.__version__, 'opencv': cv2.__version__}


def markdown(report):
    """Return the tables of a report as Markdown text."""
    facts = report['machine']
    gpu = f'{facts["gpu"]}; ' if facts['gpu'] else ''
    lines = [f'{gpu}{facts["cpu"]}, {facts["cores"]} cores, {facts["threads"]} threads, torch '
             f'{facts["torch"]}, OpenCV {facts["opencv"]}; training in {report["precision"]}.', '']
    if report['training']:
        lines += _training_table(report['training'])
    if report['tracking']:
        lines += _tracking_table(report['tracking'], report['ours'])
    return '\n'.join(lines)


def _training_table(training):
    parts = list(next(iter(training.values())))
    lines = ['| frames/s | ' + ' | '.join(training) + ' |', '|---|' + '---|' * len(training)]
    for part in parts:
        form = '{:.1%}' if part == 'waiting for data' else '{:.0f}'
        lines.append(f'| {part} | ' + ' | '.join(
            form.format(speeds[part]) for speeds in training.values()) + ' |')
    return [*lines, '']


def _tracking_table(tracking, ours):
    counts = list(tracking[ours])
    lines = ['| ms per frame (times ours) | ' + ' | '.join(
        f'{count} target{"s" * (count > 1)}' for count in counts) + ' |',
        '|---|' + '---|' * len(counts)]
    for label, times in tracking.items():
        cells = [f'{times[count]:.1f} ({times[count] / tracking[ours][count]:.1f}x)'
                 for count in counts]
        lines.append(f'| {label} | ' + ' | '.join(cells) + ' |')
    return [*lines, '']


def benchmark_config(options, frozen):
    """Return the configuration of the training that is measured."""
    config = load_config(options.config) if options.config else Config(
        model=options.model, loss=LossWeights(l1=5., giou=1.))
    drawn = {**DRAWN, 'clips': options.batch, 'length': options.unroll}
    return replace(
        config, start_from=options.weights or '', backbone_from='', data=(drawn,),
        validation=(drawn,), validation_clips=1, validation_length=2, cache=options.cache,
        stages=(Stage(10 ** 6, options.unroll, options.batch, 1.),), precision=options.precision,
        frozen=('backbone',) if frozen else (), compile=options.compile and frozen)


def measure(options, device):
    """Return the report that the options ask for."""
    config = benchmark_config(options, frozen=False)
    precision = choose_precision(options.precision, device)
    report = {'machine': machine(device), 'precision': precision, 'training': {}, 'tracking': {},
              'ours': f'{config.model} float32'}
    if options.iterations:
        for label, frozen in (('convolutions frozen', True), ('all trained', False)):
            report['training'][label] = training_speeds(
                benchmark_config(options, frozen), device, options.iterations)
            print(f'measured: {label}', file=sys.stderr)
    if options.frames:
        network = build_network(config)
        trackers = {f'{config.model} {name}': lambda name=name: Tracker(
            network=network, device=str(device), precision=name)
            for name in dict.fromkeys(('float32', precision))}
        trackers.update({f'OpenCV {kind}': lambda kind=kind: OpenCVTracker(
            kind, options.opencv_models) for kind in options.opencv})
        report['tracking'] = tracking_times(
            trackers, drawn_sequence(options.frames + WARM_UP + 1), options.targets)
    return report


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(prog='python -m training.benchmark', description=(
        'Measure the speed of training and tracking.'))
    parser.add_argument('--model', default='re3_lite', choices=available_models())
    parser.add_argument('--weights', help='weights file; without, random weights')
    parser.add_argument('--config', help='training configuration whose network, noise, losses '
                                         'and optimizer are measured, instead of --model')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--precision', default='auto', choices=PRECISIONS,
                        help='of training, and of a second tracker')
    parser.add_argument('--compile', action='store_true',
                        help='compile the frozen convolutions, see docs/training.md')
    parser.add_argument('--unroll', type=int, default=16, help='default: %(default)s')
    parser.add_argument('--batch', type=int, default=32, help='default: %(default)s')
    parser.add_argument('--iterations', type=int, default=5,
                        help='of training that are measured; 0: none (default: %(default)s)')
    parser.add_argument('--targets', type=int, nargs='+', default=[1, 8, 64], metavar='N')
    parser.add_argument('--frames', type=int, default=20,
                        help='of tracking that are measured; 0: none (default: %(default)s)')
    parser.add_argument('--opencv', nargs='*', default=['csrt', 'kcf'], metavar='KIND',
                        help=f'beside these trackers: {", ".join(OPENCV_TRACKERS)}')
    parser.add_argument('--opencv-models', metavar='DIR', help='ONNX files of nano and vit')
    parser.add_argument('--threads', type=int, help='of torch and OpenCV')
    parser.add_argument('--cache', default='', metavar='DIR', help='folder of the drawn clips')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the command; return the exit status."""
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    try:
        report = measure(options, choose_device(options.device))
        if options.json:
            write_json(report, options.json)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(markdown(report))
    return 0


if __name__ == '__main__':
    sys.exit(main())
