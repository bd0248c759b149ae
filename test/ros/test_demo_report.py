# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The demo's figures, verdict, table and files, without ROS."""

import csv

import numpy as np
import pytest
from re3_ros.demo import report
from re3_ros.demo.report import Observation

BOX = np.array([10., 20., 50., 60.])
FRAME_NS = 40_000_000


def stamp_of(frame):
    return 10**18 + frame * FRAME_NS


def observe(frame, box=BOX, latency_ms=8, lost=False):
    stamp = stamp_of(frame)
    return Observation(stamp, stamp + latency_ms * 10**6, box, 0.9, lost)


def played(count):
    return {frame: stamp_of(frame) for frame in range(count)}


def failures_of(observations, boxes, count=4):
    rows = report.build_rows(played(count), observations, boxes)
    return report.find_failures(report.summarize(rows), min_iou=0.6)


def test_each_played_frame_gets_the_tracks_with_its_stamp():
    shifted = BOX + [20, 0, 20, 0]
    rows = report.build_rows(
        played(2), [observe(1, shifted, 12), observe(0)], {0: BOX, 1: BOX})
    assert [row.frame for row in rows] == [0, 1]
    assert [row.state for row in rows] == ['tracked', 'tracked']
    assert [row.latency_ms for row in rows] == [8, 12]
    assert rows[0].iou == 1
    assert rows[1].iou == pytest.approx(1 / 3)


def test_skipped_frame_is_evaluated_by_the_last_box_before_it():
    rows = report.build_rows(played(3), [observe(0)], {2: BOX + [20, 0, 20, 0]})
    assert [row.state for row in rows] == ['tracked', 'skipped', 'skipped']
    assert rows[2].iou == pytest.approx(1 / 3)
    assert rows[2].confidence is None
    assert rows[2].latency_ms is None


def test_first_frame_is_evaluated_by_the_tracks_while_it_was_repeated():
    rows = report.build_rows(played(1), [observe(-2)], {0: BOX})
    assert rows[0].state == 'skipped'
    assert rows[0].iou == 1


def test_target_missing_from_a_message_is_absent_and_overlaps_nothing():
    rows = report.build_rows(played(2), [observe(0), observe(1, None)], {1: BOX})
    assert rows[1].state == 'absent'
    assert rows[1].iou == 0


def test_summary_counts_and_percentiles():
    seen = [observe(0), observe(1, latency_ms=10), observe(2, latency_ms=30, lost=True)]
    rows = report.build_rows(played(4), seen, {1: BOX, 2: BOX + [20, 0, 20, 0]})
    summary = report.summarize(rows, (5.0, 9.0), 0.25)
    counts = summary.published, summary.tracked, summary.lost, summary.absent, summary.skipped
    assert counts == (4, 2, 1, 0, 1)
    assert summary.latency_median == 10
    assert summary.latency_p95 == pytest.approx(28)
    assert summary.mean_iou == pytest.approx(2 / 3)
    assert summary.lowest_frame == 2
    table = report.format_table(summary)
    assert '10.0 / 28.0 ms' in table
    assert '5.0 / 9.0 ms' in table
    assert '0.667 (lowest 0.333, frame 2)' in table
    assert '0.250' in table


def test_overlap_of_a_box_that_stays_put():
    assert report.static_box_iou(BOX, {1: BOX, 2: BOX + 100}) == 0.5
    assert report.static_box_iou(BOX, {}) is None


def test_followed_target_has_no_faults():
    assert failures_of([observe(frame) for frame in range(4)], {2: BOX, 3: BOX}) == []


def test_wrong_box_is_a_fault():
    far = BOX + 100
    faults = failures_of([observe(frame, far) for frame in range(4)], {2: BOX, 3: BOX})
    assert faults == ['mean IoU 0.000 on 2 annotated boxes is below 0.6']


def test_lost_while_visible_is_a_fault_even_with_good_boxes():
    faults = failures_of([observe(frame, lost=frame == 1) for frame in range(4)], {3: BOX})
    assert faults == ['reported lost in 1 of 4 frames although it is visible']


@pytest.mark.parametrize('lost_frames, followed', [((0,), True), ((0, 1), False)])
def test_without_annotation_the_share_of_lost_frames_decides(lost_frames, followed):
    faults = failures_of([observe(frame, lost=frame in lost_frames) for frame in range(4)], {})
    assert (faults == []) == followed


def test_no_tracks_at_all_is_a_fault():
    assert failures_of([], {}) == ['no tracks arrived for the 4 frames played']


def test_slow_machine_gets_a_hint():
    def hint(answered):
        seen = [observe(frame) for frame in range(answered)]
        rows = report.build_rows(played(20), seen, {})
        return report.find_hint(report.summarize(rows))

    assert hint(18) == ''
    assert '3 frames were skipped' in hint(17)


def test_csv_has_a_line_per_frame(tmp_path):
    rows = report.build_rows(played(3), [observe(0), observe(1, None)], {0: BOX})
    report.write_csv(tmp_path / 'tracks.csv', rows, 'cup')
    with open(tmp_path / 'tracks.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == report.COLUMNS
    assert lines[0] == {
        'frame': '0', 'stamp': '1000000000.000000000', 'id': 'cup', 'x1': '10.00', 'y1': '20.00',
        'x2': '50.00', 'y2': '60.00', 'score': '0.9000', 'state': 'tracked',
        'latency_ms': '8.000', 'iou': '1.0000'}
    assert lines[1]['state'] == 'absent'
    assert lines[1]['x1'] == lines[2]['score'] == ''
    assert [path.name for path in tmp_path.iterdir()] == ['tracks.csv']
