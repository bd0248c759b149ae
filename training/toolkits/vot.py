# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Our trackers in the VOT toolkit (`pip install vot-toolkit`, GPL-3.0, a program of its own).

The toolkit runs this in one of two ways, see `trackers.ini` beside this file:

- protocol `trax` starts `python -m training.toolkits.vot --model re3_lite` as a process, in any
  environment that has our packages and `vot-trax` (BSD);
- protocol `python` (toolkit 0.9 and newer) imports `training.toolkits.vot:VotTracker` in the
  toolkit's own environment and needs nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
import sys
from typing import Any

import numpy as np
from re3_core.boxes import xywh_to_xyxy, xyxy_to_xywh
from re3_core.io.images import read_image
from re3_core.tracker import Track
from training.config import run_command
from training.trackers import TrackerOptions, TrackerSpec

Region = tuple[Any, dict[str, float]]


class VotTracker:
    """
    Any number of targets in one sequence, in the order in which the toolkit names them.

    Frames are paths of image files, targets (region, properties) with region `x, y, w, h` in
    pixels; a list of such pairs is returned, with a `confidence` where there is one.

    :param options: as for `training.trackers.TrackerSpec`
    """

    multiobject = True

    def __init__(self, model: str = 're3_lite', **options: Any):
        self._tracker = TrackerSpec(model=model, **options).make()

    def initialize(self, frame: Any, new: Sequence[Region],
                   properties: object = None) -> list[Region]:
        """Remove all targets, start those in `new` in the image file `frame`; return them."""
        self._tracker.reset()
        return self._start(read_image(_color(frame)), new, first=0)

    def update(self, frame: Any, new: Sequence[Region] = (),
               properties: object = None) -> list[Region]:
        """Track all targets in the next image file, then start those in `new`; return all."""
        image = read_image(_color(frame))
        found = [_status(track) for track in self._tracker.update(image).values()]
        return found + self._start(image, new, first=len(found))

    def _start(self, image: np.ndarray, new: Sequence[Region], first: int) -> list[Region]:
        return [_status(self._tracker.init(str(number), image, xywh_to_xyxy(np.array(region))))
                for number, (region, _) in enumerate(new, first)]


def _color(frame: Any) -> Any:
    """Return the path of the color image: the toolkit gives a mapping where there are others."""
    return frame['color'] if isinstance(frame, dict) else frame


def _status(track: Track) -> Region:
    region = tuple(float(v) for v in xyxy_to_xywh(track.box))
    return region, {} if math.isnan(track.confidence) else {
        'confidence': float(track.confidence)}


def serve(tracker: VotTracker) -> None:
    """Answer the toolkit's requests over TraX until it sends quit."""
    import trax
    with trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], tracker_name='re3',
                     multiobject=True) as server:
        while (request := server.wait()).type != trax.TraxStatus.QUIT:
            frame = request.image[trax.ImageChannel.COLOR].path()
            new = [(region.bounds(), properties)
                   for region, properties in request.objects or ()]
            starts = request.type == trax.TraxStatus.INITIALIZE
            found = (tracker.initialize if starts else tracker.update)(frame, new)
            server.status([(trax.Rectangle.create(*region), properties)
                           for region, properties in found])


@dataclass(frozen=True, kw_only=True)
class ServeOptions(TrackerOptions):
    """Serve a tracker to vot-toolkit over TraX."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(ServeOptions, lambda options: serve(VotTracker(**vars(options))),
                       arguments)


if __name__ == '__main__':
    sys.exit(main())
