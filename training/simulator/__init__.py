# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Simulated sequences: a clip source that needs only images, or no data at all."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from training.config import SceneConfig
from training.data import det_folders, read_det, read_images, read_videos
from training.data.cache import cache_images, cache_videos, default_cache
from training.data.sources import Clip
from training.simulator.material import (
    ImageMaterial,
    log_uniform,
    Material,
    ProceduralMaterial,
    VideoBackgrounds,
)
from training.simulator.scene import (
    Actor,
    camera_pan,
    camera_shake,
    distractors,
    occluders,
    target_actor,
    wander,
)
from training.simulator.sprites import blend, Layer, streak, visible_fraction, Window

SIZE = (240, 320)
NOISE_MARGIN = 32       # pixels


class Simulator:
    """
    Clip source of random but replayable sequences: a target moves in front of a background.

    Boxes are the tight boxes of the whole target as it is drawn, also where something covers it
    or it leaves the frame; `visible` is its visible fraction.

    :param material: where objects and backgrounds come from
    :param size: height and width of the frames
    :param backgrounds: real videos as backgrounds for some clips
    :param config: distribution of the scenes
    """

    def __init__(self, material: Material, size: tuple[int, int] = SIZE,
                 backgrounds: VideoBackgrounds | None = None,
                 config: SceneConfig | None = None):
        self.material, self.size, self.backgrounds = material, size, backgrounds
        self.config = config or SceneConfig()

    def properties(self) -> dict:
        """Return what distinguishes this simulator from others, anything for JSON."""
        videos = self.backgrounds and self.backgrounds.videos.directory.name
        return {**self.material.properties(), 'videos': videos, 'size': list(self.size),
                'scene': asdict(self.config)}

    def sample(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a sequence; the target is mostly visible in its first frame."""
        for _ in range(7):
            scene = _Scene(rng, self, length)
            if scene.visible_at(0) >= 0.6:
                return scene.render()
        return _Scene(rng, self, length).render()


class _Scene:
    """One sequence, drawn before its frames are rendered."""

    def __init__(self, rng: np.random.Generator, simulator: Simulator, length: int):
        config, self.size, self.length = simulator.config, simulator.size, length
        self.shutter = 0.0 if rng.random() < 0.25 else rng.uniform(0.2, 0.9)
        pan, jitter = camera_pan(rng, length), camera_shake(rng, length)
        cutout = simulator.material.cutout(rng)
        self.target = target_actor(rng, cutout, length, self.size, config)
        others = distractors(rng, self.target, cutout, simulator.material, pan, self.size, config)
        self.front = occluders(rng, self.target, simulator.material, self.size, config)
        split = len(others) if rng.random() < 0.7 else int(rng.integers(0, len(others) + 1))
        self.behind, self.front = others[:split], others[split:] + self.front
        for actor in (self.target, *self.behind, *self.front):
            actor.centers = actor.centers + jitter
        # A shaking camera must not push the target's center far out of the frame.
        sides, extent = 0.9 * self.target.sides, np.array(self.size[::-1])
        self.target.centers = np.clip(self.target.centers, -sides, extent + sides)
        self.ground = _Ground(rng, simulator, pan, jitter)
        self.camera = Camera(rng, length, self.size, config)

    def _draw(self, actor: Actor, index: int, limits: Window | None = None) -> Layer | None:
        """Draw an actor at a time, as a mixture of its appearances if it has two."""
        before, after = max(0, index - 1), min(self.length - 1, index + 1)
        motion = (actor.centers[after] - actor.centers[before]) / max(1, after - before)
        smear = np.clip(self.shutter * motion, -40, 40)
        layer, *others = [sprite.draw(actor.matrix(index), actor.poses[index], smear, limits)
                          for sprite in actor.sprites]
        for other in others:
            if layer is not None and other is not None:
                share = float(actor.changes[index])
                layer = layer._replace(image=cv2.addWeighted(
                    layer.image, 1 - share, other.image, share, 0))
        return layer

    def _layers(self, actors: list[Actor], index: int) -> list[Layer]:
        """Draw actors as far as they lie in the frame."""
        limits = Window(-24, -24, self.size[1] + 24, self.size[0] + 24)
        drawn = (self._draw(actor, index, limits) for actor in actors)
        return [layer for layer in drawn if layer is not None]

    def _draw_target(self, index: int) -> Layer:
        """Draw the whole target, also outside of the frame."""
        layer = self._draw(self.target, index)
        assert layer is not None, 'without limits there is always a layer'
        return layer

    def visible_at(self, index: int) -> float:
        """Return the visible fraction of the target in a frame."""
        front = self._layers(self.front, index)
        return visible_fraction(self._draw_target(index), front, self.size)

    def render(self) -> Clip:
        """Draw all frames."""
        frames = np.empty((self.length, *self.size, 3), np.uint8)
        boxes = np.empty((self.length, 4), np.float32)
        visible = np.empty(self.length, np.float32)
        for index in range(self.length):
            frame = self.ground.render(index, self.shutter)
            for layer in self._layers(self.behind, index):
                blend(frame, layer)
            target = self._draw_target(index)
            blend(frame, target)
            front = self._layers(self.front, index)
            for layer in front:
                blend(frame, layer)
            frames[index] = self.camera.expose(frame, index)
            boxes[index] = self.target.sprites[0].box(self.target.matrix(index),
                                                      self.target.poses[index])
            visible[index] = visible_fraction(target, front, self.size)
        return Clip(frames, boxes, visible)


class _Ground:
    """The background with the camera's movement over it."""

    def __init__(self, rng: np.random.Generator, simulator: Simulator, pan: np.ndarray,
                 jitter: np.ndarray):
        length, self.size = len(pan), simulator.size
        videos = simulator.backgrounds
        if videos is not None and rng.random() < simulator.config.video_prob:
            self.frames = videos.frames(rng, length)
            # Real video moves by itself; the simulated pan would be added to it.
            shift, zoom = jitter, np.ones(length)
        else:
            self.frames = [simulator.material.background(rng)] * length
            shift, zoom = pan + jitter, np.exp(wander(rng, length, 0.04, 0.97)[:, 0])
        angles = wander(rng, length, 0.03, 0.97)[:, 0] * (rng.random() < 0.3)
        self.matrices, self.shift = self._matrices(rng, shift, zoom, angles), shift
        if rng.random() < 0.5:      # mirrored
            self.matrices[:, 0] *= -1
            self.matrices[:, 0, 2] += self.size[1] - 1
            self.shift = shift * (-1, 1)

    def _matrices(self, rng: np.random.Generator, shift: np.ndarray, zoom: np.ndarray,
                  angles: np.ndarray) -> np.ndarray:
        """Return the maps (T, 2, 3) from points of the background to points of the frame."""
        extent = np.array(self.frames[0].shape[1::-1], np.float64)
        wanted = np.array(self.size[::-1], np.float64)
        scale = (wanted / extent).max() * log_uniform(rng, 1.0, 1.7)
        spare = np.maximum(extent - wanted / scale, 0)
        middle = wanted / scale / 2 + rng.uniform(0, 1, 2) * spare
        scales = scale * zoom / zoom[0]
        cosine, sine = np.cos(angles) * scales, np.sin(angles) * scales
        linear = np.stack((np.stack((cosine, -sine), 1), np.stack((sine, cosine), 1)), 1)
        offset = wanted / 2 + shift - linear @ middle
        return np.concatenate((linear, offset[..., None]), axis=2)

    def render(self, index: int, shutter: float) -> np.ndarray:
        """Draw the background of a frame in new memory."""
        drawn = cv2.warpAffine(
            self.frames[index], self.matrices[index], self.size[::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101)
        smear = shutter * (self.shift[index] - self.shift[max(0, index - 1)])
        return streak(drawn, np.clip(smear, -40, 40))


class Camera:
    """Effects of a camera: light, focus, noise, compression."""

    def __init__(self, rng: np.random.Generator, length: int, size: tuple[int, int],
                 config: SceneConfig):
        self.tables = _tables(rng, length)
        self.grayscale = rng.random() < config.grayscale_prob
        self.sharpness = None
        if rng.random() < config.blur_prob:     # standard deviations in pixels
            level = log_uniform(rng, 0.5, 3.0)
            self.sharpness = np.abs(level + wander(rng, length, level * 0.4, 0.95)[:, 0])
        # A sheet of noise is larger than the frame, which lies elsewhere on it every time.
        self.offsets, self.noise = rng.integers(0, NOISE_MARGIN + 1, (length, 2)), None
        if rng.random() >= 0.4:
            sheet = rng.standard_normal((*np.add(size, NOISE_MARGIN), 3), np.float32)
            self.noise = np.rint(sheet * log_uniform(rng, 0.7, 9)).astype(np.int16)
        self.quality = int(log_uniform(rng, 15, 90)) if (
            rng.random() < config.jpeg_prob) else None

    def expose(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return the frame as the camera would deliver it."""
        if self.sharpness is not None and self.sharpness[index] > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), float(self.sharpness[index]))
        if self.tables is not None:
            frame = cv2.LUT(frame, self.tables[index])
        if self.grayscale:
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.noise is not None:
            x, y = self.offsets[index]
            height, width = frame.shape[:2]
            frame = cv2.add(frame, self.noise[y:y + height, x:x + width], dtype=cv2.CV_8U)
        if self.quality is not None:
            coded = cv2.imencode('.jpg', frame, (cv2.IMWRITE_JPEG_QUALITY, self.quality))[1]
            frame = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return frame


def _tables(rng: np.random.Generator, length: int) -> np.ndarray | None:
    """Draw the light over time as tables (T, 256, 1, 3), drifting, with sudden changes."""
    kind = rng.random()
    if kind < 0.25:
        return None
    gamma = rng.normal(0, 0.2) + wander(rng, length, log_uniform(rng, .005, .15), .95)[:, 0]
    if kind > 0.9:
        gamma += rng.normal(0, 0.5) * (np.arange(length) > rng.uniform(2, length))
    gain = np.exp(rng.normal(0, 0.08, 3) + wander(rng, length, 0.02, 0.95, 3))
    offset = rng.normal(0, 10) + wander(rng, length, log_uniform(rng, 0.5, 8), 0.95)
    ramp = np.linspace(0, 1, 256)[None, :] ** np.exp(np.clip(gamma, -1, 1))[:, None]
    values = ramp[..., None] * 255 * gain[:, None] + offset[:, None]
    return np.clip(values, 0, 255).astype(np.uint8)[:, :, None]


def make_simulator(images: str = '', videos: str = '', cache: Path | None = None,
                   size: tuple[int, int] = SIZE, config: SceneConfig | None = None) -> Simulator:
    """
    Make a simulator from folders.

    :param images: folder of images, with `boxes.json` and masks or not, or ImageNet DET; empty:
        procedural textures
    :param videos: folder of videos for backgrounds; empty: no moving backgrounds
    :param cache: folder of decoded frames; needed with `images` and `videos`
    :raises DataError: if something in the folders is malformed
    """
    material: Material = ProceduralMaterial()
    if images:
        read = read_images if det_folders(Path(images)) is None else read_det
        material = ImageMaterial(cache_images(read(images), cache or default_cache()))
    backgrounds = VideoBackgrounds(cache_videos(read_videos(videos), cache or default_cache())) \
        if videos else None
    return Simulator(material, size, backgrounds, config)
