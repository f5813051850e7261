"""Whose pose a bag's topics hold: each is of a frame of its own, and of one robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import heading
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.options import DriveOptions

START, PERIOD = 1_700_000_000 * 10**9, 10**8
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # a camera that looks ahead
LEFT = (0.0, 0.0, float(np.sqrt(0.5)), float(np.sqrt(0.5)))  # turned by 90 degrees to the left
RIGHT = (0.0, 0.0, -float(np.sqrt(0.5)), float(np.sqrt(0.5)))
AHEAD = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, -np.pi / 2)


def stamps() -> range:
    return range(START, START + 5 * PERIOD, PERIOD)


def test_transforms_of_another_robot_are_not_ours(tmp_path: Path, bag_by_hand) -> None:
    """Two robots have a base_link each: poses between the two came out, without a word."""

    def build(make, add, image: str) -> None:
        mount = make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL)
        for robot in (1, 2):
            add(f"/robot{robot}/tf_static", mount, START)
        for i, stamp in enumerate(stamps()):
            add("/robot1/tf", make.transform(stamp, "map", "base_link", (float(i), 0.0, 0.0)), stamp)
            add("/robot2/tf", make.transform(stamp + 1, "map", "base_link", (1000.0 + i, 0.0, 0.0)), stamp)
            add(image, make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "one", lambda make, add: build(make, add, "/robot1/camera/image")))
    np.testing.assert_allclose([frame.T_map_camera[:3, 3] for frame in drive][3], [3, 0, 1], atol=1e-9)
    (line,) = tally_of(drive).lines()
    assert line.startswith("2 topic(s) of transforms left out: not of the images' namespace (the first: /robot2/tf")
    path = bag_by_hand(tmp_path / "neither", lambda make, add: build(make, add, "/camera/image"))
    with pytest.raises(DriveError, match="transforms of several robots, and none of the namespace of /camera/image"):
        open_drive(path)
    assert next(iter(open_drive(path, DriveOptions(T_base_camera=AHEAD)))).T_map_camera is None


@pytest.mark.parametrize("odom_topic", ["", "none"])
def test_odometry_of_a_sensor_beside_poses_of_the_base(tmp_path: Path, bag_by_hand, odom_topic: str) -> None:
    """Visual odometry is of its imu, the truth of base_link: all cameras of the map looked to the side."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        add("/tf_static", make.transform(START, "base_link", "imu", (2.0, 0.0, 0.0), LEFT), START)
        for i, stamp in enumerate(stamps()):
            add("/truth", make.pose(stamp, (float(i), 0.0, 0.0)), stamp)
            add("/vio", make.odometry(stamp, "imu", (2.0 + i, 0.0, 0.0), LEFT), stamp)
            add("/image", make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "vio", build), DriveOptions(odom_topic=odom_topic))
    for i, frame in enumerate(drive):
        for T in (frame.T_map_camera, frame.T_odom_camera):
            if T is not None:
                np.testing.assert_allclose(T[:3, 3], [i, 0, 1], atol=1e-9)
                assert heading(T) == pytest.approx(0)
        assert (frame.T_odom_camera is None) == (odom_topic == "none")


def test_truth_that_is_odometry_of_a_lidar(tmp_path: Path, bag_by_hand) -> None:
    """Its child frame says what it is the pose of; wheels beside it are of the base."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        add("/tf_static", make.transform(START, "base_link", "lidar", (2.0, 0.0, 1.0), RIGHT), START)
        for i, stamp in enumerate(stamps()):
            add("/lidar", make.odometry(stamp, "lidar", (2.0 + i, 0.0, 1.0), RIGHT, "map"), stamp)
            add("/wheels", make.odometry(stamp, "base_link", (float(i), 0.0, 0.0)), stamp)
            add("/image", make.image(stamp), stamp)

    path = bag_by_hand(tmp_path / "lidar", build)
    given = {"pose_topic": "/lidar", "odom_topic": "/wheels"}
    for i, frame in enumerate(open_drive(path, given)):
        np.testing.assert_allclose(frame.T_map_camera[:3, 3], [i, 0, 1], atol=1e-9)
        np.testing.assert_allclose(frame.T_odom_camera, frame.T_map_camera, atol=1e-9)
    frame = list(open_drive(path, {**given, "base_frame": "base_link"}))[1]  # what is set wins
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [3, 0, 2], atol=1e-9)
    mounted = DriveOptions(T_base_camera=(0, 0, 1, *AHEAD[3:]), pose_topic="/lidar", odom_topic="/wheels")
    np.testing.assert_allclose(list(open_drive(path, mounted))[2].T_map_camera[:3, 3], [2, 0, 1], atol=1e-9)


def test_a_fix_is_of_its_antenna(tmp_path: Path, bag_by_hand) -> None:
    """Three metres behind the base and two to the left: the map was as far off."""

    def build(make, add, antenna: tuple[float, float, float]) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 0.0), OPTICAL), START)
        add("/tf_static", make.transform(START, "base_link", "gps", antenna), START)
        for i, stamp in enumerate(stamps()):
            add("/fix", make.fix(stamp, 51.75, -1.25 + 1e-4 * i), stamp)
            add("/image", make.image(stamp), stamp)

    on_base, behind = (
        list(open_drive(bag_by_hand(tmp_path / name, lambda make, add, antenna=antenna: build(make, add, antenna))))[2]
        for name, antenna in (("base", (0.0, 0.0, 0.0)), ("behind", (-3.0, 2.0, 1.0)))
    )
    off = on_base.T_map_camera[:3, :3].T @ (behind.T_map_camera[:3, 3] - on_base.T_map_camera[:3, 3])
    np.testing.assert_allclose(off, [2, 1, 3], atol=1e-6)  # of the optical frame: right, down, ahead


def test_a_bag_of_depth_alone_has_no_images(tmp_path: Path, bag_by_hand) -> None:
    """Depth is never what a map is made of; whoever wants it says so."""
    path = bag_by_hand(tmp_path / "d", lambda make, add: add("/camera/depth/image", make.image(START), START))
    with pytest.raises(
        DriveError, match=r"has no images of a camera; its topics are /camera/depth/image: .*image_topic"
    ):
        open_drive(path)
    assert len(open_drive(path, {"image_topic": "/camera/depth/image"})) == 1


def test_a_calibration_of_another_shape_is_left_out(tmp_path: Path, bag_by_hand, caplog) -> None:
    """1280 x 720 pixels of another stream, beside images of 6 x 4."""
    K = [900.0, 0.0, 640.0, 0.0, 900.0, 360.0, 0.0, 0.0, 1.0]

    def build(make, add) -> None:
        add("/camera_info", make.info(START, (1280, 720), K, [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]), START)
        add("/image", make.image(START), START)

    assert open_drive(bag_by_hand(tmp_path / "i", build)).intrinsics is None
    assert "the calibration is for 1280 x 720 pixels, but the images are 6 x 4; read without" in caplog.text
