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

"""Settings of a training run: one YAML file is one reproducible run."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
import typing

from training.losses import LossWeights
from training.unroll import Noise
import yaml


@dataclass(frozen=True)
class Stage:
    """
    One stage of the curriculum (Re3 paper, section III-D).

    `unroll` frames of `batch` clips an iteration; `own`: share of clips followed by the
    network's own predictions; `accumulate`: batches per optimizer step.
    """

    iterations: int
    unroll: int = 2
    batch: int = 64
    own: float = 0.
    accumulate: int = 1


@dataclass(frozen=True)
class Optimizer:
    """
    Adam (decoupled weight decay) and its schedule.

    `schedule` is 'cosine' (from `rate` down to `rate` x `final` over the whole run) or 'step'
    (times `final` from iteration `step` on); `warmup` iterations rise linearly; `clip` bounds
    the gradient's norm (0: not); `ema` is the decay of the averaged weights, those that are
    validated and exported (0: the weights themselves).
    """

    rate: float = 5e-4
    weight_decay: float = 1e-3
    schedule: str = 'cosine'
    final: float = .02
    step: int = 0
    warmup: int = 100
    clip: float = 1.
    ema: float = .999


@dataclass(frozen=True)
class Config:
    """
    A training run.

    `model` and `network` name the network and its arguments; `start_from` a weights file, or
    'imagenet' for the backbone's published weights, or ''; `frozen` the parts that are not
    trained, by the beginning of their names; `data` and `validation` the sources of clips, see
    `training.sources`; `compile` frozen convolutions with torch.compile (needs a C++
    compiler).
    """

    model: str = 're3_lite'
    network: dict = field(default_factory=dict)
    start_from: str = 'imagenet'
    frozen: tuple = ('backbone',)
    data: tuple = ()
    validation: tuple = ()
    validation_clips: int = 32
    validation_length: int = 32
    stages: tuple[Stage, ...] = (
        Stage(60, 2, 64, 0.), Stage(60, 4, 32, .5), Stage(100, 8, 16, .8))
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: LossWeights = field(default_factory=lambda: LossWeights(l1=5., giou=1., score=.5))
    noise: Noise = field(default_factory=Noise)
    precision: str = 'bfloat16'
    compile: bool = False
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    validate_every: int = 200

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
    :param overrides: texts 'name=value' or 'group.name=value', values in YAML.
    :raises ValueError: naming an unknown setting and those that exist, or a wrong type.
    """
    values = yaml.safe_load(Path(path).read_text()) if path else {}
    for text in overrides:
        name, separator, value = text.partition('=')
        if not separator:
            raise ValueError(f'a setting must read name=value, got {text!r}')
        *groups, last = name.split('.')
        target = values
        for group in groups:
            target = target.setdefault(group, {})
        target[last] = yaml.safe_load(value)
    return _build(Config, values or {}, 'the configuration')


def dump_config(config):
    """Return the settings as plain YAML text."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _build(kind, values, where):
    """Make a dataclass of a mapping, checking names and types."""
    if not isinstance(values, dict):
        raise ValueError(f'{where} must be a mapping of settings, got {values!r}')
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f'{where} has unknown settings {unknown}; known are {sorted(known)}')
    types = typing.get_type_hints(kind)
    return kind(**{name: _convert(types[name], value, f'{where}: {name}')
                   for name, value in values.items()})


def _convert(kind, value, where):
    if is_dataclass(kind):
        return _build(kind, value, where)
    if typing.get_origin(kind) is tuple:
        return tuple(_build(typing.get_args(kind)[0], item, where) for item in value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)    # YAML reads 1e-4 as text
        except ValueError:
            pass
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f'{where} must be of type {kind.__name__}, got {value!r}')
    return value
