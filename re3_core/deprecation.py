# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Old names that keep working for one release, with a DeprecationWarning."""

from collections.abc import Mapping
from typing import Any
import warnings


def deprecated_attribute(old: str, new: str) -> property:
    """Return a property that reads and writes the attribute `new` under its old name."""
    def read(self: Any) -> Any:
        _warn(old, new, 3)
        return getattr(self, new)

    def write(self: Any, value: Any) -> None:
        _warn(old, new, 3)
        setattr(self, new, value)
    return property(read, write, doc=f'Deprecated: use `{new}`.')


def renamed_arguments(function: str, arguments: Mapping[str, Any],
                      renamed: Mapping[str, str]) -> dict[str, Any]:
    """
    Return keyword arguments under their present names.

    :param function: name of the function for error messages.
    :param arguments: keyword arguments that are not in the function's signature.
    :param renamed: present names by old name.
    :raises TypeError: for a name that is not an old one.
    """
    for old in arguments:
        if old not in renamed:
            raise TypeError(f'{function}() got an unexpected keyword argument {old!r}')
        _warn(old, renamed[old], 4)
    return {renamed[old]: value for old, value in arguments.items()}


def _warn(old: str, new: str, stacklevel: int) -> None:
    warnings.warn(f'{old} is deprecated, use {new}', DeprecationWarning, stacklevel=stacklevel)
