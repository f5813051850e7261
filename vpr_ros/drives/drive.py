"""The interface of a drive, and sampling along one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np

from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span


class Drive(Protocol):
    """A recorded or simulated trip: images in order of time, decoded on demand.

    len() is the number of images; iterating leaves out those without a valid time. Iterating twice gives the same
    frames.

    A drive that is read from files may also have these attributes:
    path: the file or folder.
    tally: a Tally of what was left out, on opening and in the last iteration.
    pose_span: a ``times.Span`` from the first to the last true pose, or None.
    other_poses: without true poses, the options that would take others of the recording for them.
    table: the CSV file with the poses, or None.
    numbers: the frame numbers in the images' names; [] if the names have none.
    is_trip: whether the images come in the order of a trip (``base.track.is_trip``).
    """

    name: str
    """Name in maps and reports."""
    world: str
    """Name of the frame of the poses, such as "utm 30 north" or "local" (see ``base.world``); "" without poses. Drives
    of one world can share a map."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DriveFrame]: ...


def path_of(drive: Drive) -> Path | None:
    """The file or folder of a drive; None for a simulated one."""
    return getattr(drive, "path", None)


def tally_of(drive: Drive) -> Tally:
    """What a drive left out, on opening and in the last iteration."""
    return getattr(drive, "tally", None) or Tally()


def pose_span_of(drive: Drive) -> Span | None:
    """The time from the first to the last true pose of a drive, None if it has none."""
    return getattr(drive, "pose_span", None)


def is_trip_of(drive: Drive) -> bool:
    """Whether the images of a drive come in the order of a trip, and not in that of their names."""
    return bool(getattr(drive, "is_trip", True))


def numbers_of(drive: Drive) -> Iterable[int]:
    """The frame numbers of a drive: those in its images' names, else 0, 1, ..."""
    return getattr(drive, "numbers", None) or count()


def sample(drive: Iterable[DriveFrame], every_m: float = 5.0, every_s: float = 0.0) -> Iterator[DriveFrame]:
    """The frames of a drive that are at least every_m metres and every_s seconds after the last one taken.

    Distances are straight lines between true positions. If every_m is above zero, frames without a true pose are left
    out.
    """
    taken_stamp_ns: int | None = None
    taken_position = np.zeros(3)
    for frame in drive:
        if every_m > 0 and frame.T_map_camera is None:
            continue
        position = taken_position if frame.T_map_camera is None else frame.T_map_camera[:3, 3]
        if taken_stamp_ns is not None:
            soon = 0 <= frame.stamp_ns - taken_stamp_ns < every_s * 1e9  # below 0, the images' clock jumped back
            if soon or np.linalg.norm(position - taken_position) < every_m:
                continue
        taken_stamp_ns, taken_position = frame.stamp_ns, position
        yield frame
