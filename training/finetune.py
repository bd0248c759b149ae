# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Fine-tune a network on one's own labels: `python -m training.finetune --data LABELS --output DIR`.

A part of the labeled data is held out: whole sequences, or the end of the only one. The rest is
mixed with clips that are simulated from its frames. Training stops when the success AUC on the
held-out part no longer improves; if it never did, the result is the weights that it started from.
Of six sequences or more, two parts are held out: one chooses the weights, the other measures them.

A run that was killed is continued by the same command: its folder `work` stays until the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
import copy
from dataclasses import asdict, dataclass, replace
import hashlib
import itertools
import json
from pathlib import Path
import shutil
import sys
import time
from typing import Any, NamedTuple

import cv2
import numpy as np
from re3_core import Tracker
from re3_core.crops import CropSpec
from re3_core.engines.torch_engine import choose_device
from re3_core.io.drawing import draw_box, draw_text, LOST, TRACKED, TRUTH
from re3_core.io.files import atomic_write, printable
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from re3_core.networks import Crops, TrackerNetwork
from re3_core.weights import (
    available_models,
    load_network,
    read_metadata,
    save_network,
    weights_path,
)
import torch
from training.config import (
    Augmentation,
    Config,
    LossWeights,
    OptimizerConfig,
    run_command,
    Source,
    Stage,
)
from training.data import read_dataset
from training.data.base import frames_of, LabeledTrack, LabeledVideo, shrink, shrink_factor
from training.data.base import Sequence as LabeledSequence
from training.data.cache import build_cache, CacheItem, FrameCache
from training.data.images import write_boxes_file
from training.evaluate import run_one_pass
from training.labels.project import locked
from training.metrics import mean_one_pass, one_pass, OnePass, OVERLAP_THRESHOLDS
from training.report import markdown
from training.storage import local_copy, local_output, Store
from training.train import CHECKPOINT, train, Trainer

# Of several sequences each held-out part is this share, of a single one this share of its end.
HELD_OUT = .2
HELD_OUT_TIME = .3
# From so many sequences on, those that choose the weights do not measure them.
SEPARATE_FROM = 6
# Those that choose are tracked in up to so many pieces, with at least so many boxes each.
PIECES, PIECE_LENGTH = 3, 30
# Each held-out sequence is tracked from so many first boxes, moved by this share of their size.
STARTS, START_JITTER = 3, .03
# Longer sides of the frames that are learned from and evaluated on, in pixels.
TRAIN_SIDE, HELD_OUT_SIDE = 480, 960
# Frames from which simulated clips are made.
MATERIAL_IMAGES = 60
SIMULATED = Source('simulated', length=16, size=(240, 320), processes=1, weight=.3)
# Shares of the time for training; the rest is for evaluation, pictures and export.
TRAINING_TIME = .8
# Gains below this are noise: then the original weights are returned.
MIN_GAIN = .005
# Shares of the way from the original to the fine-tuned weights that are tried.
SHARES = .5, 1.
VIDEO_FRAMES, PICTURES = 200, 3
RESULT, REPORT = 'weights.safetensors', 'report.json'
# Of a run that has not ended, in the output folder.
WORK, RUN, HISTORY = 'work', 'run.json', 'history.json'


# Data ------------------------------------------------------------------------------------------


Part = tuple[LabeledVideo, int, int]    # video, first frame, frame after the last one


class Split(NamedTuple):
    """
    What is learned from, what chooses the weights, and what measures the result.

    :param measuring: the same parts as `choosing`, where there are too few sequences
    :param description: how it was split, a sentence for the user
    """

    training: list[Part]
    choosing: list[Part]
    measuring: list[Part]
    description: str


def split_videos(videos: Sequence[LabeledVideo], seed: int = 0) -> Split:
    """
    Hold out a fifth of the videos, at least one, or two fifths; of a single video the last part.

    :raises ValueError: if there are no boxes, or a single video is too short
    """
    labeled = [video for video in videos if any(
        np.isfinite(track.boxes).all(1).sum() > 1 for track in video.tracks)]
    if not labeled:
        raise ValueError('no video has a target with at least two boxes')
    if len(labeled) == 1:
        return _split_by_time(labeled[0])
    order = np.random.default_rng(seed).permutation(len(labeled))
    parts: list[Part] = [(labeled[k], 0, len(labeled[k].tracks[0].boxes)) for k in order]
    count = max(1, round(HELD_OUT * len(labeled)))
    if len(labeled) < SEPARATE_FROM:
        held_out = parts[:count]
        return Split(parts[count:], held_out, held_out,
                     f'{count} of {len(labeled)} sequences choose the weights and measure them, '
                     'so the result looks a little better than it is')
    return Split(parts[2 * count:], parts[:count], parts[count:2 * count],
                 f'{count} of {len(labeled)} sequences choose the weights, {count} others '
                 'measure them')


def _split_by_time(video: LabeledVideo) -> Split:
    length = len(video.tracks[0].boxes)
    cut = round((1 - HELD_OUT_TIME) * length)
    for start, stop in ((0, cut), (cut, length)):
        if not any(np.isfinite(track.boxes[start:stop]).all(1).sum() > 1
                   for track in video.tracks):
            raise ValueError(f'{printable(video.name)}: too short to hold a part out: frames '
                             f'{start} to {stop - 1} have no target with two boxes')
    held_out = [(video, cut, length)]
    return Split([(video, 0, cut)], held_out, held_out,
                 f'the last {length - cut} of {length} frames of the only sequence choose the '
                 'weights and measure them, so the result looks a little better than it is')


def cache_parts(parts: Sequence[Part], folder: Path, max_side: int,
                most: int | None = None) -> FrameCache:
    """
    Decode parts of videos into a cache, unless it is there already.

    :param max_side: longer side of the frames at most, in pixels
    :param most: frames of each part at most
    """
    def items(first: int) -> Iterable[CacheItem]:
        for video, start, stop in parts[first:]:
            stop = stop if most is None else min(stop, start + most)
            frames = itertools.islice(iter(frames_of(video, start)), stop - start)
            image = next(frames, None)
            if image is None:
                raise ValueError(f'{printable(video.name)}: no frames')
            factor = np.float32(shrink_factor(image.shape, max_side))
            tracks = [LabeledTrack(
                track.name, track.boxes[start:stop] * factor,
                None if track.visible is None else track.visible[start:stop])
                for track in video.tracks]
            yield CacheItem(video.name, (
                shrink(frame, max_side) for frame in itertools.chain([image], frames)), tracks)
    return build_cache(folder, items)


def sequences_in(cache: FrameCache) -> list[LabeledSequence]:
    """Return the tracks of a cache as evaluation uses them, each from its first box on."""
    found = []
    for track in cache.tracks:
        present = np.flatnonzero(np.isfinite(track.boxes).all(1))
        if len(present) > 1:
            start = int(present[0])
            name = '/'.join(filter(None, (cache.names[track.video], track.name)))
            found.append(LabeledSequence(name, list(cache.frames(track.video)[start:]),
                                         track.boxes[start:], track.visible[start:]))
    return found


def pieces_of(sequence: LabeledSequence) -> list[LabeledSequence]:
    """
    Return a sequence in pieces, each from a box on, to be tracked from several frames on.

    A target that is lost by chance costs one piece only, so the mean is less noisy.
    """
    present = np.flatnonzero(np.isfinite(sequence.boxes).all(1))
    parts = np.array_split(present, max(1, min(PIECES, len(present) // PIECE_LENGTH)))
    places = [*(int(part[0]) for part in parts), len(sequence)]
    frames = list(sequence.frames)
    return [LabeledSequence(sequence.name, frames[start:stop],
                            sequence.boxes[start:stop], sequence.visible[start:stop])
            for start, stop in itertools.pairwise(places)]


def write_material(cache: FrameCache, folder: Path) -> None:
    """Write frames of a cache with their boxes as a folder of images, for the simulator."""
    every = [(video, t) for video in range(len(cache)) for t in range(cache.count(video))]
    rows = np.linspace(0, len(every) - 1, min(MATERIAL_IMAGES, len(every))).astype(int)
    entries = {}
    for number, row in enumerate(rows):
        video, t = every[row]
        name = f'{number:04d}.jpg'
        save_image(folder / name, cache.frames(video)[t])
        boxes = np.array([track.boxes[t] for track in cache.tracks if track.video == video])
        entries[name] = boxes[np.isfinite(boxes).all(1)]
    write_boxes_file(folder, entries)


# Training --------------------------------------------------------------------------------------


def has_confidence(network: TrackerNetwork) -> bool:
    """Return whether a network predicts a confidence that can be trained."""
    def crop(spec: CropSpec) -> torch.Tensor:
        return torch.zeros((1, 3, spec.size, spec.size), dtype=torch.uint8)
    with torch.no_grad():
        features = network.features(Crops(crop(network.previous_crop),
                                          crop(network.current_crop)))
        encoded = network.encode(features, network.reference(features))
        prediction, _ = network.recur(encoded, network.zero_memory(encoded))
    return bool(torch.isfinite(prediction.logits).all())


def make_config(network: TrackerNetwork, weights: Path, options: FinetuneOptions,
                folder: Path, longest: int) -> Config:
    """
    Return the settings of the run.

    :param folder: with the caches of the data
    :param longest: frames of the longest track that is learned from
    """
    unroll = max(2, min(options.unroll, longest))
    own = Source('cache', path=str(folder / 'training'), strides=(1, 1, 2), reverse_prob=.3,
                 weight=1 - SIMULATED.weight)
    simulated = replace(SIMULATED, images=str(folder / 'material'), seed=options.seed,
                        clips=options.simulated_clips, length=max(SIMULATED.length, unroll))
    return Config(
        model=network.name, init_from=str(weights),
        frozen=tuple(prefix.rstrip('.') for prefix in network.feature_modules),
        data=(own, simulated), validation=(own,), validation_clips=1, validation_length=2,
        cache=str(folder), stages=(Stage(options.iterations, unroll, options.batch, .8),),
        optimizer=OptimizerConfig(lr=options.lr, warmup=10, ema_decay=.97, min_lr_ratio=.1),
        loss=LossWeights(l1=5., giou=1., confidence=.5 if has_confidence(network) else 0.),
        augment=Augmentation(), seed=options.seed, validate_every=options.validate_every,
        checkpoint_every=options.validate_every, log_every=10)


class Evaluation(NamedTuple):
    """Boxes (T, 4) of the first start in each held-out sequence, and mean curves of all starts."""

    boxes: list[np.ndarray]
    curves: list[OnePass]

    @property
    def auc(self) -> float:
        """Return the mean success AUC, every sequence weighing the same."""
        return float(np.mean([curve.auc for curve in self.curves]))


def evaluate_network(network: TrackerNetwork, sequences: Sequence[LabeledSequence],
                     device: torch.device) -> Evaluation:
    """Track the sequences from several jittered first boxes, in float32."""
    tracker = Tracker(network=network, device=str(device), engine='torch', precision='float32')
    boxes, curves = [], []
    for sequence in sequences:
        starts = run_one_pass(tracker, sequence, range(STARTS), START_JITTER, 0).boxes
        boxes.append(starts[0])
        curves.append(mean_one_pass(one_pass(some, sequence.boxes) for some in starts))
    return Evaluation(boxes, curves)


class FineTuner(Trainer):
    """
    A training run that is validated on whole held-out sequences, and ends without improvement.

    :param patience: validations in a row without a better one, after which it ends
    """

    def __init__(self, config: Config, output: Path, device: torch.device,
                 held_out: Sequence[LabeledSequence], patience: int):
        super().__init__(config, output, device)
        self.held_out, self.patience = held_out, patience
        self.history: list[tuple[int, float]] = []

    def validate(self) -> float:
        """Return the mean success AUC of the averaged weights on the held-out sequences."""
        auc = evaluate_network(self.averaged_network, self.held_out, self.device).auc
        if not self.history:
            self.best_auc = auc     # Only what is better than the start is written as the best.
        self.history.append((self.iteration, auc))
        with atomic_write(self.output / HISTORY) as part:
            part.write_text(json.dumps(self.history))
        return auc

    def resume(self, force: bool = False) -> None:
        """Continue from the last checkpoint, see `Trainer.resume`."""
        super().resume(force)
        history = json.loads((self.output / HISTORY).read_text())
        self.history = [(step, auc) for step, auc in history if step <= self.iteration]

    @property
    def finished(self) -> bool:
        """Return whether the last validations brought nothing."""
        values = [auc for _, auc in self.history]
        return len(values) - 1 - int(np.argmax(values)) >= self.patience


class Outcome(NamedTuple):
    """
    A comparison on the sequences that measure the result.

    :param network: the better one, None if it is the original one
    """

    sequences: list[LabeledSequence]
    before: Evaluation
    after: Evaluation
    network: TrackerNetwork | None


def interpolated(first: TrackerNetwork, last: TrackerNetwork, share: float) -> TrackerNetwork:
    """Return a network between two others, 0: the first one; weights rounded as in files."""
    network, state = copy.deepcopy(last), first.state_dict()
    network.load_state_dict({name: torch.lerp(state[name], value, share).half()
                             if value.is_floating_point() else value
                             for name, value in last.state_dict().items()})
    return network


def chosen_network(network: TrackerNetwork, tuner: FineTuner) -> TrackerNetwork | None:
    """
    Return the network with the highest AUC on the sequences that choose, None: the original one.

    Weights between the original and the fine-tuned ones forget less (WiSE-FT, Wortsman et al.
    2022).
    """
    best = tuner.output / 'best.safetensors'
    if not best.is_file():
        return None
    tuned = load_network(weights=best)
    candidates = [interpolated(network, tuned, share) for share in SHARES]
    values = [evaluate_network(candidate, tuner.held_out, tuner.device).auc
              for candidate in candidates]
    if max(values) < tuner.history[0][1] + MIN_GAIN:
        return None
    return candidates[int(np.argmax(values))]


def compare(network: TrackerNetwork, tuner: FineTuner,
            sequences: list[LabeledSequence]) -> Outcome:
    """Compare the chosen network with the original one."""
    before = evaluate_network(network, sequences, tuner.device)
    chosen = chosen_network(network, tuner)
    if chosen is not None:
        after = evaluate_network(chosen, sequences, tuner.device)
        if after.auc >= before.auc:
            return Outcome(sequences, before, after, chosen)
    return Outcome(sequences, before, before, None)


def write_weights(outcome: Outcome, path: Path, original: Path) -> None:
    """Write the better weights, or a copy of the original file."""
    if outcome.network is None:
        with atomic_write(path) as part:
            shutil.copyfile(original, part)
    else:
        save_network(outcome.network, path, {**read_metadata(original), 'finetuned': json.dumps({
            'held_out_auc': [round(outcome.before.auc, 4), round(outcome.after.auc, 4)]})})


# Report ----------------------------------------------------------------------------------------


def report_table(sequences: Sequence[LabeledSequence], before: Evaluation,
                 after: Evaluation) -> str:
    """Return the success AUC of each held-out sequence before and after, as Markdown."""
    rows = [['held-out sequence', 'frames', 'AUC before', 'AUC after']]
    for sequence, old, new in zip(sequences, before.curves, after.curves, strict=True):
        rows.append([printable(sequence.name), str(len(sequence)), f'{old.auc:.3f}',
                     f'{new.auc:.3f}'])
    frames = sum(map(len, sequences))
    rows.append(['mean', str(frames), f'{before.auc:.3f}', f'{after.auc:.3f}'])
    return markdown(rows)


def save_plot(path: Path, before: Evaluation, after: Evaluation,
              history: Sequence[tuple[int, float]]) -> None:
    """Draw the success curves before and after, and the AUC over the iterations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    curves, course = figure.subplots(1, 2)
    for label, evaluation in (('before', before), ('after', after)):
        curves.plot(OVERLAP_THRESHOLDS, np.mean([c.success for c in evaluation.curves], 0),
                    label=f'{label}: {evaluation.auc:.3f}')
    curves.set(xlabel='overlap threshold', ylabel='share of held-out frames', xlim=(0, 1),
               ylim=(0, 1))
    course.plot(*zip(*history, strict=True), marker='o')
    course.set(xlabel='iteration', ylabel='success AUC on the held-out sequences')
    for axes in (curves, course):
        axes.grid(alpha=.3)
    curves.legend()
    figure.savefig(path, dpi=110)


def save_comparison(path: Path, sequences: Sequence[LabeledSequence], before: Evaluation,
                    after: Evaluation) -> str:
    """
    Write the held-out sequence that changed most as a video, before on the left, after right.

    Frames of it, evenly spread in time, are written beside it as JPEG.

    :return: name of the sequence
    """
    gains = [new.auc - old.auc for old, new in zip(before.curves, after.curves, strict=True)]
    chosen = int(np.argmax(np.abs(gains)))
    sequence = sequences[chosen]
    count = min(len(sequence), VIDEO_FRAMES)
    pictured, pictures = np.linspace(0, count, PICTURES + 1)[1:].astype(int) - 1, []
    with video_writer(path, 25) as write:
        for t, frame in zip(range(count), sequence.frames, strict=False):
            halves = []
            for title, boxes, color in (('before', before.boxes[chosen], LOST),
                                        ('after', after.boxes[chosen], TRACKED)):
                image = np.array(frame)
                draw_box(image, sequence.boxes[t], TRUTH)
                draw_box(image, boxes[t], color, 2)
                draw_text(image, f'{title}  (white: label)', (6, 18))
                halves.append(cv2.copyMakeBorder(image, 0, 0, 1, 1, cv2.BORDER_CONSTANT))
            both = np.concatenate(halves, 1)
            write(both)
            if t in pictured:
                pictures.append(both)
    save_image(path.with_suffix('.jpg'), np.concatenate(pictures))
    return sequence.name


def write_report(outcome: Outcome, output: Path, log: Callable[[str], object],
                 report: dict[str, Any]) -> dict[str, Any]:
    """
    Write table, plot, video and JSON of a run.

    :param report: what the caller knows of the run
    :return: the report with `before`, `after` (success AUC), `improved`, `sequences` and `shown`,
        the sequence in the video
    """
    sequences, before, after, network = outcome
    table = report_table(sequences, before, after)
    save_plot(output / 'before_after.png', before, after, report['history'])
    report = {**report, 'before': before.auc, 'after': after.auc, 'improved': network is not None,
              'sequences': {sequence.name: [old.auc, new.auc] for sequence, old, new in zip(
                  sequences, before.curves, after.curves, strict=True)},
              'shown': save_comparison(output / 'before_after.mp4', sequences, before, after)}
    with atomic_write(output / 'report.md') as part:
        part.write_text(f'{report["split"]}\n\n{table}\n', encoding='utf-8')
    with atomic_write(output / REPORT) as part:
        part.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    log(table)
    if network is None:
        log('the held-out part did not improve: the result is the original weights')
    return report


# Command ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """
    Fine-tune a network on labeled videos.

    :param data: folder of labels with their images, path or URL such as s3://...: projects of
        training.label, OTB, GOT-10k, MOT, COCO, YOLO, CVAT XML, ...
    :param output: new folder for the results, path or URL
    :param format: layout of the data; auto: detect it
    :param model: network to train; its weights must come with the package, unless weights are
        given
    :param weights: weights file to start from (default: the packaged one)
    :param minutes: time for all of it
    :param iterations: most steps of the optimizer
    :param unroll: frames of a training clip
    :param batch: clips of a step
    :param lr: highest learning rate
    :param simulated_clips: clips to simulate from the user's frames
    :param validate_every: steps between evaluations on the held-out part
    :param patience: evaluations in a row without a better one, after which training ends
    :param held_out_frames: frames of each held-out sequence that are evaluated at most
    :param threads: CPU threads; 0: one for each core
    :param device: auto, cpu, cuda or cuda:N
    :param seed: of everything random
    :param export: also write the network for the other engines, as ONNX
    """

    data: str
    output: str
    format: str = 'auto'  # noqa: A003
    model: str = 're3_lite'
    weights: Path | None = None
    minutes: float = 12.
    iterations: int = 400
    unroll: int = 8
    batch: int = 16
    lr: float = 1e-4
    simulated_clips: int = 64
    validate_every: int = 20
    patience: int = 4
    held_out_frames: int = 300
    threads: int = 0
    device: str = 'auto'
    seed: int = 0
    export: bool = True


def check_options(options: FinetuneOptions) -> None:
    """
    Check the options that do not depend on data.

    :raises ValueError: naming the option and the allowed values
    """
    if options.model not in available_models():
        raise ValueError(f'--model must be one of {", ".join(available_models())}, got '
                         f'{options.model!r}')
    for name in ('iterations', 'batch', 'validate_every', 'patience', 'simulated_clips'):
        if getattr(options, name) < 1:
            raise ValueError(f'--{name.replace("_", "-")} must be at least 1, got '
                             f'{getattr(options, name)}')
    if not options.minutes > 0:
        raise ValueError(f'--minutes must be above 0, got {options.minutes}')
    store = Store(options.output)
    if not store.is_empty() and not store.exists(f'{WORK}/{RUN}'):
        raise ValueError(f'{printable(options.output)}: there already; name another --output')


def run_settings(options: FinetuneOptions, weights: Path,
                 videos: Sequence[LabeledVideo]) -> dict[str, Any]:
    """Return what has to stay the same when a run is continued, for JSON."""
    digest = hashlib.sha256(weights.read_bytes())
    for video in videos:
        for track in video.tracks:
            digest.update(f'{video.name}/{track.name}'.encode('utf-8', 'surrogateescape'))
            digest.update(track.boxes.tobytes())
    free = ('output', 'weights', 'minutes', 'threads', 'device', 'export')
    return {'weights and labels': digest.hexdigest(), **{
        name: value for name, value in asdict(options).items() if name not in free}}


@contextmanager
def work_folder(output: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """
    Yield the folder of a run, which is removed at its end; after a kill or Ctrl-C it stays.

    :raises ValueError: if it is there, of a run with other settings
    :raises OSError: if another process uses it
    """
    work = output / WORK
    work.mkdir(parents=True, exist_ok=True)
    with locked(work):
        if (work / RUN).is_file():
            old = json.loads((work / RUN).read_text())
            changed = [name for name, value in settings.items() if old.get(name) != value]
            if changed:
                raise ValueError(f'{printable(output)}: holds a run that has not ended, with '
                                 f'other {", ".join(changed)}; remove it or name another --output')
        with atomic_write(work / RUN) as part:
            part.write_text(json.dumps(settings))
        try:
            yield work
        except Exception:
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)


def finetune(options: FinetuneOptions, log: Callable[[str], object] = print) -> dict[str, Any]:
    """
    Fine-tune, and write the results into the folder `options.output`.

    :param log: gets lines for the user
    :return: the report: `before`, `after` (success AUC), `improved`, `weights`, ...
    :raises ValueError: for data without boxes, or weights of another network
    :raises OSError: if something cannot be read or written
    """
    check_options(options)
    with local_output(options.output) as output:
        return _finetune(options, output, log)


def _finetune(options: FinetuneOptions, output: Path,
              log: Callable[[str], object]) -> dict[str, Any]:
    began = time.monotonic()
    weights = options.weights or weights_path(options.model)
    model = options.model if options.weights is None else None
    network = load_network(model, weights)
    videos = read_dataset(local_copy(options.data), options.format)
    if not videos or not isinstance(videos[0], LabeledVideo):
        raise ValueError(f'{printable(options.data)}: images, but fine-tuning needs videos')
    videos = [video for video in videos if isinstance(video, LabeledVideo)]
    split = split_videos(videos, options.seed)
    log(split.description)
    if options.threads:
        torch.set_num_threads(options.threads)
    with work_folder(output, run_settings(options, weights, videos)) as work:
        choosing = sequences_in(cache_parts(
            split.choosing, work / 'choosing', HELD_OUT_SIDE, options.held_out_frames))
        measuring = choosing if split.measuring is split.choosing else sequences_in(cache_parts(
            split.measuring, work / 'measuring', HELD_OUT_SIDE, options.held_out_frames))
        pieces = [piece for sequence in choosing for piece in pieces_of(sequence)]
        cache = cache_parts(split.training, work / 'training', TRAIN_SIDE)
        write_material(cache, work / 'material')
        longest = max(int(np.isfinite(track.boxes).all(1).sum()) for track in cache.tracks)
        tuner = FineTuner(make_config(network, weights, options, work, longest), work,
                          choose_device(options.device), pieces, options.patience)
        if (work / CHECKPOINT).is_file():
            tuner.resume()
            log(f'continued after {tuner.iteration} steps')
        left = options.minutes - (time.monotonic() - began) / 60
        train(tuner, max(0., TRAINING_TIME * left), stop=lambda: tuner.finished)
        outcome = compare(network, tuner, measuring)
        write_weights(outcome, output / RESULT, weights)
        report = write_report(outcome, output, log, {
            'data': options.data, 'split': split.description, 'model': network.name,
            'history': tuner.history, 'weights': f'{options.output}/{RESULT}'})
    if options.export:
        _export(outcome.network or network, output, log)
    log(f'{printable(options.output)}: weights.safetensors, report.md, before_after.png, '
        f'before_after.mp4 and .jpg (of {printable(report["shown"])}), in '
        f'{(time.monotonic() - began) / 60:.1f} minutes\nuse them: ros2 launch re3_ros '
        f'tracker.launch.py weights:={printable(options.output)}/{RESULT}')
    return report


def _export(network: TrackerNetwork, output: Path, log: Callable[[str], object]) -> None:
    """Write the ONNX files, if the packages for that are there."""
    try:
        from re3_core.export import export
        path = export(network, 'onnx', 'float32', output / 'onnx')
    except (ImportError, ValueError) as error:
        log(f'no ONNX files: {error}; pip install "re3_ros[export]", then python -m '
            f're3_core.export --weights {printable(output / RESULT)} --output '
            f'{printable(output / "onnx")}')
        return
    log(f'for the other engines: {printable(path.parent)}')


def run(options: FinetuneOptions) -> None:
    """Run the command."""
    finetune(options, lambda text: print(text, flush=True))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(FinetuneOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
