"""Trajectories in TUM format, as SLAM systems and evo write them: stamp x y z qx qy qz qw."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_quat_xyzw, transform
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import check_spacing, nanoseconds
from vpr_ros.base.track import NO_GAP, Track
from vpr_ros.drives.files import is_number, number, open_text

_NUMBERS = 8  # in a line


def is_tum(path: Path) -> bool:
    """Whether the first line of a file that is no comment and no header has as many numbers as a pose."""
    with closing(_lines(path)) as lines:  # only its start is read
        return len(next(lines, (0, []))[1]) == _NUMBERS


def _lines(path: Path) -> Generator[tuple[int, list[str]], None, None]:
    """Number and words of each line, from 1, without comments (#) and a header of names above the first pose."""
    begun = False
    with open_text(path) as file:
        for row, line in enumerate(file, start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if begun or any(map(is_number, words)):
                begun = True
                yield row, words


def read_tum(path: Path | str, max_gap_ns: int = NO_GAP, tally: Tally | None = None) -> Track:
    """The track in a file: stamps in seconds, exact to the nanosecond; metres; unit quaternions.

    tally: counts poses whose time an earlier one has. Raises DriveError, which names the line, if the file cannot be
    read or has no poses.
    """
    path, stamps_ns, poses = Path(path), [], []
    for row, words in _lines(path):
        stamp_ns = nanoseconds(words[0], "seconds", f"line {row} of {path}, a trajectory in TUM format")
        try:
            x, y, z, *quat_xyzw = (number(word) for word in words[1:])
            poses.append(transform(matrix_from_quat_xyzw(np.array(quat_xyzw)), np.array([x, y, z])))
            if len(quat_xyzw) != 4 or not np.isfinite([x, y, z]).all():
                raise ValueError("eight finite numbers are needed")
            stamps_ns.append(stamp_ns)
        except ValueError as error:
            raise DriveError(
                f"{path} cannot be read as a trajectory: line {row} of {path.name} is not a pose in TUM format, "
                f"stamp x y z qx qy qz qw ({error})"
            ) from error
    if not poses:
        raise DriveError(f"{path} has no poses: it needs lines of stamp x y z qx qy qz qw")
    check_spacing(stamps_ns, "seconds", str(path))
    return Track.of(stamps_ns, poses, max_gap_ns, tally, path.name)
