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

import argparse
import math

import numpy as np
from re3_core.boxes import xywh_to_xyxy, xyxy_to_xywh
from training.frame_store import read_image
from training.runners import TrackerSpec


class VotTracker:
    """
    Any number of targets in one sequence, in the order in which the toolkit names them.

    Frames are paths of image files, targets (region, properties) with region `x, y, w, h` in
    pixels; what is returned is a list of such pairs with a `confidence` where there is one.

    :param options: as for `training.runners.TrackerSpec`, but for the label.
    """

    multiobject = True

    def __init__(self, model='re3_lite', **options):
        self._tracker = TrackerSpec(model, model, **options).make()

    def initialize(self, frame, new, properties=None):
        """Forget all targets, start those in `new` in the image file `frame`; return them."""
        self._tracker.reset()
        return self._start(read_image(_colour(frame)), new, first=0)

    def update(self, frame, new=(), properties=None):
        """Follow all targets to the next image file, then start those in `new`; return all."""
        image = read_image(_colour(frame))
        found = [_status(track) for track in self._tracker.update(image).values()]
        return found + self._start(image, new, first=len(found))

    def _start(self, image, new, first):
        return [_status(self._tracker.init(str(number), image, xywh_to_xyxy(np.array(region))))
                for number, (region, _) in enumerate(new, first)]


def _colour(frame):
    """Return the path of the colour image: the toolkit gives a mapping where there are others."""
    return frame['color'] if isinstance(frame, dict) else frame


def _status(track):
    region = tuple(float(v) for v in xyxy_to_xywh(track.box))
    return region, {} if math.isnan(track.confidence) else {'confidence': float(track.confidence)}


def serve(tracker):
    """Answer the toolkit's requests over TraX with a VotTracker until it says quit."""
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


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.toolkits.vot',
                                     description='Serve a tracker to vot-toolkit over TraX.')
    parser.add_argument('--model', default='re3_lite', help='model, or opencv:KIND')
    parser.add_argument('--weights', help='weights file (default: the shipped one)')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda')
    parser.add_argument('--precision', default='float32', help='float32, bfloat16 or float16')
    options = parser.parse_args(arguments)
    serve(VotTracker(options.model, weights=options.weights, device=options.device,
                     precision=options.precision))


if __name__ == '__main__':
    main()
