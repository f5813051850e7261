"""Drives derived from others: with frame numbers as poses, moved to another frame, or sampled."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.world import FRAMES
from vpr_ros.drives.drive import Drive, is_trip_of, numbers_of, path_of, pose_span_of, sample, tally_of
from vpr_ros.drives.left_out import count_without_pose

logger = logging.getLogger(__name__)

_LARGEST_STEP = 20  # between frame numbers, from which on they may be milliseconds


class _View:
    """A drive derived from another, with the same name and files."""

    def __init__(self, drive: Drive) -> None:
        self.name, self.world = drive.name, drive.world
        self.path, self.pose_span = path_of(drive), pose_span_of(drive)
        self._drive = drive

    def __len__(self) -> int:
        return len(self._drive)

    @property
    def tally(self) -> Tally:
        """What the drive left out."""
        return tally_of(self._drive)

    @property
    def is_trip(self) -> bool:
        """Whether the images come in the order of a trip."""
        return is_trip_of(self._drive)


class NumberedDrive(_View):
    """A drive whose true poses are frame numbers: frame k is at x = k metres in the world "frames".

    For recordings in which the same number means the same place; a tolerance in frames is then one in metres. The
    numbers are those in the images' names (``files.numbers_of``), so that a missing image moves no other. If the names
    have none, it is the order of the images, with a warning.
    """

    def __init__(self, drive: Drive) -> None:
        super().__init__(drive)
        self.world = FRAMES
        if getattr(drive, "numbers", None) == []:
            logger.warning(
                "drive %s: its images are numbered in order, from 0, since their names have no frame number (one that "
                "ascends while all else is the same, and no time)",
                drive.name,
            )
        elif (step := float(np.median(np.diff(getattr(drive, "numbers", None) or [0, 1])))) > _LARGEST_STEP:
            logger.warning(
                "drive %s: the numbers in its images' names rise by %g from image to image, and are taken for "
                "metres; if they are times, name the images otherwise",
                drive.name,
                step,
            )

    @property
    def is_trip(self) -> bool:
        """Frame numbers ascend."""
        return True

    def __iter__(self) -> Iterator[DriveFrame]:
        for number, frame in zip(numbers_of(self._drive), self._drive, strict=False):  # count() never ends
            T_map_camera = geometry.transform(geometry.R_BODY_OPTICAL, np.array([number, 0.0, 0.0]))
            yield dataclasses.replace(frame, T_map_camera=T_map_camera, T_odom_camera=None)


class MovedDrive(_View):
    """A drive with its true poses changed by a function (4, 4) -> (4, 4), such as ``PlaceMap.map_pose``."""

    def __init__(self, drive: Drive, move: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(drive)
        self._move = move

    def __iter__(self) -> Iterator[DriveFrame]:
        for frame in self._drive:
            moved = None if frame.T_map_camera is None else self._move(frame.T_map_camera)
            yield dataclasses.replace(frame, T_map_camera=moved)


class SampledDrive(_View):
    """A drive sampled by distance and time, see ``drive.sample``. Its length is counted once."""

    def __init__(self, drive: Drive, every_m: float = 5.0, every_s: float = 0.0) -> None:
        super().__init__(drive)
        self._every_m, self._every_s = every_m, every_s
        self._stamps_ns: list[int] = []  # of all images in the last iteration
        self._missing = 0  # how many of them have no pose to sample by

    @cached_property
    def _length(self) -> int:
        return sum(1 for _ in self)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[DriveFrame]:
        return sample(self._noted(), self._every_m, self._every_s)

    def _noted(self) -> Iterator[DriveFrame]:
        """The frames of the drive. Counts those that sampling leaves out because they have no pose."""
        self._stamps_ns, self._missing = [], 0
        for frame in self._drive:
            self._stamps_ns.append(frame.stamp_ns)
            self._missing += self._every_m > 0 and frame.T_map_camera is None
            yield frame

    @property
    def tally(self) -> Tally:
        """What the drive left out, and the images without a pose to sample by."""
        tally = Tally()
        tally.update(super().tally)
        count_without_pose(tally, self._drive, self._stamps_ns, self._missing)
        return tally
