# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Health of one camera, without ROS imports.

Lost and skipped images, latencies, the content of `/diagnostics`, and warnings about the input.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
import logging
from typing import Any, NamedTuple

import numpy as np

# As in diagnostic_msgs/DiagnosticStatus.
OK, WARN, ERROR, STALE = 0, 1, 2, 3
# Loss is computed over this many expected frames, and reported from this ratio on.
LOSS_WINDOW = 60
LOSS_WARN_RATIO = 0.1
# Stamps may step back by this much (two publishers, a careless driver) without time jumping, and
# forward by this much (a camera that pauses). Nanoseconds.
JUMP_BACK = 500_000_000
JUMP_FORWARD = 3600 * 1_000_000_000
# Stamps may run ahead of the time that passes by this much (nanoseconds), and this many times as
# fast (a bag played in fast motion).
MAX_CLOCK_LEAD = 500_000_000
MAX_PLAYBACK_RATE = 10
# Images in a row with the same stamp that show that the camera's stamps do not advance.
CONSTANT_STAMPS = 10
STATISTICS_WINDOW = 300
DAY = 86400.
# Seconds. Clocks of one machine differ by less; a stamp further ahead of now is of another clock.
CLOCK_TOLERANCE = 0.05
# Seconds in which one kind of input error is logged at most once, and how many kinds there are.
WARNING_PERIOD = 30.
MAX_WARNING_KINDS = 256

# Any identity of the publisher (None: unknown), and its running number of the message.
PublicationId = tuple[Hashable, int]
UNKNOWN: PublicationId = (None, 0)


# ---- input ----

class InputWarnings:
    """
    Logs errors of the input, each kind (and target id) at most once per WARNING_PERIOD.

    `total` counts all of them.
    """

    def __init__(self, make_logger: Callable[[], Any]) -> None:
        """Take a function that returns a new rclpy logger; each has throttle times of its own."""
        self.total = 0
        self._make_logger = make_logger
        self._loggers: dict[Hashable, Any] = {}

    def report(self, topic: str, error: Exception) -> None:
        """Log an error of a message on `topic`."""
        self.total += 1
        kind = getattr(error, 'kind', type(error).__name__)
        # Ids without end, or kinds, share a line: first those of a kind, then those of a topic.
        keys = ((topic, kind, getattr(error, 'id', '')), (topic, kind, ''), (topic, '', ''))
        key = next((key for limit, key in zip((1, 2), keys, strict=False) if key in self._loggers
                    or len(self._loggers) < limit * MAX_WARNING_KINDS), keys[-1])
        if key not in self._loggers:
            self._loggers[key] = self._make_logger()
        self._loggers[key].warning(f'{topic}: {error}', throttle_duration_sec=WARNING_PERIOD)


class LogOnce:
    """A stand-in for a logger of rclpy on one of Python's: logs its first warning only."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._logged = logger, False

    def warning(self, text: str, throttle_duration_sec: float = 0.) -> None:
        """Log the first warning."""
        if not self._logged:
            self._logger.warning('%s', text)
        self._logged = True


# ---- arrival of images ----

class Arrival(Enum):
    """What an image's stamp means; OUT_OF_ORDER and OUTLIER are not to be used."""

    ACCEPT = 'accept'
    OUT_OF_ORDER = 'image is older than the one before it; ignored'
    OUTLIER = 'image stamp is far from those before it; ignored, unless more follow'
    CLOCK_RESET = 'image stamps jumped back'


class StreamMonitor:
    """
    Counts skipped and lost frames: by the publisher's sequence numbers, else by gaps in stamps.

    Where the middleware gives no sequence numbers the period of the frames is the lower quartile
    of the last gaps: with losses the median would itself be a multiple of the true period.
    """

    def __init__(self) -> None:
        self.received = 0
        self.skipped = 0
        self.lost = 0
        self.late = 0
        self._last: int | None = None
        self._last_at: float | None = None
        self._outlier: int | None = None
        self._last_sequence = UNKNOWN
        self._gaps: deque[int] = deque(maxlen=LOSS_WINDOW)
        self._period = 0.
        self._recent: deque[tuple[int, int]] = deque(maxlen=LOSS_WINDOW)    # (expected, lost)

    def on_image(self, stamp: int, busy_seconds: float, sequence: PublicationId = UNKNOWN,
                 at: float | None = None) -> Arrival:
        """
        Count a valid image and classify its stamp.

        A single image with a stamp far from the others is an outlier: only a second one that
        follows it shows that time has jumped.

        :param stamp: its stamp in nanoseconds.
        :param busy_seconds: how long the node was occupied since the image before.
        :param at: when it arrived, in seconds of a steady clock; None where that means nothing,
            as for images of a bag that waited in a queue.
        """
        self.received += 1
        gap = None if self._last is None else stamp - self._last
        if gap is not None and not -JUMP_BACK <= gap <= self._max_gap(at):
            return self._jump(stamp, sequence, at)
        self._outlier = None
        missing = self._missing(gap, sequence)
        if gap is not None and gap < 0:
            self.late += 1
            return Arrival.OUT_OF_ORDER
        self._last, self._last_at = stamp, at
        skipped = self._skipped(missing, gap, busy_seconds)
        self._recent.append((missing + 1, missing - skipped))
        self.skipped += skipped
        self.lost += missing - skipped
        return Arrival.ACCEPT

    def _max_gap(self, at: float | None) -> int:
        """Return by how much the next stamp may be ahead of the last one."""
        if at is None or self._last_at is None:
            return JUMP_FORWARD
        passed = int((at - self._last_at) * 1e9)
        return min(JUMP_FORWARD, MAX_CLOCK_LEAD + MAX_PLAYBACK_RATE * passed)

    def _jump(self, stamp: int, sequence: PublicationId, at: float | None) -> Arrival:
        """Classify an image whose stamp is far from the last one."""
        assert self._last is not None
        if self._outlier is None or not 0 <= stamp - self._outlier <= JUMP_FORWARD:
            self._outlier = stamp
            self._last_sequence = sequence
            return Arrival.OUTLIER
        reset = stamp < self._last
        self.restart(stamp, sequence, at)
        return Arrival.CLOCK_RESET if reset else Arrival.ACCEPT

    def on_invalid_image(self, sequence: PublicationId = UNKNOWN) -> None:
        """Count an image that cannot be used: it arrived, so it is not lost."""
        self.received += 1
        self._last_sequence = sequence

    def _missing(self, gap: int | None, sequence: PublicationId) -> int:
        """Return how many frames are missing before this one."""
        publisher, number = sequence
        last_publisher, last_number = self._last_sequence
        self._last_sequence = sequence
        if publisher is not None:
            return max(0, number - last_number - 1) if publisher == last_publisher else 0
        if not gap or gap < 0:
            return 0
        self._gaps.append(gap)
        period = self.period()
        missing = max(0, round(gap / period) - 1) if period else 0
        # A pause of the camera is no loss.
        return missing if missing < LOSS_WINDOW else 0

    def _skipped(self, missing: int, gap: int | None, busy_seconds: float) -> int:
        """Return how many of the missing frames came while the node was busy."""
        if not missing or not gap:
            return 0
        period = gap / (missing + 1)
        return min(missing, round(busy_seconds * 1e9 / period + 0.25))

    def period(self) -> float:
        """Return the usual nanoseconds between two frames, or 0 while unknown."""
        # Not for every frame: the quantile costs more than everything else here.
        if len(self._gaps) >= 8 and (not self._period or self.received % 16 == 0):
            self._period = float(np.quantile(self._gaps, 0.25))
        return self._period

    def loss(self) -> float:
        """Return the ratio of the recent frames that was lost, 0 while unknown."""
        if len(self._recent) < LOSS_WINDOW // 2:
            return 0.
        expected, lost = np.sum(self._recent, axis=0)
        return float(lost / expected)

    def restart(self, stamp: int | None = None, sequence: PublicationId = UNKNOWN,
                at: float | None = None) -> None:
        """Discard the frames so far, as after a pause."""
        self._last, self._last_at = stamp, at
        self._outlier = None
        self._last_sequence = sequence
        self._gaps.clear()
        self._period = 0.
        self._recent.clear()


# ---- hints ----

def _loss_remedies(compressed: bool, reliability: str) -> str:
    remedies = ['start the camera with FASTDDS_DEFAULT_PROFILES_FILE=.../config/fastdds.xml '
                'of this package (room for large images)']
    if not compressed:
        remedies.append('use image_transport:=compressed')
    if reliability == 'best_effort':
        remedies.append('let the camera publish reliably')
    return '; '.join([*remedies, 'publish smaller images'])


def loss_hint(topic: str, loss: float, reliability: str, compressed: bool) -> str:
    """Return a warning that the ratio `loss` of the images is lost, with the remedies."""
    return (f'{topic}: {loss:.0%} of the images are lost on the way to this node '
            f'({reliability}); remedies: {_loss_remedies(compressed, reliability)}')


def overflow_hint(topic: str, missed: int, depth: int) -> str:
    """Return a warning that `process_every_frame` missed images of a bag."""
    return (f'{topic}: {missed} images of the bag were missed, another replay may give '
            f'other tracks; play it slower (ros2 bag play --rate), or set the parameter '
            f'qos_overrides.{topic}.subscription.depth above {depth}')


def no_image_hint(publishers: Sequence[tuple[str, str]], requested: str, compressed: bool,
                  others: Sequence[str] = (), sibling: str = '',
                  parameter: str = 'image_transport') -> str:
    """
    Return why no image arrives, with the remedies.

    :param publishers: (reliability, type name) of each publisher of the topic.
    :param requested: reliability that the node asks for.
    :param compressed: whether the node subscribes to compressed images.
    :param others: other topics of the type expected that have publishers.
    :param sibling: the topic of the other transport (raw or compressed), if it has publishers.
    :param parameter: name of the parameter that sets the transport.
    """
    kind, other = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
    transport = 'raw' if compressed else 'compressed'
    if compressed:
        kind, other = other, kind
    if not publishers and sibling:
        return f'nobody publishes there, but {sibling} has images: set {parameter} to {transport}'
    if not publishers:
        known = f'; topics with such images: {", ".join(others)}' if others else ''
        return f'nobody publishes there (camera running? topic name right?){known}'
    wrong_types = [name for _, name in publishers if name != kind]
    if other in wrong_types:
        return f'it carries {other}, expected {kind} (see {parameter} and the topic name)'
    if wrong_types:
        return f'it carries {wrong_types[0]}, expected {kind} (topic name right?)'
    if requested == 'reliable' and any(offered == 'best_effort' for offered, _ in publishers):
        return ('the publisher offers best_effort, the subscription asks for reliable; set '
                'image_reliability to auto')
    return (f'{len(publishers)} publisher(s) are there: the camera stands still; or its images '
            f'are lost on the way ({requested}), remedies: '
            f'{_loss_remedies(compressed, requested)}; or one side runs with '
            'FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA and the other without')


# ---- latency and health ----

class Summary(NamedTuple):
    """Mean, 95th percentile and maximum of recent values; NaN without values."""

    mean: float
    p95: float
    maximum: float


class RollingStats:
    """Statistics of the latest STATISTICS_WINDOW values of a quantity."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=STATISTICS_WINDOW)

    def add(self, value: float) -> None:
        """Add the newest value."""
        self._values.append(value)

    def summary(self) -> Summary:
        """Return the Summary of the values."""
        if not self._values:
            return Summary(np.nan, np.nan, np.nan)
        values = np.array(self._values)
        return Summary(values.mean(), np.quantile(values, .95), values.max())

    def clear(self) -> None:
        """Remove the values."""
        self._values.clear()


class LatencyEstimator:
    """
    Latencies `now - stamp`; those of unsynchronized clocks are rejected.

    `problem` is the reason for which the last one was rejected, '' if it was not.
    """

    def __init__(self) -> None:
        self.problem = ''
        self._stamp = 0
        self._repeated = 0

    def on_image(self, stamp: int) -> None:
        """Count images in a row with the same stamp (nanoseconds)."""
        self._repeated = self._repeated + 1 if stamp == self._stamp else 1
        self._stamp = stamp

    @property
    def stamp_problem(self) -> str:
        """What is wrong with the stamps themselves: zero or constant; '' if nothing is."""
        if self._repeated < CONSTANT_STAMPS:
            return ''
        return ('images have no stamp (zero)' if self._stamp == 0 else
                f'images all have the same stamp ({self._stamp / 1e9:.9f} s)')

    def latency(self, stamp: int, now: int) -> float | None:
        """Return the seconds from `stamp` to `now` (both nanoseconds), or None."""
        seconds = (now - stamp) / 1e9
        if stamp == 0:
            self.problem = 'images have no stamp (zero)'
        elif self.stamp_problem:
            self.problem = self.stamp_problem
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
    """Times and counts of one camera."""

    def __init__(self) -> None:
        self.clocks = LatencyEstimator()
        self.input_latency = RollingStats()
        self.processing = RollingStats()
        self.pipeline_latency = RollingStats()
        self.interval = RollingStats()
        self.processed = 0
        self.refused = 0
        self.last_frame: float | None = None
        self._last_published: float | None = None

    def frame_arrived(self, stamp: int, now: int, monotonic: float) -> None:
        """Record an image: its stamp and the node's time (nanoseconds), and monotonic seconds."""
        self.last_frame = monotonic
        self.clocks.on_image(stamp)
        latency = self.clocks.latency(stamp, now)
        if latency is not None:
            self.input_latency.add(latency)

    def published(self, stamp: int, now: int, monotonic: float, processing: float) -> None:
        """Record that the tracks of an image were published after `processing` seconds."""
        self.processed += 1
        self.processing.add(processing)
        latency = self.clocks.latency(stamp, now)
        if latency is not None:
            self.pipeline_latency.add(latency)
        if self._last_published is not None:
            self.interval.add(monotonic - self._last_published)
        self._last_published = monotonic

    def clear(self) -> None:
        """Remove the times, as after a pause; the counts stay."""
        for stats in (self.input_latency, self.processing, self.pipeline_latency, self.interval):
            stats.clear()
        self.last_frame = self._last_published = None


def diagnostic_level(health: CameraHealth, monitor: StreamMonitor, states: Sequence[str],
                     values: Any, frame_age: float) -> tuple[int, str]:
    """
    Return (level, text) of a camera: OK, WARN or ERROR and why.

    :param states: the targets' states.
    :param values: mapping of parameters `latency_warn`, `latency_error`, `frame_timeout`.
    :param frame_age: seconds since the last image, or since activation if there was none.
    """
    late = health.pipeline_latency.summary().p95
    lost = states.count('lost')
    findings = [
        (ERROR, frame_age > values['frame_timeout'], f'no image for {frame_age:.0f} s'),
        (ERROR, late >= values['latency_error'], f'latency {late * 1e3:.0f} ms'),
        (WARN, values['latency_warn'] <= late < values['latency_error'],
         f'latency {late * 1e3:.0f} ms'),
        (WARN, monitor.loss() >= LOSS_WARN_RATIO,
         f'{monitor.loss():.0%} of the images lost on the way'),
        (WARN, bool(health.clocks.problem), health.clocks.problem),
        (WARN, lost > 0, f'{lost} of {len(states)} targets lost'),
    ]
    found = [(level, text) for level, applies, text in findings if applies]
    if not found:
        return OK, f'tracking {len(states)} targets'
    return max(level for level, _ in found), ', '.join(text for _, text in found)


def diagnostic_values(health: CameraHealth, monitor: StreamMonitor, states: Sequence[str],
                      frame_age: float) -> dict[str, str]:
    """Return the values of a camera in `/diagnostics`, as a dict of names to texts."""
    interval = health.interval.summary().mean
    values: dict[str, Any] = {
        'frames_received': monitor.received,
        'frames_processed': health.processed,
        'frames_skipped': monitor.skipped,
        'frames_lost': monitor.lost,
        'frames_out_of_order': monitor.late,
        'frames_refused': health.refused,
        'frame_age_s': f'{frame_age:.3f}',
        'output_rate_hz': f'{1 / interval:.1f}' if interval else 'nan',
        'targets_tracked': states.count('tracked'),
        'targets_lost': states.count('lost'),
    }
    for name, stats in (('input_latency', health.input_latency),
                        ('processing', health.processing),
                        ('pipeline_latency', health.pipeline_latency)):
        summary = stats.summary()
        values[f'{name}_ms_mean'] = f'{summary.mean * 1e3:.2f}'
        values[f'{name}_ms_p95'] = f'{summary.p95 * 1e3:.2f}'
        values[f'{name}_ms_max'] = f'{summary.maximum * 1e3:.2f}'
    values['clock'] = health.clocks.problem or 'ok'
    return {name: str(value) for name, value in values.items()}
