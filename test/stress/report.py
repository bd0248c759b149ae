# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The scenarios' results as Markdown, and into the documentation."""

import os
from pathlib import Path
import platform
import time

import numpy as np
from re3_core.io.files import atomic_write
import torch

BEGIN = '<!-- results: written by `make stress`, do not edit -->'
END = '<!-- end of results -->'


def machine():
    """Return on what the figures are measured, in one line."""
    model = platform.processor() or platform.machine()
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            model = line.partition(':')[2].strip()
            break
    return (f'{model}, {os.cpu_count()} cores, Python {platform.python_version()}, torch '
            f'{torch.__version__}, numpy {np.__version__}')


def circumstances(config):
    """Return what a scenario is run with, as {word: text}."""
    return {'when': time.strftime('%d %B %Y'), 'load before': f'{os.getloadavg()[0]:.1f}',
            'config': config.text}


def to_markdown(results):
    """Return the report of {name: `stress.bench.Result`}."""
    parts = [f'{machine()}; load is the number of busy processes before the start.',
             _overview(results)]
    for name, result in results.items():
        parts += [f'### {result.title} (`{name}`)', result.text]
        parts += [_table(table.columns, table.rows) for table in result.tables]
        parts.append(_table(('condition', 'seen', ''), [
            (check['condition'], check['seen'], 'holds' if check['passed'] else '**FAILS**')
            for check in result.checks]))
    return '\n\n'.join(parts) + '\n'


def _overview(results):
    words = list(next(iter(results.values())).about)
    return _table(('scenario', 'about', *words, 'conditions that hold'), [
        (f'`{name}`', result.title, *result.about.values(),
         f'{sum(check["passed"] for check in result.checks)} of {len(result.checks)}')
        for name, result in results.items()])


def _table(columns, rows):
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join('| ' + ' | '.join(str(cell).replace('|', '\\|').replace('\n', ' ')
                                       for cell in line) + ' |' for line in lines)


def put_into_docs(path, markdown):
    """Replace what is between the markers in a Markdown file."""
    path = Path(path)
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f'{path} has no lines {BEGIN!r} and {END!r}')
    with atomic_write(path) as part:
        part.write_text(f'{before}{BEGIN}\n\n{markdown}\n{END}{after}')


def plot_lines(path, times, lines, xlabel='minutes'):
    """
    Plot lines over time, each on an axis of its own.

    :param times: list of x values.
    :param lines: {label: list of y values}.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(len(lines), 1, sharex=True, squeeze=False,
                                   figsize=(9, 2 * len(lines)), constrained_layout=True)
    for axis, (label, values) in zip(axes[:, 0], lines.items(), strict=True):
        axis.plot(times, values, linewidth=.8)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=.3)
    axes[-1, 0].set_xlabel(xlabel)
    with atomic_write(Path(path)) as part:
        figure.savefig(part, dpi=100)
    pyplot.close(figure)
