"""The one preprocessing: what training saw is what the robot sees."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.errors import ImageError
from vpr_ros.base.image import Preprocessing, preprocess, thumbnail, views


def test_channels_and_layout():
    """RGB stays RGB, the result is contiguous bytes: the network itself normalises."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[...] = (255, 128, 0)
    out = preprocess(image, Preprocessing(20, 30))
    assert out.shape == (20, 30, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
    assert out[7, 7].tolist() == [255, 128, 0]


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
    ids=["empty", "grey", "float"],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ImageError, match="expected a"):
        preprocess(image, Preprocessing())


def test_views_are_the_image_and_its_two_sides():
    """The first view is what a query shows; the others reach the image's left and right edge."""
    image = np.arange(40, dtype=np.uint8)[None, :, None].repeat(10, 0).repeat(3, 2)
    whole, left, right = views(image, 3)
    assert whole is image and left.shape == right.shape == (10, 30, 3)
    assert (left[0, 0, 0], right[0, -1, 0]) == (0, 39) and len(views(image, 1)) == 1


def test_thumbnail_keeps_the_ratio():
    import cv2

    jpeg = thumbnail(np.full((100, 200, 3), 127, np.uint8), width=50)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (25, 50, 3)
    # A strip has the height that JPEG allows: one such image ended a build, and again with --resume.
    strip = cv2.imdecode(np.frombuffer(thumbnail(np.zeros((5000, 1, 3), np.uint8), width=50), np.uint8), 1)
    assert strip.shape == (400, 50, 3)
