# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Command line of the data sets: `python -m training.datasets check PATH`."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from re3_core.io.images import save_image
from training.contact_sheet import tile
from training.datasets.check import check_dataset, samples
from training.datasets.formats import FORMATS
from training.datasets.records import DataError


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    layouts = '\n'.join(f'  {name:12}{form.layout}' for name, form in FORMATS.items())
    result = argparse.ArgumentParser(
        prog='python -m training.datasets', description='Look after data sets.')
    commands = result.add_subparsers(required=True, metavar='COMMAND')
    check = commands.add_parser(
        'check', help='count, find malformed files, draw samples',
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f'formats:\n{layouts}',
        description='Check a data set: count what is in it, name every unreadable or malformed '
                    'file, and write a contact sheet of samples with boxes.')
    check.add_argument('path', type=Path)
    check.add_argument('--format', default='auto', choices=('auto', *FORMATS))
    check.add_argument('--sheet', type=Path, metavar='FILE',
                       help='the contact sheet (default: runs/check/NAME.jpg)')
    check.add_argument('--samples', type=int, default=24, help='pictures on the contact sheet')
    check.add_argument('--seed', type=int, default=0, help='of the choice of samples')
    check.add_argument('--no-decode', action='store_true',
                       help='do not read the pictures, only their lists and annotations')
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 1 if there are problems."""
    options = parser().parse_args(arguments)
    try:
        report, items = check_dataset(options.path, options.format,
                                      decode=not options.no_decode)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    pictures = list(samples(items, options.samples, options.seed))
    for problem in report.problems:
        print(problem)
    print(report)
    if pictures:
        sheet = options.sheet or Path('runs', 'check', f'{options.path.resolve().name}.jpg')
        save_image(sheet, tile(pictures, 6, (180, 240)))
        print(f'samples: {sheet}')
    return 1 if report.problems else 0


if __name__ == '__main__':
    sys.exit(main())
