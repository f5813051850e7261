"""Trajectories of other programs: read exactly, or refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drive_files import images, poses

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import R_BODY_OPTICAL, heading, matrix_from_rpy, quat_xyzw_from_matrix, transform
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.open import DriveOptions, open_drive
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


@pytest.mark.parametrize("name", ["rgb/../groundtruth.txt", "../traj.tum"])
def test_a_trajectory_in_tums_format_has_the_poses(tmp_path: Path, name: str) -> None:
    """TUM's RGB-D sets, and what SLAM systems and evo write, were no drives, or drives without poses."""
    (root := tmp_path / "freiburg").mkdir()
    folder = images(root / "rgb", ["1305031102.175304.png", "1305031102.211214.png", "notes.png"])
    quat = " ".join(map(str, quat_xyzw_from_matrix(R_BODY_OPTICAL)))
    lines = "".join(f"1305031102.{k}00000 {k} 0 1 {quat}\n" for k in range(1, 4))
    rgbd = name.startswith("rgb")
    (root / "groundtruth.txt" if rgbd else folder / "traj.tum").write_text(f"# timestamp tx ty tz\n{lines}")
    drive = open_drive(root if rgbd else folder)
    first, second = drive
    assert (drive.name, drive.world, first.stamp_ns) == (root.name if rgbd else "rgb", "local", 1305031102175304000)
    np.testing.assert_allclose([first.T_map_camera[0, 3], second.T_map_camera[0, 3]], [1.75304, 2.11214], atol=1e-6)
    assert heading(first.T_map_camera) == pytest.approx(0)
    assert tally_of(drive).lines() == ["1 image(s) left out: their names are not stamps (notes.png)"]
    mounted = DriveOptions(T_base_camera=(0, 0, 2, -np.pi / 2, 0, -np.pi / 2))  # of the robot then
    assert next(iter(open_drive(drive.path, mounted))).T_map_camera[:3, 3] == pytest.approx([3.75304, 0, 1])


@pytest.mark.parametrize(
    ("names", "files", "why"),
    [
        (
            ["000000.png", "000001.png"],
            {"est.tum": "0 0 0 0 0 0 0 1\n1 9 0 0 0 0 0 1\n"},
            "names are no stamps in seconds",
        ),
        (["5.25.png", "6.25.png"], {"groundtruth.txt": "1 0 0 0 0 1 0 0 0 0 1 0\n"}, "they have no lines of stamp"),
        (["5.25.png", "6.25.png"], {"groundtruth.txt": "0 17\n1 18\n"}, "they have no lines of stamp"),
        (["5.25.png", "6.25.png"], {f"{n}.tum": "5 0 0 0 0 0 0 1\n7 9 0 0 0 0 0 1\n" for n in "ab"}, "keep one"),
        (["5.25.png", "6.25.png"], {"trajectory.txt": "5 0 0 0 0 0 0 1\n"}, "poses are read from a .csv or .tum file"),
    ],
)
def test_a_trajectory_that_does_not_fit_is_counted(
    tmp_path: Path, names: list[str], files: dict[str, str], why: str
) -> None:
    """The images are there without poses, and with --numbered a drive. The reason named groundtruth.txt as unknown."""
    folder = images(tmp_path / "d", names)
    for name, text in files.items():
        (folder / name).write_text(text)
    drive = open_drive(folder)
    assert [frame.T_map_camera for frame in drive] == [None, None]
    assert (
        tally_of(drive).lines()[0].startswith(f"{len(files)} file(s) left out: ") and why in tally_of(drive).lines()[0]
    )


def test_a_trajectory_with_a_mark_and_a_header_is_read(tmp_path: Path) -> None:
    """Editors put a byte order mark before a text, and some tools the names of the columns."""
    folder = images(tmp_path / "d", ["5.25.png", "6.25.png"])
    text = "timestamp tx ty tz qx qy qz qw\n5 0 0 0 0 0 0 1\n7 20 0 0 0 0 0 1\n7 40 0 0 0 0 0 1\n"
    (folder / "groundtruth.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    drive = open_drive(folder)
    np.testing.assert_allclose(poses(drive)[:, 0, 3], [2.5, 12.5])
    assert "1 pose(s) left out: an earlier one of the same time differs" in tally_of(drive).lines()[0]
