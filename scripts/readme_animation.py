# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Make the animation at the top of README.md: tracks on the freely licensed clip of the demo.

    scripts/in_env.sh python -m scripts.readme_animation docs/images/tracked.webp
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from re3_core import Tracker
from re3_core.io.drawing import draw_box, draw_text, draw_track, LOST, TRACKED, TRUTH
from re3_core.io.files import atomic_write
from re3_core.io.video import open_source
import yaml

ROOT = Path(__file__).resolve().parent.parent
SIZE = 512, 288        # pixels
STEP = 2               # every second frame is shown
FRAME_MS = 80          # of a 25 Hz video
HOLD_MS = 1200         # of the first frame


def animation(clip: Path, annotation: dict) -> list[Image.Image]:
    """Track the annotated target through a clip and return every STEP-th frame, drawn."""
    first, last = annotation['start'], annotation['end']
    tracker, images = Tracker(device='cpu'), []
    for number, frame in enumerate(open_source(clip, first, last)):
        if number:
            track = tracker.update(frame)['rabbit']
        else:
            box = annotation['boxes'][first]
            tracker.init('rabbit', frame, box)
        if number % STEP:
            continue
        scale = SIZE[0] / frame.shape[1]
        shown = np.ascontiguousarray(cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA))
        if number:
            text = 'lost' if track.lost else f'rabbit {track.confidence:.2f}'
            draw_track(shown, track.box * scale, text, track.lost)
            draw_box(shown, track.box * scale, LOST if track.lost else TRACKED, 3)
        else:
            draw_box(shown, np.multiply(box, scale), TRUTH, 3)
            draw_text(shown, 'draw a box once', (10, SIZE[1] - 12), scale=.6)
        images.append(Image.fromarray(shown))
    return images


def main() -> None:
    """Write the animation."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('output', type=Path, help='animated WebP file')
    parser.add_argument('--clip', type=Path, help="Big Buck Bunny's clip of the demo",
                        default=ROOT / '.venv' / 'share' / 're3_demo' / 'bigbuckbunny.mp4')
    arguments = parser.parse_args()
    annotation = yaml.safe_load((ROOT / 'config' / 'demo' / 'bigbuckbunny.yaml').read_text())
    images = animation(arguments.clip, annotation)
    durations = [HOLD_MS] + [FRAME_MS] * (len(images) - 1)
    with atomic_write(arguments.output) as part:
        images[0].save(part, 'WEBP', save_all=True, append_images=images[1:], duration=durations,
                       loop=0, quality=60, method=6)


if __name__ == '__main__':
    main()
