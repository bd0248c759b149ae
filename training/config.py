# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Settings of a training run, and what all commands of this package share.

A run is described by one YAML file with the fields of `Config`. Every field is also a command
line option: `--optimizer.lr 1e-4`, `--data.0.path DIR`. `--help` lists them with their defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import field, fields
import os
from pathlib import Path
import re
import sys
from typing import Annotated, Any, Literal, TypeVar

import cv2
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
import tyro
import yaml

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
STRICT = ConfigDict(extra='forbid')
# These do not change the resulting weights, so they may differ when a run is resumed.
FREE = ('cache', 'workers', 'log_every', 'checkpoint_every', 'validate_every')


@dataclass(frozen=True, config=STRICT)
class SceneConfig:
    """
    Distribution of simulated sequences; probabilities are per clip.

    :param smallest: side (root of the area) of the smallest targets in pixels
    :param largest: side of the largest targets in shorter frame sides
    :param zoom: largest change of the target's size within a clip
    :param constant_size_prob: the target keeps its size
    :param bend_prob: the target deforms
    :param morph_prob: the target changes its appearance
    :param leaving_prob: the target may leave the frame
    :param occlusion_prob: something passes in front of the target
    :param lookalike_prob: there are distractors that look like the target
    :param hiding_prob: something large hides the whole target for 5 to 40 frames while it moves on
    :param crossing_prob: a look-alike of the target's size crosses its path
    :param smooth_motion_prob: the target moves fast and steadily: its motion can be predicted
    :param max_distractors: largest number of other objects
    :param video_prob: the background is a real video, where there is any
    :param grayscale_prob: no color
    :param blur_prob: out of focus or of low resolution
    :param jpeg_prob: with compression artifacts
    """

    smallest: float = 12.0
    largest: float = 0.75
    zoom: float = 3.0
    constant_size_prob: Probability = 0.35
    bend_prob: Probability = 0.4
    morph_prob: Probability = 0.2
    leaving_prob: Probability = 0.12
    occlusion_prob: Probability = 0.45
    lookalike_prob: Probability = 0.5
    hiding_prob: Probability = 0.
    crossing_prob: Probability = 0.
    smooth_motion_prob: Probability = 0.
    max_distractors: Count = 4
    video_prob: Probability = 0.5
    grayscale_prob: Probability = 0.1
    blur_prob: Probability = 0.15
    jpeg_prob: Probability = 0.35


# Settings of a Source that apply to some kinds only.
SOURCE_SETTINGS = {
    'simulated': ('images', 'videos', 'clips', 'length', 'size', 'seed', 'processes', 'scene',
                  'strides', 'reverse_prob', 'part_prob', 'vary_stride_prob'),
    'videos': ('path', 'format', 'max_side', 'strides', 'reverse_prob', 'part_prob',
               'vary_stride_prob'),
    'images': ('path', 'format', 'max_side', 'max_box_ratio'),
    'panned': ('path', 'format', 'max_side', 'max_box_ratio', 'size', 'scene', 'patch_prob'),
    'cache': ('path', 'strides', 'reverse_prob', 'part_prob', 'vary_stride_prob'),
}


@dataclass(frozen=True, config=STRICT)
class Source:
    """
    A source of clips; what has to be decoded or rendered is, on first use, in the cache folder.

    `simulated` clips are rendered from `images` and `videos`, or from procedural textures;
    `videos` and `images` are data sets with boxes; `panned` are images, too, over which a virtual
    camera moves; `cache` is a folder that
    `training.data.cache` or `training.simulator` has made.

    :param kind: simulated, videos, images, panned or cache
    :param weight: how often clips are drawn from it, relative to the other sources
    :param path: folder of the data set or cache
    :param format: layout of the data set, see training.data.check; auto: detect it
    :param max_side: longer side of decoded frames at most, in pixels
    :param max_box_ratio: largest fraction of an image's sides that a box may take
    :param images: folder of images to cut objects from; empty: procedural textures
    :param videos: folder of videos as moving backgrounds
    :param clips: number of clips to render
    :param length: frames of each
    :param size: height and width of the frames
    :param seed: of the rendered clips
    :param processes: that render; 0: one per core
    :param scene: distribution of the rendered clips
    :param strides: frame steps; one is drawn for each clip
    :param reverse_prob: probability that a clip is played backwards
    :param part_prob: probability that a part of the target is the target
    :param vary_stride_prob: probability that the step is drawn anew for every frame of a clip
    :param patch_prob: probability that any part of an image is the target
    """

    kind: Literal['simulated', 'videos', 'images', 'panned', 'cache']
    weight: NonNegative = 1.
    path: str = ''
    format: str = 'auto'  # noqa: A003
    max_side: Positive = 480
    max_box_ratio: Probability = .66
    images: str = ''
    videos: str = ''
    clips: Positive = 1000
    length: Positive = 32
    size: tuple[Positive, Positive] = (240, 320)
    seed: Count = 0
    processes: Count = 0
    scene: SceneConfig = field(default_factory=SceneConfig)
    strides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1,)
    reverse_prob: Probability = 0.
    part_prob: Probability = 0.
    vary_stride_prob: Probability = 0.
    patch_prob: Probability = 0.

    def __post_init__(self) -> None:
        allowed = ('kind', 'weight', *SOURCE_SETTINGS[self.kind])
        plain = {'scene': SceneConfig(), 'weight': 1.}
        for item in fields(self):
            default = plain.get(item.name, item.default)
            if item.name not in allowed and getattr(self, item.name) != default:
                raise ValueError(f'data of kind {self.kind!r} has no setting {item.name!r}; it '
                                 f'has {", ".join(allowed)}')
        if 'path' in allowed and not self.path:
            raise ValueError(f'data of kind {self.kind!r} needs a path')


@dataclass(frozen=True, config=STRICT)
class Stage:
    """
    One stage of the curriculum (Re3 paper, section III-D).

    :param iterations: number of iterations
    :param unroll: frames of each clip
    :param batch: rows, shared by all processes
    :param scheduled_sampling: probability that a row follows the network's own predictions
        (Bengio et al. 2015) instead of the true boxes
    :param copies: rows made of each clip, differently augmented (GOTURN: 11, of one pair)
    """

    iterations: Count
    unroll: Annotated[int, Field(ge=2)] = 2
    batch: Positive = 64
    scheduled_sampling: Probability = 0.
    copies: Positive = 1

    def __post_init__(self) -> None:
        if self.batch % self.copies:
            raise ValueError(f'batch must be a multiple of copies, got {self.batch} and '
                             f'{self.copies}')

    @property
    def clips(self) -> int:
        """Return the number of clips that an iteration draws."""
        return self.batch // self.copies


@dataclass(frozen=True, config=STRICT)
class ParameterGroup:
    """
    Parameters that are learned at another pace; the first group that matches a name counts.

    :param pattern: regular expression of parameter names
    :param lr_ratio: factor of the learning rate
    :param weight_decay_ratio: factor of the weight decay
    """

    pattern: str
    lr_ratio: NonNegative = 1.
    weight_decay_ratio: NonNegative = 1.

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f'pattern must be a regular expression, got {self.pattern!r}: '
                             f'{error}') from None


@dataclass(frozen=True, config=STRICT)
class OptimizerConfig:
    """
    The optimizer and its learning rate schedule.

    :param name: adamw (decoupled weight decay), adam or sgd (L2 penalty, as in the papers)
    :param lr: highest learning rate
    :param momentum: of sgd
    :param weight_decay: weight decay
    :param groups: parameters with other rates
    :param schedule: cosine (down to lr x min_lr_ratio at the end of the run) or milestones
    :param min_lr_ratio: last learning rate of the cosine schedule, in lr
    :param milestones: iterations from which the rate is multiplied by gamma
    :param gamma: factor at each milestone
    :param warmup: iterations of linear warm-up
    :param grad_clip: largest norm of the gradient; 0: any
    :param ema_decay: decay of the averaged weights, which are validated and exported; 0: no
        average
    """

    name: Literal['adamw', 'adam', 'sgd'] = 'adamw'
    lr: NonNegative = 5e-4
    momentum: NonNegative = .9
    weight_decay: NonNegative = 1e-3
    groups: tuple[ParameterGroup, ...] = ()
    schedule: Literal['cosine', 'milestones'] = 'cosine'
    min_lr_ratio: NonNegative = .02
    milestones: tuple[Count, ...] = ()
    gamma: NonNegative = .1
    warmup: Count = 100
    grad_clip: NonNegative = 1.
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = .999


@dataclass(frozen=True, config=STRICT)
class LossWeights:
    """
    Weights of the parts of the loss.

    :param l1: sum of the four absolute corner differences, in units of the search region (Re3
        and GOTURN papers: 10)
    :param giou: 1 - generalized IoU (Rezatofighi et al. 2019)
    :param confidence: cross-entropy between the confidence and the overlap reached
    :param occlusion_weighting: time steps at which less than this fraction of the target is
        visible count less, in proportion; 0: all count alike, as in the papers
    :param hidden_weight: weight of those that are hidden: they have to be tracked, too
    :param reduction: mean over the time steps of an iteration, or their sum (Caffe's GOTURN)
    """

    l1: NonNegative = 10.
    giou: NonNegative = 0.
    confidence: NonNegative = 0.
    occlusion_weighting: NonNegative = .5
    hidden_weight: Probability = .1
    reduction: Literal['mean', 'sum'] = 'mean'


@dataclass(frozen=True, config=STRICT)
class BoxJitter:
    """
    Random changes of a box, in box sizes (GOTURN paper, section 4.2).

    :param shift: Laplace scale of the center's shift
    :param scale: Laplace scale of the relative change of width and height
    :param min_scale: smallest factor of a side
    :param max_scale: largest factor of a side
    """

    shift: NonNegative = 0.
    scale: NonNegative = 0.
    min_scale: Annotated[float, Field(gt=0, le=1)] = .6
    max_scale: Annotated[float, Field(ge=1)] = 1.4


@dataclass(frozen=True, config=STRICT)
class Augmentation:
    """
    Random changes of the boxes around which crops are cut, and of the images.

    A tracker cuts both crops of a time step around the box of the frame before. Training does
    the same around the true box, moved by `jitter`.

    :param start_jitter: of the box in the first frame
    :param jitter: of later boxes
    :param pair_prob: probability that the previous crop is cut around the true box of the frame
        before and the current crop around that of its own frame, moved by pair_jitter (GOTURN's
        synthetic pairs, Re3's real video)
    :param pair_jitter: of the current crop of such rows
    :param limits: whose rules limit a moved box: re3 or goturn
    :param target_from_next_frame: limit boxes by the target in the frame to be searched, and
        move only the current crop (Re3's code), instead of by the frame before
    :param min_coverage: boxes are pulled to the target until the crop shows this fraction of it
    :param max_size_ratio: and until no side is wrong by a larger factor
    :param mirror_prob: probability of mirroring a clip
    :param color_jitter: standard deviation of the logarithms of brightness and color
    :param grayscale_prob: probability of removing the colors of a clip
    """

    start_jitter: BoxJitter = field(default_factory=lambda: BoxJitter(.02, .03))
    jitter: BoxJitter = field(default_factory=lambda: BoxJitter(.08, .06))
    pair_prob: Probability = 0.
    pair_jitter: BoxJitter = field(default_factory=lambda: BoxJitter(1 / 5, 1 / 15))
    limits: Literal['re3', 'goturn'] = 're3'
    target_from_next_frame: bool = False
    min_coverage: Probability = .5
    max_size_ratio: Annotated[float, Field(ge=1)] = 3.
    mirror_prob: Probability = .5
    color_jitter: NonNegative = .1
    grayscale_prob: Probability = .1


Sources = Annotated[tuple[Source, ...], Field(min_length=1)]


def _procedural(clips: int, length: int, seed: int) -> tuple[Source, ...]:
    """Return sources of data that need no files."""
    return Source('simulated', clips=clips, length=length, size=(180, 240), seed=seed),


@dataclass(frozen=True, config=STRICT)
class Config:
    """
    A training run.

    :param model: name of the network
    :param network: its arguments
    :param init_from: weights file to start from; backbone: the dense backbone of the packaged
        weights, imagenet: EfficientNet-Lite0's published ones, empty: random weights
    :param backbone_weights: file of training.distill, or of a network, whose dense backbone
        replaces that of init_from
    :param frozen: parts that are not trained, by the beginning of their names
    :param data: sources of clips to train on
    :param validation: sources of clips to validate on
    :param validation_clips: number of validation clips
    :param validation_length: frames of each
    :param cache: folder of decoded and rendered frames; empty: the user's cache folder
    :param workers: processes that prepare batches; 0: none (best on a CPU)
    :param stages: the curriculum
    :param optimizer: the optimizer
    :param loss: weights of the loss
    :param augment: augmentation
    :param precision: float32, bfloat16, or auto: bfloat16 where the device computes it natively
    :param compile: compile frozen convolutions with torch.compile (needs a C++ compiler)
    :param seed: of everything random
    :param log_every: iterations between log entries
    :param checkpoint_every: iterations between checkpoints
    :param validate_every: iterations between validations
    """

    model: str = 're3_lite'
    network: dict[str, Any] = field(default_factory=dict)
    init_from: str = 'backbone'
    backbone_weights: str = ''
    frozen: tuple[str, ...] = ('backbone',)
    data: Sources = _procedural(200, 16, 1)
    validation: Sources = _procedural(24, 24, 2)
    validation_clips: Positive = 24
    validation_length: Annotated[int, Field(ge=2)] = 24
    cache: str = ''
    workers: Count = 0
    stages: tuple[Stage, ...] = (
        Stage(60, 2, 64, 0.), Stage(60, 4, 32, .5), Stage(100, 8, 16, .8))
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossWeights = field(
        default_factory=lambda: LossWeights(l1=5., giou=1., confidence=.5))
    augment: Augmentation = field(default_factory=Augmentation)
    precision: Literal['auto', 'float32', 'bfloat16'] = 'auto'
    compile: bool = False  # noqa: A003
    seed: Count = 0
    log_every: Positive = 10
    checkpoint_every: Positive = 100
    validate_every: Positive = 200

    def __post_init__(self) -> None:
        if not self.iterations:
            raise ValueError('stages must have at least one iteration')

    @property
    def iterations(self) -> int:
        """Return the number of iterations of all stages."""
        return sum(stage.iterations for stage in self.stages)

    def stage_at(self, iteration: int) -> Stage:
        """Return the Stage that an iteration (from 0) belongs to."""
        for stage in self.stages:
            if iteration < stage.iterations:
                return stage
            iteration -= stage.iterations
        return self.stages[-1]


# YAML ------------------------------------------------------------------------------------------


def load_config(path: Path | str | None = None) -> Config:
    """
    Read a YAML file; missing settings keep their defaults.

    :param path: the file, or None for the defaults, which need no data
    :raises ValueError: naming each unknown setting, wrong type or wrong value
    """
    text = Path(path).read_text(encoding='utf-8-sig') if path else ''
    values = _parse(text, path) or {}
    if not isinstance(values, dict):
        raise ValueError(f'{path}: must be a mapping of settings, got {values!r:.60}')
    if 'network' in values:     # of any type
        values['network'] = yaml.safe_load(text)['network']
    try:
        return TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        raise ValueError(_one_line(error)) from None


def _parse(text: str, where: object) -> Any:
    """Return YAML with all values as texts: pydantic converts them to the fields' types."""
    try:
        return yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f'{where}: not YAML: {error}') from None


def _one_line(error: ValidationError) -> str:
    """Return all that is wrong with a configuration, with the names of the settings."""
    found = []
    for item in error.errors():
        name = '.'.join(map(str, item['loc']))
        message = item['msg'].removeprefix('Value error, ')
        if item['type'] in ('unexpected_keyword_argument', 'missing'):
            found.append(f'{name}: {"no such setting" if item["type"] != "missing" else message}')
        else:
            found.append(f'{name}: {message}, got {item["input"]!r:.60}')
    return '; '.join(found)


def dump_config(config: Config) -> str:
    """Return the settings as YAML text."""
    return yaml.safe_dump(TypeAdapter(Config).dump_python(config, mode='json'), sort_keys=False)


def differences(text: str, config: Config) -> list[str]:
    """
    Return the differences between a dumped configuration and another one, as lines of text.

    Settings that do not change the result do not count, nor those that only one of both has: a
    run can be resumed by a later version of this program.
    """
    old, new = _flat(_parse(text, 'configuration')), _flat(_parse(dump_config(config), ''))
    return [f'{name}: {old[name]}, now {new[name]}' for name in sorted(set(old) & set(new))
            if old[name] != new[name] and name not in FREE]


def _flat(values: dict, prefix: str = '') -> dict[str, Any]:
    """Return the leaves of mappings and lists by dotted names, and the lengths of the lists."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            flat[f'number of {prefix}{name}'] = len(value)
            value = dict(enumerate(value))
        if isinstance(value, dict) and name != 'network':
            flat.update(_flat(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


# Command line ----------------------------------------------------------------------------------

Options = TypeVar('Options')


def run_command(options: type[Options], command: Callable[[Options], Any],
                arguments: list[str] | None, renamed: dict[str, str] | None = None) -> int:
    """
    Parse the command line into a dataclass and run a command on it; return the exit status.

    An error is one line on stderr and status 1, an interrupt is quiet.

    :param options: dataclass of the options
    :param renamed: old names of options, which are still accepted, and their present names
    """
    for stream in (sys.stdout, sys.stderr):     # File names need not be UTF-8.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    arguments = present_names(sys.argv[1:] if arguments is None else arguments, renamed or {})
    try:
        parsed = parse_settings(options, arguments) if issubclass(options, SettingsOptions) else (
            tyro.cli(options, args=arguments))
        status = int(command(parsed) or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:     # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ArithmeticError, MemoryError, OSError, ValueError, cv2.error) as error:
        print('error:', one_line(error), file=sys.stderr)
        return 1


@dataclass(frozen=True)
class SettingsOptions:
    """
    Options of the commands that read a configuration.

    :param config: YAML file of settings; without, the defaults, which need no data
    :param settings: the settings, which replace those of the file
    """

    config: Path | None = None
    settings: Annotated[Config, tyro.conf.arg(name='')] = field(default_factory=Config)


def parse_settings(options: Any, arguments: list[str]) -> Any:
    """
    Parse a command line into SettingsOptions, whose defaults are those of the file it names.

    :raises ValueError: for a malformed file
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--config', nargs='?')
    parser.add_argument('--output', nargs='?')
    parser.add_argument('--resume', action='store_true')
    known, _ = parser.parse_known_args(arguments)
    path = known.config
    if path is None and known.resume:
        path = f'{known.output or options.output}/config.yaml'
    return tyro.cli(options, args=arguments, default=options(settings=load_config(path)))


def one_line(error: BaseException) -> str:
    """Return the message of an exception as one line, its name if it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def present_names(arguments: list[str], renamed: dict[str, str]) -> list[str]:
    """Replace old names of options, with a warning."""
    result = []
    for argument in arguments:
        name, equals, value = argument.partition('=')
        if name in renamed:
            print(f'warning: {name} is deprecated, use {renamed[name]}', file=sys.stderr)
            argument = renamed[name] + equals + value
        result.append(argument)
    return result
