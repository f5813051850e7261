"""Tables of poses: what columns mean, as programs write them, and a mistake named with its file."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from drive_files import images, poses, red

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import R_BODY_OPTICAL, heading, matrix_from_rpy, quat_xyzw_from_matrix
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.left_out import NAMED_TWICE, without_poses
from vpr_ros.drives.open import DriveOptions, open_drive


def test_rows_name_their_images(tmp_path: Path) -> None:
    """Rows are put in order of time; yaw is the view's, counter-clockwise from east; an empty cell is no pose."""
    folder = images(tmp_path / "d", ["a.png", "b.png", "c.png"])
    (folder / "poses.csv").write_text("file,stamp,x,y,yaw\nb.png,2.5,1,2,1.5708\na.png,1.25,3,4,0\nc.png,3,5,,0\n")
    (folder / "other.csv").write_text("x\n1\n")
    frames = list(open_drive(folder))
    assert [f.stamp_ns for f in frames] == [1_250_000_000, 2_500_000_000, 3_000_000_000]
    assert [red(f) for f in frames] == [0, 10, 20]
    np.testing.assert_allclose(frames[1].T_map_camera[:3, 3], [1, 2, 0])
    assert heading(frames[0].T_map_camera) == pytest.approx(0)
    assert heading(frames[1].T_map_camera) == pytest.approx(np.pi / 2, abs=1e-4)
    np.testing.assert_allclose(frames[0].T_map_camera[:3, 1], [0, 0, -1], atol=1e-9)  # image y is down
    assert frames[2].T_map_camera is None


def test_quaternions_are_the_cameras_or_the_robots(tmp_path: Path) -> None:
    """Without a mounting they are of the optical frame, with one of the base."""
    folder = images(tmp_path / "d", ["a.png"])
    R_map_base = matrix_from_rpy(0, 0, 0.7)
    for R, options in (
        (R_map_base @ R_BODY_OPTICAL, DriveOptions()),
        (R_map_base, DriveOptions(T_base_camera=(0, 0, 1, -np.pi / 2, 0, -np.pi / 2))),
    ):
        quat = ",".join(map(str, quat_xyzw_from_matrix(R)))
        (folder / "poses.csv").write_text(f"file,x,y,z,qx,qy,qz,qw\na.png,1,2,3,{quat}\n")
        (frame,) = open_drive(folder, options)
        np.testing.assert_allclose(frame.T_map_camera[:3, :3], R_map_base @ R_BODY_OPTICAL, atol=1e-9)
    assert frame.T_map_camera[2, 3] == pytest.approx(4)


@pytest.mark.parametrize(
    "header",
    ["file,latitude,longitude,altitude,timestamp [ns]", "file,Latitude (deg),Longitude (deg),alt [m],stamp_ns"],
)
def test_columns_of_other_names_that_mean_the_same(tmp_path: Path, header: str) -> None:
    """What GPS loggers and other tools call them."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    rows = "".join(f"{name}.png,{51.75 + k * 1e-4},-1.25,20,{(5 - k) * 10**9}\n" for k, name in enumerate("ab"))
    (folder / "poses.csv").write_text(f"{header}\n{rows}")
    frames = list(open_drive(folder))
    assert [frame.stamp_ns for frame in frames] == [4 * 10**9, 5 * 10**9]
    assert frames[0].T_map_camera[1, 3] - frames[1].T_map_camera[1, 3] == pytest.approx(11.1, abs=0.1)
    assert frames[0].T_map_camera[2, 3] == 20


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("latitude,longitude,altitude", "51.75,-1.25,n/a"),  # as it is known otherwise
        ("latitude,longitude,tz", "0,0,9"),  # indoors
        ("easting,northing,x [m]", "9,9,9"),
        ("time,timestamp,date", "12:00:00,5,monday"),
    ],
)
def test_names_that_only_resemble_count_where_the_right_ones_are_missing(tmp_path: Path, header: str, row: str) -> None:
    """A table with x and y was read in another world, or refused, for what a logger wrote beside them."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    (folder / "poses.csv").write_text(f"file,x,y,yaw,{header}\nb.png,1,2,0,{row}\na.png,4,2,0,{row}\n")
    drive = open_drive(folder)
    assert (drive.world, [frame.T_map_camera[0, 3] for frame in drive]) == ("local", [1, 4])
    (line,) = tally_of(drive).lines()
    assert line.startswith("3 column(s) not used") and line.endswith(f"poses.csv: {header.replace(',', ', ')})")


def test_rows_without_a_direction_are_counted(tmp_path: Path) -> None:
    """They have no pose; a drive of them alone can still be read without poses."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    (folder / "poses.csv").write_text("file,lat,lon,yaw\na.png,51,1,\nb.png,51,1,inf\n")
    drive = open_drive(folder)
    assert [frame.T_map_camera for frame in drive] == [None, None]
    assert tally_of(drive).lines() == [f"2 row(s) without yaw have no pose (the first: {folder / 'poses.csv'})"]


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    """A heading beside latitude and longitude was ignored without a message, and the course was used."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    (folder / "poses.csv").write_text("file,lat,lon,heading,yaw (deg)\na.png,51,1,90,0\nb.png,51.001,1,90,0\n")
    (line,) = tally_of(open_drive(folder)).lines()
    assert line.startswith("2 column(s) not used: those of file, stamp_ns, stamp, x, y,")
    assert line.endswith("poses.csv: heading, yaw (deg))")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("timestamp,x,y,yaw\n9,1,2,0\n", "column 'timestamp': call it stamp for seconds, stamp_ns for nanoseconds"),
        ("file,x [m],easting,y,yaw\na.png,1,2,3,0\n", "has several columns 'x': remove or rename all but one"),
        ("file,longitude,lng,lat\na.png,1,2,3\n", "has several columns 'lon'"),
        ("file,x,y,yaw\na.png,1e300,2,0\n", "positions that cannot be metres, the first:"),
        ("file,x,y,yaw\na.png,inf,2,0\n", "positions that cannot be metres, the first:"),
        ("file,lat,lon\na.png,5145.2,-115.3\n", "may be swapped, or in degrees and minutes"),
        ("file,x,yaw\na.png,1,0\n", "poses.csv has no column 'y', needed for positions"),
        ("file,x,y\na.png,1,2\n", "poses.csv has no column 'qx', needed for orientations"),
        ("x,y,yaw\n1,2,0\n", "poses.csv has no column 'file', needed for matching rows"),
        ("file,x,y,yaw\na.png,one,2,0\n", "poses.csv has a cell that is not a number"),
        ("file,x,y,yaw\na.png,1\n", "row 2 of .*poses.csv has 2 cells"),
        ("file,x,y,yaw\nz.png,1,2,0\n", "1 image.s. that .* names are missing, the first: .*z.png"),
        ("file,x,y,qx,qy,qz,qw\na.png,1,2,0,0,0,0\n", "a row with an invalid pose"),
        ("file,stamp,x,y,yaw\na.png,noon,1,2,0\n", "'noon' is no time"),
        ("stamp_ns,x,y,yaw\n5,1,2,0\n", "a.png is not named by its stamp"),
        ("file,lat,lon\na.png,51,0\n", "no column 'yaw'.*do not move to give a heading"),
        ("t,ax\n0,1\n", "no column 'x'.* if the file holds something else, move it out of the folder"),
        ("file,lat,lon\na.png,,\n", "no row with lat and lon"),
        ("", "poses.csv is empty"),
        (
            "file,stamp,x,y,yaw\na.png,1700000000000000000,0,0,0\n",
            "looks like nanoseconds: .* or call the column stamp_ns",
        ),
        ("file,stamp_ns,x,y,yaw\na.png,1700000000,0,0,0\nb.png,1700000001,9,0,0\n", "they look like seconds"),
        ("file,stamp_ns,x,y,yaw\na.png,17000000000000000000,0,0,0\n", "column stamp_ns: 17.* is too large"),
        ("file,lat,lon\na.png,151.2,-33.9\nb.png,151.3,-33.9\n", "latitude and longitude may be swapped"),
        ("file,x,y,yaw\na.png,0,0,90\nb.png,9,0,90\n", "values up to 90 in yaw, which are in radians: convert"),
        ("file,x,y,yaw,x\na.png,0,0,0,1\nb.png,9,0,0,1\n", "several columns 'x': remove or rename all but one"),
        ("file,lat,lon\na.png,0,0\nb.png,0,0\n", "no position is a valid fix; 2 position.*: 0, 0 is no fix"),
    ],
)
def test_a_faulty_table_is_named(tmp_path: Path, content: str, says: str) -> None:
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    (folder / "poses.csv").write_text(content)
    with pytest.raises(DriveError, match=says) as caught:
        open_drive(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ["a.jpg,1,25,2,50,0,10", "a.jpg,1,2,0,5"], ids=["decimal commas", "one cell more"])
def test_rows_with_too_many_cells_are_refused(tmp_path: Path, row: str) -> None:
    """1,25 is one and a quarter where commas are decimal points: x was 1 and y was 25, without a word."""
    folder = images(tmp_path / "d", ["a.jpg"])
    (folder / "poses.csv").write_text(f"file,x,y,yaw\n{row}\n")
    with pytest.raises(DriveError, match="write decimals with a point"):
        open_drive(folder)
    (folder / "poses.csv").write_text("file,x,y,yaw\na.jpg,1,2,0,,\n")  # a spreadsheet's empty columns
    assert len(open_drive(folder)) == 1


def test_tables_as_programs_write_them(tmp_path: Path) -> None:
    """Windows' line ends and byte order mark, empty rows and cells at the end, EuRoC's header, comments above it."""
    folder = images(tmp_path / "d", ["1000000000.png", "1500000000.png"])
    table = folder / "poses.csv"
    row = "1000000000.png,1000000000,1,2,0"
    for text in (
        f"\ufefffile,stamp_ns,x,y,yaw\r\n{row}\r\n\r\n,,,,\r\n",
        f"file,stamp_ns,x,y,yaw,,\n{row},,\n,,,,,,\n",
        f"# made by hand, with care\nfile,stamp_ns,x,y,yaw\n# the first\n{row}\n",
        f"# made by hand\n#filename, timestamp [ns], x, y, yaw\n{row}\n",
    ):
        table.write_bytes(text.encode())
        drive = open_drive(folder)
        (frame,) = drive
        assert frame.stamp_ns == 1_000_000_000 and frame.T_map_camera[:2, 3].tolist() == [1, 2]
        assert tally_of(drive).lines() == ["1 image(s) left out: no row names them (1500000000.png)"]
    table.write_text("file;x;y;yaw\na.png;1;2;0\n")
    with pytest.raises(DriveError, match="has no commas"):
        open_drive(folder)


def test_poses_as_euroc_has_them_beside_images(tmp_path: Path) -> None:
    """The quaternion's w comes first there; columns go by their names."""
    folder = images(tmp_path / "d", ["1403636579763555584.png"])
    quat = quat_xyzw_from_matrix(R_BODY_OPTICAL)
    header = "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z [], v_x\n"
    row = ",".join(map(str, [1, 2, 3, quat[3], *quat[:3], 0]))
    (folder / "data.csv").write_text(f"{header}1403636579763555584,{row}\n1403636579863555584,{row}\n")
    (frame,) = open_drive(folder)
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(frame.T_map_camera[:3, :3], R_BODY_OPTICAL, atol=1e-9)


def test_an_image_has_one_pose(tmp_path):
    """The same row again is left out and counted; another pose for the same image is a mistake of the table."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    rows = ["file,x,y,yaw", "a.png,1,2,0", "b.png,3,4,0", "./a.png,1,2,0", "a.png,1,2,0"]
    (folder / "poses.csv").write_text("\n".join(rows))
    drive = open_drive(folder)
    assert [red(frame) for frame in drive] == [0, 10]
    assert tally_of(drive).lines()[0].startswith("2 row(s) left out: an earlier row names the same image")
    (folder / "poses.csv").write_text("\n".join([*rows, "b.png,500,4,0"]))
    with pytest.raises(DriveError, match=r"has two poses of b\.png, with x 3 and 500: keep one row for each image"):
        open_drive(folder)


def test_names_that_begin_with_a_hash(tmp_path: Path) -> None:
    """Images were lost as comments; what names no file is one, wherever it stands."""
    folder = images(tmp_path / "d", ["#a.png", "#b.png"])
    rows = ["# by hand", "file,x,y,yaw", "#a.png,1,2,0", "# turned here, left", "#c.png,5,6,0", "#b.png,3,4,0"]
    (folder / "poses.csv").write_text("\n".join(rows))
    assert [frame.T_map_camera[:2, 3].tolist() for frame in open_drive(folder)] == [[1, 2], [3, 4]]


def test_underscores_are_no_part_of_numbers(tmp_path: Path) -> None:
    """Names of seconds and nanoseconds, 1700000000_5, were read as one number, as Python's literals are."""
    folder = images(tmp_path / "d", ["1700000000_5.png", "1700000001_7.png"])
    (folder / "poses.csv").write_text("stamp,x,y,yaw\n1700000000,0,0,0\n1700000001,9,0,0\n")
    with pytest.raises(DriveError, match=r"1700000000_5\.png is not named by its stamp"):
        open_drive(folder)
    (folder / "poses.csv").write_text("file,x,y,yaw\n1700000000_5.png,1_0,0,0\n")
    with pytest.raises(DriveError, match="not a number in x, y: '1_0'"):
        open_drive(folder)


def test_two_images_of_one_stamp_are_two(tmp_path: Path) -> None:
    """They were an SQL error and an empty map."""
    folder = images(tmp_path / "d", ["a.png", "b.png", "c.png"])
    (folder / "poses.csv").write_text("file,stamp,x,y,yaw\nb.png,1,5,0,0\na.png,1,0,0,0\nc.png,2,9,0,0\n")
    frames = list(open_drive(folder))
    assert [f.stamp_ns for f in frames] == [1_000_000_000, 1_000_000_001, 2_000_000_000]
    assert [(red(f), f.T_map_camera[0, 3]) for f in frames] == [(10, 5), (0, 0), (20, 9)]
    named = images(tmp_path / "named", ["1.5.png", "1.50.png"])
    (named / "track.csv").write_text("stamp,x,y,yaw\n1,0,0,0\n2,10,0,0\n")
    assert [f.T_map_camera[0, 3] for f in open_drive(named)] == [5, 5]


def test_absolute_names_of_images(tmp_path: Path, monkeypatch) -> None:
    """In a folder that is given by a relative path they were used, and said to be left out."""
    folder = images(tmp_path / "d", ["a.png"])
    (folder / "poses.csv").write_text(f"file,x,y,yaw\n{folder / 'a.png'},1,2,0\n")
    monkeypatch.chdir(tmp_path)
    drive = open_drive("d")
    assert len(list(drive)) == 1 and not tally_of(drive)


def test_names_of_images_from_other_systems(tmp_path: Path) -> None:
    """Tables of Windows have \\ between folders, and macOS takes letters with accents apart."""
    apart = unicodedata.normalize("NFD", "ü.png")
    folder = images(tmp_path / "d", [apart])
    images(folder / "left", ["1.png"])
    (folder / "poses.csv").write_text("file,x,y,yaw\nü.png,1,2,0\nleft\\1.png,3,4,0\nleft/1.png,3,4,0\n", "utf-8")
    drive = open_drive(folder)
    assert [frame.T_map_camera[0, 3] for frame in drive] == [1, 3] and [red(frame) for frame in drive] == [0, 0]
    assert tally_of(drive).count(NAMED_TWICE) == 1


def test_gaps_too_wide_are_named(tmp_path: Path) -> None:
    """Both time ranges alone, which overlap, left one at a loss: a GPS of five seconds needs another max_pose_gap_s."""
    folder = images(tmp_path / "d", ["1700000002.png", "1700000007.png"])
    rows = [f"{1_700_000_000 + 5 * i},{i},0,0" for i in range(3)]
    (folder / "track.csv").write_text("\n".join(["stamp,x,y,yaw", *rows]))
    drive = open_drive(folder)
    told = str(without_poses(drive, [frame.stamp_ns for frame in drive], ""))
    assert told.endswith(
        "poses lie 5.0 s apart, which is more than max_pose_gap_s and so is not bridged: give -d max_pose_gap_s=6"
    )
    assert all(frame.T_map_camera is not None for frame in open_drive(folder, DriveOptions(max_pose_gap_s=6)))


@pytest.mark.parametrize(
    ("header", "row", "height", "unused"),
    [
        ("file,x,y,alt,yaw", "{k}.png,{k},0,{z},0", True, ""),
        ("file,easting,northing,altitude,yaw", "{k}.png,{k},0,{z},0", True, ""),
        ("file,lat,lon,z,yaw", "{k}.png,48.{k},9,{z},0", True, ""),
        ("file,lat,lon,altitude [m],yaw", "{k}.png,48.{k},9,{z},0", True, ""),
        ("file,lat,lon,altitude (ft),yaw", "{k}.png,48.{k},9,{z},0", False, "altitude (ft)"),
        ("file,lat,lon,elevation,ele,yaw", "{k}.png,48.{k},9,1,2,0", False, "elevation, ele"),  # which one?
        ("file,x,y,alt,yaw", "{k}.png,{k},0,,0", False, "alt"),  # with gaps: as before, in the plane
        ("file,x,y,alt,yaw", "{k}.png,{k},0,n/a,0", False, "alt"),
        ("file,x,y,z,alt,yaw", "{k}.png,{k},0,{z},999,0", True, "alt"),
        ("file,x,y,yaw,qx,qy,qz,qw", "{k}.png,{k},0,1,0,0,0,1", False, "yaw"),
        ("file,lat,lon,yaw,x,y", "{k}.png,48.{k},9,0,5,5", False, "x, y"),
        ("file,stamp,stamp_ns,x,y,yaw", "{k}.png,{k},{k}000000000,{k},0,0", False, "stamp"),
    ],
)
def test_no_column_is_lost_in_silence(tmp_path: Path, header: str, row: str, height: bool, unused: str) -> None:
    """Heights called alt beside x and y were 0: all floors of a house were one."""
    folder = images(tmp_path / "d", [f"{k}.png" for k in range(3)])
    rows = [row.format(k=k, z=10.0 * k) for k in range(3)]
    (folder / "poses.csv").write_text("\n".join([header, *rows]) + "\n")
    drive = open_drive(folder)
    if height:
        np.testing.assert_allclose(poses(drive)[:, 2, 3], [0, 10, 20])
    lines = [line for line in tally_of(drive).lines() if "column(s) not used" in line]
    assert bool(lines) == bool(unused) and all(f"poses.csv: {unused})" in line for line in lines)


def test_two_runs_in_one_table_are_noticed(tmp_path: Path) -> None:
    """Half of the poses were left out, whichever came first."""
    folder = images(tmp_path / "d", ["5.5.png", "6.5.png"])
    rows = [f"{t},{x + 10 * t},0,0" for x in (500, 0) for t in (5, 6, 7)]
    (folder / "poses.csv").write_text("stamp,x,y,yaw\n" + "\n".join(rows) + "\n")
    assert "3 pose(s) left out" in tally_of(open_drive(folder)).lines()[0]
