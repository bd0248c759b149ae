# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Our trackers in the got10k toolkit, which must be installed (`pip install got10k`, MIT).

>>> from got10k.experiments import ExperimentGOT10k                         # doctest: +SKIP
>>> from training.trackers import TrackerSpec                               # doctest: +SKIP
>>> tracker = ToolkitTracker(TrackerSpec(model='re3_lite'))                 # doctest: +SKIP
>>> ExperimentGOT10k('GOT-10k', subset='val').run(tracker)                  # doctest: +SKIP
"""

from __future__ import annotations

from got10k.trackers import Tracker
import numpy as np
from PIL.Image import Image
from re3_core.boxes import xywh_to_xyxy, xyxy_to_xywh
from training.trackers import TrackerSpec

TARGET = 'target'


class ToolkitTracker(Tracker):
    """
    A tracker with the interface of got10k.

    Images are PIL images in RGB, boxes `xywh` in pixels.
    """

    def __init__(self, spec: TrackerSpec):
        super().__init__(name=spec.label, is_deterministic=True)
        self._tracker = spec.make()

    def init(self, image: Image, box: np.ndarray) -> None:
        """Start tracking the object inside `box` (4,) of the first image."""
        self._tracker.reset()
        self._tracker.init(TARGET, np.asarray(image), xywh_to_xyxy(np.asarray(box, float)))

    def update(self, image: Image) -> np.ndarray:
        """Return the box (4,) in the next image."""
        return xyxy_to_xywh(self._tracker.update(np.asarray(image))[TARGET].box)
