"""EuRoC's layout: its headers, its quaternions with w first, and the camera's place on the body."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, quat_xyzw_from_matrix, transform
from vpr_ros.base.times import ROUNDED
from vpr_ros.drives.drive import pose_span_of, tally_of
from vpr_ros.drives.open import DriveOptions, open_drive

T0, PERIOD = 1_403_636_579_763_555_584, 50_000_000
MOUNT = transform(matrix_from_rpy(0.1, -0.2, 1.5), np.array([-0.02, -0.06, 0.01]))


def body(i: float) -> np.ndarray:
    return transform(matrix_from_rpy(0.0, 0.1, 0.2 * i), np.array([1.0 * i, 0.5 * i, 1.0]))


def write_sequence(root: Path) -> Path:
    """Four images, the last of which is missing, and poses half a period before each."""
    camera, truth = root / "mav0/cam0", root / "mav0/state_groundtruth_estimate0"
    (camera / "data").mkdir(parents=True)
    truth.mkdir()
    stamps = [T0 + i * PERIOD for i in range(4)]
    for stamp in stamps[:3]:
        cv2.imwrite(str(camera / f"data/{stamp}.png"), np.full((48, 64), 100, np.uint8))
    rows = [f"{stamp},{stamp}.png" for stamp in stamps]
    (camera / "data.csv").write_text("\r\n".join(["#timestamp [ns],filename", *rows, ""]))
    numbers = ", ".join(map(str, MOUNT.ravel()))
    (camera / "sensor.yaml").write_text(
        f"sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{numbers}]\nresolution: [64, 48]\n"
        "distortion_model: radial-tangential\nintrinsics: [50.0, 51.0, 30.0, 25.0]\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]\n"
    )
    lines = ["#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"]
    for i in range(5):
        x, y, z, w = quat_xyzw_from_matrix(body(i - 0.5)[:3, :3])
        values = [*body(i - 0.5)[:3, 3], w, x, y, z]
        lines.append(",".join([str(T0 + i * PERIOD - PERIOD // 2), *map(str, values)]))
    (truth / "data.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("inner", ["", "mav0", "mav0/cam0"])
def test_poses_are_of_the_camera(tmp_path: Path, inner: str) -> None:
    drive = open_drive(write_sequence(tmp_path / "V1_01_easy") / inner)
    frames = list(drive)
    assert (drive.name, drive.world, len(drive)) == ("V1_01_easy", "local", 3)
    assert [frame.stamp_ns for frame in frames] == [T0 + i * PERIOD for i in range(3)]
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.T_map_camera, body(i) @ MOUNT, atol=1e-3)
    assert frames[0].read().shape == (48, 64, 3) and frames[0].intrinsics.distortion[0] == -0.28
    assert tally_of(drive).lines() == ["1 image(s) left out: data.csv names them and they are missing"]
    assert tuple(pose_span_of(drive)[:2]) == (T0 - PERIOD // 2, T0 + 4 * PERIOD - PERIOD // 2)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root = write_sequence(tmp_path / "room1")
    with pytest.raises(DriveError, match="has no camera 'cam1': give one of cam0"):
        open_drive(root, DriveOptions(camera="cam1"))
    (root / "mav0/cam0/sensor.yaml").unlink()  # TUM VI has none
    with pytest.raises(DriveError, match="give T_base_camera"):
        open_drive(root)
    drive = open_drive(root, DriveOptions(T_base_camera=(0, 0, 0, 0, 0, 0)))
    np.testing.assert_allclose(next(iter(drive)).T_map_camera, body(0), atol=1e-3)
    (root / "mav0/state_groundtruth_estimate0").rename(root / "mav0/vicon0")  # of the markers' frame
    drive = open_drive(root)
    assert all(frame.T_map_camera is None for frame in drive)
    kind = "file(s) left out: poses are read from state_groundtruth_estimate0 or mocap0"
    assert f"1 {kind} (vicon0/data.csv)" in tally_of(drive).lines()


def test_a_sensor_file_as_opencv_writes_it(tmp_path: Path) -> None:
    """Its first line is no YAML, nor is the type of a matrix."""
    root = write_sequence(tmp_path / "room1")
    frame = next(iter(open_drive(root)))
    sensor = root / "mav0/cam0/sensor.yaml"
    sensor.write_text("%YAML:1.0\n---\n" + sensor.read_text().replace("T_BS:", "T_BS: !!opencv-matrix"))
    np.testing.assert_allclose(next(iter(open_drive(root))).T_map_camera, frame.T_map_camera)


@pytest.mark.parametrize(("model", "fisheye"), [("equi", True), ("KB4", True), ("radtan", False), ("", False)])
def test_names_of_distortion_models_of_other_tools(tmp_path: Path, model: str, fisheye: bool) -> None:
    """Kalibr's equi was taken for radtan: rays were 20 degrees off."""
    root = write_sequence(tmp_path)
    sensor = root / "mav0/cam0/sensor.yaml"
    sensor.write_text(sensor.read_text().replace("radial-tangential", model))
    (first, *_) = open_drive(root)
    assert first.intrinsics.fisheye is fisheye


@pytest.mark.parametrize(
    "change", [("radial-tangential", "fov"), ("distortion_model", "camera_model: mei\ndistortion_model")]
)
def test_a_model_that_is_not_known_gives_no_rays(tmp_path: Path, change: tuple[str, str]) -> None:
    """Wrong rays are worse than none, and it is said."""
    root = write_sequence(tmp_path)
    sensor = root / "mav0/cam0/sensor.yaml"
    sensor.write_text(sensor.read_text().replace(*change))
    drive = open_drive(root)
    assert next(iter(drive)).intrinsics is None
    assert any("camera calibration(s) left out" in line for line in tally_of(drive).lines())


def test_images_of_one_time_are_two_images(tmp_path: Path) -> None:
    """They were moved apart without a word."""
    table = write_sequence(tmp_path) / "mav0/cam0/data.csv"
    table.write_text(table.read_text().replace(f"{T0 + PERIOD},", f"{T0},"))
    drive = open_drive(tmp_path)
    assert [frame.stamp_ns - T0 for frame in drive] == [0, 1, 2 * PERIOD]
    assert tally_of(drive).count(ROUNDED) == 1
