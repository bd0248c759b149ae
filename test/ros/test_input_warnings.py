# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the log of input errors, with stand-ins for rclpy's loggers."""

from re3_ros.diagnostics import InputWarnings, MAX_WARNING_KINDS
from re3_ros.messages import ImageError, InputError


class Logger:
    """Logs the first of its lines only, as rclpy does within the throttle duration."""

    def __init__(self, lines):
        self.lines, self.silent = lines, False

    def warning(self, text, throttle_duration_sec):
        assert throttle_duration_sec > 0
        if not self.silent:
            self.lines.append(text)
        self.silent = True


def make():
    """Return the warnings and the lines that they log."""
    lines = []
    return InputWarnings(lambda: Logger(lines)), lines


def test_each_kind_and_topic_is_logged_once():
    warnings, lines = make()
    for size in range(50):
        warnings.report('/image', ImageError('size', f'{size} bytes'))
    warnings.report('/image', ImageError('step', 'step 3'))
    warnings.report('/other', ImageError('size', '7 bytes'))
    assert lines == ['/image: 0 bytes', '/image: step 3', '/other: 7 bytes']
    assert warnings.total == 52


def test_each_refused_id_is_logged():
    warnings, lines = make()
    for identity in ('cup', 'dog', 'cup'):
        warnings.report('/init', InputError('size', f'box of {identity!r}', identity))
    assert lines == ["/init: box of 'cup'", "/init: box of 'dog'"]


def test_kinds_are_bounded():
    warnings, lines = make()
    for number in range(2 * MAX_WARNING_KINDS):
        warnings.report('/image', ImageError(f'kind {number}', 'text'))
    assert len(lines) == 2 * MAX_WARNING_KINDS
    for number in range(10):
        warnings.report('/image', ImageError(f'further kind {number}', 'text'))
    assert len(lines) == 2 * MAX_WARNING_KINDS + 1


def test_many_ids_do_not_hide_other_kinds():
    warnings, lines = make()
    for number in range(3 * MAX_WARNING_KINDS):
        warnings.report('/init', InputError('unknown id', 'text', f'id {number}'))
    assert len(lines) == MAX_WARNING_KINDS + 1
    warnings.report('/init', InputError('size', 'another kind', 'cup'))
    assert lines[-1] == '/init: another kind'
