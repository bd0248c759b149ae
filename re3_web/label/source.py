# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What a source of images and labels offers the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Video:
    """
    A video to label.

    :param title: its name
    :param count: number of frames
    :param size: width and height in pixels
    :param formats: of labels that can be exported
    :param uncertain: confidence below which a frame is marked
    """

    title: str
    count: int
    size: tuple[int, int]
    formats: Sequence[str]
    uncertain: float


@dataclass(frozen=True)
class TargetState:
    """
    A target as the page shows it.

    :param keys: by frame, as text: {'box': [x1, y1, x2, y2] or None, 'occluded': bool}
    :param boxes: of all frames, None where there is none; None: not filled in yet
    :param confidence: of all frames
    :param occluded: of all frames
    """

    id: str  # noqa: A003
    label: str
    keys: dict[str, Any]
    boxes: list[list[float] | None] | None = None
    confidence: list[float] = field(default_factory=list)
    occluded: list[bool] = field(default_factory=list)


class Receiver(Protocol):
    """Where a source reports changes that come by themselves; called in any thread."""

    def track_changed(self, target_id: str) -> None:
        """Show the filled-in boxes of a target."""

    def progress(self, target_id: str, done: int, total: int) -> None:
        """Show how many frames of a target have been filled in."""

    def notice(self, level: int, text: str) -> None:
        """Show a message."""


class LabelSource(Protocol):
    """
    A video and its labels. A change is stored when its method returns, else ValueError.

    `start`, `stop` and the changes are called in the server's thread, `image`, `export` and
    `import_labels` in a worker thread.
    """

    @property
    def video(self) -> Video:
        """Return what is labeled."""

    def start(self, receiver: Receiver) -> None:
        """Begin to fill in boxes and to report."""

    def stop(self) -> None:
        """Stop, and free everything."""

    def image(self, frame: int) -> Path:
        """Return the image file of a frame."""

    def targets(self) -> Sequence[str]:
        """Return the ids of all targets, in the order in which they were made."""

    def target(self, target_id: str) -> TargetState:
        """Return a target with its boxes."""

    def version(self, target_id: str) -> str:
        """Return a text that changes with the keys and the class of a target."""

    def undoable(self) -> tuple[bool, bool]:
        """Return whether there is a change to undo, and one to redo."""

    def set_key(self, target_id: str, frame: int, box: Box | None, occluded: bool) -> str:
        """Set a box, or with None absence, from a frame on; '': a new target. Return the id."""

    def remove_key(self, target_id: str, frame: int) -> None:
        """Remove what was set in a frame."""

    def remove(self, target_id: str) -> None:
        """Remove a target."""

    def rename(self, target_id: str, to: str, label: str) -> None:
        """Give a target another id and class."""

    def undo(self) -> None:
        """Take back the last change."""

    def redo(self) -> None:
        """Make it again."""

    def export(self, form: str) -> bytes:
        """Return the labels in a format, as a zip file."""

    def load(self, name: str, content: bytes) -> Any:
        """Return the labels in an uploaded file, for `import_labels`."""

    def import_labels(self, loaded: Any) -> int:
        """Add labels; return the number of targets."""
