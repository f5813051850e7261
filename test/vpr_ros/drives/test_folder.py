"""Image folders: their order, what is no drive, and what lies in a folder and is not read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from drive_files import images, red

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.geometry import heading
from vpr_ros.drives.drive import pose_span_of, tally_of
from vpr_ros.drives.open import DriveOptions, open_drive


def test_a_plain_folder_keeps_its_order(tmp_path: Path) -> None:
    """Truth by frame number needs 2.png before 10.png; there are no poses to invent."""
    folder = images(tmp_path / "walk", ["1.png", "2.png", "10.png"])
    (folder / "notes.txt").write_text("not an image")
    drive = open_drive(folder, DriveOptions(frame_rate_hz=2.0))
    frames = list(drive)
    assert [red(f) for f in frames] == [0, 10, 20] and len(drive) == 3
    assert [f.stamp_ns for f in frames] == [0, 500_000_000, 1_000_000_000]
    assert all(f.T_map_camera is None for f in frames) and drive.name == "walk"


def test_images_named_by_stamps_get_interpolated_poses(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", ["1000000000.png", "1500000000.png", "9000000000.png"])
    rows = "stamp_ns,x,y,z,yaw\n1000000000,0,0,1,0\n2000000000,10,0,1,0\n"
    (folder / "track.csv").write_text(rows)
    frames = list(open_drive(folder))
    np.testing.assert_allclose(frames[1].T_map_camera[:3, 3], [5, 0, 1])
    assert frames[2].T_map_camera is None


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


def test_what_lies_beside_the_images(tmp_path: Path, caplog) -> None:
    """A metadata.yaml that is no rosbag2's, and a bag: the folder's images are meant, and a bag can be named."""
    folder = images(tmp_path / "d", ["a.png"])
    (folder / "metadata.yaml").write_text("camera: left\n")
    assert len(open_drive(folder)) == 1 and not caplog.text
    (folder / "old.bag").write_bytes(b"")
    assert len(open_drive(folder)) == 1 and "holds 1 images and old.bag: the images are read" in caplog.text


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
