# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Simulated sequences for training, made from photographs or from nothing."""

from training.simulator.material import DrawnMaterial, Material, StillMaterial, VideoBackgrounds
from training.simulator.scene import SceneConfig
from training.simulator.simulator import Simulator, simulator_of, SIZE

__all__ = ['DrawnMaterial', 'Material', 'SceneConfig', 'SIZE', 'Simulator', 'StillMaterial',
           'VideoBackgrounds', 'simulator_of']
