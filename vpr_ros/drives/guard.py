"""Guards the commands against drive formats of other packages: their faults become one sentence."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError, VprError, brief
from vpr_ros.base.geometry import pose_fault
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive

logger = logging.getLogger(__name__)


@contextmanager
def guarding(format_name: str, path: Path) -> Iterator[None]:
    """Turns an exception of a drive format into a DriveError that names the format and the file."""
    try:
        yield
    except (VprError, PermissionError):
        raise
    except Exception as error:
        raise _fault(format_name, path, f"{type(error).__name__}: {brief(error)}") from error


def _fault(format_name: str, path: Path, sentence: str) -> DriveError:
    return DriveError(f"drive format '{format_name}' failed on {path}: {sentence}")


class GuardedDrive:
    """A drive of another package's format. Everything but the iteration is the drive's own."""

    def __init__(self, drive: Drive, format_name: str, path: Path) -> None:
        self.name, self.world = drive.name, drive.world
        self._drive, self._format_name, self._file = drive, format_name, path
        self._last_ns, self._warned = -(2**63), False

    def __getattr__(self, name: str) -> Any:
        if name == "_drive" or name.startswith("__"):  # asked for by pickle, before there is a drive
            raise AttributeError(name)
        return getattr(self._drive, name)

    def __len__(self) -> int:
        with self._guarding():
            return len(self._drive)

    def __iter__(self) -> Iterator[DriveFrame]:
        self._last_ns = -(2**63)
        with self._guarding():
            frames = iter(self._drive)
        while True:
            with self._guarding():
                frame = next(frames, None)
            if frame is None:
                return
            yield self._guarded_frame(frame)

    def _guarded_frame(self, frame: DriveFrame) -> DriveFrame:
        self._check(frame)
        depth, detach = frame.read_depth, frame.detach
        return dataclasses.replace(
            frame,
            read=self._guarded(frame.read, self._checked_image),
            read_depth=None if depth is None else self._guarded(depth, self._checked_depth),
            detach=None if detach is None else lambda: self._guarded(detach(), self._checked_image),
        )

    def _check(self, frame: DriveFrame) -> None:
        """Raises DriveError for an invalid frame, stamp or pose, and warns of stamps that go back."""
        if not isinstance(frame, DriveFrame):
            raise self._fault(f"a frame is {type(frame).__name__}; give a DriveFrame")
        if frame.intrinsics is not None and not isinstance(frame.intrinsics, Intrinsics):
            raise self._fault(f"intrinsics are {type(frame.intrinsics).__name__}; give Intrinsics, or None")
        if isinstance(frame.stamp_ns, bool) or not isinstance(frame.stamp_ns, (int, np.integer)):
            raise self._fault(f"stamp_ns is {frame.stamp_ns!r}; give integer nanoseconds")
        if not -(2**63) <= frame.stamp_ns < 2**63:
            raise self._fault(f"stamp_ns {frame.stamp_ns} does not fit 64 bits; give nanoseconds since 1970")
        for name in ("T_map_camera", "T_odom_camera"):
            pose = getattr(frame, name)
            if pose is not None and (fault := pose_fault(pose)):
                raise self._fault(
                    f"{name} at stamp {frame.stamp_ns} is {fault}; give a (4, 4) array of finite floats: a rotation, a "
                    "translation in metres and the row 0 0 0 1"
                )
        if frame.stamp_ns < self._last_ns and not self._warned:
            logger.warning("drive format '%s': the stamps of %s go back in time", self._format_name, self._file)
            self._warned = True
        self._last_ns = frame.stamp_ns

    def _checked_image(self, image: np.ndarray) -> np.ndarray:
        right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        if not right or not image.size:
            what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise self._fault(f"an image is {what}; give an (H, W, 3) array of uint8, RGB")
        return image

    def _checked_depth(self, depth: np.ndarray) -> np.ndarray:
        floats = isinstance(depth, np.ndarray) and np.issubdtype(depth.dtype, np.floating)
        if not floats or depth.ndim != 2 or not depth.size or np.nan_to_num(depth, nan=-1.0).min() < 0:
            what = f"{depth.dtype} of shape {depth.shape}" if isinstance(depth, np.ndarray) else type(depth).__name__
            raise self._fault(f"depth is {what}; give an (H, W) array of floats: metres, 0 where it is unknown")
        return depth

    def _fault(self, sentence: str) -> DriveError:
        return _fault(self._format_name, self._file, sentence)

    def _guarding(self) -> Any:
        return guarding(self._format_name, self._file)

    def _guarded(
        self, read: Callable[[], np.ndarray], check: Callable[[np.ndarray], np.ndarray] = lambda array: array
    ) -> Callable[[], np.ndarray]:
        def guarded() -> np.ndarray:
            with self._guarding():
                return check(read())

        return guarded
