# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Tests of the parameter table and of what repeats it, without ROS."""

from pathlib import Path
import runpy

import pytest
from re3_core import redetection, tracker
from re3_ros import parameters
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = runpy.run_path(str(ROOT / 'scripts' / 'parameter_docs.py'))
DEFAULTS = {parameter.name: parameter.default for parameter in parameters.PARAMETERS}


def test_config_file_repeats_the_table():
    text = (ROOT / 'config' / 'tracker.yaml').read_text()
    assert text == DOCS['yaml_text'](), 'update it: python3 scripts/parameter_docs.py yaml'
    assert yaml.safe_load(text) == {'/**': {'ros__parameters': DEFAULTS}}


def test_documentation_repeats_the_table():
    text = (ROOT / 'docs' / 'node.md').read_text()
    assert DOCS['markdown_table']() in text, (
        'update it: python3 scripts/parameter_docs.py markdown')


def test_defaults_are_allowed_and_come_from_the_tracker():
    assert parameters.validate(DEFAULTS) == []
    assert DEFAULTS['lost_confidence'] == tracker.LOST_CONFIDENCE
    assert DEFAULTS['found_confidence'] == tracker.FOUND_CONFIDENCE
    assert DEFAULTS['lost_after'] == tracker.LOST_AFTER
    assert DEFAULTS['redetection_candidates'] == redetection.CANDIDATES
    assert DEFAULTS['redetection_limit'] == redetection.LIMIT


@pytest.mark.parametrize('parameter', parameters.PARAMETERS, ids=lambda p: p.name)
def test_entry(parameter):
    assert parameter.description.endswith('.')
    if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool):
        assert parameter.minimum <= parameter.default <= parameter.maximum
        assert isinstance(parameter.minimum, type(parameter.default))
        for value in (parameter.minimum - 1, parameter.maximum + 1):
            assert parameter.name in parameters.validate_one(parameter, value)


@pytest.mark.parametrize('changes, text', [
    ({'lost_confidence': float('nan')}, 'lost_confidence must be 0.0 to 1.0, got nan'),
    ({'precision': 'double'}, 'precision must be auto, float32, bfloat16, float16 or int8'),
    ({'lost_confidence': .6},
     f'found_confidence {tracker.FOUND_CONFIDENCE} must not be below lost_confidence 0.6'),
    ({'latency_error': .1}, 'latency_error 0.1 must not be below latency_warn 0.5'),
])
def test_problems(changes, text):
    (problem,) = parameters.validate({**DEFAULTS, **changes})
    assert text in problem
