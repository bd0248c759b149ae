# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Masks of the objects that stand out, by a segmentation network in an ONNX file.

    python -m training.segment --images IMAGES --output DIR --segmenter isnet.onnx

Networks such as ISNet (Qin et al. 2022) take an image of fixed size and return a map of values
from 0 to 1. The result is a folder of images with `boxes.json` and masks, from which the
simulator cuts objects; `training.autolabel --segmenter` proposes the same objects. Needs the
extra `openvino`; no network comes with this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from re3_core.boxes import xywh_to_xyxy
from re3_core.io.files import atomic_write, printable
from re3_core.io.images import read_image, save_image
from tqdm import tqdm
from training.config import run_command
from training.data import read_images
from training.data.base import DataError, shrink
from training.data.images import BOXES_FILE, MASK_FOLDER, write_boxes_file
from tyro import MISSING

# Values of the map from which a pixel belongs to an object, and at least reached inside of it.
INSIDE, CERTAIN = .5, .9
# Area of an object in shares of the image.
MIN_AREA, MAX_AREA = .002, .7


class Objects(NamedTuple):
    """Objects of an image, largest first: boxes (N, 4) `xyxy`, mask (H, W) with k in the k-th."""

    boxes: np.ndarray
    mask: np.ndarray


class Segmenter:
    """
    A network that finds the objects that stand out.

    :param path: ONNX file with one input (1, 3, S, S), RGB scaled to -.5 .. .5, and a first
        output (1, 1, S, S) from 0 to 1
    :param threads: of the network; 0: as many as there are
    :raises ValueError: for a file that is no such network
    :raises OSError: if there is no such file
    """

    def __init__(self, path: str | Path, threads: int = 1):
        try:
            import openvino
        except ImportError:
            raise ValueError("segmentation needs OpenVINO: pip install 're3_ros[openvino]'"
                             ) from None
        if not Path(path).is_file():
            raise FileNotFoundError(f'{printable(path)}: no such file')
        try:
            self._model: Any = openvino.Core().compile_model(
                str(path), 'CPU', {'INFERENCE_NUM_THREADS': threads} if threads else {})
        except RuntimeError:
            raise ValueError(f'{printable(path)}: not a network that OpenVINO can load') from None
        shape = self._model.inputs[0].partial_shape
        if len(self._model.inputs) != 1 or shape.is_dynamic or len(shape) != 4:
            raise ValueError(f'{printable(path)}: a segmenter has one input (1, 3, S, S), this '
                             f'one has {shape}')
        self._size = tuple(shape.to_shape())[:1:-1]

    def saliency(self, image: np.ndarray) -> np.ndarray:
        """Return the map (H, W) float32, 0..1, of an image (H, W, 3) uint8 RGB."""
        pixels = cv2.resize(image, self._size).astype(np.float32).transpose(2, 0, 1)
        found = self._model([(pixels[None] - 128) / 256])[self._model.outputs[0]]
        return cv2.resize(found.reshape(found.shape[-2:]), image.shape[1::-1])

    def objects(self, image: np.ndarray) -> Objects:
        """Return the objects of an image (H, W, 3) uint8 RGB."""
        return separate(self.saliency(image))


def separate(saliency: np.ndarray) -> Objects:
    """Return the connected objects of a map (H, W), 0..1."""
    inside = cv2.morphologyEx((saliency >= INSIDE).astype(np.uint8), cv2.MORPH_OPEN,
                              np.ones((3, 3), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    shares = stats[:, cv2.CC_STAT_AREA] / parts.size
    kept = [part for part in np.argsort(-shares) if part and MIN_AREA <= shares[part] <= MAX_AREA
            and saliency[parts == part].max() >= CERTAIN]
    mask = np.zeros(parts.shape, np.uint8)
    for number, part in enumerate(kept, 1):
        mask[parts == part] = number
    return Objects(xywh_to_xyxy(stats[kept, :4].astype(float).reshape(-1, 4)), mask)


@dataclass(frozen=True)
class SegmentOptions:
    """
    Segment the objects of images, for the simulator.

    :param images: folder of images; boxes that they have are not used
    :param output: new folder for the images with their boxes and masks
    :param segmenter: ONNX file of the network
    :param max_side: longer side of the images written, in pixels
    """

    images: Path = MISSING
    output: Path = MISSING
    segmenter: Path = MISSING
    max_side: int = 480


def run(options: SegmentOptions) -> None:
    """Run the command."""
    segmenter = Segmenter(options.segmenter)
    images = read_images(options.images)
    (options.output / MASK_FOLDER).mkdir(parents=True, exist_ok=True)
    if (options.output / BOXES_FILE).exists():
        raise DataError(f'{printable(options.output)}: there are segmented images already')
    found, skipped = {}, []
    for number, item in enumerate(tqdm(images, unit='image', disable=None)):
        try:
            image = shrink(read_image(item.path), options.max_side)
        except (OSError, ValueError) as error:
            skipped.append(f'{printable(item.path)}: {error}')
            continue
        objects = segmenter.objects(image)
        if len(objects.boxes):
            name = f'{number:06d}'
            save_image(options.output / f'{name}.jpg', image)
            with atomic_write(options.output / MASK_FOLDER / f'{name}.png') as part:
                part.write_bytes(cv2.imencode('.png', objects.mask)[1].tobytes())
            found[f'{name}.jpg'] = objects.boxes
    if not found:
        raise DataError(f'{printable(options.images)}: no object found in {len(images)} images')
    write_boxes_file(options.output, found)
    for line in skipped:
        print(line, file=sys.stderr)
    print(f'{sum(map(len, found.values()))} objects in {len(found)} '
          f'of {len(images)} images: {printable(options.output)}')


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m training.segment`; return the exit status."""
    return run_command(SegmentOptions, run, arguments)


if __name__ == '__main__':
    sys.exit(main())
