"""Trajectories in TUM format, as SLAM systems and evo write them: stamp x y z qx qy qz qw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_quat_xyzw, transform
from vpr_ros.base.times import check_spacing, nanoseconds
from vpr_ros.base.track import NO_GAP, Track
from vpr_ros.drives.files import number, read_bytes

_START, _NUMBERS = 1 << 16, 8  # bytes that are looked at, numbers in a line


def is_tum(path: Path) -> bool:
    """Whether the first line of a file that is no comment has as many numbers as a pose."""
    lines = (line.split() for line in read_bytes(path)[:_START].decode(errors="replace").splitlines())
    first = next((words for words in lines if words and not words[0].startswith("#")), [])
    try:
        return len([number(word) for word in first]) == _NUMBERS
    except ValueError:
        return False


def read_tum(path: Path | str, max_gap_ns: int = NO_GAP) -> Track:
    """The track in a file: stamps in seconds, exact to the nanosecond; metres; unit quaternions.

    Lines that begin with # are skipped. Raises DriveError, which names the line, if the file cannot be read or has no
    poses.
    """
    path, stamps_ns, poses = Path(path), [], []
    for row, line in enumerate(read_bytes(path).decode(errors="replace").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
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
    return Track.of(stamps_ns, poses, max_gap_ns)
