# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Report of a demo run: one row per played frame, figures, and whether the target was tracked."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from re3_core.boxes import iou
from re3_core.io.files import atomic_write

NANOSECONDS_PER_MS = 1e6
COLUMNS = ('frame', 'stamp', 'id', 'x1', 'y1', 'x2', 'y2', 'score', 'state', 'latency_ms', 'iou')


class Observation(NamedTuple):
    """One message on `tracks`: the image's stamp and when the message arrived, in nanoseconds."""

    stamp: int
    arrival: int
    box: np.ndarray | None
    confidence: float
    lost: bool


class Row(NamedTuple):
    """
    One played frame.

    `state` is `tracked`, `lost`, `absent` (the message did not name the target) or `skipped` (no
    message for this frame; `box` is then the last one before it, as a user of the tracks
    has it). `iou` is the overlap with the annotated box, None
    where there is none.
    """

    frame: int
    stamp: int
    box: np.ndarray | None
    confidence: float | None
    state: str
    latency_ms: float | None
    iou: float | None


def _state(observation: Observation | None) -> str:
    if observation is None:
        return 'skipped'
    if observation.box is None:
        return 'absent'
    return 'lost' if observation.lost else 'tracked'


def _row(frame: int, stamp: int, before: Observation | None, own: Observation | None,
         truth: np.ndarray | None) -> Row:
    """
    Return the Row of a frame.

    :param before: the newest observation of this frame or one before it, or None.
    :param own: the observation of this frame, or None.
    :param truth: the annotated box, or None.
    """
    box = None if before is None else before.box
    confidence, latency, overlap = None, None, None
    if own is not None:
        confidence = None if box is None else own.confidence
        latency = (own.arrival - own.stamp) / NANOSECONDS_PER_MS
    if truth is not None:
        overlap = 0.0 if box is None else float(iou(box, truth))
    return Row(frame, stamp, box, confidence, _state(own), latency, overlap)


def build_rows(played: Mapping[int, int], observations: Iterable[Observation],
               boxes: Mapping[int, np.ndarray]) -> list[Row]:
    """
    Join played frames and received tracks into a list of `Row`.

    :param played: {frame number: stamp in nanoseconds}; the stamp of the last publication if a
        frame was published several times.
    :param observations: list of `Observation`, those of earlier images included.
    :param boxes: {frame number: annotated `xyxy` box}, without the frame whose box was given
        to the tracker.
    """
    observations = sorted(observations, key=lambda observation: observation.stamp)
    stamps = [observation.stamp for observation in observations]
    rows = []
    for frame, stamp in sorted(played.items()):
        place = bisect_right(stamps, stamp) - 1
        before = observations[place] if place >= 0 else None
        own = before if before is not None and before.stamp == stamp else None
        rows.append(_row(frame, stamp, before, own, boxes.get(frame)))
    return rows


@dataclass(frozen=True)
class Summary:
    """
    Figures of a run; latencies and node times in ms, None where nothing was measured.

    `annotated` is the number of frames with a true box, `static_iou` the mean IoU of the first
    box, kept without tracking.
    """

    published: int
    tracked: int
    lost: int
    absent: int
    skipped: int
    latency_median: float | None
    latency_p95: float | None
    node_mean: float | None
    node_p95: float | None
    mean_iou: float | None
    lowest_iou: float | None
    lowest_frame: int | None
    annotated: int
    static_iou: float | None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def static_box_iou(box: np.ndarray, boxes: Mapping[int, np.ndarray]) -> float | None:
    """Return the mean IoU of a static box with the annotated ones, None without any."""
    return float(np.mean([iou(box, other) for other in boxes.values()])) if boxes else None


def summarize(rows: Sequence[Row],
              node_time: tuple[float | None, float | None] = (None, None),
              static_iou: float | None = None) -> Summary:
    """
    Return the `Summary` of rows.

    :param node_time: the node's mean and p95 per frame in ms.
    :param static_iou: from `static_box_iou`.
    """
    latencies = [row.latency_ms for row in rows if row.latency_ms is not None]
    overlaps = [(row.iou, row.frame) for row in rows if row.iou is not None]
    lowest_iou, lowest_frame = min(overlaps, default=(None, None))
    count = {state: sum(row.state == state for row in rows)
             for state in ('tracked', 'lost', 'absent', 'skipped')}
    return Summary(
        published=len(rows), **count,
        latency_median=_percentile(latencies, 50), latency_p95=_percentile(latencies, 95),
        node_mean=node_time[0], node_p95=node_time[1],
        mean_iou=float(np.mean([overlap for overlap, _ in overlaps])) if overlaps else None,
        lowest_iou=lowest_iou, lowest_frame=lowest_frame, annotated=len(overlaps),
        static_iou=static_iou)


def find_failures(summary: Summary, min_iou: float, max_lost_ratio: float = 0.5) -> list[str]:
    """
    Return the reasons why the target was not tracked, as a list of lines; empty if it was.

    With annotated boxes the mean overlap must reach `min_iou` and no frame may be reported lost
    or absent, since the target is visible in all of them. Without, the target counts as tracked
    if it was tracked in more than 1 - `max_lost_ratio` of the frames that the node answered.
    """
    answered = summary.tracked + summary.lost + summary.absent
    gone = summary.lost + summary.absent
    if answered == 0:
        return [f'no tracks arrived for the {summary.published} frames played']
    if summary.mean_iou is None:
        return [] if gone < max_lost_ratio * answered else [
            f'the target was lost in {gone} of {answered} frames']
    failures = []
    if summary.mean_iou < min_iou:
        failures.append(f'mean IoU {summary.mean_iou:.3f} on {summary.annotated} annotated boxes '
                        f'is below {min_iou:g}')
    if gone:
        failures.append(f'reported lost in {gone} of {answered} frames although it is visible')
    return failures


def _times(usual: float | None, p95: float | None) -> str:
    return 'not measured' if usual is None or p95 is None else f'{usual:.1f} / {p95:.1f} ms'


def format_table(summary: Summary) -> str:
    """Return the short table of a run as text."""
    lines: list[tuple[str, object]] = [
        ('frames published', summary.published),
        ('frames tracked', summary.tracked),
        ('frames lost', summary.lost + summary.absent),
        ('frames skipped', summary.skipped),
        ('end-to-end latency, median / p95', _times(summary.latency_median, summary.latency_p95)),
        ('node time per frame, mean / p95', _times(summary.node_mean, summary.node_p95)),
    ]
    if summary.mean_iou is not None:
        lines.append((f'mean IoU on {summary.annotated} annotated boxes',
                      f'{summary.mean_iou:.3f} (lowest {summary.lowest_iou:.3f}, '
                      f'frame {summary.lowest_frame})'))
    if summary.static_iou is not None:
        lines.append(('  static-box baseline', f'{summary.static_iou:.3f}'))
    return '\n'.join(f'{name:<36}{value}' for name, value in lines)


def find_hint(summary: Summary) -> str:
    """Return a line for a machine that was too slow for the video, or empty text."""
    if summary.skipped <= 0.1 * summary.published:
        return ''
    return (f'{summary.skipped} frames were skipped: the node always takes the newest, and here '
            'it takes longer than a frame lasts; --rate plays the video slower')


def _cells(row: Row, target_id: str) -> tuple:
    box = ('',) * 4 if row.box is None else tuple(f'{value:.2f}' for value in row.box)
    rest = tuple('' if value is None else f'{value:.{digits}f}'
                 for value, digits in ((row.confidence, 4), (row.latency_ms, 3), (row.iou, 4)))
    stamp = f'{row.stamp // 10**9}.{row.stamp % 10**9:09d}'
    return row.frame, stamp, target_id, *box, rest[0], row.state, rest[1], rest[2]


def write_csv(path: Path, rows: Iterable[Row], target_id: str) -> None:
    """Write the rows as CSV with the columns `COLUMNS`; the stamp is in seconds."""
    with atomic_write(Path(path)) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row, target_id) for row in rows)
