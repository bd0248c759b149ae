# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Play a video as a camera, track one object in it with the tracker node, and report the result.

The tracker node and the camera player run as processes of their own, started through the
package's entry points, and talk to this one by topics only, as any other ROS package would.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
from re3_core.boxes import check_box
from re3_core.io.video import open_source, video_writer
from re3_ros.demo.clips import (
    choose_clip,
    DemoClip,
    find_annotation,
    load_annotation,
    parse_box,
)
from re3_ros.demo.figures import choose_frames, draw_row, TILE_WIDTH, write_montage, write_plot
from re3_ros.demo.page import stays
from re3_ros.demo.processes import find_config
from re3_ros.demo.recorder import TARGET_ID
from re3_ros.demo.report import (
    build_rows,
    find_failures,
    find_hint,
    format_table,
    Observation,
    Row,
    static_box_iou,
    summarize,
    write_csv,
)
from re3_ros.demo.run import play_on, RECORDED_VIDEO, run

DEFAULT_CLIP = 'bikes.mp4'
PASSED, FAILED, ERROR = 0, 1, 2


def default_video() -> Path:
    """Return where the set-up puts the default clip in the Python environment."""
    return Path(sys.prefix) / 'share' / 're3_demo' / DEFAULT_CLIP


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the demo's options."""
    parser = argparse.ArgumentParser(prog='demo', description=__doc__.split('\n')[1])
    add = parser.add_argument
    add('--video', default='', help='video file, folder of images or camera number '
        f'(default: {default_video()})')
    add('--box', default='', help='the target in the first frame as x,y,width,height in pixels '
        '(default: the annotated one, for known clips)')
    add('--output', default='demo_output', help='folder for the results (%(default)s)')
    add('--start', type=int, help='first frame to play')
    add('--end', type=int, help='frame after the last one to play')
    add('--rate', type=float, default=0.0, help="frames per second (default: the video's)")
    add('--seconds', type=float, default=20.0, help='how long to record a camera (%(default)s)')
    add('--annotation', default='', help='file with true boxes, as those in config/demo')
    add('--min-iou', type=float, default=0.6,
        help='mean IoU on the annotated boxes that counts as tracked (%(default)s)')
    add('--image-transport', default='raw', choices=('raw', 'compressed'))
    add('--params-file', default='', help="the tracker's parameters (default: tracker.yaml)")
    add('--weights', default='', help="the tracker's weights (default: the packaged ones)")
    add('--device', default='', help="the tracker's device: auto, cpu, cuda")
    add('--domain-id', type=int, default=1 + os.getpid() % 100,
        help='ROS domain of the processes (default: one of their own)')
    add('--stay', action=argparse.BooleanOptionalAction,
        help='play on after the report, with the web page, until Enter is pressed (default: '
        'in a terminal)')
    return parser.parse_args(argv)


def make_clip(options: argparse.Namespace, config: Path) -> DemoClip:
    """Return the `DemoClip` that the options ask for; ValueError or OSError if it cannot be."""
    video = options.video or str(default_video())
    if not options.video and not Path(video).exists():
        raise FileNotFoundError(f'the default clip is not at {video}: run make setup, or give '
                                '--video')
    source = open_source(video)
    frame = source.read()
    properties = source.properties() if hasattr(source, 'properties') else None
    source.release()
    if frame is None:
        raise ValueError(f'no frame can be read from {video}')
    if options.annotation:
        annotation: dict[str, Any] | None = load_annotation(options.annotation)
    else:
        annotation = find_annotation(video, properties, config / 'demo')
    box = check_box(parse_box(options.box), frame.shape[:2]) if options.box else None
    return choose_clip(video, box, options.start, options.end, annotation)


def since_target(played: Mapping[int, int], observations: Iterable[Observation],
                 ) -> dict[int, int]:
    """Return the part of `played` from the first image whose tracks have the target."""
    first = min(seen.stamp for seen in observations if seen.box is not None)
    return {frame: stamp for frame, stamp in played.items() if stamp >= first}


def true_boxes(clip: DemoClip) -> dict[int, np.ndarray]:
    """Return the annotated boxes without the first frame's, which the tracker was given."""
    return {frame: box for frame, box in clip.boxes.items() if frame != clip.start}


def _with_rows(source: Any, rows: Iterable[Row]) -> Iterator[tuple[np.ndarray, Row]]:
    """Yield (frame, row) for the frames of a source for which there is a row."""
    by_frame = {row.frame: row for row in rows}
    for frame in source:
        if source.index in by_frame:
            yield frame, by_frame[source.index]


def write_images(folder: Path, clip: DemoClip, rows: Sequence[Row]) -> None:
    """Write the annotated video, the montage and the plot of the rows into a folder."""
    chosen = {rows[place].frame for place in choose_frames(rows)}
    video = folder / RECORDED_VIDEO if clip.live else clip.video
    source = open_source(video, rows[0].frame, rows[-1].frame + 1)
    tiles = []
    with video_writer(folder / 'tracked.mp4', source.rate) as write:
        for frame, row in _with_rows(source, rows):
            truth = clip.boxes.get(row.frame)
            write(draw_row(frame, row, truth))
            if row.frame in chosen:
                tiles.append(draw_row(frame, row, truth, TILE_WIDTH))
    source.release()
    write_montage(folder / 'tracked.png', tiles, clip.credit)
    write_plot(folder / 'tracks.png', rows, clip.boxes)


def report(clip: DemoClip, options: argparse.Namespace, folder: Path,
           results: tuple[dict[int, int], list[Observation], tuple[float | None, float | None]],
           ) -> list[str]:
    """
    Write the output folder and print the table.

    :param results: from `re3_ros.demo.run.run`.
    :return: the reasons why the target was not tracked.
    """
    played, observations, node_time = results
    if not any(seen.box is not None for seen in observations):
        return ['the target appeared in no tracks']
    rows = build_rows(since_target(played, observations), observations, true_boxes(clip))
    write_csv(folder / 'tracks.csv', rows, TARGET_ID)
    write_images(folder, clip, rows)
    summary = summarize(rows, node_time, static_box_iou(clip.box, true_boxes(clip)))
    print('\n'.join(filter(None, (format_table(summary), find_hint(summary)))), flush=True)
    return find_failures(summary, options.min_iou)


def print_result(clip: DemoClip, folder: Path, failures: Sequence[str]) -> None:
    """Print whether the target was tracked."""
    if failures:
        print(f'demo: the {clip.target} was not tracked: {"; ".join(failures)}', file=sys.stderr)
    else:
        print(f'the {clip.target} was tracked; results are in {folder}', flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0 if the target was tracked, 1 if not, 2 if it could not be run."""
    options = parse_arguments(argv)
    folder = Path(options.output)
    try:
        config = find_config()
        clip = make_clip(options, config)
        folder.mkdir(parents=True, exist_ok=True)
        print(f'tracking the {clip.target} in {clip.video} ...', flush=True)
        failures = report(clip, options, folder, run(clip, options, config, folder))
        print_result(clip, folder, failures)
        if stays(options):
            play_on(clip, options, config, folder)
    except (ValueError, OSError, RuntimeError) as error:
        print(f'demo: {error}', file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print('demo: interrupted', file=sys.stderr)
        return ERROR
    return FAILED if failures else PASSED


if __name__ == '__main__':
    sys.exit(main())
