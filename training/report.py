# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Figures of evaluation runs: dictionaries for JSON, Markdown tables and plots."""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
import json
import os
from pathlib import Path
import platform
import re
from typing import Any

import cv2
import numpy as np
import torch
from training import metrics
from training.data.base import Sequence
from training.metrics import OnePassRun
from training.storage import Store

# Headings of the columns of the table, by figure: attributes of OnePass, and others.
CURVE_FIGURES = {'auc': 'AUC', 'sr_50': 'SR .5', 'sr_75': 'SR .75', 'precision_20': 'P@20',
                 'normalized_precision': 'P norm'}
FIGURES = {**CURVE_FIGURES, 'scale_jitter': 'scale jitter'}


def tracker_report(sequences: SequenceOf[Sequence], runs: SequenceOf[OnePassRun]) -> dict:
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
               for figure in CURVE_FIGURES}
    overall['scale_jitter'] = np.median(
        [figures['scale_jitter'] for figures in per_sequence.values()], axis=0)
    return {
        'overall': _spreads(overall),
        'curves': {name: curve.tolist() for name, curve in curves._asdict().items()},
        'sequences': {name: _spreads(figures) for name, figures in per_sequence.items()},
        'confidence': _confidence(pairs),
        'failed': {sequence.name: {str(start): error for start, error in enumerate(run.errors)
                                   if error} for sequence, run in pairs if any(run.errors)},
    }


def _start_figures(sequence: Sequence, run: OnePassRun) -> dict[str, list[float]]:
    """Return {figure: [one value for each start]} of one sequence."""
    results = [metrics.one_pass(boxes, sequence.boxes) for boxes in run.boxes]
    return {**{figure: [getattr(result, figure) for result in results]
               for figure in CURVE_FIGURES},
            'scale_jitter': [metrics.scale_jitter(boxes) for boxes in run.boxes]}


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


def all_differences(trackers: dict[str, dict]) -> dict[str, dict[str, float]]:
    """
    Return {label: AUC of the first tracker - that of this one} for the others.

    The difference is paired over the sequences: `mean` and its standard `error`.
    """
    (_, first), *others = trackers.items()
    result = {}
    for label, tracker in others:
        values = [(first['sequences'][name]['auc']['mean'], figures['auc']['mean'])
                  for name, figures in tracker['sequences'].items()]
        mean, error = metrics.paired_difference(*zip(*values, strict=True))
        result[label] = {'mean': mean, 'error': error}
    return result


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Return properties of the machine."""
    info = Path('/proc/cpuinfo')
    found = re.search('model name.*: (.*)', info.read_text()) if info.is_file() else None
    cpu = found[1] if found else platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name(device) if device and device.type == 'cuda' else None
    return {'cpu': cpu, 'cores': os.cpu_count(), 'threads': torch.get_num_threads(), 'gpu': gpu,
            'python': platform.python_version(), 'torch': torch.__version__,
            'opencv': cv2.__version__}


def overall_table(report: dict) -> str:
    """Return the markdown table of all trackers."""
    rows = [['tracker', *FIGURES.values(), 'confidence ROC-AUC', 'AUC of the first less this']]
    for label, tracker in report['trackers'].items():
        confidence = tracker['confidence']
        rows.append([label, *(_mean(tracker['overall'][figure], figure == 'auc')
                              for figure in FIGURES),
                     number(confidence and confidence['roc_auc']),
                     _difference(report['differences'].get(label))])
    return markdown(rows)


def sequence_table(report: dict) -> str:
    """Return the markdown table of the AUC, sequences down and trackers across."""
    trackers = report['trackers']
    rows = [['sequence', 'frames', *(f'{label} AUC' for label in trackers)]]
    for name, frames in report['sequences'].items():
        rows.append([name, str(frames), *(_mean(tracker['sequences'][name]['auc'], True)
                                          for tracker in trackers.values())])
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
