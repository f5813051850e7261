"""A pixel becomes the ray that made it, whatever the lens and whatever size the image was given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError

K = np.array([[400.0, 0, 310], [0, 410, 250], [0, 0, 1]])
RAYS = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))


@pytest.mark.parametrize(
    ("distortion", "fisheye"),
    [((), False), ((-0.3, 0.1, 0.001, -0.002, -0.02), False), ((0.02, -0.01, 0.003, -0.001), True)],
    ids=["none", "plumb bob", "fisheye"],
)
def test_distortion_is_undone(distortion, fisheye):
    """Rays projected by OpenCV through a lens come back."""
    points = np.column_stack([RAYS, np.ones(len(RAYS))])[:, None]
    if fisheye:
        pixels = cv2.fisheye.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(distortion))[0]
    else:
        pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(distortion or [0.0] * 5))[0]
    camera = Intrinsics(640, 480, K, distortion, fisheye)
    assert np.allclose(camera.rays(pixels.reshape(-1, 2)), RAYS, atol=1e-3)
    assert camera.rays(np.zeros((0, 2))).shape == (0, 2)


def test_a_resized_image_has_the_same_rays():
    """Pixel centres lie at integers: the corner of a pixel moves, its ray does not."""
    camera, half = Intrinsics(640, 480, K), Intrinsics(640, 480, K).resized(320, 240)
    pixels = np.array([[0.5, 0.5], [300.5, 200.5]])  # between four pixels, and in the middle of one of the halved image
    assert np.allclose(camera.rays(pixels), half.rays((pixels + 0.5) / 2 - 0.5))
    assert camera.resized(640, 480) is camera


@pytest.mark.parametrize(
    "arguments",
    [
        (640, 480, np.zeros((3, 3))),
        (640, 480, np.full((3, 3), np.nan)),
        (0, 480, K),
        (640, 480, K, (0.1, 0.2, 0.3)),
        (640, 480, K, (0.1, 0.2, 0.3, 0.4, 0.5), True),
    ],
    ids=["zeros", "nan", "no width", "three coefficients", "five of a fisheye"],
)
def test_numbers_that_are_no_camera_are_refused(arguments):
    """An uncalibrated camera publishes zeros: better no camera than a wrong one."""
    with pytest.raises(ConfigError):
        Intrinsics(*arguments)


def test_rays_of_strong_distortion_lead_back_to_their_pixels() -> None:
    """OpenCV's own iteration stops 4 to 8 pixels off in the corners of such a lens."""
    K = np.array([[607.0, 0, 639], [0, 607, 366], [0, 0, 1]])
    camera = Intrinsics(1280, 720, K, (0.5, -2.7, 0.0005, -0.0002, 1.6, 0.38, -2.5, 1.5))
    pixels = np.array([[x, y] for x in (0.0, 640, 1279) for y in (0.0, 360, 719)])
    np.testing.assert_allclose(camera.pixels(camera.rays(pixels)), pixels, atol=1e-3)


def test_a_fisheye_has_no_ray_beside_the_camera() -> None:
    """Beyond 90 degrees x / z has the sign of the opposite side: such features would measure poses from nothing."""
    K = np.array([[190.98, 0, 254.93], [0, 190.97, 256.9], [0, 0, 1]])
    camera = Intrinsics(512, 512, K, (0.0034, 0.0007, -0.002, 0.0002), True)
    rays = camera.rays(np.array([[254.93, 256.9], [440.0, 256.9], [1.0, 1.0], [511.0, 511.0]]))
    assert np.isfinite(rays[:2]).all() and rays[1, 0] > 1
    assert np.isnan(rays[2:]).all()
