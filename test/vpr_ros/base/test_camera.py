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
