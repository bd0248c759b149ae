# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Old names that keep working for one release, with a DeprecationWarning."""

import warnings


def deprecated_attribute(old, new):
    """Return a property that reads and writes the attribute `new` under its old name."""
    def read(self):
        _warn(old, new, 3)
        return getattr(self, new)

    def write(self, value):
        _warn(old, new, 3)
        setattr(self, new, value)
    return property(read, write, doc=f'Deprecated: use `{new}`.')


def renamed_arguments(function, arguments, renamed):
    """
    Return keyword arguments under their present names.

    :param function: name of the function for error messages.
    :param arguments: dict of keyword arguments that the function's signature does not have.
    :param renamed: dict of old to present name.
    :raises TypeError: for a name that is no old one either.
    """
    for old in arguments:
        if old not in renamed:
            raise TypeError(f'{function}() got an unexpected keyword argument {old!r}')
        _warn(old, renamed[old], 4)
    return {renamed[old]: value for old, value in arguments.items()}


def _warn(old, new, stacklevel):
    warnings.warn(f'{old} is deprecated, use {new}', DeprecationWarning, stacklevel=stacklevel)
