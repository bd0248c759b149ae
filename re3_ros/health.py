# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Latency and health of one camera's tracking, for `/diagnostics`, without ROS imports."""

from collections import deque
from typing import NamedTuple

import numpy as np

WINDOW = 300
# As in diagnostic_msgs/DiagnosticStatus.
OK, WARN, ERROR, STALE = 0, 1, 2, 3
DAY = 86400.
# Clocks of one machine differ by less; a stamp further ahead of now is of another clock.
CLOCK_TOLERANCE = 0.05


class Summary(NamedTuple):
    """Mean, 95th percentile and maximum of recent values; NaN without values."""

    mean: float
    p95: float
    maximum: float


class Recent:
    """The latest WINDOW values of a quantity."""

    def __init__(self):
        self._values = deque(maxlen=WINDOW)

    def add(self, value):
        """Add the newest value."""
        self._values.append(value)

    def summary(self):
        """Return the Summary of the values."""
        if not self._values:
            return Summary(np.nan, np.nan, np.nan)
        values = np.array(self._values)
        return Summary(values.mean(), np.quantile(values, .95), values.max())

    def clear(self):
        """Forget the values."""
        self._values.clear()


class Clocks:
    """
    Tell honest latencies from clocks that do not fit together.

    A latency is `now - stamp`; if the stamp is zero, in the future or a day old, it says
    nothing, and what is wrong is named instead of averaged.
    """

    def __init__(self):
        self.problem = ''

    def latency(self, stamp, now):
        """Return the seconds from `stamp` to `now` (both nanoseconds), or None."""
        seconds = (now - stamp) / 1e9
        if stamp == 0:
            self.problem = 'images have no stamp (zero)'
        elif now == 0:
            self.problem = "the node's clock stands at zero (use_sim_time without /clock?)"
        elif seconds < -CLOCK_TOLERANCE:
            self.problem = (f'image stamps are {-seconds:.3f} s ahead of the node (clocks of two '
                            'machines, or use_sim_time set on one side only?)')
        elif seconds > DAY:
            self.problem = (f'image stamps are {seconds / DAY:.0f} days old (a bag replayed '
                            'without use_sim_time?)')
        else:
            self.problem = ''
            return max(0., seconds)
        return None


class CameraHealth:
    """Times and counts of one camera, and the verdict on them."""

    def __init__(self):
        self.clocks = Clocks()
        self.input_latency = Recent()
        self.processing = Recent()
        self.pipeline_latency = Recent()
        self.interval = Recent()
        self.processed = 0
        self.refused = 0
        self.last_frame = None
        self._last_published = None

    def frame_arrived(self, stamp, now, monotonic):
        """Note an image: its stamp and the node's time (nanoseconds), and monotonic seconds."""
        self.last_frame = monotonic
        latency = self.clocks.latency(stamp, now)
        if latency is not None:
            self.input_latency.add(latency)

    def published(self, stamp, now, monotonic, processing):
        """Note that the tracks of an image went out; `processing` seconds were spent on it."""
        self.processed += 1
        self.processing.add(processing)
        latency = self.clocks.latency(stamp, now)
        if latency is not None:
            self.pipeline_latency.add(latency)
        if self._last_published is not None:
            self.interval.add(monotonic - self._last_published)
        self._last_published = monotonic

    def clear(self):
        """Forget the times, as after a pause; the counts stay."""
        for recent in (self.input_latency, self.processing, self.pipeline_latency, self.interval):
            recent.clear()
        self.last_frame = self._last_published = None


def verdict(health, watch, states, values, frame_age):
    """
    Judge a camera.

    :param states: list of the targets' states.
    :param values: mapping of parameters `latency_warn`, `latency_error`, `frame_timeout`.
    :param frame_age: seconds since the last image, or since activation if there was none.
    :return: (level, text): OK, WARN or ERROR and why.
    """
    late = health.pipeline_latency.summary().p95
    lost = states.count('lost')
    findings = [
        (ERROR, frame_age > values['frame_timeout'], f'no image for {frame_age:.0f} s'),
        (ERROR, late >= values['latency_error'], f'latency {late * 1e3:.0f} ms'),
        (WARN, values['latency_warn'] <= late < values['latency_error'],
         f'latency {late * 1e3:.0f} ms'),
        (WARN, watch.loss() >= 0.1, f'{watch.loss():.0%} of the images lost on the way'),
        (WARN, bool(health.clocks.problem), health.clocks.problem),
        (WARN, lost > 0, f'{lost} of {len(states)} targets lost'),
    ]
    found = [(level, text) for level, applies, text in findings if applies]
    if not found:
        return OK, f'tracking {len(states)} targets'
    return max(level for level, _ in found), ', '.join(text for _, text in found)


def figures(health, watch, states, frame_age):
    """Return what `/diagnostics` shows of a camera, as a dict of names to texts."""
    spacing = health.interval.summary().mean
    shown = {
        'frames_received': watch.received,
        'frames_processed': health.processed,
        'frames_skipped': watch.skipped,
        'frames_lost': watch.lost,
        'frames_out_of_order': watch.late,
        'frames_refused': health.refused,
        'frame_age_s': f'{frame_age:.3f}',
        'output_rate_hz': f'{1 / spacing:.1f}' if spacing else 'nan',
        'targets_tracked': states.count('tracked'),
        'targets_lost': states.count('lost'),
    }
    for name, recent in (('input_latency', health.input_latency),
                         ('processing', health.processing),
                         ('pipeline_latency', health.pipeline_latency)):
        summary = recent.summary()
        shown[f'{name}_ms_mean'] = f'{summary.mean * 1e3:.2f}'
        shown[f'{name}_ms_p95'] = f'{summary.p95 * 1e3:.2f}'
        shown[f'{name}_ms_max'] = f'{summary.maximum * 1e3:.2f}'
    shown['clock'] = health.clocks.problem or 'ok'
    return {name: str(value) for name, value in shown.items()}
