# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The recent frames of a camera, kept so that a late box can be applied to its own frame."""

import bisect
from collections.abc import Callable, Iterator
import operator
from typing import Any

import numpy as np

_BY_STAMP = operator.attrgetter('stamp')
_BY_INDEX = operator.attrgetter('index')


class Frame:
    """
    One image message: its number, its stamp and the tracks in it.

    The message is converted only when its pixels are asked for. `boxes` maps target ids to
    their `xyxy` boxes in this frame, `lost` is the set of those that were lost in it.
    """

    def __init__(self, index: int, stamp: int, message: Any, size: tuple[int, int],
                 convert: Callable[[Any], np.ndarray]) -> None:
        """
        Wrap a message.

        :param index: running number, larger than those of the frames before.
        :param stamp: the header's time in nanoseconds.
        :param size: (height, width).
        :param convert: function that turns the message into H x W x 3 uint8 RGB.
        """
        self.index = index
        self.stamp = stamp
        self.message = message
        self.size = size
        self.boxes: dict[str, np.ndarray] = {}
        self.lost: set[str] = set()
        self._convert = convert
        self._rgb: np.ndarray | None = None

    @property
    def header(self) -> Any:
        """Header of the message."""
        return self.message.header

    @property
    def nbytes(self) -> int:
        """Size in bytes of the message's data."""
        return len(self.message.data)

    def rgb(self) -> np.ndarray:
        """Return the pixels, H x W x 3 uint8 RGB; kept until `release`."""
        if self._rgb is None:
            self._rgb = self._convert(self.message)
        return self._rgb

    def record(self, identity: str, track: Any) -> None:
        """Store a target's `re3_core.Track` in this frame."""
        self.boxes[identity] = track.box
        self.lost.discard(identity)
        if track.lost:
            self.lost.add(identity)

    def discard(self, identity: str) -> None:
        """Remove a target's track from this frame, if there is one."""
        self.boxes.pop(identity, None)
        self.lost.discard(identity)

    def release(self) -> None:
        """Free the converted pixels; the message stays."""
        self._rgb = None


class FrameBuffer:
    """
    Frames in the order of their stamps, bounded in time and in memory.

    The newest frame is always kept, whatever the bounds. Of frames with equal stamps only the
    newest is kept: a box cannot name the others, and they would never grow old.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._nanoseconds = int(seconds * 1e9)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: list[Frame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    @property
    def newest(self) -> Frame | None:
        """Newest Frame, or None."""
        return self._frames[-1] if self._frames else None

    @property
    def oldest(self) -> Frame | None:
        """Oldest Frame, or None."""
        return self._frames[0] if self._frames else None

    @property
    def nbytes(self) -> int:
        """Bytes of all messages kept."""
        return self._bytes

    def append(self, frame: Frame) -> None:
        """Add the newest frame and drop those that are out of bounds."""
        if self._frames:
            self._frames[-1].release()
        while self._frames and self._frames[-1].stamp == frame.stamp:
            self._bytes -= self._frames.pop().nbytes
        self._frames.append(frame)
        self._bytes += frame.nbytes
        drop = 0
        while drop < len(self._frames) - 1 and self._out_of_bounds(self._frames[drop]):
            self._bytes -= self._frames[drop].nbytes
            drop += 1
        del self._frames[:drop]

    def _out_of_bounds(self, frame: Frame) -> bool:
        too_old = self._frames[-1].stamp - frame.stamp > self._nanoseconds
        return too_old or self._bytes > self._max_bytes

    def clear(self) -> None:
        """Remove all frames."""
        self._frames.clear()
        self._bytes = 0

    def nearest(self, stamp: int) -> Frame:
        """Return the Frame whose stamp is nearest to `stamp`; the buffer must not be empty."""
        after = bisect.bisect_left(self._frames, stamp, key=_BY_STAMP)
        around = self._frames[max(0, after - 1):after + 1]
        return min(around, key=lambda frame: abs(frame.stamp - stamp))

    def next_after(self, index: int) -> Frame | None:
        """Return the first Frame with a number above `index`, or None."""
        position = bisect.bisect_right(self._frames, index, key=_BY_INDEX)
        return self._frames[position] if position < len(self._frames) else None

    def boxes_at(self, frame: Frame) -> dict[str, np.ndarray]:
        """Return {id: box} in `frame`; for targets that are younger, in their first frame."""
        boxes: dict[str, np.ndarray] = {}
        for later in self._frames[bisect.bisect_left(self._frames, frame.index, key=_BY_INDEX):]:
            for identity, box in later.boxes.items():
                boxes.setdefault(identity, box)
        return boxes

    def match_tolerance_ns(self) -> int:
        """Return the largest difference between a box's and its frame's stamp: half a period."""
        if len(self._frames) < 2:
            return 0
        stamps = np.array([frame.stamp for frame in self._frames])
        return int(np.median(np.diff(stamps)) / 2)
