"""Guards the commands against drive formats of other packages: their faults become one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import DriveError, VprError, brief
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive


@contextmanager
def guarding(format_name: str, path: Path) -> Iterator[None]:
    """Turns an exception of a drive format into a DriveError that names the format and the file."""
    try:
        yield
    except (VprError, OSError):
        raise
    except Exception as error:
        kind = type(error).__name__
        raise DriveError(f"drive format '{format_name}' failed on {path}: {kind}: {brief(error)}") from error


class GuardedDrive:
    """A drive of another package's format. Everything but the iteration is the drive's own."""

    def __init__(self, drive: Drive, format_name: str, path: Path) -> None:
        self.name, self.world = drive.name, drive.world
        self._drive, self._format_name, self._file = drive, format_name, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._drive, name)

    def __len__(self) -> int:
        with self._guarding():
            return len(self._drive)

    def __iter__(self) -> Iterator[DriveFrame]:
        with self._guarding():
            frames = iter(self._drive)
        while True:
            with self._guarding():
                frame = next(frames, None)
            if frame is None:
                return
            yield self._guarded_frame(frame)

    def _guarded_frame(self, frame: DriveFrame) -> DriveFrame:
        depth, detach = frame.read_depth, frame.detach
        return dataclasses.replace(
            frame,
            read=self._guarded(frame.read),
            read_depth=None if depth is None else self._guarded(depth),
            detach=None if detach is None else lambda: self._guarded(detach()),
        )

    def _guarding(self) -> Any:
        return guarding(self._format_name, self._file)

    def _guarded(self, read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        def guarded() -> np.ndarray:
            with self._guarding():
                return read()

        return guarded
