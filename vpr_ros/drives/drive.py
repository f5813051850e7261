"""What every kind of drive offers, and sampling along it."""

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
    """A recorded (or simulated) trip: images in order of time, not decoded until asked for.

    name: for people and for the map's drives table. world: names the frame its poses live in ("utm 30 north", "town 7",
    "local"), see ``world``, "" if it has no poses; drives of one world can share a map. len() is the number of images,
    of which those that cannot be placed in time are left out on the way. Iterating twice gives the same frames.

    A drive that was read from files also has: path, where it lies; tally, a Tally of what it left out, on opening and
    on the last pass; pose_span, a ``times.Span`` from its first to its last true pose, or None. A folder of images has
    table, the CSV file of its poses or None, and numbers, those of its frames, [] if their names do not count them.
    """

    name: str
    world: str

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DriveFrame]: ...


def path_of(drive: Drive) -> Path | None:
    """Where a drive lies, None for one that is computed."""
    return getattr(drive, "path", None)


def tally_of(drive: Drive) -> Tally:
    """What a drive itself left out, on opening and on the last pass."""
    return getattr(drive, "tally", None) or Tally()


def pose_span_of(drive: Drive) -> Span | None:
    """From when to when a drive has true poses, None if it has none or does not know."""
    return getattr(drive, "pose_span", None)


def numbers_of(drive: Drive) -> Iterable[int]:
    """The numbers of a drive's frames: of its images, else 0, 1, ..."""
    return getattr(drive, "numbers", None) or count()


def sample(drive: Iterable[DriveFrame], every_m: float = 5.0, every_s: float = 0.0) -> Iterator[DriveFrame]:
    """The frames of a drive that lie at least every_m metres and every_s seconds after the last one taken.

    Distance is straight between true positions; a frame without a true pose is left out when every_m is above zero.
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
