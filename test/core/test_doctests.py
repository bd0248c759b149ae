# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The examples in the docstrings of re3_core."""

import doctest
import importlib
import pkgutil

import pytest
import re3_core

MODULES = [module.name for module in pkgutil.walk_packages(re3_core.__path__, 're3_core.')
           if not module.name.endswith('__main__')]


# Packages that only some modules need.
OPTIONAL = ('onnx', 'onnxruntime', 'openvino')


def load(name):
    """Import a module; skip the test if it needs a package that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f'{error.name} is not installed')


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    assert doctest.testmod(load(name)).failed == 0


def test_there_are_examples():
    names = ('re3_core.boxes', 're3_core.crops', 're3_core.redetection')
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in names) > 15
