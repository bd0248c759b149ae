# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Quiet end of the commands (`python -m ...`) that are interrupted while their modules load.

Imported by the packages before the modules that take long. Python still exits by SIGINT.
"""

import sys
from types import TracebackType


def _report(kind: type[BaseException], error: BaseException,
            traceback: TracebackType | None) -> None:
    """Print an error that nothing handles, unless it is an interrupt."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


# With `python -m` this is argv[0] while the package of the module is imported.
if sys.argv[:1] == ['-m']:
    sys.excepthook = _report
