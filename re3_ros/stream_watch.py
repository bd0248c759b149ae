# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Watch how the images of a camera arrive: skipped while busy, lost on the way, or not at all."""

from collections import deque

import numpy as np

# Judge the loss over this many expected frames, and say so from this share on.
WINDOW = 60
WORTH_SAYING = 0.1
# Stamps may step back by this much (two publishers, a careless driver) without time jumping, and
# forward by this much (a camera that pauses).
JUMP_BACK = 500_000_000
JUMP_FORWARD = 3600 * 1_000_000_000
# What steps forward while hardly any time passes is no pause: stamps may run ahead of the time
# that passes by this much, and this many times as fast (a bag played in fast motion).
AHEAD = 500_000_000
FASTEST = 10

# What to do with an image: use it, or not because it is older than the last one, or because its
# stamp is far from all others; or use it as the first one after time was set back.
USE, LATE, ODD, TIME_SET_BACK = 'use', 'late', 'odd', 'time set back'


class StreamWatch:
    """
    Count skipped and lost frames: by the publisher's sequence numbers, else by gaps in stamps.

    Where the middleware gives no sequence numbers the spacing of frames is the lower quartile
    of the last gaps: with losses the median would itself be a multiple of the true spacing.
    """

    def __init__(self):
        self.received = 0
        self.skipped = 0
        self.lost = 0
        self.late = 0
        self._last = None
        self._last_at = None
        self._odd = None
        self._last_sequence = (None, 0)
        self._gaps = deque(maxlen=WINDOW)
        self._spacing = 0.
        self._recent = deque(maxlen=WINDOW)     # (expected, lost) per frame

    def arrived(self, stamp, busy_seconds, sequence=(None, 0), at=None):
        """
        Note an image that could be used; return USE, LATE, ODD or TIME_SET_BACK.

        A single image with a stamp far from the others says nothing: only a second one that
        follows it shows that time has jumped.

        :param stamp: its time in nanoseconds.
        :param busy_seconds: how long the node was occupied since the image before.
        :param sequence: (any identity of the publisher, its running number), if known.
        :param at: when it arrived, in seconds of a steady clock; None where that means nothing,
            as for images of a recording that waited in a queue.
        """
        self.received += 1
        gap = None if self._last is None else stamp - self._last
        if gap is not None and not -JUMP_BACK <= gap <= self._farthest(at):
            return self._jumped(stamp, sequence, at)
        self._odd = None
        missing = self._missing(gap, sequence)
        if gap is not None and gap < 0:
            self.late += 1
            return LATE
        self._last, self._last_at = stamp, at
        skipped = self._skipped(missing, gap, busy_seconds)
        self._recent.append((missing + 1, missing - skipped))
        self.skipped += skipped
        self.lost += missing - skipped
        return USE

    def _farthest(self, at):
        """Return by how much the next stamp may lie ahead of the last one."""
        if at is None or self._last_at is None:
            return JUMP_FORWARD
        return min(JUMP_FORWARD, AHEAD + FASTEST * int((at - self._last_at) * 1e9))

    def _jumped(self, stamp, sequence, at):
        """Judge an image whose stamp is far from the last one."""
        if self._odd is None or not 0 <= stamp - self._odd <= JUMP_FORWARD:
            self._odd = stamp
            self._last_sequence = sequence
            return ODD
        set_back = stamp < self._last
        self.restart(stamp, sequence, at)
        return TIME_SET_BACK if set_back else USE

    def refused(self, sequence=(None, 0)):
        """Note an image that could not be used: it came, so it is not lost."""
        self.received += 1
        self._last_sequence = sequence

    def _missing(self, gap, sequence):
        """Return how many frames are missing before this one."""
        publisher, number = sequence
        last_publisher, last_number = self._last_sequence
        self._last_sequence = sequence
        if publisher is not None:
            return max(0, number - last_number - 1) if publisher == last_publisher else 0
        if not gap or gap < 0:
            return 0
        self._gaps.append(gap)
        spacing = self.spacing()
        missing = max(0, round(gap / spacing) - 1) if spacing else 0
        # A pause of the camera is no loss.
        return missing if missing < WINDOW else 0

    def _skipped(self, missing, gap, busy_seconds):
        """Return how many of the missing frames came while the node was busy."""
        if not missing or not gap:
            return 0
        spacing = gap / (missing + 1)
        return min(missing, round(busy_seconds * 1e9 / spacing + 0.25))

    def spacing(self):
        """Return the usual nanoseconds between two frames, or 0 while unknown."""
        # Not for every frame: the quantile costs more than everything else here.
        if len(self._gaps) >= 8 and (not self._spacing or self.received % 16 == 0):
            self._spacing = float(np.quantile(self._gaps, 0.25))
        return self._spacing

    def loss(self):
        """Return the share of the recent frames that was lost, 0 while unknown."""
        if len(self._recent) < WINDOW // 2:
            return 0.
        expected, lost = np.sum(self._recent, axis=0)
        return float(lost / expected)

    def restart(self, stamp=None, sequence=(None, 0), at=None):
        """Forget the frames so far, as after a pause."""
        self._last, self._last_at = stamp, at
        self._odd = None
        self._last_sequence = sequence
        self._gaps.clear()
        self._spacing = 0.
        self._recent.clear()


def loss_advice(topic, loss, reliability, compressed):
    """Say that frames are lost on a topic, and what helps."""
    remedies = ['start the camera with FASTDDS_DEFAULT_PROFILES_FILE=.../config/fastdds.xml '
                'of this package (room for large images)']
    if not compressed:
        remedies.append('use image_transport:=compressed')
    if reliability == 'best_effort':
        remedies.append('let the camera publish reliably')
    return (f'{topic}: {loss:.0%} of the images are lost on the way to this node '
            f'({reliability}); remedies: {"; ".join(remedies)}')


def missed_advice(topic, missed, depth):
    """Say that images of a recording did not get their turn in `process_every_frame`."""
    return (f'{topic}: {missed} images of the recording were missed, another replay may give '
            f'other tracks; play it slower (ros2 bag play --rate), or set the parameter '
            f'qos_overrides.{topic}.subscription.depth above {depth}')


def silence_advice(publishers, requested, kind, others):
    """
    Say why no image arrives, and what helps.

    :param publishers: list of (reliability, type name) that the publishers offer.
    :param requested: reliability that the node asks for.
    :param kind: name of the message type that the node expects.
    :param others: topics of that type that have publishers.
    """
    if not publishers:
        seen = f'; topics with such images: {", ".join(others)}' if others else ''
        return f'nobody publishes there (camera running? topic name right?){seen}'
    foreign = [name for _, name in publishers if name != kind]
    if foreign:
        return (f'it carries {foreign[0]}, expected {kind} (see image_transport and the topic '
                'name)')
    if requested == 'reliable' and any(offered == 'best_effort' for offered, _ in publishers):
        return ('the publisher offers best_effort, the subscription asks for reliable; set '
                'image_reliability to auto')
    return (f'{len(publishers)} publisher(s) are there; the camera stands still, or one side '
            'runs with FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA and the other without')
