# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Match images with the tracks that were published for them, without ROS imports."""

from collections import OrderedDict
from typing import Any

from re3_web.source import ShownTrack

# Images that wait for their tracks, and seconds after which an image is shown without.
MAX_IMAGES = 16
PATIENCE = 0.5
# Seconds for which tracks may be shown with a later image.
TRACKS_VALID = 1.

Tracks = tuple[ShownTrack, ...]


class TrackMatcher:
    """
    Pairs the images of a camera with their tracks by stamp.

    As long as tracks come, an image is shown when its tracks are there, so that boxes and image
    belong together. Without tracks images are shown as they come. Times are seconds of a steady
    clock, stamps nanoseconds.
    """

    def __init__(self) -> None:
        self.last_tracks = float('-inf')
        self._images: OrderedDict[int, Any] = OrderedDict()
        self._tracks: Tracks = ()
        self._last_pair = float('-inf')
        self._unpaired: tuple[int, Tracks] | None = None

    def add_image(self, stamp: int, image: Any, now: float) -> tuple[Any, Tracks] | None:
        """Take an image; return (image, tracks) if it is to be shown at once, else None."""
        if self._unpaired and self._unpaired[0] == stamp:    # the tracks were faster
            tracks, self._unpaired = self._unpaired[1], None
            self._last_pair = now
            return image, tracks
        if now - self._last_pair > PATIENCE:
            fresh = now - self.last_tracks < TRACKS_VALID
            self._keep(stamp, image)
            return image, self._tracks if fresh else ()
        self._keep(stamp, image)
        return None

    def _keep(self, stamp: int, image: Any) -> None:
        self._images[stamp] = image
        while len(self._images) > MAX_IMAGES:
            self._images.popitem(last=False)

    def add_tracks(self, stamp: int, tracks: Tracks, now: float) -> Any | None:
        """Take the tracks of an image; return the image, or None if it is not there."""
        self._tracks, self.last_tracks = tracks, now
        image = self._images.pop(stamp, None)
        if image is None:
            self._unpaired = stamp, tracks
            return None
        self._last_pair = now
        # Older ones will get no tracks any more.
        while self._images and next(iter(self._images)) < stamp:
            self._images.popitem(last=False)
        return image

    def forget_images(self) -> None:
        """Drop the images, as nobody looks any more."""
        self._images.clear()
        self._unpaired = None
