# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Shared by the tests of the package: its root, the arguments of setup.py, a copy to build."""

import ast
from pathlib import Path
import runpy
import shutil

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCES = shutil.ignore_patterns(
    '.git', '.venv', '.venv.lock', 'build', 'install', 'log', 'site', 'demo_output', 'runs',
    '__pycache__', '*.egg-info', '.*_cache', '.hypothesis')


@pytest.fixture
def root():
    """Return the folder of the package."""
    return ROOT


@pytest.fixture
def imports_of():
    """Return a function that gives the top-level names of the modules a file imports."""
    def imports(path):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split('.')[0])
        return names
    return imports


@pytest.fixture
def setup_arguments(monkeypatch):
    """Return what setup.py gives to setuptools."""
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: given.update(arguments))
    runpy.run_path('setup.py')
    return given


@pytest.fixture(scope='session')
def sources(tmp_path_factory):
    """Return a copy of the package's sources, as builds leave files beside them."""
    copy = tmp_path_factory.mktemp('workspace') / 'src' / 're3_ros'
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCES)
    return copy


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Return a weights file of a tiny network that was not trained."""
    from re3_core import save_network
    from re3_core.networks import Re3LiteNet
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(Re3LiteNet(width=.25, embedding=8, hidden=16), path)
    return path
