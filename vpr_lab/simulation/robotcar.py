"""Writes simulated drives as the Oxford RobotCar data set is published. Source: Maddern et al., IJRR 2017, and its SDK.

Raw Bayer images with timestamps, camera models with undistortion tables, extrinsics, INS, RTK and visual odometry in
north-east-down, scans of the front 2D lidar; and, which RobotCar lacks, depth maps (16 bits, 1/256 m).
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from vpr_lab.simulation.drives import SimulatedDrive
from vpr_lab.simulation.lidar import scan
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.geometry import R_ENU_NED, interpolate, inverse, rpy_from_matrix, transform
from vpr_ros.drives.robotcar_calibration import CAMERAS, Calibration, bayer_pattern

UTM_ZONE = "30U"
ORIGIN_EASTING, ORIGIN_NORTHING = 620_000.0, 5_735_000.0
SCANS_PER_IMAGE = 4
_POSE_COLUMNS = ("latitude", "longitude", "altitude", "northing", "easting", "down", "utm_zone")
_MOTION_COLUMNS = ("velocity_north", "velocity_east", "velocity_down", "roll", "pitch", "yaw")
_T_ENU_NED = transform(R_ENU_NED, np.zeros(3))
_DEPTH_UNITS = 256.0


def write_robotcar(
    root: Path,
    drive: SimulatedDrive,
    camera: str = "stereo/centre",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write one run under root and return its folder, <yyyy-mm-dd-hh-mm-ss>; models and extrinsics lie beside it.

    The town's origin becomes (ORIGIN_EASTING, ORIGIN_NORTHING) of UTM_ZONE. camera: one of RobotCar's, except
    stereo/right. progress is called with 1 after each image. Raises ConfigError for another camera and DriveError if
    the run exists already.
    """
    if camera not in CAMERAS or camera == "stereo/right":
        cameras = ", ".join(name for name in CAMERAS if name != "stereo/right")
        raise ConfigError(f"unknown camera {camera!r}: use one of {cameras}")
    started = datetime.datetime.fromtimestamp(int(drive.stamps_ns[0]) / 1e9, datetime.timezone.utc)
    run = Path(root) / started.strftime("%Y-%m-%d-%H-%M-%S")
    if run.exists():
        raise DriveError(f"{run} exists already: delete it, or write to another folder")
    published = Calibration(run, "", "")
    T_vehicle_image, T_vehicle_ins = published.T_vehicle_image(camera), published.extrinsics("ins")
    run.mkdir(parents=True)
    _write_calibration(Path(root), drive, camera, published)
    T_map_vehicle = drive.T_map_camera @ inverse(T_vehicle_image)
    _write_global_poses(run, drive.stamps_ns, T_map_vehicle @ T_vehicle_ins)
    _write_odometry(run, drive.stamps_ns, drive.T_odom_camera @ inverse(T_vehicle_image))
    _write_scans(run, drive, T_map_vehicle @ published.extrinsics("lms_front"))
    _write_images(run, drive, camera, progress)
    return run


def _write_calibration(root: Path, drive: SimulatedDrive, camera: str, published: Calibration) -> None:
    """models/ with intrinsics and a table that undistorts nothing; extrinsics/ as published."""
    models, extrinsics = root / "models", root / "extrinsics"
    models.mkdir(exist_ok=True)
    extrinsics.mkdir(exist_ok=True)
    K, name = drive.camera.K, CAMERAS[camera]
    rows = [[K[0, 0], K[1, 1], K[0, 2], K[1, 2]], *published.model(camera).T_camera_image]
    lines = [" ".join(repr(float(value)) for value in row) for row in rows]
    (models / f"{name}.txt").write_text("\n".join(lines) + "\n")
    v, u = np.mgrid[0 : drive.camera.height, 0 : drive.camera.width].astype("<f8")
    (models / f"{name}_distortion_lut.bin").write_bytes(np.stack([u, v]).tobytes())
    for sensor in ("stereo", "ins", "lms_front"):
        T = published.extrinsics(sensor)
        values = [*T[:3, 3], *rpy_from_matrix(T[:3, :3])]
        (extrinsics / f"{sensor}.txt").write_text(" ".join(repr(float(value)) for value in values) + "\n")


def _write_global_poses(run: Path, stamps_ns: np.ndarray, T_map_ins: np.ndarray) -> None:
    """gps/ins.csv and rtk.csv: the same poses at every image's time, north-east-down."""
    import pyproj

    T_ned_ins = _T_ENU_NED @ T_map_ins
    ned = T_ned_ins[:, :3, 3] + [ORIGIN_NORTHING, ORIGIN_EASTING, 0.0]
    to_degrees = pyproj.Transformer.from_crs(f"EPSG:326{UTM_ZONE[:2]}", "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(ned[:, 1], ned[:, 0])
    seconds = (stamps_ns - stamps_ns[0]) / 1e9
    velocity = np.gradient(ned, seconds, axis=0) if len(ned) > 1 else np.zeros_like(ned)
    with_status, without = [], []
    for i, stamp_ns in enumerate(stamps_ns):
        place = [latitude[i], longitude[i], -ned[i, 2], *ned[i]]
        motion = [*velocity[i], *rpy_from_matrix(T_ned_ins[i, :3, :3])]
        row = [*map(_exact, place), UTM_ZONE, *map(_exact, motion)]
        without.append([str(stamp_ns // 1000), *row])
        with_status.append([str(stamp_ns // 1000), "INS_SOLUTION_GOOD", *row])
    _write_csv(run / "gps" / "ins.csv", ("timestamp", "ins_status", *_POSE_COLUMNS, *_MOTION_COLUMNS), with_status)
    _write_csv(run / "rtk.csv", ("timestamp", *_POSE_COLUMNS, *_MOTION_COLUMNS), without)


def _write_odometry(run: Path, stamps_ns: np.ndarray, T_odom_vehicle: np.ndarray) -> None:
    """vo/vo.csv: the vehicle's pose at each image in the frame of the one before, x forward, y right, z down."""
    steps = inverse(T_odom_vehicle[:-1]) @ T_odom_vehicle[1:]
    rows = [
        [str(later // 1000), str(earlier // 1000), *map(_exact, [*step[:3, 3], *rpy_from_matrix(step[:3, :3])])]
        for earlier, later, step in zip(stamps_ns[:-1], stamps_ns[1:], steps, strict=True)
    ]
    columns = ("source_timestamp", "destination_timestamp", "x", "y", "z", "roll", "pitch", "yaw")
    _write_csv(run / "vo" / "vo.csv", columns, rows)


def _write_scans(run: Path, drive: SimulatedDrive, T_map_lidar: np.ndarray) -> None:
    """lms_front/<timestamp>.bin, SCANS_PER_IMAGE between one image and the next."""
    (run / "lms_front").mkdir()
    stamps_us = []
    for i in range(len(drive) - 1):
        start, end = int(drive.stamps_ns[i]) // 1000, int(drive.stamps_ns[i + 1]) // 1000
        for part in range(SCANS_PER_IMAGE):
            fraction = part / SCANS_PER_IMAGE
            stamps_us.append(start + round(fraction * (end - start)))
            points = scan(drive.town, interpolate(T_map_lidar[i], T_map_lidar[i + 1], fraction))
            (run / "lms_front" / f"{stamps_us[-1]}.bin").write_bytes(points.astype("<f8").tobytes())
    _write_timestamps(run / "lms_front.timestamps", stamps_us)


def _write_images(run: Path, drive: SimulatedDrive, camera: str, progress: Callable[[int], None] | None) -> None:
    folder, depth_folder = run / camera, run / "depth" / camera
    folder.mkdir(parents=True)
    depth_folder.mkdir(parents=True)
    for frame in drive:
        name = f"{frame.stamp_ns // 1000}.png"
        cv2.imwrite(str(folder / name), mosaic(frame.read(), bayer_pattern(camera)))
        if frame.read_depth is not None:
            steps = np.round(np.minimum(frame.read_depth() * _DEPTH_UNITS, 65535))
            cv2.imwrite(str(depth_folder / name), steps.astype(np.uint16))
        if progress is not None:
            progress(1)
    _write_timestamps(run / f"{camera.split('/')[0]}.timestamps", [int(stamp) // 1000 for stamp in drive.stamps_ns])


def mosaic(image_rgb: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint8 as a sensor behind a colour filter sees it; pattern: "gbrg", "rggb", ..."""
    out = np.empty(image_rgb.shape[:2], np.uint8)
    for place, colour in enumerate(pattern):
        row, column = divmod(place, 2)
        out[row::2, column::2] = image_rgb[row::2, column::2, "rgb".index(colour)]
    return out


def _write_csv(path: Path, columns: Sequence[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *rows])


def _write_timestamps(path: Path, stamps_us: list[int]) -> None:
    path.write_text("".join(f"{stamp} 1\n" for stamp in stamps_us))


def _exact(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value))
