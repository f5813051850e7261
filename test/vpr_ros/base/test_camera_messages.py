"""CameraInfo to a camera: a lens taken for another one bends every measured transform, confidently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.camera_messages import intrinsics_of, is_rectified
from vpr_ros.base.errors import ConfigError

pytest.importorskip("rosbags", reason="rosbags is not installed")

from rosbags.typesys import Stores, get_typestore

K = np.array([[500.0, 0.0, 319.5], [0.0, 510.0, 239.5], [0.0, 0.0, 1.0]])
P = np.array([[480.0, 0.0, 310.0, -50.0], [0.0, 480.0, 240.0, 0.0], [0.0, 0.0, 1.0, 0.0]])

Info = Callable[..., Any]


@pytest.fixture(params=[Stores.ROS1_NOETIC, Stores.ROS2_HUMBLE], ids=["ros1", "ros2"])
def info(request: pytest.FixtureRequest) -> Info:
    """Function (model, d, k, p, size, region, binning) -> sensor_msgs/CameraInfo of either ROS; all have defaults.

    size: width, height. region: x_offset, y_offset, height, width, as the message has them.
    """
    types, ros1 = get_typestore(request.param).types, request.param is Stores.ROS1_NOETIC

    def make(
        model: str = "plumb_bob",
        d: Any = (),
        k: np.ndarray = K,
        p: np.ndarray = P,
        size: tuple[int, int] = (640, 480),
        region: tuple[int, int, int, int] = (0, 0, 0, 0),
        binning: tuple[int, int] = (0, 0),
    ) -> Any:
        numbers = {"d": np.array(d, float), "k": k.ravel(), "r": np.eye(3).ravel(), "p": p.ravel()}
        return types["sensor_msgs/msg/CameraInfo"](
            header=None,
            width=size[0],
            height=size[1],
            distortion_model=model,
            **({name.upper(): value for name, value in numbers.items()} if ros1 else numbers),
            binning_x=binning[0],
            binning_y=binning[1],
            roi=types["sensor_msgs/msg/RegionOfInterest"](*region, False),
        )

    return make


@pytest.mark.parametrize(
    ("model", "d", "distortion", "fisheye"),
    [
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.03], (0.1, -0.2, 0.01, 0.02, 0.03), False),
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02], (0.1, -0.2, 0.01, 0.02), False),
        ("", [0.1, -0.2, 0.01, 0.02, 0.03], (0.1, -0.2, 0.01, 0.02, 0.03), False),
        ("", [0.1, -0.2, 0.01, 0.02], (0.1, -0.2, 0.01, 0.02), False),
        ("rational_polynomial", [0.1] * 8, (0.1,) * 8, False),
        ("equidistant", [0.0] * 4, (0.0,) * 4, True),
        ("fisheye", [0.1, 0.0, 0.0, 0.0], (0.1, 0.0, 0.0, 0.0), True),
        ("plumb_bob", [0.0] * 5, (), False),
        ("", [], (), False),
    ],
)
def test_models_of_lenses(info: Info, model: str, d: list[float], distortion: tuple[float, ...], fisheye: bool) -> None:
    """A fisheye without coefficients is still a fisheye; any other lens without them has no distortion."""
    camera = intrinsics_of(info(model, d), rectified=False)
    assert (camera.width, camera.height, camera.distortion, camera.fisheye) == (640, 480, distortion, fisheye)
    np.testing.assert_array_equal(camera.K, K)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"k": np.zeros((3, 3))}, "not calibrated .K is all zeros"),
        ({"model": "thin_prism", "d": [0.1] * 12}, "unknown distortion model 'thin_prism'"),
        ({"d": [0.1] * 3}, "plumb_bob needs 4 or 5 distortion coefficients, not 3"),
        ({"model": "equidistant", "d": [0.1] * 5}, "equidistant needs 4 distortion coefficients, not 5"),
        ({"model": "equidistant"}, "equidistant needs 4 distortion coefficients, not 0"),
        ({"model": "", "d": [0.1] * 8}, "no distortion model .which means plumb_bob. needs 4 or 5 .* not 8"),
        ({"size": (0, 480)}, "has no image size: fix the driver"),
        ({"binning": (1000, 1)}, "need an image size above 0"),
        ({"k": np.diag([-1.0, 1.0, 1.0])}, "focal lengths above 0"),
        ({"d": [float("nan")] * 5}, "finite distortion coefficients"),
    ],
)
def test_what_is_no_calibration_is_refused(info: Info, fields: dict[str, Any], words: str) -> None:
    """In one line that says what is wrong: it goes to diagnostics and logs."""
    with pytest.raises(ConfigError, match=words) as caught:
        intrinsics_of(info(**fields), rectified=False)
    assert "\n" not in str(caught.value)


def test_region_and_binning(info: Info) -> None:
    """Drivers cut and shrink images and leave K as it was: a ray must stay the same ray."""
    whole = intrinsics_of(info(), rectified=False)
    cut = intrinsics_of(info(region=(100, 80, 200, 400), binning=(2, 2)), rectified=False)
    assert (cut.width, cut.height) == (200, 100)
    # The corner that four binned pixels share is the corner of two pixels in the whole image.
    np.testing.assert_allclose(cut.rays(np.array([[9.5, 19.5]])), whole.rays(np.array([[119.5, 119.5]])), atol=1e-12)


def test_binning_leaves_odd_columns_out(info: Info) -> None:
    """641 columns binned by two are 320 of exactly two, not 641 squeezed into 320."""
    camera = intrinsics_of(info(size=(641, 480), binning=(2, 1)), rectified=False)
    assert (camera.width, camera.height) == (320, 480)
    np.testing.assert_allclose(camera.K, [[250, 0, 159.5], [0, 510, 239.5], [0, 0, 1]])


def test_a_region_without_size_is_the_whole_image(info: Info) -> None:
    """RegionOfInterest.msg: zeros for width and height say so, whatever a driver left in the offsets."""
    camera = intrinsics_of(info(region=(100, 80, 0, 0)), rectified=False)
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_array_equal(camera.K, K)


def test_rectified_images_are_described_by_p(info: Info) -> None:
    """Even of a fisheye: what K and D say was undone before the image was sent."""
    for model, d in (("plumb_bob", [0.1] * 5), ("equidistant", [0.1] * 4)):
        camera = intrinsics_of(info(model, d), rectified=True)
        np.testing.assert_array_equal(camera.K, P[:, :3])
        assert (camera.distortion, camera.fisheye) == ((), False)
    with pytest.raises(ConfigError, match="P is all zeros"):
        intrinsics_of(info(p=np.zeros((3, 4))), rectified=True)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_raw", False),
        ("/camera/image_raw/compressed", False),
        ("/rect/image", False),
        ("/camera/direct_image", False),
        ("/left/image_rect", True),
        ("/left/image_rect/compressed", True),
        ("/left/image_rect_color", True),
        ("/left/image_color_rect/compressed", True),
        ("/left/image_rectified", True),
        ("image_rect", True),
    ],
)
def test_rectified_images_are_known_by_their_name(topic: str, rectified: bool) -> None:
    """K for images that P describes, or the other way round, measures with another lens."""
    assert is_rectified(topic) is rectified
