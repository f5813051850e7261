"""Fixes of a satellite receiver: which are used, and the headings of their track, alone and in tables."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from drive_files import images, poses

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import R_BODY_OPTICAL, heading, quat_xyzw_from_matrix, wrap_angle
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import TWO_POSES
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.fixes import good_fixes, headings_from_track, strays
from vpr_ros.drives.open import DriveOptions, open_drive


def test_what_is_no_fix_is_counted() -> None:
    """0, 0 before the first fix, NaN and what lies off the globe are left out; exchanged columns are a sentence."""
    tally = Tally()
    latitude = np.array([0.0, np.nan, 51.0, 51.0, 95.0])
    longitude = np.array([0.0, 1.0, 0.0, 0.1, 3.0])
    assert good_fixes(latitude, longitude, tally, "gps").tolist() == [False, False, True, True, False]
    assert [line.split(" ", 1)[0] for line in tally.lines()] == ["1", "1", "1"]
    with pytest.raises(DriveError, match=r"latitude 151.2, longitude -33.9 is out of range.*swapped"):
        good_fixes(np.full(3, 151.2), np.full(3, -33.9), tally, "gps")
    with pytest.raises(DriveError, match=r"no position is a valid fix; .*0, 0 is no fix"):
        good_fixes(np.zeros(3), np.zeros(3), Tally(), "gps")


def test_headings() -> None:
    """East, a halt with jitter, then north: the halt keeps its course, and angles do not wrap."""
    rng = np.random.default_rng(0)
    east = np.column_stack([np.arange(10.0) * 2, np.zeros(10), np.zeros(10)])
    halt = east[-1] + np.column_stack([rng.normal(0, 0.05, (20, 2)), np.zeros(20)])
    north = east[-1] + np.column_stack([np.zeros(10), 2 * np.arange(1.0, 11), np.zeros(10)])
    yaw = headings_from_track(np.vstack([east, halt, north]))
    assert yaw is not None
    np.testing.assert_allclose(yaw[:9], 0, atol=0.05)
    np.testing.assert_allclose(yaw[-9:], np.pi / 2, atol=0.05)
    assert np.all((yaw > -0.1) & (yaw < 1.7))
    assert headings_from_track(halt) is None


@pytest.mark.parametrize("noise_m", [0.05, 0.3, 1.0])
def test_headings_do_not_spin_where_a_noisy_receiver_stands(noise_m: float) -> None:
    """A minute at a red light turned the camera about by up to 180 degrees, from 0.3 m of noise on."""
    rng = np.random.default_rng(0)
    along = np.concatenate([np.arange(0, 100, 1.0), np.full(600, 100.0), np.arange(100, 200, 1.0)])
    track = np.column_stack([along, np.zeros_like(along)]) + rng.normal(0, noise_m, (len(along), 2))
    headings = headings_from_track(track)
    assert headings is not None and np.degrees(np.abs(wrap_angle(headings[100:700]))).max() < 30


def test_a_single_fix_far_aside_is_no_position() -> None:
    """Reflections do that, for one fix; a ferry, a tunnel and a receiver that starts again do not come back."""
    stamps = np.arange(8) * 10**9
    there = np.column_stack([10.0 * np.arange(8), np.zeros(8), np.zeros(8)])
    there[4, 1] = 572.0
    assert np.flatnonzero(strays(there, stamps)).tolist() == [4]
    moved_on = there + np.where(np.arange(8)[:, None] > 3, 500.0, 0.0)
    moved_on[4, 1] -= 572.0
    assert not strays(moved_on, stamps).any() and not strays(there[:2], stamps[:2]).any()
    assert not strays(there, 100 * stamps).any()


@pytest.mark.parametrize("hop_m", [0.0, 100.0])
def test_fixes_far_aside_for_seconds_are_no_positions(hop_m: float) -> None:
    """Only single ones were found; at 10 Hz a reflection is a dozen of them, in one place or hopping between three."""
    count = 1000
    stamps = np.arange(count) * 10**8
    there = np.column_stack([np.arange(count), np.zeros(count), np.zeros(count)])
    there[400:430, 1] += 300.0 + hop_m * (np.arange(30) % 3)
    there[700, 1] = 80.0
    assert np.flatnonzero(strays(there, stamps)).tolist() == [*range(400, 430), 700]
    there[1::3, 1] += 500.0  # another vehicle's
    assert not strays(there, stamps).any()
    rounded = np.column_stack([30.0 * np.arange(100), np.zeros(100), np.zeros(100)])  # 30 m/s, two times twice
    seconds = np.arange(100) * 10**9
    seconds[[50, 60]] = seconds[[49, 59]]
    assert not strays(rounded, seconds).any()


def test_what_lies_between_two_strays_at_one_spot_is_kept() -> None:
    """A phone falls back to the place of one radio mast: all good fixes between two of those were left out."""
    there = np.column_stack([10.0 * np.arange(10000), np.zeros(10000), np.zeros(10000)])
    there[[0, 800]] = 0, 5000, 0
    assert np.flatnonzero(strays(there, np.arange(10000) * 10**9)).tolist() == [800]


def test_radians_are_told() -> None:
    """They lie off Africa, 57 times too close together, and the map was built without a word."""
    tally = Tally()
    good_fixes(np.radians([48.0, 48.1]), np.radians([8.0, 8.1]), tally, "log")
    assert any("as radians are that are taken for degrees" in line for line in tally.lines())


@pytest.mark.parametrize("kind", ["bag", "table"])
def test_fixes_of_one_time_are_counted_if_they_differ(tmp_path: Path, bag_by_hand, kind: str) -> None:
    """In a bag they were not counted. In a table a repeated one on a curve was counted as a different one."""
    start_s, second = 1_700_000_000, 10**9
    bend = [(51.75 + 1e-6 * i * i, -1.25 + 1e-4 * i) for i in range(12)]
    repeated = [(i, *here) for i, here in enumerate(bend) for _ in range(3)]

    def lines(fixes: list[tuple[int, float, float]]) -> list[str]:
        folder = tmp_path / f"{len(fixes)}"

        def build(make, add) -> None:
            for i, latitude, longitude in fixes:
                stamp = (start_s + i) * second
                add("/fix", make.fix(stamp, latitude, longitude), stamp)
                add("/image", make.image(stamp), stamp)

        if kind == "bag":
            drive = open_drive(bag_by_hand(folder, build), DriveOptions(T_base_camera=(0, 0, 0, -1.57, 0, -1.57)))
        else:
            folder.mkdir()
            cv2.imwrite(str(folder / f"{start_s + 1}.5.png"), np.full((8, 8), 100, np.uint8))
            rows = [f"{start_s + i},{latitude},{longitude}" for i, latitude, longitude in fixes]
            (folder / "poses.csv").write_text("\n".join(["stamp,lat,lon", *rows]))
            drive = open_drive(folder)
        return [line for line in tally_of(drive).lines() if TWO_POSES in line]

    assert lines(repeated) == []
    assert [line.split(" (")[0] for line in lines([*repeated, (3, bend[3][0], -1.2499)])] == [f"1 {TWO_POSES}"]


def test_fixes_that_give_no_heading_say_what_was_left_out(tmp_path: Path) -> None:
    """A log whose times are all the same was said not to move, and nothing else."""
    folder = images(tmp_path / "d", ["1700000000.png"])
    rows = [f"1700000000,{51.75 + 1e-4 * i},-1.25,90" for i in range(5)]
    (folder / "poses.csv").write_text("\n".join(["stamp,lat,lon,heading", *rows]))
    says = rf"do not move to give a heading; 1 column.s. not used: .*heading\); 4 {re.escape(TWO_POSES)}"
    with pytest.raises(DriveError, match=says):
        open_drive(folder)


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


def test_rows_before_the_first_fix_have_no_pose(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", [f"{i}.png" for i in range(5)])
    rows = "".join(f"{i}.png,{0 if i < 2 else 48 + 1e-4 * i},{0 if i < 2 else 11}\n" for i in range(5))
    (folder / "poses.csv").write_text("file,lat,lon\n" + rows)
    drive = open_drive(folder)
    assert drive.world == "utm 32 north" and [f.T_map_camera is None for f in drive] == [True] * 2 + [False] * 3


@pytest.mark.parametrize("altitude", ["", "nan", "inf"])
def test_an_unknown_altitude_takes_no_pose(tmp_path: Path, altitude: str) -> None:
    """Receivers without a height lost every pose."""
    folder = images(tmp_path / "d", ["a.png", "b.png"])
    rows = [f"{name}.png,48.000{i},11,{altitude}" for i, name in enumerate("ab")]
    (folder / "poses.csv").write_text("\n".join(["file,lat,lon,alt", *rows]))
    assert [frame.T_map_camera[2, 3] for frame in open_drive(folder)] == [0, 0]


def test_an_altitude_that_is_missing_is_that_of_its_neighbours_in_time(tmp_path: Path) -> None:
    """It was that of the rows above and below, which may be of another street."""
    folder = images(tmp_path / "d", [f"{k}.png" for k in range(4)])
    altitudes = ["10", "", "20", "90"]
    rows = [f"{k}.png,{100 + k},{48 + 1e-4 * k:.6f},9,{altitudes[k]}" for k in (2, 0, 3, 1)]
    (folder / "poses.csv").write_text("\n".join(["file,stamp,lat,lon,alt", *rows]))
    np.testing.assert_allclose(poses(open_drive(folder))[:, 2, 3], [10, 15, 20, 90])


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
    assert f"check {tmp_path / 'poses.csv'}" in caplog.text  # it was "the receiver's log", of several drives


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


def test_headings_are_those_of_the_track_in_order_of_time(tmp_path: Path) -> None:
    """Rows of a GPS log that was sorted by something else gave headings of -91 and 179 degrees, and no word."""
    folder = images(tmp_path / "d", [f"{k}.png" for k in range(6)])
    rows = [f"{k}.png,{100.0 + k},{48.0 + 1e-4 * k:.6f},9.0" for k in (3, 0, 5, 1, 4, 2)]
    (folder / "poses.csv").write_text("file,stamp,lat,lon\n" + "\n".join(rows) + "\n")
    np.testing.assert_allclose(np.degrees(heading(poses(open_drive(folder)))), 90, atol=2)


def test_a_zone_too_far_away_is_refused(tmp_path: Path) -> None:
    """A drive at 9 degrees east in zone 60 was 14 000 km north, and zone 99 was any name."""
    folder = images(tmp_path / "d", ["0.png", "1.png"])
    (folder / "poses.csv").write_text("file,lat,lon,yaw\n0.png,48.0,9.0,0\n1.png,48.0001,9.0,0\n")
    with pytest.raises(DriveError, match="too far from 'utm 60 north'"):
        open_drive(folder, DriveOptions(world="utm 60 north"))
    with pytest.raises(DriveError, match="'utm 99 north' is no UTM zone"):
        DriveOptions(world="utm 99 north")
    assert DriveOptions(world="utm 2020 survey").world == "utm 2020 survey"  # a name of one's own
    assert open_drive(folder, DriveOptions(world="utm 33 north")).world == "utm 33 north"  # the next one
