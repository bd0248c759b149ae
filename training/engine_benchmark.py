# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Compare the engines with each other and with OpenCV's trackers: speed, memory, size.

`python -m training.benchmark --engines all` calls this. Every tracker runs in a process of its
own (`training.engine_worker`) on the same images: a scene that moves as a whole, with distinct
targets that do not get lost, since the search for lost ones takes time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
import json
from pathlib import Path
import re
import subprocess
import sys
import tempfile
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from re3_core.engines import ENGINES, PACKAGES
from re3_core.io.files import atomic_write
import torch
from training.engine_worker import WARM_UP
from training.report import machine, markdown, write_json

if TYPE_CHECKING:
    from training.benchmark import BenchmarkOptions

# Precisions of each engine that are measured.
PRECISIONS = {'torch': ('float32', 'bfloat16'), 'onnxruntime': ('float32', 'int8'),
              'openvino': ('float32', 'bfloat16', 'int8'), 'tensorrt': ('float16',)}
REFERENCE = 'OpenCV nano'       # the ratios are to its speed
FRAME = (480, 640)
GRID = (8, 9)                   # rows and columns of targets
SIDE = 40                       # of a target, in pixels
MOTION = 2, 1                   # pixels per frame, horizontally and vertically
TURN = 6                        # frames after which it turns back, before targets leave the image
# Measured updates by the number of targets: at most this many targets in all.
MAX_UPDATES, TARGET_UPDATES = 40, 320


@dataclass(frozen=True)
class Subject:
    """A tracker to measure: an engine in a precision, or one of OpenCV's."""

    label: str
    engine: str = ''
    precision: str = ''
    opencv: str = ''


def compare_engines(options: BenchmarkOptions) -> int:
    """Compare the engines; return 1 if one could not be measured."""
    engines = chosen_engines(options.engines)
    settings = {'model': options.settings.model, 'weights': options.weights or None,
                'device': options.device, 'opencv_models': options.opencv_models}
    report = {'machine': machine(torch.device('cpu')), **measure_engines(
        engines, options.opencv, options.engine_threads, options.targets, settings)}
    if options.json:
        write_json(report, options.json)
    place = report['machine']
    tables = (f'{place["cpu"]}, {place["cores"]} cores; {versions(engines)}.\n\n'
              f'{engine_tables(report)}')
    if options.document:
        update_document(options.document, tables)
    print(tables)
    return 1 if report['engines_failed'] else 0


def versions(engines: Sequence[str]) -> str:
    """Return the versions of engines and OpenCV in words."""
    names = dict.fromkeys(PACKAGES[engine] for engine in engines)
    return ', '.join([*(f'{name} {metadata.version(name)}' for name in names),
                      f'OpenCV {cv2.__version__}'])


def chosen_engines(names: Sequence[str]) -> list[str]:
    """
    Return engines by name; 'all' stands for those that are installed.

    :raises ValueError: for an unknown name.
    """
    known = [name for name in ENGINES if name != 'auto']
    installed = [name for name in known if find_spec(PACKAGES[name])
                 and (name != 'tensorrt' or has_tensorrt())]
    if unknown := set(names) - {*known, 'all'}:
        raise ValueError(f'engines must be of all, {", ".join(known)}, got '
                         f'{", ".join(sorted(unknown))}')
    return [name for name in known
            if name in names or ('all' in names and name in installed)]


def has_tensorrt() -> bool:
    """Return whether the installed ONNX Runtime is a build with TensorRT."""
    from onnxruntime import get_available_providers
    return 'TensorrtExecutionProvider' in get_available_providers()


def subjects(engines: Iterable[str], opencv: Iterable[str]) -> list[Subject]:
    """Return the trackers to measure, OpenCV's first."""
    ours = [Subject(f'{engine} {precision}', engine, precision)
            for engine in engines for precision in PRECISIONS[engine]]
    return [Subject(f'OpenCV {kind}', opencv=kind) for kind in opencv] + ours


def scene() -> tuple[np.ndarray, np.ndarray]:
    """
    Return an image (480, 640, 3) uint8 RGB, and the boxes (72, 4) `xyxy` of the targets in it.

    The boxes are in random order.
    """
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(90, 150, (12, 16, 3), np.uint8), FRAME[::-1],
                       interpolation=cv2.INTER_CUBIC)
    cell = np.array(FRAME) / GRID
    rows, columns = np.meshgrid(*map(np.arange, GRID), indexing='ij')
    centers = ((np.stack((columns, rows), -1).reshape(-1, 2) + .5) * cell[::-1]).astype(int)
    for x, y in rng.permutation(centers):
        color, other = (tuple(map(int, rng.integers(0, 256, 3))) for _ in range(2))
        cv2.ellipse(image, (int(x), int(y)), (SIDE // 2, SIDE // 2), 0, 0, 360, color, -1)
        corners = rng.integers(-SIDE // 3, SIDE // 3, (5, 2)) + (x, y)
        cv2.fillPoly(image, [corners.astype(np.int32)], other)
    centers = rng.permutation(centers).astype(float)
    return image, np.concatenate((centers - SIDE / 2, centers + SIDE / 2), 1)


def moving_frames(image: np.ndarray, count: int) -> np.ndarray:
    """Return `count` frames (count, H, W, 3) of an image that moves by MOTION, back and forth."""
    steps = [TURN - abs(index % (2 * TURN) - TURN) for index in range(count)]
    return np.stack([np.roll(image, (MOTION[1] * step, MOTION[0] * step), (0, 1))
                     for step in steps])


def measured_updates(count: int, limit: int = TARGET_UPDATES) -> int:
    """
    Return how many updates of `count` targets are measured.

    >>> [measured_updates(count) for count in (1, 8, 64)]
    [40, 40, 5]
    """
    return max(2, min(MAX_UPDATES, limit // count))


def run_worker(job: dict[str, Any]) -> dict[str, Any]:
    """
    Return the figures of one tracker.

    :raises ValueError: with the last line of its error.
    """
    result = subprocess.run([sys.executable, '-m', 'training.engine_worker'],
                            input=json.dumps(job), capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError((result.stderr.strip().splitlines() or ['it ended without a result'])[-1])
    return json.loads(result.stdout.splitlines()[-1])


def measure_engines(engines: Sequence[str], opencv: Sequence[str], threads: Sequence[int],
                    targets: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """
    Return the figures of all trackers by label and number of threads, and those that failed.

    :param targets: numbers of targets, at most as many as the scene has.
    :param settings: model, weights, device and opencv_models of the jobs.
    """
    image, boxes = scene()
    if max(targets) > len(boxes):
        raise ValueError(f'targets must be at most {len(boxes)}, got {max(targets)}')
    updates = {str(count): measured_updates(count) for count in targets}
    figures: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'frames.npy')
        np.save(path, moving_frames(image, max(updates.values()) + WARM_UP + 1))
        for count in threads:
            for subject in subjects(engines, opencv):
                job = {**settings, 'engine': subject.engine, 'precision': subject.precision,
                       'opencv': subject.opencv, 'threads': count, 'updates': updates,
                       'frames': str(path), 'boxes': boxes.tolist()}
                try:
                    figures.setdefault(subject.label, {})[str(count)] = run_worker(job)
                    print(f'measured: {subject.label}, {count} threads', file=sys.stderr)
                except ValueError as error:
                    failed[subject.label] = str(error)
                    print(f'failed: {subject.label}: {error}', file=sys.stderr)
    sizes = {subject.label: {'packages': packages_size(subject.engine) / 1e6}
             for subject in subjects(engines, ()) if subject.label not in failed}
    return {'engines': {label: by_threads for label, by_threads in figures.items() if by_threads},
            'engine_sizes': sizes, 'engines_failed': failed}


# Sizes -----------------------------------------------------------------------------------------


def packages_size(engine: str) -> int:
    """Return the bytes of the installed packages that tracking with an engine needs."""
    packages = ['numpy', 'opencv-python-headless', PACKAGES[engine]]
    return installed_size([*packages, 'safetensors'] if engine == 'torch' else packages)


def installed_size(requirements: Iterable[str]) -> int:
    """Return the bytes of installed packages with all that they need."""
    return sum(path.stat().st_size for distribution in _with_dependencies(requirements)
               for file in distribution.files or ()
               if (path := Path(str(distribution.locate_file(file)))).is_file())


def _with_dependencies(requirements: Iterable[str]) -> Iterator[metadata.Distribution]:
    left, seen = list(requirements), set()
    while left:
        requirement = left.pop()
        match = re.match(r'[\w.-]+', requirement)
        if match is None or 'extra ==' in requirement:
            continue
        name = match.group().lower()
        if name.startswith('opencv'):       # any build of it
            name = metadata.packages_distributions()['cv2'][0]
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:   # for other systems
            continue
        left += distribution.requires or []
        yield distribution


# Tables ----------------------------------------------------------------------------------------


def engine_tables(report: dict[str, Any]) -> str:
    """Return the tables of engines as Markdown text."""
    figures = report['engines']
    threads = list(dict.fromkeys(key for entry in figures.values() for key in entry))
    parts = [speed_table(figures, count) for count in threads]
    rows = [['', 'import, s', 'load, s', 'resident, MB', 'packages, MB']]
    for label, sizes in report['engine_sizes'].items():
        entry = next(iter(figures[label].values()))
        memory = '' if entry['memory'] is None else f'{entry["memory"]:.0f}'
        rows.append([label, f'{entry["import"]:.2f}', f'{entry["load"]:.2f}', memory,
                     f'{sizes["packages"]:.0f}'])
    parts.append('Processor time from the start of Python until re3_core is imported, and until '
                 'the tracker is loaded from there; resident memory while one target is tracked; '
                 'size of the installed packages that are needed:')
    return '\n\n'.join([*parts, markdown(rows)])


def speed_table(figures: dict[str, Any], threads: str) -> str:
    """Return the table of a number of threads: milliseconds per frame and ratios of speed."""
    kind = 'processor' if threads == '1' else 'elapsed'
    entries = {label: entry[threads] for label, entry in figures.items() if threads in entry}
    counts = list(next(iter(entries.values()))[kind])
    reference = entries.get(REFERENCE)
    rows = [[f'{threads} thread{"s" * (threads != "1")}, ms per frame', *(
        f'{count} target{"s" * (count != "1")}' for count in counts)]]
    for label, entry in entries.items():
        cells = []
        for count in counts:
            ratio = f' ({reference[kind][count] / entry[kind][count]:.1f}x)' if reference else ''
            cells.append(f'{entry[kind][count] * 1e3:.1f}{ratio}')
        rows.append([label, *cells])
    head = 'Processor time' if kind == 'processor' else 'Elapsed time'
    note = f', and the speed as a multiple of that of {REFERENCE}' if reference else ''
    return f'{head}{note}:{busy_note(entries.values(), kind)}\n\n{markdown(rows)}'


def busy_note(entries: Iterable[dict[str, Any]], kind: str) -> str:
    """Return a remark if other programs had a part of the processor while it was measured."""
    shares = [entry['processor'][count] / entry['elapsed'][count]
              for entry in entries for count in entry['elapsed']]
    if kind == 'elapsed' or not shares or np.median(shares) > .9:
        return ''
    return (f' (the processes had {np.median(shares):.0%} of a core; figures of elapsed time are '
            'then too high)')


def update_document(path: Path, text: str) -> None:
    """
    Replace the part of a document between the lines `<!-- engines -->` and `<!-- /engines -->`.

    :raises ValueError: if there are no such lines.
    """
    content = path.read_text()
    first, last = '<!-- engines -->\n', '<!-- /engines -->\n'
    if content.count(first) != 1 or content.count(last) != 1:
        raise ValueError(f'{path} needs a line {first.strip()} and a line {last.strip()}')
    head, _, rest = content.partition(first)
    _, _, tail = rest.partition(last)
    with atomic_write(path) as part:
        part.write_text(f'{head}{first}\n{text}\n\n{last}{tail}')
