# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Rate and size of the images for one viewer, from its acknowledgments and their times."""

from typing import NamedTuple


class Level(NamedTuple):
    """Longest side of an image in pixels, and its JPEG quality."""

    side: int
    quality: int


LEVELS = (Level(240, 40), Level(320, 50), Level(480, 60), Level(640, 65), Level(960, 70),
          Level(1280, 75), Level(1920, 80))
FIRST_LEVEL = 3
# Seconds that an image may take on top of the round trip: above SLOW the images get smaller,
# below FAST for PATIENCE images in a row larger.
SLOW, FAST, PATIENCE = 0.2, 0.06, 20
# Of the transfer time's moving average.
WEIGHT = 0.4
MAX_IN_FLIGHT = 4


class Pace:
    """
    Flow control of one viewer.

    An image is sent only while few are unacknowledged: one, and as many more as the round trip
    is long, so that a far viewer with a good connection still gets the full rate. The size
    follows the time that images take beyond the round trip of a small message.

    :param rate: images per second at most.
    """

    def __init__(self, rate: float) -> None:
        self.level = FIRST_LEVEL
        self._interval = 1 / rate
        self._round_trip = 0.
        self._transfer = 0.
        self._good = 0
        self._last_sent = float('-inf')
        self._in_flight: dict[int, float] = {}

    def measured(self, round_trip: float) -> None:
        """Take over the round trip of a small message, in seconds."""
        self._round_trip = round_trip

    @property
    def free(self) -> bool:
        """Whether another image may be sent now, as far as acknowledgements go."""
        limit = min(MAX_IN_FLIGHT, 1 + int(self._round_trip / self._interval))
        return len(self._in_flight) < limit

    def delay(self, now: float) -> float:
        """Return the seconds from `now` until the rate allows the next image."""
        return max(0., self._last_sent + self._interval - now)

    def sent(self, sequence: int, now: float) -> None:
        """Note that an image was handed to the connection."""
        # Keep to the average rate although sending is never exactly on time.
        self._last_sent = max(self._last_sent + self._interval, now - self._interval / 2)
        self._in_flight[sequence] = now

    def acknowledged(self, sequence: int, now: float, with_image: bool = True) -> None:
        """
        Note that the viewer has shown an image, and adapt the size.

        :raises ValueError: this one is not waiting for an acknowledgement.
        """
        if sequence not in self._in_flight:
            raise ValueError(f'no image {sequence} waits for an acknowledgement')
        delay = now - self._in_flight.pop(sequence)
        self._round_trip = min(self._round_trip or delay, delay)
        if with_image:
            self._adapt(delay - self._round_trip)

    def _adapt(self, transfer: float) -> None:
        self._transfer += WEIGHT * (transfer - self._transfer)
        self._good = self._good + 1 if self._transfer < FAST else 0
        if self._transfer > SLOW and self.level > 0:
            self._change(-1)
        elif self._good >= PATIENCE and self.level < len(LEVELS) - 1:
            self._change(1)

    def _change(self, step: int) -> None:
        self.level += step
        self._good = 0
        # Judge the new size by its own images: start in the middle.
        self._transfer = (FAST + SLOW) / 2

    def choose(self, side: int) -> Level:
        """Return the Level for a viewer that shows images at `side` pixels."""
        enough = next((n for n, level in enumerate(LEVELS) if level.side >= side),
                      len(LEVELS) - 1)
        return LEVELS[min(self.level, enough)]


class Allowance:
    """
    A token bucket: `rate` events per second, `burst` at once.

    >>> allowance = Allowance(1., 2)
    >>> [allowance.take(0.), allowance.take(0.), allowance.take(0.), allowance.take(1.)]
    [True, True, False, True]
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = float(burst), 0.

    def take(self, now: float) -> bool:
        """Return whether an event at `now` (seconds, rising) is within the allowance."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
