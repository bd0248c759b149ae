# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Old names that are accepted for one release, with a DeprecationWarning."""

from collections.abc import Collection, Mapping
from typing import Any
import warnings


def deprecated_attribute(old: str, new: str) -> property:
    """Return a property that reads and writes the attribute `new` under its old name."""
    def read(self: Any) -> Any:
        _warn(old, f'use {new}')
        return getattr(self, new)

    def write(self: Any, value: Any) -> None:
        _warn(old, f'use {new}')
        setattr(self, new, value)
    return property(read, write, doc=f'Deprecated: use `{new}`.')


def ineffective_attribute(name: str, value: Any) -> property:
    """Return a property of a constant value; what is written to it has no effect."""
    def read(self: Any) -> Any:
        _warn(name, 'it has no effect')
        return value

    def write(self: Any, ignored: Any) -> None:
        _warn(name, 'it has no effect')
    return property(read, write, doc='Deprecated: it has no effect.')


def present_arguments(function: str, arguments: Mapping[str, Any], renamed: Mapping[str, str],
                      ineffective: Collection[str] = ()) -> dict[str, Any]:
    """
    Return keyword arguments under their present names, without those that have no effect.

    :param function: name of the function for error messages.
    :param arguments: keyword arguments that are not in the function's signature.
    :param renamed: present names by old name.
    :param ineffective: names that have no effect.
    :raises TypeError: for any other name.
    """
    for old in arguments:
        if old not in renamed and old not in ineffective:
            raise TypeError(f'{function}() got an unexpected keyword argument {old!r}')
        _warn(old, f'use {renamed[old]}' if old in renamed else 'it has no effect', 4)
    return {renamed[old]: value for old, value in arguments.items() if old in renamed}


def _warn(old: str, text: str, stacklevel: int = 3) -> None:
    warnings.warn(f'{old} is deprecated, {text}', DeprecationWarning, stacklevel=stacklevel)
