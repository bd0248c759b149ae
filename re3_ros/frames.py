# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The recent frames of a camera, kept so that a late box can be applied to its own frame."""

import bisect
import operator

import numpy as np

_BY_STAMP = operator.attrgetter('stamp')
_BY_INDEX = operator.attrgetter('index')


class Frame:
    """
    One image message: its number, its time and what was tracked in it.

    The message is converted only when its pixels are asked for. `boxes` maps target ids to
    their `xyxy` boxes in this frame, `lost` is the set of those that were lost in it.
    """

    def __init__(self, index, stamp, message, size, convert):
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
        self.boxes = {}
        self.lost = set()
        self._convert = convert
        self._rgb = None

    @property
    def header(self):
        """Header of the message."""
        return self.message.header

    @property
    def nbytes(self):
        """Size in bytes of the message's data."""
        return len(self.message.data)

    def rgb(self):
        """Return the pixels, H x W x 3 uint8 RGB; kept until `release`."""
        if self._rgb is None:
            self._rgb = self._convert(self.message)
        return self._rgb

    def note(self, identity, track):
        """Keep where a target was in this frame, a `re3_core.Track`."""
        self.boxes[identity] = track.box
        self.lost.discard(identity)
        if track.lost:
            self.lost.add(identity)

    def forget(self, identity):
        """Forget where a target was in this frame, if it was."""
        self.boxes.pop(identity, None)
        self.lost.discard(identity)

    def release(self):
        """Forget the converted pixels; the message stays."""
        self._rgb = None


class FrameBuffer:
    """
    Frames in the order of their stamps, bounded in time and in memory.

    The newest frame is always kept, whatever the bounds.
    """

    def __init__(self, seconds, max_bytes):
        self._nanoseconds = int(seconds * 1e9)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames = []

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        return iter(self._frames)

    @property
    def newest(self):
        """Newest Frame, or None."""
        return self._frames[-1] if self._frames else None

    @property
    def oldest(self):
        """Oldest Frame, or None."""
        return self._frames[0] if self._frames else None

    @property
    def nbytes(self):
        """Bytes of all messages kept."""
        return self._bytes

    def append(self, frame):
        """Add the newest frame and drop those that are out of bounds."""
        if self._frames:
            self._frames[-1].release()
        self._frames.append(frame)
        self._bytes += frame.nbytes
        drop = 0
        while drop < len(self._frames) - 1 and self._out_of_bounds(self._frames[drop]):
            self._bytes -= self._frames[drop].nbytes
            drop += 1
        del self._frames[:drop]

    def _out_of_bounds(self, frame):
        too_old = self._frames[-1].stamp - frame.stamp > self._nanoseconds
        return too_old or self._bytes > self._max_bytes

    def clear(self):
        """Forget all frames."""
        self._frames.clear()
        self._bytes = 0

    def nearest(self, stamp):
        """Return the Frame whose stamp is nearest to `stamp`; the buffer must not be empty."""
        after = bisect.bisect_left(self._frames, stamp, key=_BY_STAMP)
        around = self._frames[max(0, after - 1):after + 1]
        return min(around, key=lambda frame: abs(frame.stamp - stamp))

    def following(self, index):
        """Return the first Frame with a number above `index`, or None."""
        position = bisect.bisect_right(self._frames, index, key=_BY_INDEX)
        return self._frames[position] if position < len(self._frames) else None

    def boxes_at(self, frame):
        """Return {id: box} in `frame`; for targets that are younger, in their first frame."""
        boxes = {}
        for later in self._frames[bisect.bisect_left(self._frames, frame.index, key=_BY_INDEX):]:
            for identity, box in later.boxes.items():
                boxes.setdefault(identity, box)
        return boxes

    def tolerance(self):
        """Return by how many nanoseconds a stamp may miss a frame's: half the usual spacing."""
        if len(self._frames) < 2:
            return 0
        stamps = np.array([frame.stamp for frame in self._frames])
        return int(np.median(np.diff(stamps)) / 2)
