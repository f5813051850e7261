"""Recordings as other tools write them: read right, or refused, and what is left out is counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from drive_files import images, poses

from vpr_ros.base.config import from_dict
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.geometry import matrix_from_rpy
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.open import open_drive, open_drives
from vpr_ros.drives.options import DriveOptions

EYE = "1 0 0 0 0 1 0 0 0 0 1 0"


def kitti(folder: Path, times: list[str], rows: list[str]) -> Path:
    images(folder / "image_0", [f"{k:06d}.png" for k in range(len(times))])
    (folder / "times.txt").write_bytes(b"\xef\xbb\xbf" + "\n".join(times).encode() + b"\n")
    (folder / "calib.txt").write_text("P0: 50 0 16 0 0 50 12 0 0 0 1 0\n")
    (folder / "poses.txt").write_text("\n".join(rows) + "\n")
    return folder


def test_two_decimals_are_a_rotation(tmp_path: Path) -> None:
    """Tools round: a rotation of two decimals is 0.017 off."""
    turned = np.round(matrix_from_rpy(0.3, -0.5, 0.8), 2)
    row = " ".join(f"{value:.2f}" for value in np.hstack([turned, np.zeros((3, 1))]).flat)
    assert len(list(open_drive(kitti(tmp_path / "07", ["0", "1"], [row, row])))) == 2


@pytest.mark.parametrize("row", ["-1 0 0 0 0 1 0 0 0 0 1 0", "0 0 0 0 0 0 0 0 0 0 0 0", "2 0 0 0 0 2 0 0 0 0 2 0"])
def test_what_is_no_rotation_is_refused(tmp_path: Path, row: str) -> None:
    """A mirrored, scaled or empty matrix became some rotation, and the map was built."""
    with pytest.raises(DriveError, match=r"line 2 of .*poses.txt is no rigid motion \(1 line"):
        open_drive(kitti(tmp_path / "07", ["0", "1", "2"], [EYE, row, EYE]))


def test_times_that_are_rounded_lose_no_image(tmp_path: Path) -> None:
    """Eight of twelve images, 6 m apart, were duplicates; where all times were equal, they were also too close."""
    rows = [f"1 0 0 0 0 1 0 0 0 0 1 {6 * k}" for k in range(6)]
    drive = open_drive(kitti(tmp_path / "07", ["0", "0", "1", "1", "3", "2"], rows))
    stamps = [frame.stamp_ns for frame in drive]
    assert len(set(stamps)) == 6 and stamps == sorted(stamps)
    np.testing.assert_allclose(poses(drive)[:, 0, 3], [0, 6, 12, 18, 30, 24])  # in order of time
    assert "2 image(s) have the time of another one" in tally_of(drive).lines()[0]


def test_times_in_microseconds_are_told(tmp_path: Path) -> None:
    """They were days apart, without a word."""
    with pytest.raises(DriveError, match=r"times.txt is in seconds.* 100000 seconds apart: they look like"):
        open_drive(kitti(tmp_path / "07", ["0", "100000", "200000"], [EYE] * 3))


def test_images_inside_of_a_recording_say_which(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Folders of cameras are given first, and "have no poses"."""
    sequence = kitti(tmp_path / "07", ["0", "1"], [EYE] * 2)
    euroc(tmp_path / "e", ["1000000000,0.png"])
    images(tmp_path / "own" / "images", ["0.png"])
    (tmp_path / "own" / "poses.csv").write_text("file,x,y,yaw\nimages/0.png,0,0,0\n")
    for folder, whole in (
        (sequence / "image_0", sequence),
        (tmp_path / "e" / "mav0" / "cam0" / "data", tmp_path / "e" / "mav0" / "cam0"),
        (tmp_path / "own" / "images", tmp_path / "own"),
    ):
        caplog.clear()
        open_drive(folder)
        assert f"{folder} has no poses, and is a part of {whole}: give that" in caplog.text
        caplog.clear()
        open_drive(whole)
        assert not caplog.text
    open_drive(images(tmp_path / "own" / "queries", ["0.png"]))  # not of the table beside it
    assert not caplog.text


def euroc(folder: Path, rows: list[str], extra: str = "") -> Path:
    camera = folder / "mav0" / "cam0"
    images(camera / "data", [f"{k}.png" for k in range(4)])
    (camera / "data.csv").write_text("#timestamp [ns],filename\n" + "\n".join(rows) + "\n")
    (camera / "sensor.yaml").write_text(extra)
    return folder


def test_images_that_a_table_does_not_name_are_counted(tmp_path: Path) -> None:
    """An interrupted copy of data.csv gave a drive of four images without a word."""
    drive = open_drive(euroc(tmp_path / "e", ["1000000000,0.png", "2000000000,1.png", "2000000000,1.png"]))
    assert len(list(drive)) == 2
    told = "\n".join(tally_of(drive).lines())
    assert "2 image(s) left out: data.csv does not name them (the first: 2.png)" in told
    assert "1 row(s) left out: an earlier row names the same image" in told
    folder = images(tmp_path / "d", ["in/0.png", "in/1.png", "in/2.png"])
    (folder / "poses.csv").write_text("file,x,y,yaw\nin/0.png,0,0,0\nin/1.png,1,0,0\n,2,0,0\n,3,0,0\n")
    told = "\n".join(tally_of(open_drive(folder)).lines())
    assert "1 image(s) left out: no row names them (2.png)" in told
    assert "2 row(s) left out: they name no image" in told


@pytest.mark.parametrize(
    "numbers", ["-1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1", "0," * 15 + "1", "2,0,0,0,0,2,0,0,0,0,2,0,0,0,0,1"]
)
def test_a_mounting_that_is_no_rotation_is_refused(tmp_path: Path, numbers: str) -> None:
    with pytest.raises(DriveError, match="T_BS is no rotation and translation"):
        open_drive(euroc(tmp_path / "e", ["1000000000,0.png"], f"T_BS: {{data: [{numbers}]}}\n"))


def test_rows_without_a_fix_are_no_positions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """RobotCar's rows of zeros made a map of 620 by 5735 km."""
    run = tmp_path / "2023-11-14-22-13-20"
    images(run / "stereo" / "centre", [f"{1_400_000_000_000_000 + k * 1_000_000}.png" for k in range(6)])
    rows = []
    for k in range(6):
        north, east = (0.0, 0.0) if k == 2 else (5735000.0 + 5 * k + 3000 * (k > 4), 620000.0)
        rows.append(f"{1_400_000_000_000_000 + k * 1_000_000},{north},{east},0,0,0,0,30U")
    (run / "rtk.csv").write_text("timestamp,northing,easting,down,roll,pitch,yaw,utm_zone\n" + "\n".join(rows) + "\n")
    with caplog.at_level(logging.WARNING):
        drive = open_drive(run, DriveOptions(camera="stereo/centre", undistort=False))
    assert any("1 position(s) left out: 0, 0 is no fix" in line for line in tally_of(drive).lines())
    assert "positions jump by 3.0 km" in caplog.text


def test_options_are_read_as_the_node_reads_them() -> None:
    """The form that a bag's error suggests was refused on the command line: "expected tuple"."""
    made = from_dict(DriveOptions, {"T_base_camera": "0 0 1 -1.57 0 -1.57", "max_pose_gap_s": "1e3"}, "-d")
    assert made.T_base_camera == (0.0, 0.0, 1.0, -1.57, 0.0, -1.57) and made.max_pose_gap_s == 1000.0
    with pytest.raises(ConfigError):
        from_dict(DriveOptions, {"T_base_camera": "0 0 one"}, "-d")


def test_one_broken_image_costs_no_drive(tmp_path: Path) -> None:
    """The size of all was asked of the first one, so that KITTI's and RobotCar's drives were refused whole."""
    names = [f"{1_400_000_000_000_000 + k * 1_000_000}.png" for k in range(2)]
    images(tmp_path / "run" / "stereo" / "centre", names)
    first = tmp_path / "run" / "stereo" / "centre" / names[0]
    for drive, broken in (
        (kitti(tmp_path / "07", ["0", "1"], [EYE] * 2), tmp_path / "07" / "image_0" / "000000.png"),
        (euroc(tmp_path / "e", ["1000000000,0.png", "2000000000,1.png"]), tmp_path / "e" / "mav0/cam0/data/0.png"),
        (tmp_path / "run", first),
    ):
        broken.write_bytes(b"")
        _, second = open_drive(drive)
        assert second.read().shape == (24, 32, 3)


def test_a_calibration_of_images_of_another_size_is_left_out(tmp_path: Path) -> None:
    """Images that were halved or cropped kept the focal length of the whole ones, and depth was twice as far."""
    sequence = kitti(tmp_path / "07", ["0", "1"], [EYE] * 2)
    images(sequence / "image_1", ["000000.png", "000001.png"])
    assert next(iter(open_drive(sequence))).intrinsics is not None
    (sequence / "calib.txt").write_text("P0: 100 0 32 0 0 100 24 0 0 0 1 0\nP1: 100 0 32 -9 0 100 24 0 0 0 1 0\n")
    drive = open_drive(sequence)
    frame = next(iter(drive))
    assert frame.intrinsics is None and frame.read_depth is None
    assert "1 camera calibration(s) left out, and depth with them" in tally_of(drive).lines()[0]
    sensor = "intrinsics: [50, 50, 16, 12]\nresolution: [{}, 24]\n"
    for width, left_out in ((32, 0), (48, 1)):
        drive = open_drive(euroc(tmp_path / f"e{width}", ["1000000000,0.png"], sensor.format(width)))
        assert (next(iter(drive)).intrinsics is None) == bool(left_out)
        assert sum("images are of another shape" in line for line in tally_of(drive).lines()) == left_out


def test_hidden_files_are_no_tables_or_bags(tmp_path: Path) -> None:
    """macOS puts ._poses.csv beside each file on a disk that is not its own: "several CSV files"."""
    folder = images(tmp_path / "d", ["0.png"])
    (folder / "track.csv").write_text("file,x,y,yaw\n0.png,1,2,0\n")
    for hidden in ("._track.csv", "._0.png", "._a.mcap", "._b.tum"):
        (folder / hidden).write_bytes(b"\0\x05\x16\x07")
    assert [frame.T_map_camera[0, 3] for frame in open_drive(folder)] == [1]
    (bag := tmp_path / "bag").mkdir()
    for name in ("a.mcap", "._a.mcap"):
        (bag / name).write_bytes(b"x")
    with pytest.raises(DriveError, match=r"mcap recover .*/a\.mcap"):
        open_drive(bag)


def test_a_comma_too_many_doubles_no_camera(tmp_path: Path) -> None:
    """Each place was in the map twice, once of "the other" camera. A blank in a world's name made it another."""
    drive = euroc(tmp_path / "e", ["1000000000,0.png"])
    assert [one.name for one in open_drives([drive], {"camera": "cam0,"})] == ["e"]
    assert [one.name for one in open_drives([drive], {"camera": " , "})] == ["e"]
    folder = images(tmp_path / "d", ["0.png"])
    (folder / "poses.csv").write_text("file,x,y,yaw\n0.png,1,2,0\n")
    assert [open_drive(folder, {"world": world}).world for world in (" campus ", "  ")] == ["campus", "local"]


def test_folders_without_images_say_what_is_wanted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """RobotCar's images were wanted as .jpeg, and instead of image_0 image_0. A device "failed" a format."""
    images(tmp_path / "run" / "stereo" / "left", ["1400000000.5.png"])
    with pytest.raises(DriveError, match=r"named by whole microseconds, <timestamp>\.png: .*; name them so"):
        open_drive(tmp_path / "run")
    (tmp_path / "kitti" / "sequences" / "00" / "image_0").mkdir(parents=True)
    with pytest.raises(DriveError, match="image_0: copy them there"):
        open_drive(tmp_path / "kitti")
    images(tmp_path / "kitti" / "sequences" / "00" / "image_1", ["0.png"])
    with pytest.raises(DriveError, match="image_0: give another camera, such as image_1"):
        open_drive(tmp_path / "kitti")
    with pytest.raises(DriveError, match="is not a drive of a known format"):
        open_drive("/dev/null")
    assert not caplog.text
