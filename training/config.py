# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Settings of a training run: one YAML file is one reproducible run."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
import re
import typing

from training.batches import Noise
from training.losses import LossWeights
import yaml

OPTIMIZERS = ('adamw', 'adam', 'sgd')
SCHEDULES = ('cosine', 'steps')
PRECISIONS = ('auto', 'float32', 'bfloat16')
# What may be changed when a run is resumed: none of it changes the weights that come out.
FREE = ('cache', 'log_every', 'checkpoint_every', 'validate_every')


def _require(condition, text):
    if not condition:
        raise ValueError(text)


@dataclass(frozen=True)
class Stage:
    """
    One stage of the curriculum (Re3 paper, section III-D).

    Each of `iterations` follows `batch` rows over `unroll` frames. `copies` rows are made of
    each clip drawn, disturbed differently (GOTURN: 11, of one pair). The share `own` of rows is
    followed by the network's own predictions. The share `second_looks` of clips goes on, after
    its first frame, up to `gap` frames later with a second look, see `training.batches`.
    `accumulate`: parts in which the batch is worked through, to need less memory; the result is
    the same. Several processes share a batch.
    """

    iterations: int
    unroll: int = 2
    batch: int = 64
    own: float = 0.
    copies: int = 1
    accumulate: int = 1
    second_looks: float = 0.
    gap: int = 0

    def __post_init__(self):
        _require(self.iterations >= 0, f'iterations must be at least 0, got {self.iterations}')
        _require(self.unroll >= 2, f'unroll must be at least 2 frames, got {self.unroll}')
        for name in ('own', 'second_looks'):
            _require(0 <= getattr(self, name) <= 1,
                     f'{name} must be a share of 0..1, got {getattr(self, name)}')
        _require(self.gap >= 0, f'gap must be at least 0 frames, got {self.gap}')
        parts = self.copies * self.accumulate
        _require(min(self.copies, self.accumulate, self.batch) >= 1 and not self.batch % parts,
                 f'batch must be a multiple of copies x accumulate, got {self.batch}, '
                 f'{self.copies} and {self.accumulate}')

    @property
    def clips(self):
        """Return the number of clips that an iteration draws."""
        return self.batch // self.copies

    @property
    def clip_length(self):
        """Return the number of frames of the longest clip that an iteration draws."""
        return self.unroll + (self.gap if self.second_looks else 0)


@dataclass(frozen=True)
class Group:
    """
    Parameters that are learned at another pace.

    Those whose names `match` a regular expression get the learning rate times `rate` and the
    weight decay times `decay`; for each parameter the first group that fits counts.
    """

    match: str
    rate: float = 1.
    decay: float = 1.

    def __post_init__(self):
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f'match must be a regular expression, got {self.match!r}: '
                             f'{error}') from None
        _require(min(self.rate, self.decay) >= 0, f'rate and decay must not be negative, got '
                 f'{self.rate} and {self.decay}')


@dataclass(frozen=True)
class Optimizer:
    """
    The optimizer and its schedule.

    `kind` is 'adamw' (weight decay apart from the gradient), 'adam' or 'sgd' with `momentum`
    (weight decay as a term `weight_decay` / 2 x the sum of squares of the loss, as in the
    papers). `schedule` is 'cosine' (from `rate` down to `rate` x `final` over the whole run) or
    'steps' (times `final` from each iteration in `steps` on); `warmup` iterations rise linearly.
    `clip` bounds the gradient's norm (0: not); `ema` is the decay of the averaged weights, those
    that are validated and exported (0: the weights themselves).
    """

    kind: str = 'adamw'
    rate: float = 5e-4
    momentum: float = .9
    weight_decay: float = 1e-3
    groups: tuple[Group, ...] = ()
    schedule: str = 'cosine'
    final: float = .02
    steps: tuple[int, ...] = ()
    warmup: int = 100
    clip: float = 1.
    ema: float = .999

    def __post_init__(self):
        _require(self.kind in OPTIMIZERS, f'kind must be one of {OPTIMIZERS}, got {self.kind!r}')
        _require(self.schedule in SCHEDULES,
                 f'schedule must be one of {SCHEDULES}, got {self.schedule!r}')
        for name in ('rate', 'momentum', 'weight_decay', 'final', 'warmup', 'clip'):
            _require(getattr(self, name) >= 0, f'{name} must not be negative, got '
                     f'{getattr(self, name)}')
        _require(0 <= self.ema < 1, f'ema must be at least 0 and below 1, got {self.ema}')


@dataclass(frozen=True)
class Config:
    """
    A training run.

    `model` and `network` name the network and its arguments; `start_from` a weights file, or
    'backbone' for the dense backbone of the packaged weights, 'imagenet' for EfficientNet-Lite0's
    published ones, or ''; `backbone_from` a file of `training.distill`, or of a network, whose
    dense backbone replaces that of `start_from`, or ''; `frozen` the parts that are
    not trained, by the beginning of their names; `data` and `validation` the sources of clips,
    see `training.sources`, `cache` the folder of what is decoded and rendered (''; the user's
    cache folder). `precision` is 'float32', 'bfloat16' or 'auto': the latter where the device
    computes it natively. `compile` frozen convolutions with torch.compile (needs a C++
    compiler). `*_every` are iterations.
    """

    model: str = 're3_lite'
    network: dict = field(default_factory=dict)
    start_from: str = 'backbone'
    backbone_from: str = ''
    frozen: tuple[str, ...] = ('backbone',)
    data: tuple[dict, ...] = ()
    validation: tuple[dict, ...] = ()
    validation_clips: int = 24
    validation_length: int = 24
    cache: str = ''
    stages: tuple[Stage, ...] = (
        Stage(60, 2, 64, 0.), Stage(60, 4, 32, .5), Stage(100, 8, 16, .8))
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: LossWeights = field(default_factory=lambda: LossWeights(l1=5., giou=1., score=.5))
    noise: Noise = field(default_factory=Noise)
    precision: str = 'auto'
    compile: bool = False  # noqa: A003
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    validate_every: int = 200

    def __post_init__(self):
        _require(self.precision in PRECISIONS,
                 f'precision must be one of {PRECISIONS}, got {self.precision!r}')
        _require(self.iterations > 0, 'stages must have at least one iteration')
        for name in ('log_every', 'checkpoint_every', 'validate_every', 'validation_clips'):
            _require(getattr(self, name) >= 1, f'{name} must be at least 1, got '
                     f'{getattr(self, name)}')
        _require(self.validation_length >= 2, f'validation_length must be at least 2, got '
                 f'{self.validation_length}')
        _require(self.seed >= 0, f'seed must not be negative, got {self.seed}')

    @property
    def iterations(self):
        return sum(stage.iterations for stage in self.stages)

    def stage_at(self, iteration):
        """Return the Stage that an iteration (from 0) belongs to."""
        for stage in self.stages:
            if iteration < stage.iterations:
                return stage
            iteration -= stage.iterations
        return self.stages[-1]


def load_config(path=None, overrides=()):
    """
    Read a YAML file; what it does not say keeps its default.

    :param path: the file, or None for the defaults, which need no data.
    :param overrides: texts 'name=value', 'group.name=value' or 'list.0.name=value', values in
        YAML.
    :raises ValueError: naming an unknown setting and those that exist, or a wrong type or value.
    """
    values = _parse(Path(path).read_text(), path) if path else {}
    for text in overrides:
        name, separator, value = text.partition('=')
        if not separator:
            raise ValueError(f'a setting must read name=value, got {text!r}')
        _override(values, name, _parse_value(value, text))
    return _build(Config, values, 'the configuration')


def _parse(text, path):
    values = _parse_value(text, path)
    if values is not None and not isinstance(values, dict):
        raise ValueError(f'{path}: must be a mapping of settings, got {values!r:.60}')
    return values or {}


def _parse_value(text, where):
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f'{where}: not YAML: {error}') from None


def _override(values, name, value):
    """Set the value at a dotted name in mappings and lists."""
    *groups, last = name.split('.')
    target = values
    try:
        for group in groups:
            target = target[int(group)] if isinstance(target, list) else (
                target.setdefault(group, {}))
        target[int(last) if isinstance(target, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError):
        raise ValueError(f'{name}: there is no such place in the configuration; entries of lists '
                         f'that the file has are numbered from 0') from None


def dump_config(config):
    """Return the settings as plain YAML text."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def differences(text, config):
    """
    Return what differs between a dumped configuration and another one, as lines of text.

    Settings that do not change the result do not count, nor those that only one of both knows:
    a run can be resumed by a later version of this program.
    """
    old, new = _flat(yaml.safe_load(text)), _flat(_plain(asdict(config)))
    return [f'{name}: {old[name]!r}, now {new[name]!r}' for name in sorted(set(old) & set(new))
            if old[name] != new[name] and name not in FREE]


def _flat(values, prefix=''):
    """Return the leaves of mappings and lists by dotted names, and how long the lists are."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, list):
            flat[f'number of {prefix}{name}'] = len(value)
            value = dict(enumerate(value))
        if isinstance(value, dict) and name != 'network':
            flat.update(_flat(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _build(kind, values, where):
    """Make a dataclass of a mapping, checking names, types and values."""
    if not isinstance(values, dict):
        raise ValueError(f'{where} must be a mapping of settings, got {values!r}')
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(str(name) for name in set(values) - set(known))
    if unknown:
        raise ValueError(f'{where} has unknown settings {unknown}; known are {sorted(known)}')
    types = typing.get_type_hints(kind)
    converted = {name: _convert(types[name], value, f'{where}: {name}')
                 for name, value in values.items()}
    try:
        return kind(**converted)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: {error}') from None


def _convert(kind, value, where):
    if is_dataclass(kind):
        return _build(kind, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f'{where} must be a list, got {value!r}')
        return tuple(_convert(typing.get_args(kind)[0], item, f'{where}, entry {index}')
                     for index, item in enumerate(value))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)    # YAML reads 1e-4 as text
        except ValueError:
            pass
    if kind is str and value is None:
        return ''    # nothing after the name
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f'{where} must be of type {kind.__name__}, got {value!r}')
    return value
