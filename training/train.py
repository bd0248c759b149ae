# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Train a tracker: `python -m training.train --config config/training/re3_lite.yaml`.

Without a configuration it trains re3_lite for some minutes on sequences that it draws itself.
A run can be killed at any time and continued with --resume: everything random is drawn anew for
each iteration from the seed and the iteration's number, so the losses are the same as if it had
never stopped. Under torchrun several processes share each batch.
"""

import argparse
from pathlib import Path
import sys
import time

import cv2
import numpy as np
from re3_core.tracker import choose_device
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from training.checkpoints import has_checkpoint, write_atomically
from training.config import dump_config, load_config
from training.processes import as_first_process, join_processes, leave_processes
from training.run import Run

PICTURES = (4, 8)    # clips and moments of each in TensorBoard's picture
LINE_SECONDS = 15    # between lines of progress where there is no terminal


class _Lines:
    """Give each state of tqdm's bar a line of its own, where there is no terminal to redraw."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        text = text.strip()
        if text:
            self.stream.write(text + '\n')

    def flush(self):
        self.stream.flush()


def progress_bar(iterations, done=0, silent=False):
    """Return tqdm's bar of a run; lines where the output is no terminal."""
    terminal = sys.stderr.isatty()
    return tqdm(total=iterations, initial=done, unit='it', smoothing=.05,
                file=sys.stderr if terminal else _Lines(sys.stderr), disable=silent,
                **({} if terminal else {'mininterval': LINE_SECONDS, 'ncols': 120}))


def train(run, minutes=None):
    """Go through the curriculum, or until the minutes are over; leave a checkpoint behind."""
    started, config = time.monotonic(), run.config
    report = Report(run) if run.rank == 0 else None
    while run.iteration < config.iterations:
        frames, began = run.frames, time.perf_counter()
        parts = run.train_step()
        rate = (run.frames - frames) / (time.perf_counter() - began)
        over = minutes is not None and as_first_process(
            time.monotonic() - started > 60 * minutes, run.device)
        if report:
            report(parts, rate, over or run.iteration == config.iterations)
        if over:
            break
    if report:
        report.close()


class Report:
    """What a run tells while it goes: progress, TensorBoard, validation, files of weights."""

    def __init__(self, run):
        self.run = run
        # What a killed run wrote after its last checkpoint does not count.
        self.writer = SummaryWriter(run.output / 'tensorboard',
                                    purge_step=run.iteration + 1 if run.iteration else None)
        self.bar = progress_bar(run.config.iterations, run.iteration, silent=run.rank > 0)
        if run.iteration == 0:
            self._validate()

    def __call__(self, parts, rate, last):
        """Log, validate and save as often as the configuration says, and after the last step."""
        config, iteration = self.run.config, self.run.iteration
        self.bar.update()
        if iteration % config.log_every == 0 or last:
            self._log(parts, rate)
        if iteration % config.validate_every == 0 or last:
            auc = self._validate()
            self.writer.add_image('crops', crops_picture(self.run.seen), iteration)
            if auc > self.run.best:
                self.run.best = auc
                self.run.export('best')
            self.run.export('last')
        if iteration % config.checkpoint_every == 0 or last:
            self.run.save()

    def _log(self, parts, rate):
        run, iteration = self.run, self.run.iteration
        stage = run.config.stage_at(iteration - 1)
        self.bar.set_postfix_str(
            f'loss {parts["loss"]:.3f} overlap {parts["overlap"]:.3f} unroll {stage.unroll} '
            f'{rate:.0f} frames/s', refresh=False)
        values = {**parts, 'frames_per_second': rate, 'frames': run.frames, 'own': stage.own,
                  'rate': run.optimizer.rate(iteration - 1), 'unroll': stage.unroll}
        for name, value in values.items():
            self.writer.add_scalar(f'train/{name}', value, iteration)
        for name, share in time_shares(run.times).items():
            self.writer.add_scalar(f'time/{name}', share, iteration)

    def _validate(self):
        auc = self.run.validate()
        self.writer.add_scalar('validation/auc', auc, self.run.iteration)
        self.bar.write(f'iteration {self.run.iteration}: {self.run.frames} frames, '
                       f'validation AUC {auc:.3f}', file=sys.stdout)
        sys.stdout.flush()
        return auc

    def close(self):
        """Tell where the time went."""
        self.bar.close()
        self.writer.close()
        shares = ', '.join(f'{name} {share:.1%}'
                           for name, share in time_shares(self.run.times).items())
        print(f'time of a step: {shares}\nresults: {self.run.output}', flush=True)


def time_shares(times):
    """Return the share of each part of the time."""
    total = sum(times.values()) or 1
    return {name: value / total for name, value in times.items()}


def crops_picture(seen):
    """Return the current crops of some clips (rows) over time, with the true box in green."""
    length, count = seen.regions.shape[:2]
    crops = seen.crops.current.view(length, count, *seen.crops.current.shape[1:])
    clips, moments = min(count, PICTURES[0]), np.linspace(0, length - 1, PICTURES[1]).astype(int)
    rows = [np.concatenate([_with_box(crops[t, clip], seen.targets[t, clip]) for t in moments], 1)
            for clip in range(clips)]
    return np.concatenate(rows).transpose(2, 0, 1)


def _with_box(crop, box):
    picture = np.ascontiguousarray(crop.permute(1, 2, 0).cpu().numpy())
    box = box.cpu().numpy() * len(picture)
    if np.isfinite(box).all():
        x1, y1, x2, y2 = (int(value) for value in np.clip(box, -1e4, 1e4).round())
        cv2.rectangle(picture, (x1, y1), (x2, y2), (0, 255, 0))
    return picture


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m training.train', description='Train a tracker.')
    parser.add_argument('--config', help='YAML file; without, a short run on drawn sequences')
    parser.add_argument('--output', default='runs/re3_lite', help='folder of the results')
    parser.add_argument('--resume', action='store_true',
                        help='continue the run in --output, with its own settings')
    parser.add_argument('--changed', action='store_true',
                        help='with --resume: go on although settings have changed')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--minutes', type=float, help='stop, resumably, after this time')
    parser.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', dest='overrides',
                        help="settings that replace the file's, e.g. optimizer.rate=1e-4 or "
                             'data.0.path=DIR')
    return parser.parse_args(arguments)


def start(options):
    """Set up the run that the options ask for, new or resumed."""
    output = Path(options.output)
    settings = output / 'config.yaml'
    config = load_config(options.config or (settings if options.resume else None),
                         options.overrides)
    if has_checkpoint(output) and not options.resume:
        raise ValueError(f'{output} holds a run already: continue it with --resume, or name '
                         'another --output')
    device = choose_device(join_processes() or options.device)
    run = Run(config, output, device)
    if options.resume:
        run.resume(options.changed)
    if run.rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(settings, lambda file: file.write(dump_config(config).encode()))
    return run


def main(arguments=None):
    """Run the command; return the exit status."""
    options = parse_arguments(arguments)
    try:
        train(start(options), options.minutes)
    except (ArithmeticError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        leave_processes()
    return 0


if __name__ == '__main__':
    sys.exit(main())
