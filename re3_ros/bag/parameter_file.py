# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The node's YAML files of parameters, read without ROS."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from re3_core.io.files import printable
from re3_ros.bag import BagError
import yaml

# The full name of the node, as its launch file starts it.
NODE = '/re3/tracker'
SECTION = 'ros__parameters'


def read_parameter_file(path: Path) -> dict[str, Any]:
    """
    Return the parameters that a file of `--params-file` sets for the node `/re3/tracker`.

    As in ROS, of several sections that match the node's name, later ones replace earlier ones.

    :raises BagError: it is no such file, or has no section for this node.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BagError(f'{printable(path)}: not YAML: {" ".join(str(error).split())}') from None
    sections = list(_sections(content, ''))
    if not sections:
        raise BagError(f'{printable(path)}: no section {SECTION} in it')
    found = [values for name, values in sections if _matches(name)]
    if not found:
        names = ', '.join(name for name, _ in sections)
        raise BagError(f'{printable(path)}: no parameters for the node {NODE}, but for {names}')
    return {name: value for values in found for name, value in values.items()}


def _sections(content: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (full name of the node or pattern, parameters)."""
    if not isinstance(content, dict):
        return
    for name, value in content.items():
        if name == SECTION:
            if isinstance(value, dict):
                yield prefix or '/**', value
        else:
            yield from _sections(value, f'{prefix}/{str(name).strip("/")}')


def _matches(name: str) -> bool:
    """Return whether a name of a section is the node's: `*` is one part, `**` are any."""
    if name == '/tracker':      # without a namespace, as people write it
        return True
    parts, wanted = name.strip('/').split('/'), NODE.strip('/').split('/')
    if parts[0] == '**':
        return len(parts) == 1 or fnmatchcase(wanted[-1], parts[-1])
    return len(parts) == len(wanted) and all(
        fnmatchcase(part, pattern) for part, pattern in zip(wanted, parts, strict=True))
