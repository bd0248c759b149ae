# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""One line per fault: log the first of its kind at once, the others as a number."""

from dataclasses import dataclass
import re
import time

# More kinds than the node knows; a bound in case a text varies in an unforeseen way.
MAX_KINDS = 256
_NUMBER = re.compile(r'[-+]?\d+(\.\d+)?(e[-+]?\d+)?')


class Fault(ValueError):
    """
    Something that cannot be used or done.

    `kind` is one word for what is wrong, the same for all cases of that fault.
    """

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


@dataclass
class _Seen:
    logged_at: float
    total: int = 0
    unlogged: int = 0


class ProblemLog:
    """
    Log faults of the input so that one source of bad messages cannot flood the log.

    A fault is logged when it is the first of its kind, and then at most once per `period`
    seconds with the number of those in between.
    """

    def __init__(self, logger, period=30.0, clock=time.monotonic):
        self._logger = logger
        self._period = period
        self._clock = clock
        self._seen = {}

    def report(self, where, error):
        """
        Log a fault.

        :param where: the topic it came by.
        :param error: the exception; its `kind` (else its text without numbers) is its kind.
        """
        text = str(error)
        kind = (where, getattr(error, 'kind', None) or _NUMBER.sub('#', text))
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            kind = (where, 'other')
        now = self._clock()
        seen = self._seen.setdefault(kind, _Seen(now - self._period))
        seen.total += 1
        seen.unlogged += 1
        if now - seen.logged_at < self._period:
            return
        more = f' ({seen.unlogged} of this kind since the last report)' if seen.total > 1 else ''
        seen.logged_at, seen.unlogged = now, 0
        self._logger.warning(f'{where}: {text}{more}')

    @property
    def total(self):
        """Return the number of faults reported so far."""
        return sum(seen.total for seen in self._seen.values())
