# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Objects of photographs without masks, cut out by GrabCut.

A rough mask that follows the edges of the picture makes a better target for the simulator than
a rectangle with background in it. What does not stand out from its surroundings is dropped.
"""

from __future__ import annotations

import cv2
import numpy as np
from training.frame_store import shrink

WORKING_SIDE = 160
ROUNDS = 3
# Where there is no box, one object is looked for within this margin of the picture.
MARGIN = 0.08
AREA_LIMITS = (0.12, 0.88)
LOWEST_CONTRAST = 0.45
LOWEST_SOLIDITY = 0.5


def segment(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Look for the objects of a photograph; the same photograph gives the same masks.

    :param image: (H, W, 3) uint8 RGB
    :param boxes: (N, 4) xyxy; N may be 0, then one object in the middle is looked for
    :return: boxes (M, 4) and mask (H, W) uint8 with value k in the k-th box's object; for given
        boxes M is N, and value k is missing where no object was found; without, M is 0 or 1
    """
    given = len(boxes) > 0
    if not given:
        height, width = image.shape[:2]
        boxes = np.array([(MARGIN * width, MARGIN * height,
                           (1 - MARGIN) * width, (1 - MARGIN) * height)], np.float32)
    mask = np.zeros(image.shape[:2], np.uint8)
    # Small objects last, so that they are not painted over.
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for number in np.argsort(-areas):
        found = cut_out(image, boxes[number])
        if found is not None:
            mask[found] = number + 1
    if not given:
        rows, columns = np.nonzero(mask)
        boxes = np.array([(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
                         if len(rows) else np.zeros((0, 4)), np.float32)
    return boxes, mask


def cut_out(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return the pixels (H, W) bool of the object in a box, or None if none stands out."""
    small = shrink(image, WORKING_SIDE)
    factor = np.array(small.shape[1::-1] * 2) / (image.shape[1::-1] * 2)
    x1, y1, x2, y2 = np.clip(np.rint(box * factor), 0, small.shape[1::-1] * 2).astype(int)
    if min(x2 - x1, y2 - y1) < 8 or (x2 - x1) * (y2 - y1) > 0.95 * small[..., 0].size:
        return None
    labels = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    labels[y1:y2, x1:x2] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS,
                cv2.GC_INIT_WITH_MASK)
    found = _largest_part(np.where(labels == cv2.GC_PR_FGD, 255, 0).astype(np.uint8))
    if found is None or not _stands_out(small, found, (x2 - x1) * (y2 - y1)):
        return None
    return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 127


def _largest_part(mask: np.ndarray) -> np.ndarray | None:
    """Return the largest connected part of a mask, its outline smoothed; None if empty."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if len(stats) < 2:
        return None
    largest = np.where(parts == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]), 255, 0)
    return cv2.morphologyEx(largest.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))


def _stands_out(image: np.ndarray, mask: np.ndarray, box_area: int) -> bool:
    """Say whether size, compactness and contrast at the outline speak for an object."""
    area = int(np.count_nonzero(mask))
    hull = cv2.contourArea(cv2.convexHull(cv2.findNonZero(mask)))
    if not AREA_LIMITS[0] <= area / box_area <= AREA_LIMITS[1]:
        return False
    inside = cv2.subtract(mask, cv2.erode(mask, np.ones((9, 9), np.uint8)))
    outside = cv2.subtract(cv2.dilate(mask, np.ones((13, 13), np.uint8)), mask)
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    contrast = cv2.compareHist(_histogram(colours, inside), _histogram(colours, outside),
                               cv2.HISTCMP_BHATTACHARYYA)
    return area >= LOWEST_SOLIDITY * hull and contrast >= LOWEST_CONTRAST


def _histogram(colours: np.ndarray, mask: np.ndarray) -> np.ndarray:
    counts = cv2.calcHist([colours], [0, 1, 2], mask, [8, 8, 8], [0, 256] * 3)
    return cv2.normalize(counts, None, 1, 0, cv2.NORM_L1)
