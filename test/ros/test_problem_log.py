# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of one line per fault, without ROS."""

from re3_ros.images import ImageError
from re3_ros.problem_log import MAX_KINDS, ProblemLog


class Lines(list):
    """A logger that remembers."""

    warning = list.append


def make(period=10.):
    """Return a log, its lines and its clock."""
    lines, clock = Lines(), [0.]
    return ProblemLog(lines, period, lambda: clock[0]), lines, clock


def test_first_of_each_kind_at_once_and_the_rest_counted():
    log, lines, clock = make()
    for size in range(50):
        log.report('/image', ImageError('size', f'{size} bytes'))
    log.report('/image', ImageError('step', 'step 3'))
    log.report('/other', ImageError('size', '7 bytes'))
    assert lines == ['/image: 0 bytes', '/image: step 3', '/other: 7 bytes']
    clock[0] = 11.
    log.report('/image', ImageError('size', '9 bytes'))
    assert lines[-1] == '/image: 9 bytes (50 of this kind since the last report)'
    assert log.total == 53


def test_kind_of_other_errors_is_their_text_without_numbers():
    log, lines, _ = make()
    log.report('/init', ValueError('box (1.5, -2) is outside'))
    log.report('/init', ValueError('box (3, 4e+07) is outside'))
    log.report('/init', ValueError('something else'))
    assert len(lines) == 2


def test_kinds_are_bounded():
    log, lines, _ = make()
    for number in range(2 * MAX_KINDS):
        log.report('/image', ImageError(f'kind {number}', 'text'))
    assert len(lines) == MAX_KINDS + 1
