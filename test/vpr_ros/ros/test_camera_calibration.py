"""Which CameraInfo the node believes, and what it says while there is none that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from sensor_msgs.msg import CameraInfo

from vpr_ros.base.messages import camera_info_topic
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.ros.input.camera_calibration import CameraCalibration
from vpr_ros.ros.params import NodeParams

K = np.array([[500.0, 0.0, 319.5], [0.0, 510.0, 239.5], [0.0, 0.0, 1.0]])
P = np.array([[480.0, 0.0, 310.0, -50.0], [0.0, 480.0, 240.0, 0.0], [0.0, 0.0, 1.0, 0.0]])


def info(model: str = "plumb_bob", d: Any = (), k: np.ndarray = K, **others: Any) -> CameraInfo:
    fields = {"width": 640, "height": 480, "p": P.reshape(-1), **others}
    return CameraInfo(distortion_model=model, d=list(d), k=k.reshape(-1), **fields)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("/camera/image_raw", "/camera/camera_info"),
        ("/camera/image_raw/compressed", "/camera/camera_info"),
        ("/image", "/camera_info"),
        ("/left/image_rect_color", "/left/camera_info"),
    ],
)
def test_where_drivers_publish_it(image: str, expected: str) -> None:
    assert camera_info_topic(image) == expected


def test_rectified_images_are_seen_with_p(robot: Any) -> None:
    """The node tells by the name of its image topic which half of a CameraInfo is meant."""
    for image, focal_px in (("left/image_rect_color", 480.0), ("left/image_raw", 500.0)):
        calibration = CameraCalibration(robot.node, NodeParams(image=image))
        calibration._store(info(d=[0.1] * 5))
        camera = calibration.of_image(640, 480)
        assert camera is not None and camera.K[0, 0] == focal_px
        calibration.close()


def test_binned_images_are_no_misfit(robot: Any) -> None:
    """Half the columns and all rows have another shape than the sensor, and are what the driver says it sends."""
    calibration = CameraCalibration(robot.node, NodeParams())
    calibration._store(info(binning_x=2, binning_y=1))
    camera = calibration.of_image(320, 480)
    assert camera is not None and (camera.K[0, 0], camera.K[1, 1]) == (250.0, 510.0)
    calibration.close()


def test_listens_until_it_fits(robot: Any) -> None:
    """A driver may send another stream's calibration first: the right one, later, must still be heard."""
    calibration = CameraCalibration(robot.node, NodeParams())
    calibration._store(info(width=640, height=360))
    for _ in range(2):
        calibration.on_timer()
        assert calibration.of_image(320, 240) is None
        assert calibration._subscriptions
    assert "is for 640 x 360 pixels, but the images are 320 x 240" in calibration.problem
    calibration._store(info(k=np.full((3, 3), np.nan)))  # the driver was changed: what is wrong now is told
    assert calibration.of_image(320, 240) is None
    assert "a finite 3 x 3 matrix" in calibration.problem
    calibration._store(info())
    assert calibration.of_image(320, 240) is not None
    calibration.on_timer()
    assert (calibration._subscriptions, calibration.problem) == ([], "")
    assert calibration.of_image(320, 180) is None  # the camera was set to another mode
    calibration.on_timer()
    assert calibration._subscriptions
    calibration.close()


def test_trouble_says_what_becomes_of_poses(robot: Any) -> None:
    """When localising there are no loops: the pose is not measured, and that is what an operator must read."""
    calibration = CameraCalibration(robot.node, NodeParams(mode="localize"))
    assert "so poses are not measured" in calibration.problem
    calibration.close()


def test_trouble_says_what_becomes_of_loops(robot: Any) -> None:
    """In one line, for logs; unverified closures are there only for who asked for them."""
    for unverified, words in ((False, "no loops are closed"), (True, "loop closures stay unverified")):
        loops = LoopCloserConfig(unverified=unverified)
        calibration = CameraCalibration(robot.node, NodeParams(mode="map", loops=loops))
        assert words in calibration.problem
        calibration._store(info(k=np.full((3, 3), np.nan)))
        assert calibration.problem.endswith(f"(or set intrinsics); {words}") and "\n" not in calibration.problem
        calibration.close()


def test_another_size_waits_for_its_own_calibration(robot: Any) -> None:
    """It may be another part of the sensor, of the same shape: rescaled, poses were 3 m off at 98 %."""
    calibration = CameraCalibration(robot.node, NodeParams())
    calibration._store(info())
    assert calibration.of_image(640, 480) is not None
    assert calibration.of_image(320, 240) is None and "no CameraInfo" in calibration.problem
    cropped = K - np.array([[0, 0, 160], [0, 0, 120], [0, 0, 0]])
    calibration._store(info(k=cropped, width=320, height=240))
    camera = calibration.of_image(320, 240)
    assert camera is not None and camera.K[0, 0] == 500.0 and not calibration.problem
    calibration.close()


def test_a_calibration_that_says_the_new_size_is_not_dropped(robot: Any) -> None:
    """A latched CameraInfo of the new size comes once, before its first image: poses were never measured again."""
    calibration = CameraCalibration(robot.node, NodeParams())
    calibration._store(info())
    assert calibration.of_image(640, 480) is not None
    calibration._store(info(width=320, height=240))
    assert calibration.of_image(320, 240) is not None
    for size in ((640, 480), (320, 240), (640, 480)):  # both are known now
        assert calibration.of_image(*size) is not None and not calibration.problem
    calibration.close()
