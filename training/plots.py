# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of an evaluation; needs matplotlib."""

from pathlib import Path

from training import metrics

CURVES = {
    'success': (metrics.OVERLAP_THRESHOLDS, 'overlap threshold', 'auc'),
    'precision': (metrics.ERROR_THRESHOLDS, 'centre error threshold (pixels)', 'precision_20'),
    'normalised': (metrics.NORMALISED_THRESHOLDS, 'centre error threshold (target sizes)',
                   'normalised_precision'),
}


def save_plots(report, folder):
    """
    Draw the curves and calibrations of a one-pass report into `folder`; return the paths.

    Writes `success.png`, `precision.png`, `normalised.png` with all trackers, and
    `calibration.png` with those that give scores.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_save(folder / f'{name}.png', _draw_curves, report, name) for name in CURVES]
    if any(tracker['confidence'] for tracker in report['trackers'].values()):
        paths.append(_save(folder / 'calibration.png', _draw_calibration, report))
    return paths


def _save(path, draw, *arguments):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    draw(figure.subplots(), *arguments)
    figure.savefig(path, dpi=110)
    return path


def _draw_curves(axes, report, name):
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


def _draw_calibration(axes, report):
    axes.plot([0, 1], [0, 1], color='grey', linewidth=1, linestyle=':')
    for tracker, result in report['trackers'].items():
        if not result['confidence']:
            continue
        bins = result['confidence']['bins']
        line, = axes.plot(bins['score'], bins['good'], marker='o',
                          label=f'{tracker} (ROC-AUC {result["confidence"]["roc_auc"]:.3f})')
        axes.plot(bins['score'], bins['overlap'], marker='x', linestyle='--',
                  color=line.get_color())
        _annotate_counts(axes, bins, line.get_color())
    axes.set(xlabel='score', xlim=(0, 1), ylim=(0, 1),
             ylabel='share of overlaps above .5 (solid), mean overlap (dashed)')
    axes.grid(alpha=.3)
    # Outside the axes: there is no corner that no tracker's curve may come to.
    axes.figure.legend(fontsize='small', loc='outside upper center', ncols=2)


def _annotate_counts(axes, bins, color):
    for score, good, count in zip(bins['score'], bins['good'], bins['count'], strict=True):
        if count:
            axes.annotate(str(count), (score, good), fontsize='x-small', color=color,
                          xytext=(0, 5), textcoords='offset points', ha='center')
