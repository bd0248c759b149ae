# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Draw tracks into an image for people to see."""

import cv2
import numpy as np

TRACKED_COLOUR = (40, 220, 60)
LOST_COLOUR = (255, 80, 40)


def draw_track(rgb, box, text, lost=False):
    """
    Draw one track into an H x W x 3 uint8 RGB image, in place.

    :param box: (4,) `xyxy` pixels; may reach beyond the image.
    :param text: written above the box, in ASCII (OpenCV's font has nothing else).
    """
    colour = LOST_COLOUR if lost else TRACKED_COLOUR
    thickness = max(1, round(min(rgb.shape[:2]) / 240))
    x1, y1, x2, y2 = (int(v) for v in np.clip(box, -30000, 30000))
    cv2.rectangle(rgb, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
    scale = max(0.4, min(rgb.shape[:2]) / 720)
    text = text.encode('ascii', 'replace').decode()
    (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    origin = (max(0, x1), max(height + 2, y1 - 4))
    cv2.putText(rgb, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0),
                2 * thickness + 1, cv2.LINE_AA)
    cv2.putText(rgb, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness,
                cv2.LINE_AA)
