"""CameraInfo to a camera: a lens taken for another one bends every measured transform, confidently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from vpr_ros.config import LoopCloserConfig
from vpr_ros.errors import ConfigError
from vpr_ros.ros.camera_calibration import CameraCalibration, beside, intrinsics_of, is_rectified
from vpr_ros.ros.params import NodeParams

K = np.array([[500.0, 0.0, 319.5], [0.0, 510.0, 239.5], [0.0, 0.0, 1.0]])
P = np.array([[480.0, 0.0, 310.0, -50.0], [0.0, 480.0, 240.0, 0.0], [0.0, 0.0, 1.0, 0.0]])


def info(model: str = "plumb_bob", d: Any = (), k: np.ndarray = K, **others: Any) -> CameraInfo:
    fields = {"width": 640, "height": 480, "p": P.reshape(-1), **others}
    return CameraInfo(distortion_model=model, d=list(d), k=k.reshape(-1), **fields)


@pytest.mark.parametrize(
    ("model", "d", "distortion", "fisheye"),
    [
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.03], (0.1, -0.2, 0.01, 0.02, 0.03), False),
        ("rational_polynomial", [0.1] * 8, (0.1,) * 8, False),
        ("equidistant", [0.0] * 4, (0.0,) * 4, True),
        ("plumb_bob", [0.0] * 5, (), False),
        ("", [], (), False),
    ],
)
def test_models_of_lenses(model: str, d: list[float], distortion: tuple[float, ...], fisheye: bool) -> None:
    """A fisheye without coefficients is still a fisheye; any other lens without them has no distortion."""
    camera = intrinsics_of(info(model, d))
    assert (camera.distortion, camera.fisheye) == (distortion, fisheye)
    np.testing.assert_array_equal(camera.K, K)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (info(k=np.zeros((3, 3))), "not calibrated"),
        (info("thin_prism", [0.1] * 12), "'thin_prism' is not known"),
        (info("plumb_bob", [0.1] * 4), "plumb_bob has 5 distortion coefficients, not 4"),
        (info(width=0), "how large"),
        (info(k=np.diag([-1.0, 1.0, 1.0])), "focal lengths above 0"),
        (info("plumb_bob", [float("nan")] * 5), "finite"),
    ],
)
def test_what_is_no_calibration_is_refused(message: CameraInfo, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        intrinsics_of(message)


def test_region_and_binning() -> None:
    """Drivers cut and shrink images and leave K as it was: a ray must stay the same ray."""
    roi = RegionOfInterest(x_offset=100, y_offset=80, width=400, height=200)
    whole, cut = intrinsics_of(info()), intrinsics_of(info(roi=roi, binning_x=2, binning_y=2)).resized(200, 100)
    # The corner that four binned pixels share is the corner of two pixels in the whole image.
    np.testing.assert_allclose(cut.rays(np.array([[9.5, 19.5]])), whole.rays(np.array([[119.5, 119.5]])), atol=1e-12)


def test_rectified_images_are_described_by_p() -> None:
    camera = intrinsics_of(info("plumb_bob", [0.1] * 5), rectified=True)
    np.testing.assert_array_equal(camera.K, P[:, :3])
    assert camera.distortion == ()
    with pytest.raises(ConfigError, match="P is all zeros"):
        intrinsics_of(info(p=np.zeros(12)), rectified=True)


@pytest.mark.parametrize(
    ("image", "expected", "rectified"),
    [
        ("/camera/image_raw", "/camera/camera_info", False),
        ("/camera/image_raw/compressed", "/camera/camera_info", False),
        ("/image", "/camera_info", False),
        ("/left/image_rect_color", "/left/camera_info", True),
        ("/left/image_rect/compressed", "/left/camera_info", True),
    ],
)
def test_where_drivers_publish_it(image: str, expected: str, rectified: bool) -> None:
    assert beside(image) == expected
    assert is_rectified(image) is rectified


def test_listens_until_it_fits(robot: Any) -> None:
    """A driver may send another stream's calibration first: the right one, later, must still be heard."""
    calibration = CameraCalibration(robot.node, NodeParams())
    calibration._store(info(width=640, height=360))
    for _ in range(2):
        calibration.tend()
        assert calibration.of_image(320, 240) is None
        assert calibration._subscription is not None
    assert "is of 640 x 360 pixels and the images are 320 x 240" in calibration.trouble
    calibration._store(info())
    assert calibration.of_image(320, 240) is not None
    calibration.tend()
    assert (calibration._subscription, calibration.trouble) == (None, "")
    assert calibration.of_image(320, 180) is None  # the camera was set to another mode
    calibration.tend()
    assert calibration._subscription is not None
    calibration.close()


def test_trouble_says_what_becomes_of_loops(robot: Any) -> None:
    """In one line, for logs; unverified closures are there only for who asked for them."""
    for unverified, words in ((False, "no loops are closed"), (True, "loop closures stay unverified")):
        calibration = CameraCalibration(robot.node, NodeParams(loops=LoopCloserConfig(unverified=unverified)))
        assert words in calibration.trouble
        calibration._store(info(k=np.full((3, 3), np.nan)))
        assert calibration.trouble.endswith(words) and "\n" not in calibration.trouble
        calibration.close()
