#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Print the node's parameters as `config/tracker.yaml` or as the table in `docs/node.md`.

Run `python3 scripts/parameter_docs.py yaml` or `markdown` where re3_ros can be imported.
"""

import argparse
import textwrap
from typing import Any

from re3_ros.parameters import constraint, PARAMETERS

YAML_HEAD = """\
# All parameters of the tracker node, with their defaults. Those marked "live" may be changed
# while the node runs (ros2 param set /re3/tracker NAME VALUE), the others only here.
/**:
  ros__parameters:
"""


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return '[' + ', '.join(map(_yaml_value, value)) + ']'
    return f"'{value}'" if isinstance(value, str) and not value else str(value)


def yaml_text() -> str:
    """Return the contents of `config/tracker.yaml`."""
    lines = []
    for parameter in PARAMETERS:
        allowed = constraint(parameter)
        notes = [f'({allowed})'] * bool(allowed) + ['[live]'] * parameter.live
        text = ' '.join([parameter.description, *notes])
        lines += textwrap.wrap(text, 95, initial_indent='    # ', subsequent_indent='    # ')
        lines += [f'    {parameter.name}: {_yaml_value(parameter.default)}', '']
    return YAML_HEAD + '\n'.join(lines[:-1]) + '\n'


def markdown_table() -> str:
    """Return the table of parameters in `docs/node.md`."""
    rows = ['| parameter | default | values | live | meaning |', '|---|---|---|---|---|']
    for parameter in PARAMETERS:
        live = 'yes' if parameter.live else ''
        rows.append(f'| `{parameter.name}` | `{_yaml_value(parameter.default)}` | '
                    f'{constraint(parameter)} | {live} | {parameter.description} |')
    return '\n'.join(rows) + '\n'


def main() -> None:
    """Print the documentation in the form that is asked for."""
    parser = argparse.ArgumentParser(description='Print the documentation of the parameters.')
    parser.add_argument('form', choices=('yaml', 'markdown'))
    print(yaml_text() if parser.parse_args().form == 'yaml' else markdown_table(), end='')


if __name__ == '__main__':
    main()
