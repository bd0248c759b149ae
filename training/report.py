# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""From runs to figures: dictionaries for JSON and tables for people."""

import numpy as np
from training import metrics

FIGURES = {
    'one-pass': {'auc': 'AUC', 'precision_20': 'P@20', 'normalised_precision': 'P norm',
                 'ao': 'AO', 'sr_50': 'SR .5', 'sr_75': 'SR .75'},
    'restarts': {'accuracy': 'accuracy', 'robustness': 'robustness', 'failures': 'failures'},
}


def one_pass_report(sequences, runs):
    """
    Return the figures of one tracker's OnePassRuns, one for each of `sequences`, as a dict.

    `overall` and each entry of `sequences` give mean, std, low and high over the repeated starts
    (overall: of the mean over sequences); `curves` are means over starts and sequences;
    `confidence` judges the scores, None if the tracker gives none.
    """
    pairs = list(zip(sequences, runs, strict=True))
    per_sequence = {sequence.name: _start_figures(sequence, run) for sequence, run in pairs}
    curves = metrics.mean_one_pass([metrics.one_pass(boxes, sequence.boxes)
                                    for sequence, run in pairs for boxes in run.boxes])
    overall = {figure: np.mean([figures[figure] for figures in per_sequence.values()], axis=0)
               for figure in ('auc', 'precision_20', 'normalised_precision')}
    overall.update(_got10k_figures(pairs))
    return {
        'overall': _spreads(overall),
        'curves': {name: curve.tolist() for name, curve in curves._asdict().items()},
        'sequences': {name: _spreads(figures) for name, figures in per_sequence.items()},
        'confidence': _confidence(pairs),
    }


def _start_figures(sequence, run):
    """Return {figure: [one value for each start]} of one sequence."""
    results = [metrics.one_pass(boxes, sequence.boxes) for boxes in run.boxes]
    return {'auc': [r.auc for r in results],
            'precision_20': [r.precision_20 for r in results],
            'normalised_precision': [r.normalised_precision for r in results],
            **_got10k_figures([(sequence, run)])}


def _got10k_figures(pairs):
    """Return the same of GOT-10k's figures, of all frames of (sequence, run) pairs together."""
    scores = [metrics.got10k_score(np.concatenate([
        metrics.got10k_overlaps(run.boxes[start], sequence.boxes, run.frame_size, sequence.visible)
        for sequence, run in pairs])) for start in range(len(pairs[0][1].boxes))]
    return {'ao': [score.average for score in scores],
            'sr_50': [score.above_50 for score in scores],
            'sr_75': [score.above_75 for score in scores]}


def _spreads(figures):
    return {key: metrics.spread(values)._asdict() for key, values in figures.items()}


def _confidence(pairs):
    """Judge scores against overlaps on all frames but the first ones, over all starts."""
    overlap = np.concatenate([metrics.overlaps(boxes, sequence.boxes)[1:]
                              for sequence, run in pairs for boxes in run.boxes])
    scores = np.concatenate([run.scores[:, 1:].ravel() for _, run in pairs])
    judged = ~np.isnan(overlap) & ~np.isnan(scores)
    if not judged.any():
        return None
    overlap, scores = overlap[judged], scores[judged]
    bins = metrics.calibration(scores, overlap)
    return {'roc_auc': metrics.roc_auc(scores, overlap > metrics.GOOD_OVERLAP),
            'calibration_error': bins.error,
            'bins': {name: getattr(bins, name).tolist()
                     for name in ('score', 'good', 'overlap', 'count')}}


def supervised_report(sequences, runs):
    """
    Return the figures of one tracker's SupervisedRuns, a list of starts for each sequence.

    As `one_pass_report`, with accuracy, robustness and the number of failures.
    """
    def figures(per_start):
        scores = [metrics.supervised_score(start) for start in per_start]
        return _spreads({key: [getattr(score, key) for score in scores]
                         for key in FIGURES['restarts']})

    return {
        'overall': figures(list(zip(*runs, strict=True))),
        'sequences': {s.name: figures([(start,) for start in run])
                      for s, run in zip(sequences, runs, strict=True)},
    }


def ratios(trackers, figure):
    """Return {label: figure of the first tracker / figure of that one} for the others."""
    first, *others = trackers
    mean = {label: report['overall'][figure]['mean'] for label, report in trackers.items()}
    return {label: mean[first] / mean[label] if mean[label] else None for label in others}


def overall_table(report):
    """Return the markdown table of all trackers: mean and, for the first figure, spread."""
    figures = FIGURES[report['protocol']]
    main = next(iter(figures))
    rows = [['tracker', *figures.values(), 'FPS', 'score ROC-AUC', f'{figures[main]} ratio']]
    for label, tracker in report['trackers'].items():
        cells = [_mean(tracker['overall'][key], key == main) for key in figures]
        confidence = tracker.get('confidence')
        rows.append([label, *cells, _number(tracker.get('fps'), '.0f'),
                     _number(confidence and confidence['roc_auc']),
                     _number(report['ratios'][main].get(label))])
    return markdown(rows)


def sequence_table(report):
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


def _mean(value, with_spread):
    text = _number(value['mean'])
    return f'{text} ± {_number(value["std"])}' if with_spread else text


def _number(value, style='.3f'):
    return '' if value is None or np.isnan(value) else format(value, style)


def markdown(rows):
    """Return rows of cells, the first one the head, as a markdown table."""
    head, *body = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([head, '|' + '---|' * len(rows[0]), *body])
