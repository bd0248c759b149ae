# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""An environment with one engine and nothing that is not declared, above all without torch."""

from importlib import metadata
import json
import os
from pathlib import Path
import re
import subprocess
import venv

import pytest

TRACK = """
import importlib.util
import json
import numpy as np
import re3_core
import re3_web.__main__
assert importlib.util.find_spec('torch') is None
tracker = re3_core.Tracker()
frames = np.random.default_rng(0).integers(0, 255, (4, 120, 160, 3), np.uint8)
tracker.init('cup', frames[0], (40, 30, 90, 90))
for frame in frames[1:]:
    track = tracker.update(frame)['cup']
print(json.dumps([tracker.engine, tracker.precision, track.box.tolist()]))
"""
REFUSED = """
import re3_core
try:
    re3_core.load_network()
except ImportError as error:
    print(error)
try:
    re3_core.Tracker(engine='torch')
except ValueError as error:
    print(error)
"""


def distributions(requirements):
    """Return the installed distributions that requirements need, by name, with all of theirs."""
    found, left = {}, list(requirements)
    while left:
        requirement = left.pop()
        name = re.match(r'[\w.-]+', requirement).group().lower()
        if name.startswith('opencv'):       # any build of it
            name = metadata.packages_distributions()['cv2'][0]
        if name in found or 'extra ==' in requirement:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if ';' in requirement:          # for other systems
                continue
            pytest.skip(f'{name} is not installed')
        left += found[name].requires or []
    return found


@pytest.fixture(params=['onnxruntime', 'openvino'])
def light(request, setup_arguments, tmp_path):
    """Return an engine and the Python of an environment with it, of what is installed here."""
    engine = request.param
    wanted = setup_arguments['install_requires'] + setup_arguments['extras_require'][engine] + (
        setup_arguments['extras_require']['web'])
    venv.create(tmp_path / 'light', with_pip=False)
    [packages] = (tmp_path / 'light').glob('lib/python*/site-packages')
    for distribution in distributions(wanted).values():
        for file in distribution.files or ():
            if file.parts[0] in ('..', '__pycache__'):
                continue
            link = packages / file.parts[0]
            if not link.is_symlink():
                link.symlink_to(Path(distribution.locate_file(file.parts[0])).resolve())
    return engine, tmp_path / 'light' / 'bin' / 'python'


def run_python(python, code, root):
    """Return the output of Python code in an environment that finds this package."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('PYTHON')}
    result = subprocess.run([python, '-c', code], capture_output=True, text=True, cwd=root,
                            env={**environment, 'PYTHONPATH': str(root)}, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_an_engine_and_no_torch_are_enough(light, root):
    engine, python = light
    name, precision, box = json.loads(run_python(python, TRACK, root))
    assert (name, precision) == (engine, 'int8')
    assert all(-100 < value < 300 for value in box)


def test_one_line_names_what_needs_torch(light, root):
    lines = run_python(light[1], REFUSED, root).splitlines()
    assert lines == ['load_network needs torch: pip install re3_ros[torch]',
                     'torch needs the package torch, which is not installed']


def test_every_tool_that_needs_torch_asks_for_it(setup_arguments):
    extras = setup_arguments['extras_require']
    assert not [line for line in setup_arguments['install_requires'] if 'torch' in line]
    for extra in ('torch', 'training', 'export'):
        assert {'safetensors>=0.4', 'torch>=2.0'} <= set(extras[extra])
