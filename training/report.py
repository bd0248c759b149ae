# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Figures of evaluation runs: dictionaries for JSON, Markdown tables and plots."""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
import json
import os
from pathlib import Path
import platform
from typing import Any

import cv2
import numpy as np
import torch
from training import metrics
from training.data.base import Sequence
from training.metrics import OnePassRun, SupervisedRun
from training.storage import Store

FIGURES = {
    'one-pass': {'auc': 'AUC', 'precision_20': 'P@20', 'normalized_precision': 'P norm',
                 'ao': 'AO', 'sr_50': 'SR .5', 'sr_75': 'SR .75', 'scale_jitter': 'scale jitter'},
    'restarts': {'accuracy': 'accuracy', 'robustness': 'robustness', 'failures': 'failures'},
}


def one_pass_report(sequences: SequenceOf[Sequence], runs: SequenceOf[OnePassRun]) -> dict:
    """
    Return the figures of one tracker's OnePassRuns, one for each of `sequences`, as a dict.

    `overall` and each entry of `sequences` give mean, std, low and high over the repeated starts
    (overall: of the mean over sequences, for the scale jitter of the median); `curves` are means
    over starts and sequences; `confidence` is their calibration, None if there are
    none; `failed` has the reasons of failed starts, {sequence: {start: reason}}.
    """
    pairs = list(zip(sequences, runs, strict=True))
    per_sequence = {sequence.name: _start_figures(sequence, run) for sequence, run in pairs}
    curves = metrics.mean_one_pass([metrics.one_pass(boxes, sequence.boxes)
                                    for sequence, run in pairs for boxes in run.boxes])
    overall = {figure: np.mean([figures[figure] for figures in per_sequence.values()], axis=0)
               for figure in ('auc', 'precision_20', 'normalized_precision')}
    overall.update(_got10k_figures(pairs))
    overall['scale_jitter'] = np.median(
        [figures['scale_jitter'] for figures in per_sequence.values()], axis=0)
    return {
        'overall': _spreads(overall),
        'curves': {name: curve.tolist() for name, curve in curves._asdict().items()},
        'sequences': {name: _spreads(figures) for name, figures in per_sequence.items()},
        'confidence': _confidence(pairs),
        'failed': _failed((sequence.name, run.errors) for sequence, run in pairs),
    }


def _failed(errors: Any) -> dict[str, dict[str, str]]:
    """Return the reasons of failed starts, from pairs of a sequence and its starts' errors."""
    found = {name: {str(start): error for start, error in enumerate(some) if error}
             for name, some in errors}
    return {name: starts for name, starts in found.items() if starts}


def _start_figures(sequence: Sequence, run: OnePassRun) -> dict[str, list[float]]:
    """Return {figure: [one value for each start]} of one sequence."""
    results = [metrics.one_pass(boxes, sequence.boxes) for boxes in run.boxes]
    return {'auc': [r.auc for r in results],
            'precision_20': [r.precision_20 for r in results],
            'normalized_precision': [r.normalized_precision for r in results],
            **_got10k_figures([(sequence, run)]),
            'scale_jitter': [metrics.scale_jitter(boxes) for boxes in run.boxes]}


def _got10k_figures(pairs: list[tuple[Sequence, OnePassRun]]) -> dict[str, list[float]]:
    """Return the same of GOT-10k's figures, of all frames of (sequence, run) pairs together."""
    scores = [metrics.got10k_score(np.concatenate([
        metrics.got10k_overlaps(run.boxes[start], sequence.boxes, run.frame_size, sequence.visible)
        for sequence, run in pairs])) for start in range(len(pairs[0][1].boxes))]
    return {figure: [score[figure] for score in scores] for figure in scores[0]}


def _spreads(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {key: metrics.spread(values) for key, values in figures.items()}


def _confidence(pairs: list[tuple[Sequence, OnePassRun]]) -> dict[str, Any] | None:
    """Return the calibration of confidences on all frames but the first ones, over all starts."""
    overlap = np.concatenate([metrics.overlaps(boxes, sequence.boxes)[1:]
                              for sequence, run in pairs for boxes in run.boxes])
    confidences = np.concatenate([run.confidences[:, 1:].ravel() for _, run in pairs])
    known = ~np.isnan(overlap) & ~np.isnan(confidences)
    if not known.any():
        return None
    overlap, confidences = overlap[known], confidences[known]
    bins, error = metrics.calibration(confidences, overlap)
    return {'roc_auc': metrics.roc_auc(confidences, overlap > metrics.SUCCESS_IOU),
            'calibration_error': error,
            'bins': {name: values.tolist() for name, values in bins.items()}}


def supervised_report(sequences: SequenceOf[Sequence],
                      runs: SequenceOf[SequenceOf[SupervisedRun]]) -> dict:
    """
    Return the figures of one tracker's SupervisedRuns, a list of starts for each sequence.

    As `one_pass_report`, with accuracy, robustness and the number of failures.
    """
    def figures(per_start: Any) -> dict:
        scores = [metrics.supervised_score(start) for start in per_start]
        return _spreads({key: [score[key] for score in scores] for key in scores[0]})

    return {
        'overall': figures(list(zip(*runs, strict=True))),
        'sequences': {s.name: figures([(start,) for start in run])
                      for s, run in zip(sequences, runs, strict=True)},
        'failed': _failed((s.name, [start.error for start in run])
                          for s, run in zip(sequences, runs, strict=True)),
    }


PROTOCOLS: dict[str, Callable[..., dict]] = {
    'one-pass': one_pass_report, 'restarts': supervised_report}


def all_ratios(trackers: dict[str, dict], protocol: str) -> dict[str, dict[str, float | None]]:
    """Return {figure: {label: figure of the first tracker / that of this one}} for the others."""
    first, *others = trackers
    result = {}
    for figure in FIGURES[protocol]:
        mean = {label: tracker['overall'][figure]['mean'] for label, tracker in trackers.items()}
        result[figure] = {label: mean[first] / mean[label] if mean[label] else None
                          for label in others}
    if all(tracker['fps'] for tracker in trackers.values()):
        result['fps'] = {label: trackers[first]['fps'] / trackers[label]['fps']
                         for label in others}
    return result


def all_differences(trackers: dict[str, dict], protocol: str) -> dict[str, dict[str, float]]:
    """
    Return {label: main figure of the first tracker - that of this one} for the others.

    The difference is paired over the sequences: `mean` and its standard `error`.
    """
    main = next(iter(FIGURES[protocol]))
    (_, first), *others = trackers.items()
    result = {}
    for label, tracker in others:
        values = [(first['sequences'][name][main]['mean'], figures[main]['mean'])
                  for name, figures in tracker['sequences'].items()]
        mean, error = metrics.paired_difference(*zip(*values, strict=True))
        result[label] = {'mean': mean, 'error': error}
    return result


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Return properties of the machine."""
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        names = [line.partition(':')[2].strip() for line in info.read_text().splitlines()
                 if line.startswith('model name')]
        cpu = names[0] if names else cpu
    gpu = torch.cuda.get_device_name(device) if device and device.type == 'cuda' else None
    return {'cpu': cpu, 'cores': os.cpu_count(), 'threads': torch.get_num_threads(), 'gpu': gpu,
            'python': platform.python_version(), 'torch': torch.__version__,
            'opencv': cv2.__version__}


def overall_table(report: dict) -> str:
    """Return the markdown table of all trackers: mean and, for the first figure, spread."""
    figures = FIGURES[report['protocol']]
    main = next(iter(figures))
    rows = [['tracker', *figures.values(), 'FPS', 'confidence ROC-AUC', f'{figures[main]} ratio',
             f'{figures[main]} of the first less this']]
    for label, tracker in report['trackers'].items():
        cells = [_mean(tracker['overall'][key], key == main) for key in figures]
        confidence = tracker.get('confidence')
        rows.append([label, *cells, number(tracker.get('fps'), '.0f'),
                     number(confidence and confidence['roc_auc']),
                     number(report['ratios'][main].get(label)),
                     _difference(report['differences'].get(label))])
    return markdown(rows)


def sequence_table(report: dict) -> str:
    """Return the markdown table of the main figure, sequences down and trackers across."""
    figures = FIGURES[report['protocol']]
    main = next(iter(figures))
    labels = list(report['trackers'])
    rows = [['sequence', 'frames', *(f'{label} {figures[main]}' for label in labels)]]
    for name, frames in report['sequences'].items():
        cells = [_mean(report['trackers'][label]['sequences'][name][main], True)
                 for label in labels]
        rows.append([name, str(frames), *cells])
    return markdown(rows)


def _mean(value: dict[str, float], with_spread: bool) -> str:
    text = number(value['mean'])
    return f'{text} ± {number(value["std"])}' if with_spread else text


def _difference(value: dict[str, float] | None) -> str:
    return f'{value["mean"]:.3f} ± {number(value["error"])}'.rstrip(' ±') if value else ''


def number(value: float | None, style: str = '.3f') -> str:
    """Return a number as text, '' for None and NaN."""
    return '' if value is None or np.isnan(value) else format(value, style)


def markdown(rows: list[list[str]]) -> str:
    """Return rows of cells, the first one the head, as a markdown table."""
    head, *body = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([head, '|' + '---|' * len(rows[0]), *body])


def failure_lines(report: dict) -> str:
    """Return a line for each skipped sequence and each start in which a tracker failed."""
    lines = [f'skipped {name}: {reason}' for name, reason in report['skipped'].items()]
    lines += [f'failed: {label} on {name}, start {start}: {reason}'
              for label, tracker in report['trackers'].items()
              for name, starts in tracker['failed'].items() for start, reason in starts.items()]
    return ''.join(f'\n{line}' for line in lines) + '\n' * bool(lines)


def write_json(report: dict, path: Path | str) -> None:
    """Write the report to a path or URL, atomically; NaN becomes null."""
    folder, separator, name = os.fspath(path).rpartition('/')
    without_nan = json.loads(json.dumps(report), parse_constant=lambda constant: None)
    text = json.dumps(without_nan, indent=1) + '\n'
    Store(folder + separator or '.').write(name, text.encode())


# Plots -----------------------------------------------------------------------------------------

CURVES = {
    'success': (metrics.OVERLAP_THRESHOLDS, 'overlap threshold', 'auc'),
    'precision': (metrics.ERROR_THRESHOLDS, 'center error threshold (pixels)', 'precision_20'),
    'normalized': (metrics.NORMALIZED_THRESHOLDS, 'center error threshold (target sizes)',
                   'normalized_precision'),
}


def save_plots(report: dict, folder: Path | str) -> list[Path]:
    """
    Draw the curves and calibrations of a one-pass report into `folder`; return the paths.

    Writes `success.png`, `precision.png`, `normalized.png` with all trackers, and
    `calibration.png` with those that have a confidence. Needs matplotlib.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_save(folder / f'{name}.png', _draw_curves, report, name) for name in CURVES]
    if any(tracker['confidence'] for tracker in report['trackers'].values()):
        paths.append(_save(folder / 'calibration.png', _draw_calibration, report))
    return paths


def _save(path: Path, draw: Callable[..., None], *arguments: Any) -> Path:
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6, 4.5), layout='constrained')
    draw(figure.subplots(), *arguments)
    figure.savefig(path, dpi=110)
    return path


def _draw_curves(axes: Any, report: dict, name: str) -> None:
    thresholds, label, figure = CURVES[name]
    ranked = sorted(report['trackers'].items(),
                    key=lambda item: -item[1]['overall'][figure]['mean'])
    for tracker, result in ranked:
        value = result['overall'][figure]
        axes.plot(thresholds, result['curves'][name],
                  label=f'{tracker}: {value["mean"]:.3f} ± {value["std"]:.3f}')
    axes.set(xlabel=label, ylabel='share of frames', ylim=(0, 1),
             xlim=(thresholds[0], thresholds[-1]))
    axes.grid(alpha=.3)
    axes.legend(fontsize='small')


def _draw_calibration(axes: Any, report: dict) -> None:
    axes.plot([0, 1], [0, 1], color='gray', linewidth=1, linestyle=':')
    for tracker, result in report['trackers'].items():
        if not result['confidence']:
            continue
        bins = result['confidence']['bins']
        line, = axes.plot(bins['confidence'], bins['good'], marker='o',
                          label=f'{tracker} (ROC-AUC {result["confidence"]["roc_auc"]:.3f})')
        axes.plot(bins['confidence'], bins['overlap'], marker='x', linestyle='--',
                  color=line.get_color())
    axes.set(xlabel='confidence', xlim=(0, 1), ylim=(0, 1),
             ylabel='share of overlaps above .5 (solid), mean overlap (dashed)')
    axes.grid(alpha=.3)
    # Outside the axes: there is no corner that no tracker's curve may come to.
    axes.figure.legend(fontsize='small', loc='outside upper center', ncols=2)
