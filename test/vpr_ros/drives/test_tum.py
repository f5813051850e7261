"""Trajectories of other programs: read exactly, or refused with the line that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.drives.tum import read_tum
from vpr_ros.evaluation.output import write_tum


def test_what_we_write_we_read(tmp_path):
    """Stamps to the nanosecond: a float would be off by hundreds."""
    stamps = [1701814400_123456789, 1701814400_123456790]
    poses = [transform(matrix_from_rpy(0.1, 0.2, angle), np.array([1.0, -2.0, angle])) for angle in (0.3, 3.0)]
    write_tum(tmp_path / "a.tum", zip(stamps, poses, strict=True))
    track = read_tum(tmp_path / "a.tum", 10)
    assert track.stamps_ns.tolist() == stamps and track.max_gap_ns == 10
    np.testing.assert_allclose(track.T, poses, atol=1e-8)


def test_what_others_write(tmp_path):
    """evo's exponents, comments, empty lines, any order."""
    path = tmp_path / "b.tum"
    path.write_text("# stamp x y z qx qy qz qw\n\n1.5e+09 1 2 3 0 0 0 1\n\t1499999999.25 1 1 1 0 0 1 0\n")
    track = read_tum(path, 10)
    assert track.stamps_ns.tolist() == [1499999999_250000000, 1500000000_000000000]
    assert track.T[1, :3, 3].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    ["1 2 3", "1 0 0 0 0 0 0 0", "1 nan 0 0 0 0 0 1", "nan 0 0 0 0 0 0 1", "1 0 0 0 0 0 0 1 5", "x 0 0 0 0 0 0 1"],
)
def test_a_line_that_is_no_pose_is_named(tmp_path, line):
    path = tmp_path / "bad.tum"
    path.write_text(f"0 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(DriveError, match=r"line 2 of .*bad\.tum(, a trajectory.* is no time| is not a pose)"):
        read_tum(path, 10)


def test_no_poses_is_told(tmp_path):
    (tmp_path / "empty.tum").write_text("# nothing\n")
    with pytest.raises(DriveError, match="has no poses"):
        read_tum(tmp_path / "empty.tum", 10)
    with pytest.raises(DriveError, match="cannot be read"):
        read_tum(tmp_path / "missing.tum", 10)


def test_nanoseconds_are_a_sentence(tmp_path):
    """ORB-SLAM3 writes EuRoC's trajectories so; it was a traceback."""
    (tmp_path / "ns.tum").write_text("1700086400000000000.000000 0 0 0 0 0 0 1\n")
    with pytest.raises(DriveError, match=r"line 1 of .*ns\.tum.*looks like nanoseconds: divide by 1e9$"):
        read_tum(tmp_path / "ns.tum", 10)
