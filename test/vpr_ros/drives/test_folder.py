"""Image folders: order, stamps and poses as documented, and a missing column named with its file."""

from __future__ import annotations

import struct
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.geometry import R_BODY_OPTICAL, heading, matrix_from_rpy, quat_xyzw_from_matrix
from vpr_ros.drives.drive import pose_span_of, tally_of
from vpr_ros.drives.left_out import NAMED_TWICE, without_poses
from vpr_ros.drives.open import DriveOptions, open_drive, open_drives
from vpr_ros.drives.views import NumberedDrive


def images(folder: Path, names: list[str]) -> Path:
    """Small pictures whose red value is their number."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((6, 8, 3), (0, 0, 10 * i), np.uint8))
    return folder


def red(frame) -> int:
    return int(frame.read()[0, 0, 0])


def test_a_plain_folder_keeps_its_order(tmp_path: Path) -> None:
    """Truth by frame number needs 2.png before 10.png; there are no poses to invent."""
    folder = images(tmp_path / "walk", ["1.png", "2.png", "10.png"])
    (folder / "notes.txt").write_text("not an image")
    drive = open_drive(folder, DriveOptions(frame_rate_hz=2.0))
    frames = list(drive)
    assert [red(f) for f in frames] == [0, 10, 20] and len(drive) == 3
    assert [f.stamp_ns for f in frames] == [0, 500_000_000, 1_000_000_000]
    assert all(f.T_map_camera is None for f in frames) and drive.name == "walk"


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


def test_images_named_by_stamps_get_interpolated_poses(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", ["1000000000.png", "1500000000.png", "9000000000.png"])
    rows = "stamp_ns,x,y,z,yaw\n1000000000,0,0,1,0\n2000000000,10,0,1,0\n"
    (folder / "track.csv").write_text(rows)
    frames = list(open_drive(folder))
    np.testing.assert_allclose(frames[1].T_map_camera[:3, 3], [5, 0, 1])
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


def test_latitude_and_longitude_go_to_utm(tmp_path: Path) -> None:
    """Driving north, so that the camera looks north."""
    folder = images(tmp_path / "d", [f"{i}.png" for i in range(4)])
    rows = "".join(f"{i}.png,{51.75 + 1e-4 * i},-1.25,20\n" for i in range(4))
    (folder / "poses.csv").write_text("file,lat,lon,alt\n" + rows)
    drive = open_drive(folder)
    first, second, *_ = drive
    assert drive.world == "utm 30 north" and first.T_map_camera[2, 3] == 20
    assert second.T_map_camera[1, 3] - first.T_map_camera[1, 3] == pytest.approx(11.1, abs=0.1)
    assert heading(first.T_map_camera) == pytest.approx(np.pi / 2, abs=0.05)


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
    ],
)
def test_a_faulty_table_is_named(tmp_path: Path, content: str, says: str) -> None:
    folder = images(tmp_path / "d", ["a.png"])
    (folder / "poses.csv").write_text(content)
    with pytest.raises(DriveError, match=says) as caught:
        open_drive(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_drive(tmp_path: Path) -> None:
    """Nothing there, an empty folder, another file; wrong options; a broken image when it is read."""
    with pytest.raises(DriveError, match="does not exist"):
        open_drive(tmp_path / "none")
    with pytest.raises(DriveError, match="is not a drive of a known format: give a ROS bag, "):
        open_drive(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DriveError, match="not a drive of a known format"):
        open_drive(tmp_path / "a.txt")
    with pytest.raises(DriveError, match="unknown pose_source 'gps': choose one of auto"):
        DriveOptions(pose_source="gps")
    with pytest.raises(DriveError, match="six finite numbers"):
        DriveOptions(T_base_camera=(0, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(DriveError, match="an angle of -90, and its angles are in radians: convert degrees"):
        DriveOptions(T_base_camera=(0, 0, 0, -90, 0, -90))
    folder = images(tmp_path / "d", ["a.jpg"])
    whole = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"a\.jpg: the JPEG is truncated"):
        next(iter(open_drive(folder))).read()


@pytest.mark.parametrize("row", ["a.jpg,1,25,2,50,0,10", "a.jpg,1,2,0,5"], ids=["decimal commas", "one cell more"])
def test_rows_with_too_many_cells_are_refused(tmp_path: Path, row: str) -> None:
    """1,25 is one and a quarter where commas are decimal points: x was 1 and y was 25, without a word."""
    folder = images(tmp_path / "d", ["a.jpg"])
    (folder / "poses.csv").write_text(f"file,x,y,yaw\n{row}\n")
    with pytest.raises(DriveError, match="write decimals with a point"):
        open_drive(folder)
    (folder / "poses.csv").write_text("file,x,y,yaw\na.jpg,1,2,0,,\n")  # a spreadsheet's empty columns
    assert len(open_drive(folder)) == 1


def test_rounded_times_and_tables_of_other_formats_are_named(tmp_path: Path) -> None:
    """A spreadsheet makes one time of all nanoseconds; poses.txt was left out without a word."""
    folder = images(tmp_path / "d", ["a.jpg", "b.jpg", "c.jpg"])
    rows = [f"{name}.jpg,{x},0,0,1.70009E+18" for x, name in enumerate("abc")]
    (folder / "poses.CSV").write_text("\n".join(["file,x,y,yaw,stamp_ns", *rows]) + "\n")
    assert "2 image(s) have the time of another one: times may be rounded" in open_drive(folder).tally.lines()[0]
    (folder / "poses.CSV").rename(folder / "poses.txt")
    (folder / "readme.txt").write_text("my drive")
    assert open_drive(folder).tally.lines() == [
        "1 file(s) left out: poses are read from a .csv or .tum file (poses.txt)"
    ]


def test_names_with_utm_positions(tmp_path: Path) -> None:
    """Position, height, and a compass heading (clockwise from true north) turned into ours; it may be missing.

    1.74 degrees east of the zone's middle and 51.8 north, the grid is 1.37 degrees off true north.
    """
    names = [
        "@0620084.40@5735712.77@30@U@51.7@-1.2@pano@@90@@@61.5@201412@@.jpg",
        "@0620090.00@5735712.77@30@U@@@@@@@@@@@.jpg",
        "@0620095.00@5735712.77@.jpg",
    ]
    drive = open_drive(images(tmp_path / "database", names))
    frames = list(drive)
    assert drive.world == "utm 30 north" and len(drive) == 3
    np.testing.assert_allclose(frames[0].T_map_camera[:3, 3], [620084.40, 5735712.77, 61.5])
    assert heading(frames[0].T_map_camera) == pytest.approx(np.radians(1.37), abs=1e-3)  # east
    assert heading(frames[1].T_map_camera) == pytest.approx(np.pi / 2 + np.radians(1.37), abs=1e-3)  # unknown: north
    assert frames[2].T_map_camera[0, 3] == 620095
    images(tmp_path / "bad", ["@east@north@.jpg"])
    with pytest.raises(DriveError, match="'east', not a number"):
        list(open_drive(tmp_path / "bad"))


def test_names_that_cannot_be_utm_are_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Degrees, and east and north swapped, were places millimetres apart, or off the zone, without a word."""
    for name in ("@48.1@11.5@32@U@.jpg", "@5300000@500000@32@U@.jpg"):
        caplog.clear()
        open_drive(images(tmp_path / name, [name]))
        assert "do not look like UTM coordinates" in caplog.text
    caplog.clear()
    folder = images(tmp_path / "right", ["@500000@5300000@32@U@.jpg"])
    images(folder / ".thumbnails", ["@500000@5300000@32@U@.jpg"])  # hidden, and no image of its own
    assert len(open_drive(folder)) == 1 and not caplog.text


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


def test_odd_file_names_are_left_out_and_counted(tmp_path: Path) -> None:
    """A cover picture must not cost the drive; names of another unit are a sentence."""
    folder = images(tmp_path / "d", ["1000000000.png", "cover.jpg", "20000000000000000000.png"])
    (folder / "track.csv").write_text("stamp_ns,x,y,yaw\n1000000000,0,0,0\n2000000000,10,0,0\n")
    drive = open_drive(folder)
    assert len(drive) == 1 and pose_span_of(drive)[:2] == (10**9, 2 * 10**9)
    assert tally_of(drive).lines()[0].startswith("2 image(s) left out: their names are not stamps")
    seconds = images(tmp_path / "s", ["1700000000000000000.png"])
    (seconds / "track.csv").write_text("stamp,x,y,yaw\n1700000000,0,0,0\n1700000001,10,0,0\n")
    with pytest.raises(DriveError, match=r"not named by its stamp.*looks like nanoseconds"):
        open_drive(seconds)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
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
def test_values_that_cannot_be_meant_are_a_sentence(tmp_path: Path, rows: str, says: str) -> None:
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    (folder / "poses.csv").write_text(rows)
    with pytest.raises(DriveError, match=says) as caught:
        open_drive(folder)
    assert "\n" not in str(caught.value)


def test_rows_before_the_first_fix_have_no_pose(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", [f"{i}.png" for i in range(5)])
    rows = "".join(f"{i}.png,{0 if i < 2 else 48 + 1e-4 * i},{0 if i < 2 else 11}\n" for i in range(5))
    (folder / "poses.csv").write_text("file,lat,lon\n" + rows)
    drive = open_drive(folder)
    assert drive.world == "utm 32 north" and [f.T_map_camera is None for f in drive] == [True] * 2 + [False] * 3


def test_what_lies_beside_the_images(tmp_path: Path, caplog) -> None:
    """A metadata.yaml that is no rosbag2's, and a bag: the folder's images are meant, and a bag can be named."""
    folder = images(tmp_path / "d", ["a.png"])
    (folder / "metadata.yaml").write_text("camera: left\n")
    assert len(open_drive(folder)) == 1 and not caplog.text
    (folder / "old.bag").write_bytes(b"")
    assert len(open_drive(folder)) == 1 and "holds 1 images and old.bag: the images are read" in caplog.text


def test_zones_and_names_of_utm_folders(tmp_path: Path) -> None:
    """The band letter is not the hemisphere's; a latitude decides; two zones cannot be told apart later."""
    names = {"s": "@1@2@13@S@.jpg", "h": "@1@2@56@H@-33.9@151@.jpg", "n": "@1@2@56@S@-1.0@151@.jpg"}
    worlds = {key: open_drive(images(tmp_path / key, [name])).world for key, name in names.items()}
    assert worlds == {"s": "utm 13 north", "h": "utm 56 south", "n": "utm 56 south"}
    bands = images(tmp_path / "bands", ["@1@2@13@S@.jpg", "@9@2@13@T@@@@@90@.jpg", "cover.jpg"])
    drive = open_drive(bands)
    assert drive.world == "utm 13 north" and len(drive) == 2
    assert tally_of(drive).lines() == [
        "1 image(s) left out: no position in their names (cover.jpg)",
        "1 image(s) have no heading in their names and are taken to look north (@1@2@13@S@.jpg)",
    ]
    with pytest.raises(DriveError, match=r"several UTM zones: utm 13 north .*, utm 14 north"):
        open_drive(images(tmp_path / "two", ["@1@2@13@S@.jpg", "@9@2@14@T@.jpg"]))


def test_utm_coordinates_stay_so_in_any_world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only the name of the world changed: two zones in one map, 430 km apart. Frames without a zone take any name."""
    beyond = images(tmp_path / "d", ["@290000@5540000@32@U@@@@@90@.jpg"])
    (frame,) = open_drive(beyond, DriveOptions(world="utm 31 north"))
    np.testing.assert_allclose(frame.T_map_camera[:2, 3], [720188.5, 5540408.9], atol=0.1)
    # Of true east: 3.07 degrees east of that zone's middle and 50 north.
    assert heading(frame.T_map_camera) == pytest.approx(np.radians(3.07 * np.sin(np.radians(50))), abs=1e-3)
    degrees = images(tmp_path / "degrees", ["a.png", "b.png"])
    (degrees / "poses.csv").write_text("file,lat,lon\na.png,50,6.001\nb.png,50,6.002\n")
    for folder in (beyond, degrees):
        assert open_drive(folder, DriveOptions(world="campus")).world == "campus"
    west = images(tmp_path / "west", ["@700000@5540000@31@U@@@@@90@.jpg"])
    with pytest.raises(DriveError, match="lie in utm 31 north and utm 32 north, so they cannot share a world 'campus'"):
        open_drives([west, degrees], DriveOptions(world="campus"))
    metres = images(tmp_path / "metres", ["a.png"])
    (metres / "poses.csv").write_text("file,x,y,yaw\na.png,1,2,0\n")
    assert open_drive(metres, DriveOptions(world="campus")).world == "campus"
    assert not caplog.messages
    assert open_drive(metres, DriveOptions(world="utm 31 north")).world == "utm 31 north"
    assert "do not look like UTM coordinates, as the first is 1.0 m east and 2.0 m north" in caplog.text


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


def test_absolute_names_of_images(tmp_path: Path, monkeypatch) -> None:
    """In a folder that is given by a relative path they were used, and said to be left out."""
    folder = images(tmp_path / "d", ["a.png"])
    (folder / "poses.csv").write_text(f"file,x,y,yaw\n{folder / 'a.png'},1,2,0\n")
    monkeypatch.chdir(tmp_path)
    drive = open_drive("d")
    assert len(list(drive)) == 1 and not tally_of(drive)


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


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["im_000.png", "im_002.png", "im_003.png"], [0, 2, 3]),  # an image is missing
        (["left-7-b.png", "left-8-b.png"], [7, 8]),
        (["1700000000.png", "1700000001.png"], [0, 1]),  # times, not numbers
        (["a.png", "b1.png"], [0, 1]),
        (["a1.png", "b1.png"], [0, 1]),
    ],
)
def test_numbered_images_are_those_of_their_names(tmp_path: Path, names: list[str], numbers: list[int]) -> None:
    """One lost image moved all that came after it away from those of the same number in another drive."""
    drive = NumberedDrive(open_drive(images(tmp_path / "walk", names)))
    assert [frame.T_map_camera[0, 3] for frame in drive] == numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["frame_7.png", "frame_9.png", "frame_10.png"], [7, 9, 10]),
        (["f_2_720p.png", "f_3_720p.png"], [2, 3]),
        (["0000100.png", "0000101.png", "0000108.png"], [100, 101, 108]),  # a part of a recording
        (["0.png", "200.png", "400.png"], [0, 200, 400]),
        (["20231114_0007.png", "20231114_0009.png"], [7, 9]),
        (["2023-05-12_000000.png", "2023-05-12_000002.png"], [0, 2]),
        (["run1.0001.png", "run1.0003.png"], [1, 3]),
        (["IMG_20231114_101010.png", "IMG_20231114_101011.png"], [0, 1]),
        (["2023-11-14-10-20-05.png", "2023-11-14-10-20-06.png"], [0, 1]),
        (["1700000000.5.png", "1700000001.5.png"], [0, 1]),
        ([f"2024-01-15 10.{m}.{s:02d}.png" for m, s in ((30, 58), (30, 59), (31, 0), (31, 1))], [0, 1, 2, 3]),
        (["10.5.png", "11.2.png", "12.9.png", "13.4.png"], [0, 1, 2, 3]),
        (["10.5.png", "11.6.png", "12.7.png"], [0, 1, 2]),
        (["6.png", "6b.png", "7.png"], [0, 1, 2]),
    ],
)
def test_names_number_images_only_if_they_count_them(tmp_path, caplog, names, numbers):
    """Tenths of a second, or the seconds of a minute, were taken for places: 57, 58, 59, 0, 1. Images 100 to 108 of a
    recording became 0 to 8, and R@1 was 0.
    """
    drive = NumberedDrive(open_drive(images(tmp_path / "walk", names)))
    assert [int(frame.T_map_camera[0, 3]) for frame in drive] == numbers
    assert ("are numbered in order, from 0" in caplog.text) == (numbers[:2] == [0, 1])


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


@pytest.mark.parametrize("altitude", ["", "nan", "inf"])
def test_an_unknown_altitude_takes_no_pose(tmp_path: Path, altitude: str) -> None:
    """Receivers without a height lost every pose."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    rows = [f"{name}.png,48.000{i},11,{altitude}" for i, name in enumerate("ab")]
    (folder / "poses.csv").write_text("\n".join(["file,lat,lon,alt", *rows]))
    assert [frame.T_map_camera[2, 3] for frame in open_drive(folder)] == [0, 0]


def test_underscores_are_no_part_of_numbers(tmp_path: Path) -> None:
    """Names of seconds and nanoseconds, 1700000000_5, were read as one number, as Python's literals are."""
    folder = images(tmp_path / "d", ["1700000000_5.png", "1700000001_7.png"])
    (folder / "poses.csv").write_text("stamp,x,y,yaw\n1700000000,0,0,0\n1700000001,9,0,0\n")
    with pytest.raises(DriveError, match=r"1700000000_5\.png is not named by its stamp"):
        open_drive(folder)
    (folder / "poses.csv").write_text("file,x,y,yaw\n1700000000_5.png,1_0,0,0\n")
    with pytest.raises(DriveError, match="not a number in x, y: '1_0'"):
        open_drive(folder)


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


def test_what_a_folder_holds_that_is_not_read_is_said(tmp_path: Path) -> None:
    """Pictures of a phone went without a count; a folder of drives did not say which folder to give."""
    (tmp_path / "campus").mkdir()
    folder = images(tmp_path / "campus" / "left", ["a.png"])
    for name in ("b.HEIC", "c.mp4"):
        (folder / name).write_bytes(b"")
    drive = open_drive(folder)
    assert len(drive) == 1
    assert tally_of(drive).lines() == [
        "1 file(s) left out: convert them to JPEG or PNG (b.HEIC)",
        "1 video(s) left out: take images out of it, such as with "
        "`mkdir c && ffmpeg -i c.mp4 -vf fps=2 c/%06d.jpg` (c.mp4)",
    ]
    with pytest.raises(
        DriveError, match=r"is not a drive of a known format: give a folder in it that is one, such as .*left"
    ):
        open_drive(folder.parent)


def _with_position(jpeg: Path, order: str) -> None:
    """Put EXIF data before a JPEG: a directory of GPS tags with version and latitude, 51 degrees."""
    mark = b"II" if order == "<" else b"MM"
    tags = [struct.pack(order + "HHII", *tag) for tag in ((0, 1, 4, 2), (2, 5, 3, 0))]
    gps = struct.pack(order + "H", 2) + b"".join(tags)
    tiff = mark + struct.pack(order + "HIHHHIII", 42, 8, 1, 0x8825, 4, 1, 26, 0) + gps
    data = b"Exif\0\0" + tiff
    whole = jpeg.read_bytes()
    jpeg.write_bytes(whole[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + whole[2:])


@pytest.mark.parametrize("order", ["<", ">"])
def test_positions_in_exif_data_say_how_to_read_them(tmp_path: Path, order: str) -> None:
    """Photos of a phone "had no poses". The table that the command writes is read: its names, and gaps in it."""
    folder = images(tmp_path / "phone", [f"{k}.JPG" for k in range(4)])
    assert not open_drive(folder).tally
    _with_position(folder / "0.JPG", order)
    (line,) = open_drive(folder).tally.lines()
    assert "`exiftool -csv -n " in line and line.endswith("> poses.csv` (0.JPG)")
    rows = [f"./{k}.JPG,{-33.9 - 1e-4 * k},151.2,-5" for k in range(3)]
    header = "SourceFile,GPSLatitude,GPSLongitude,GPSAltitude"
    (folder / "poses.csv").write_text("\n".join([header, *rows, "./3.JPG,,,"]))
    drive = open_drive(folder)
    assert (drive.world, [T.T_map_camera is None for T in drive]) == ("utm 56 south", [False] * 3 + [True])
    first = next(iter(drive)).T_map_camera
    assert first[2, 3] == -5 and np.degrees(heading(first)) == pytest.approx(-90, abs=2)


@pytest.mark.parametrize(
    "name",
    ["images.bin", "reconstruction.json", "track.geojson", "DJI_0001.SRT", "rtk.pos", "poses.npy", "gnss.log", "p.g2o"],
)
def test_files_of_poses_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    """Only some suffixes were: COLMAP's binary, OpenSfM's and a drone's files were no word in "has no poses"."""
    folder = images(tmp_path / "d", ["a.png", "pose_b.png"])
    (folder / name).write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    assert open_drive(folder).tally.lines() == [f"1 file(s) left out: poses are read from a .csv or .tum file ({name})"]


def test_names_of_pictures(tmp_path: Path) -> None:
    """JPEGs that a browser or a scanner named were lost, and one @home.png made the folder another format."""
    folder = images(tmp_path / "d", ["@home.png", "a.jpg", "b.jpg", "c.png"])
    (folder / "a.jpg").rename(folder / "a.jfif")
    (folder / "b.jpg").rename(folder / "b.JPE")
    (folder / "ride.m4v").write_bytes(b"")
    drive = open_drive(folder)
    assert [red(frame) // 10 for frame in drive] == [0, 1, 2, 3]
    assert tally_of(drive).lines() == [
        "1 video(s) left out: take images out of it, such as with "
        "`mkdir ride && ffmpeg -i ride.m4v -vf fps=2 ride/%06d.jpg` (ride.m4v)"
    ]
    named = images(tmp_path / "utm", ["@500000@5700000@30@U@.png", "@home.png"])
    assert tally_of(open_drive(named)).lines()[0] == "1 image(s) left out: no position in their names (@home.png)"


def test_names_of_images_from_other_systems(tmp_path: Path) -> None:
    """Tables of Windows have \\ between folders, and macOS takes letters with accents apart."""
    apart = unicodedata.normalize("NFD", "ü.png")
    folder = images(tmp_path / "d", [apart])
    images(folder / "left", ["1.png"])
    (folder / "poses.csv").write_text("file,x,y,yaw\nü.png,1,2,0\nleft\\1.png,3,4,0\nleft/1.png,3,4,0\n", "utf-8")
    drive = open_drive(folder)
    assert [frame.T_map_camera[0, 3] for frame in drive] == [1, 3] and [red(frame) for frame in drive] == [0, 0]
    assert tally_of(drive).count(NAMED_TWICE) == 1


def test_a_yaw_from_true_east_is_turned_to_the_grid(tmp_path: Path) -> None:
    """Beside lat and lon, yaw is from true east. In Bergen the grid is 3.2 degrees off, and the course is on the grid.

    A camera that looks along a drive due east must look along its course.
    """
    folder = images(tmp_path / "bergen", [f"{k}.png" for k in range(10)])
    latitude, longitude = 60.39, 5.3
    rows = [f"{k}.png,{latitude},{longitude + k * 1e-4},0.0" for k in range(10)]
    (folder / "poses.csv").write_text("\n".join(["file,lat,lon,yaw", *rows]))
    poses = [frame.T_map_camera for frame in open_drive(folder)]
    east, north = (poses[-1] - poses[0])[:2, 3]
    assert abs(np.degrees(np.arctan2(north, east))) > 3
    assert heading(poses[0]) == pytest.approx(np.arctan2(north, east), abs=1e-3)


def test_a_set_of_images_is_no_trip(tmp_path: Path) -> None:
    """Names sort by easting, so that neighbours in the set lie in different streets. Rows in time are a trip."""
    streets = [(10 * east + 3 * k, 100 * north) for k, north in enumerate((0, 2, 1)) for east in range(12)]
    named = images(tmp_path / "named", [f"@{500000 + x}@{5700000 + y}@30@U@.jpg" for x, y in streets])
    assert not open_drive(named).is_trip
    driven = images(tmp_path / "driven", [f"{k:02d}.png" for k in range(len(streets))])
    rows = [f"{k:02d}.png,{k},{x},{y},0.0" for k, (x, y) in enumerate(streets)]
    (driven / "poses.csv").write_text("\n".join(["file,stamp,x,y,yaw", *rows]))
    assert open_drive(driven).is_trip


def test_a_course_on_the_grid_is_not_turned_again(tmp_path: Path) -> None:
    """Without a yaw the camera looks along the track, which is on the grid; orientations beside lat and lon are not."""
    folder = images(tmp_path / "bergen", [f"{k}.png" for k in range(10)])
    rows = [f"{k}.png,60.39,{5.3 + k * 1e-4}" for k in range(10)]
    (folder / "poses.csv").write_text("\n".join(["file,lat,lon", *rows]))
    poses = [frame.T_map_camera for frame in open_drive(folder)]
    east, north = (poses[-1] - poses[0])[:2, 3]
    assert heading(poses[0]) == pytest.approx(np.arctan2(north, east), abs=1e-3)
    quaternion = ",".join(f"{q:.9f}" for q in quat_xyzw_from_matrix(R_BODY_OPTICAL))
    (folder / "poses.csv").write_text("\n".join(["file,lat,lon,qx,qy,qz,qw", *(f"{row},{quaternion}" for row in rows)]))
    poses = [frame.T_map_camera for frame in open_drive(folder)]
    assert heading(poses[0]) == pytest.approx(np.arctan2(north, east), abs=1e-3)


def test_names_far_from_any_zone_and_without_a_letter_keep_or_turn_their_heading(tmp_path: Path) -> None:
    """Millimetres gave -45 degrees; a zone without a letter gets its hemisphere, and its grid, from the option."""
    far = images(tmp_path / "far", ["@320000000@5812000000@55@H@@@@@90@.jpg"])
    (frame,) = open_drive(far)
    assert heading(frame.T_map_camera) == pytest.approx(0, abs=1e-9)
    bare, whole = (
        images(tmp_path / f"zone{letter}", [f"@320000@5812000@55@{letter}@@@@@90@.jpg"]) for letter in ("", "H")
    )
    (without,), (with_letter,) = open_drive(bare, DriveOptions(world="utm 55 south")), open_drive(whole)
    assert heading(without.T_map_camera) == pytest.approx(heading(with_letter.T_map_camera), abs=1e-9)
    assert abs(np.degrees(heading(without.T_map_camera))) > 1


def test_a_folder_of_videos_says_what_to_do(tmp_path: Path) -> None:
    """It was "no drive of a known format"."""
    (tmp_path / "my ride.MP4").write_bytes(b"film")
    with pytest.raises(DriveError, match=r"there are no images in .*1 video\(s\) left out: take images out of it"):
        open_drive(tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my ride.MP4", "take images out of it, such as with `mkdir 'my ride' && ffmpeg -i 'my ride.MP4' "),
        ("run.tar.gz", "unpack it$"),
        ("IMG_1.JPG", "give its folder$"),
    ],
)
def test_a_file_that_is_no_drive_says_what_to_do(tmp_path: Path, name: str, says: str) -> None:
    """It was answered with the list of all formats."""
    (tmp_path / name).write_bytes(b"film")
    with pytest.raises(DriveError, match=f"is not a drive of a known format: {says}"):
        open_drive(tmp_path / name)


def test_a_fix_far_aside_has_no_pose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A kilometre off for a second, among fixes every 10 m: it was a place of the map."""
    images(tmp_path, [f"{i}.png" for i in range(6)])
    rows = [f"{i}.png,{i},51.75,{-1.25 + 1e-4 * i + (0.02 if i == 3 else 0)}" for i in range(6)]
    (tmp_path / "poses.csv").write_text("\n".join(["file,stamp,lat,lon", *rows]))
    drive = open_drive(tmp_path)
    assert [frame.T_map_camera is None for frame in drive] == [False] * 3 + [True] + [False] * 2
    assert any("no vehicle is so fast" in line for line in tally_of(drive).lines())
    assert "positions jump" not in caplog.text  # what is left out jumps no more
    rows[3:] = [f"{i}.png,{i},52.75,{-1.25 + 1e-4 * i}" for i in (3, 4, 5)]
    (tmp_path / "poses.csv").write_text("\n".join(["file,stamp,lat,lon", *rows]))
    assert len(list(open_drive(tmp_path))) == 6 and "positions jump by 111.2 km" in caplog.text


def test_a_tunnel_of_kilometres_without_fixes_is_no_jump(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A vehicle drives two kilometres in a minute without a fix; a receiver whose position freezes does jump."""
    images(tmp_path, [f"{i}.png" for i in range(6)])
    for exit_s, jumps in ((63, False), (4, True)):
        caplog.clear()
        times = [0, 1, 2, exit_s, exit_s + 1, exit_s + 2]
        rows = [f"{i}.png,{times[i]},{51.75 + 3e-4 * i + 0.018 * (i > 2)},-1.25" for i in range(6)]
        (tmp_path / "poses.csv").write_text("\n".join(["file,stamp,lat,lon", *rows]))
        open_drive(tmp_path)
        assert ("positions jump" in caplog.text) == jumps
