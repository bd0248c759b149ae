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


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 20
