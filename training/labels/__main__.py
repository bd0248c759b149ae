# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Convert labels: `python -m training.labels SOURCE FOLDER --to FORMAT`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import sys

from re3_core.io.files import printable
from training.config import run_command
from training.data.base import DataError
from training.labels import plain_name, read_labels, write_labels, WRITTEN
import tyro


@dataclass(frozen=True)
class ConvertOptions:
    """
    Convert labels from one format into another.

    :param source: folder or file of labels: OTB, GOT-10k, MOT, COCO, YOLO, CVAT XML or a project
        of training.label
    :param folder: new folder; of several videos each gets a folder in it
    :param to: otb, got10k, mot, coco, yolo or cvat
    :param format: of the source; auto: detect it
    :param images: also copy the frames
    """

    source: tyro.conf.Positional[Path]
    folder: tyro.conf.Positional[Path]
    to: str
    format: str = 'auto'  # noqa: A003
    images: bool = True


def convert(options: ConvertOptions) -> None:
    """Run the command."""
    if options.to not in WRITTEN:
        raise DataError(f'--to must be one of {", ".join(WRITTEN)}, got {options.to!r}')
    videos = read_labels(options.source, options.format)
    names = [plain_name(labels.name) for labels in videos]
    for number, (labels, name) in enumerate(zip(videos, names, strict=True)):
        unique = name if names.count(name) == 1 else f'{name}_{number}'
        folder = options.folder if len(videos) == 1 else options.folder / unique
        write_labels(labels, folder, options.to, options.images)
        print(f'{printable(folder)}: {len(labels.targets)} targets in {len(labels)} frames')


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return run_command(ConvertOptions, convert, arguments)


if __name__ == '__main__':
    sys.exit(main())
