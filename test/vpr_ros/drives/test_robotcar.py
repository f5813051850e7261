"""RobotCar: signs and frames by a car driven straight north, mosaics, undistortion, lidar, what is missing."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.geometry import heading, inverse, matrix_from_rpy, rpy_from_matrix, transform
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.fixes import STRAY
from vpr_ros.drives.lidar import depth_image
from vpr_ros.drives.open import DriveOptions, open_drive

T0 = 1_400_000_000_000_000  # microseconds
STEP = 62_500
SIZE = (48, 64)
INS = (-1.7132, 0.1181, 1.1948, -0.0125, 0.0400, 0.0050)
RTK_HEADER = (
    "timestamp,latitude,longitude,altitude,northing,easting,down,utm_zone,velocity_north,velocity_east,velocity_down,"
    "roll,pitch,yaw"
)
INS_HEADER = RTK_HEADER.replace("timestamp,", "timestamp,ins_status,")


def se3(xyzrpy) -> np.ndarray:
    return transform(matrix_from_rpy(*xyzrpy[3:]), np.array(xyzrpy[:3]))


def vehicle_ned(i: float) -> np.ndarray:
    """Straight north at 1 m a frame for ten frames, then a turn to the east. x forward, y right, z down; 100 m high."""
    if i <= 10:
        return se3((5_735_000.0 + i, 620_000.0, -100.0, 0, 0, 0))
    yaw = (i - 10) * 0.15
    return se3((5_735_010.0 + np.sin(yaw) * 6.67, 620_000.0 + 6.67 * (1 - np.cos(yaw)), -100.0, 0, 0, yaw))


def raw_image(i: int) -> np.ndarray:
    """(H, W, 3) RGB: red above, blue below, with the number in green."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[: SIZE[0] // 2] = (200, 10 * i, 20)
    image[SIZE[0] // 2 :] = (20, 10 * i, 200)
    return image


def gbrg(image: np.ndarray) -> np.ndarray:
    """What the stereo camera's sensor sees: green blue / red green."""
    mosaic = image[..., 1].copy()
    mosaic[0::2, 1::2] = image[0::2, 1::2, 2]
    mosaic[1::2, 0::2] = image[1::2, 0::2, 0]
    return mosaic


def pose_rows(ned_poses: list[np.ndarray], status: list[str] | None = None) -> str:
    rows = []
    for i, T in enumerate(ned_poses):
        roll, pitch, yaw = map(float, rpy_from_matrix(T[:3, :3]))
        north, east, down = map(float, T[:3, 3])
        head = f"{T0 + i * STEP}," + (f"{status[i]}," if status else "")
        rows.append(f"{head}51.7,-1.2,{-down},{north!r},{east!r},{down!r},30U,0,0,0,{roll!r},{pitch!r},{yaw!r}")
    return "\n".join([INS_HEADER if status else RTK_HEADER, *rows]) + "\n"


def write_run(run: Path, count: int = 16, raw: bool = True) -> Path:
    """A run whose INS sits where the published extrinsics say, so that the vehicle's own track is vehicle_ned."""
    (run / "stereo/left").mkdir(parents=True)
    (run / "gps").mkdir()
    (run / "vo").mkdir()
    for i in range(count):
        image = gbrg(raw_image(i)) if raw else raw_image(i)[..., ::-1]
        cv2.imwrite(str(run / f"stereo/left/{T0 + i * STEP}.png"), image)
    ins = [vehicle_ned(i) @ se3(INS) for i in range(count)]
    (run / "gps/ins.csv").write_text(pose_rows(ins, ["INS_SOLUTION_GOOD"] * count))
    rows = ["source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw"]
    for i in range(1, count):
        T = inverse(vehicle_ned(i - 1)) @ vehicle_ned(i)
        values = [*T[:3, 3], *rpy_from_matrix(T[:3, :3])]
        rows.append(",".join([str(T0 + i * STEP), str(T0 + (i - 1) * STEP), *(repr(float(v)) for v in values)]))
    (run / "vo/vo.csv").write_text("\n".join(rows) + "\n")
    return run


def write_models(folder: Path, shift: float = 0.0) -> Path:
    folder.mkdir()
    (folder / "stereo_wide_left.txt").write_text("50 50 32 24\n0 0 1 0\n1 0 0 0\n0 1 0 0\n0 0 0 1\n")
    u, v = np.meshgrid(np.arange(SIZE[1], dtype=float), np.arange(SIZE[0], dtype=float))
    np.stack([u, v + shift]).astype("<f8").tofile(folder / "stereo_wide_left_distortion_lut.bin")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_models(tmp_path / "models")
    return write_run(tmp_path / "2014-05-06-12-54-54")


def test_north_then_east(run: Path) -> None:
    """NED to ENU once: north is +y, the camera looks north and then turns clockwise to the east, up is up."""
    drive = open_drive(run)
    frames = list(drive)
    assert (drive.world, drive.name, len(drive)) == ("utm 30 north", run.name, 16)
    assert frames[1].stamp_ns == (T0 + STEP) * 1000
    np.testing.assert_allclose(frames[3].T_map_camera[:3, 3], [620_000, 5_735_003, 100], atol=1e-3)
    assert heading(frames[3].T_map_camera) == pytest.approx(np.pi / 2, abs=1e-6)
    np.testing.assert_allclose(frames[3].T_map_camera[:3, 1], [0, 0, -1], atol=1e-6)  # image y points down
    np.testing.assert_allclose(frames[3].T_map_camera[:3, 0], [1, 0, 0], atol=1e-6)  # image x points east
    assert heading(frames[15].T_map_camera) == pytest.approx(np.pi / 2 - 0.75, abs=1e-6)
    assert frames[15].T_map_camera[0, 3] > 620_001


def test_visual_odometry_agrees(run: Path) -> None:
    """T_odom_camera drifts from nothing here: the same path, from an upright origin; left of forward is +y."""
    frames = list(open_drive(run))
    np.testing.assert_allclose(frames[4].T_odom_camera[:3, 3], [4, 0, 0], atol=1e-9)
    assert frames[15].T_odom_camera[1, 3] < -1  # a right turn
    for before, after in itertools.pairwise(frames):
        np.testing.assert_allclose(
            inverse(before.T_odom_camera) @ after.T_odom_camera,
            inverse(before.T_map_camera) @ after.T_map_camera,
            atol=1e-4,
        )
    vo = open_drive(run, DriveOptions(pose_source="vo"))
    assert vo.world == "local"
    np.testing.assert_allclose(next(iter(vo)).T_map_camera[:3, 3], 0, atol=1e-12)


def test_rtk_is_preferred_and_interpolated(run: Path) -> None:
    """rtk.csv where present; images between two poses get the pose between; none across a long gap or outside."""
    rtk = [vehicle_ned(i) @ se3(INS) for i in (0, 8)]
    text = pose_rows(rtk).replace(f"\n{T0 + STEP},", f"\n{T0 + 8 * STEP},")
    (run / "rtk.csv").write_text(text)
    frames = list(open_drive(run))
    np.testing.assert_allclose(frames[3].T_map_camera[:3, 3], [620_000, 5_735_003, 100], atol=1e-3)
    assert frames[9].T_map_camera is None
    assert list(open_drive(run, DriveOptions(pose_source="ins")))[9].T_map_camera is not None
    assert list(open_drive(run, DriveOptions(max_pose_gap_s=0.2)))[3].T_map_camera is None


def test_poses_the_ins_is_not_sure_of_are_left_out(run: Path) -> None:
    path = run / "gps/ins.csv"
    lines = path.read_text().splitlines()
    for i in range(5, 9):
        lines[i + 1] = lines[i + 1].replace("INS_SOLUTION_GOOD", "INS_BAD_GPS_AGREEMENT").replace("5735", "1111")
    path.write_text("\n".join(lines) + "\n")
    strict = [f.T_map_camera is not None for f in open_drive(run, DriveOptions(max_pose_gap_s=0.1))]
    assert strict == [True] * 5 + [False] * 4 + [True] * 7
    np.testing.assert_allclose(list(open_drive(run))[6].T_map_camera[1, 3], 5_735_006, atol=1e-3)
    path.write_text(path.read_text().replace("INS_SOLUTION_GOOD", "INACTIVE"))
    with pytest.raises(DriveError, match=r"ins.csv has no good pose: all rows are .* not INS_.*, or 0, 0"):
        open_drive(run)


def test_a_file_without_a_status_is_not_refused_for_one(run: Path) -> None:
    """rtk.csv has no ins_status, and what was left out of it was said to be not INS_SOLUTION_GOOD."""
    rows = pose_rows([vehicle_ned(i) @ se3(INS) for i in range(16)]).splitlines()
    empty = rows[1].replace(rows[1].split(",")[4], "")
    (run / "rtk.csv").write_text("\n".join([rows[0], empty, *rows[2:]]))
    assert f"1 pose(s) left out: not a number ({run / 'rtk.csv'})" in tally_of(open_drive(run)).lines()
    (run / "rtk.csv").write_text("\n".join([rows[0], empty]))
    with pytest.raises(DriveError, match=r"rtk.csv has no good pose: all rows are not a number, or 0, 0$"):
        open_drive(run)


def test_what_is_wrong_with_poses_is_said(run: Path) -> None:
    """Fixes 400 m aside, a second run in the file and lost steps of visual odometry were poses without a word."""
    ins, vo = run / "gps/ins.csv", run / "vo/vo.csv"
    rows = ins.read_text().splitlines()
    ins.write_text("\n".join([*rows, rows[1].replace(",620000", ",620001")]))
    vo.write_text("\n".join(line for k, line in enumerate(vo.read_text().splitlines()) if k != 5))
    told = "\n".join(tally_of(open_drive(run)).lines())
    assert "1 pose(s) left out: an earlier one of the same time differs" in told
    assert "1 step(s) of visual odometry do not begin where the last one ends" in told
    ins.write_text("\n".join([*rows[:8], rows[8].replace(",620000", ",620400"), *rows[9:]]))
    drive = open_drive(run)
    assert tally_of(drive).count(STRAY) == 1
    np.testing.assert_allclose([frame.T_map_camera[0, 3] for frame in drive][:10], 620000, atol=1e-3)


def test_rows_in_another_order_are_no_jumps(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a file whose second half comes first, the step from its end back to the start was warned of."""
    rows = pose_rows([se3((5_735_000.0 + 15 * i, 620_000.0, -100.0, 0, 0, 0)) for i in range(100)]).splitlines()
    (run / "rtk.csv").write_text("\n".join([rows[0], *rows[51:], *rows[1:51]]))
    open_drive(run)
    assert "positions jump" not in caplog.text


def test_angles_in_degrees_are_refused(run: Path) -> None:
    """A yaw of 90 was one of 117 degrees."""
    for name, there in (("gps/ins.csv", -1), ("vo/vo.csv", -3)):
        rows = (run / name).read_text().splitlines()
        cells = rows[3].split(",")
        cells[there] = "90.0"
        (run / name).write_text("\n".join([*rows[:3], ",".join(cells), *rows[4:]]))
        with pytest.raises(DriveError, match=rf"{name} has values up to 90 in roll, pitch, yaw, .* convert degrees"):
            open_drive(run)
        (run / name).write_text("\n".join(rows))


def test_raw_images_are_demosaiced_and_undistorted(run: Path, tmp_path: Path) -> None:
    """gbrg, not OpenCV's shifted name for it; the table says where a pixel lies in the raw image, row 0 u, row 1 v."""
    frame = list(open_drive(run))[3]
    image = frame.read()
    assert image.shape == (*SIZE, 3)
    assert (frame.intrinsics.height, frame.intrinsics.width) == SIZE and frame.intrinsics.K[0].tolist() == [50, 0, 32]
    np.testing.assert_allclose(image[4:20, 4:-4].mean((0, 1)), [200, 30, 20], atol=2)
    np.testing.assert_allclose(image[28:44, 4:-4].mean((0, 1)), [20, 30, 200], atol=2)
    shifted = DriveOptions(models_dir=str(write_models(tmp_path / "shifted", shift=10.0)))
    image = list(open_drive(run, shifted))[3].read()
    np.testing.assert_allclose(image[16:35, 4:-4].mean((0, 1)), [20, 30, 200], atol=2)  # the edge came up by ten rows


def test_the_other_cameras_place_counts(run: Path) -> None:
    """A side camera's extrinsics take the vehicle to the camera: the left one looks left, sits back left."""
    (run / "mono_left").mkdir()
    for image in (run / "stereo/left").iterdir():
        (run / "mono_left" / image.name).write_bytes(image.read_bytes())
    (run / "extrinsics").mkdir()
    (run / "extrinsics/mono_left.txt").write_text("-0.0905 1.6375 0.2803 0.2079 -0.2339 1.2321\n")
    (run.parent / "models/mono_left.txt").write_text("400 400 32 24\n0 0 1 0\n1 0 0 0\n0 1 0 0\n0 0 0 1\n")
    (frame, *_) = open_drive(run, DriveOptions(camera="mono_left", undistort=False))
    assert frame.intrinsics is None  # of a lens nobody took out
    west_north_up = frame.T_map_camera[:3, 3] - [620_000, 5_735_000, 100]
    assert west_north_up[0] < -0.4 and west_north_up[1] < -1
    assert np.pi / 2 + 0.8 < heading(frame.T_map_camera) < np.pi / 2 + 1.6


def test_processed_images_are_taken_as_they_are(tmp_path: Path) -> None:
    """Three channels: no models folder is needed, nothing is undistorted twice, no lidar goes into a crop."""
    frame = list(open_drive(write_run(tmp_path / "run", raw=False)))[2]
    assert frame.intrinsics is None
    np.testing.assert_array_equal(frame.read(), raw_image(2))
    assert frame.T_map_camera is not None and frame.read_depth is None


def test_depth_from_push_broom_scans(run: Path) -> None:
    """A wall across the street, 9 m ahead, swept only by scans taken later, has its depth; the sky has none."""
    (run / "lms_front").mkdir()
    (run / "extrinsics").mkdir()
    extrinsics = (1.7589, 0.2268, 1.0411, -0.0437, -1.4572, 0.0356)
    (run / "extrinsics/lms_front.txt").write_text(" ".join(map(str, extrinsics)))
    # The wall in the vehicle's first frame (x forward, y right, z down), from the camera's height down. A planar
    # lidar cannot see it all at once: every scan gets the points that lie in its own, nearly upright, plane.
    for i in range(160):
        T_lidar_first = inverse(inverse(vehicle_ned(0)) @ vehicle_ned(i / 16) @ se3(extrinsics))
        y, z = np.meshgrid(np.linspace(-5, 5, 100), np.linspace(0, 4, 100))
        wall = np.column_stack([np.full(y.size, 9.0), y.ravel(), z.ravel()])
        points = wall @ T_lidar_first[:3, :3].T + T_lidar_first[:3, 3]
        scan = points[np.abs(points[:, 2]) < 0.05]
        scan[:, 2] = 77.0  # reflectance
        scan.astype("<f8").tofile(run / f"lms_front/{T0 + i * STEP // 16}.bin")
    frame = next(iter(open_drive(run)))
    depth = frame.read_depth()
    assert depth.shape == SIZE and depth.dtype == np.float32
    seen = depth[depth > 0]
    assert len(seen) > 500 and np.abs(seen - 9).max() < 0.05
    assert np.all(depth[:22] == 0)
    assert next(iter(open_drive(run, DriveOptions(depth=False)))).read_depth is None


def test_hidden_points_do_not_shine_through() -> None:
    """Points of a far wall between the sparse points of a near one are dropped; beyond 100 m all are."""
    K = np.array([[100.0, 0, 160], [0, 100, 120], [0, 0, 1]])
    v, u = np.mgrid[0:240:2, 0:320:2].reshape(2, -1)

    def wall(z: float, left: int, right: int, odd: int) -> np.ndarray:
        inside = (u >= left) & (u < right)
        return np.column_stack(
            [(u[inside] + odd - 160) / 100 * z, (v[inside] + odd - 120) / 100 * z, np.full(inside.sum(), z)]
        )

    depth = depth_image(np.vstack([wall(5, 0, 160, 0), wall(40, 0, 320, 1), wall(150, 0, 320, 0)]), K, (240, 320))
    assert set(np.unique(depth[:, :155])) <= {0.0, 5.0} and set(np.unique(depth[:, 165:])) <= {0.0, 40.0}
    assert (depth[:, :155] > 0).mean() > 0.95
    assert not depth_image(np.zeros((0, 3)), K, (240, 320)).any()


def test_stored_depth_wins(run: Path) -> None:
    """A simulator knows the exact depth: 16 bits in 1/256 m."""
    folder = run / "depth/stereo/left"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / f"{T0}.png"), np.full(SIZE, 12 * 256 + 64, np.uint16))
    first, second, *_ = open_drive(run)
    assert first.read_depth()[3, 4] == 12.25 and second.read_depth is None


def _remove(run: Path, name: str) -> None:
    (run / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (
            lambda run: _remove(run.parent, "models/stereo_wide_left_distortion_lut.bin"),
            DriveOptions(),
            "lut.bin is missing: it und",
        ),
        (
            lambda run: _remove(run.parent, "models/stereo_wide_left.txt"),
            DriveOptions(),
            "left.txt is missing: it holds the intri",
        ),
        (lambda run: None, DriveOptions(camera="stereo/right"), "images of stereo/right"),
        (lambda run: None, DriveOptions(camera="fisheye"), "no camera 'fisheye': give one of"),
        (lambda run: None, DriveOptions(pose_source="rtk"), "has no rtk.csv, the file of the true poses"),
        (lambda run: None, DriveOptions(models_dir="/none"), "no folder /none"),
        (
            lambda run: (run / "rtk.csv").write_text("timestamp,northing\n1,2\n"),
            DriveOptions(),
            "rtk.csv has no column 'easting'",
        ),
        (
            lambda run: (run / "vo/vo.csv").write_text("x,y\n1,2\n"),
            DriveOptions(),
            "vo.csv has no column 'source_timestamp'",
        ),
    ],
)
def test_a_missing_piece_is_named(run: Path, spoil, options: DriveOptions, says: str) -> None:
    """What is missing, and what it was for, when the drive is opened and not an hour later."""
    spoil(run)
    with pytest.raises(DriveError, match=says):
        open_drive(run, options)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("extrinsics/ins.txt", "0 0 0 0 0 90", "ins.txt has an angle of 90, and its angles are in radians: convert"),
        ("extrinsics/ins.txt", "0 0 nan 0 0 0", "ins.txt is damaged: it needs x y z roll pitch yaw"),
        ("extrinsics/stereo.txt", "0 0 1e400 0 0 0", "stereo.txt is damaged"),
        ("models/stereo_wide_left.txt", "50 50 32 24\n" + "0 " * 15 + "1", "left.txt is damaged: it needs fx fy cx cy"),
        ("models/stereo_wide_left.txt", "50 inf 32 24 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "left.txt is damaged"),
    ],
)
def test_a_mounting_that_is_no_pose_is_refused(run: Path, name: str, text: str, says: str) -> None:
    """Every pose was NaN, or turned by some angle, without a word."""
    (run.parent / name).parent.mkdir(exist_ok=True)
    for sensor in ("ins", "stereo"):
        (run.parent / name).with_name(f"{sensor}.txt").write_text("0 0 0 0 0 0")
    (run.parent / name).write_text(text)
    with pytest.raises(DriveError, match=says):
        open_drive(run)


def test_a_broken_image_is_named(run: Path) -> None:
    path = run / f"stereo/left/{T0 + STEP}.png"
    path.write_bytes(b"")
    frames = list(open_drive(run))
    with pytest.raises(ImageError, match=path.name):
        frames[1].read()
