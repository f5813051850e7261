"""Descriptors at several sizes: pooled as worked out by hand, from images that are what their scale says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not installed")

from vpr_lab.plugins.multiscale import POOLS, SCALES, MultiScaleDescriber, describe_at_scales, rescale
from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.describer import Describer


def by_height(images: np.ndarray) -> np.ndarray:
    """A network whose descriptor of unit length says how high the image was: 32 pixels east, 64 north."""
    angle = (images.shape[1] / 32 - 1) * np.pi / 2
    return np.tile([[np.cos(angle), np.sin(angle)]], (len(images), 1)).astype(np.float32)


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)


def test_pooled_by_hand() -> None:
    """East and north pool to north-east of unit length; opposite ones sum to nothing, which must not divide."""
    diagonal = [[0.5**0.5] * 2] * 2
    for pool in ("avg", "sum", "max"):
        assert np.allclose(describe_at_scales(by_height, IMAGES, (1.0, 2.0), pool), diagonal, atol=1e-6)
    opposite = iter((np.array([[0.6, 0.8]]), np.array([[-0.6, -0.8]])))
    assert describe_at_scales(lambda images: next(opposite), IMAGES[:1], (1.0, 2.0), "sum").tolist() == [[0, 0]]


def test_three_scales_tell_the_pools_apart() -> None:
    """East twice and north once: the average leans east, the maximum does not; two that differ have a minimum."""
    average = describe_at_scales(by_height, IMAGES, (1.0, 1.0, 2.0), "avg")
    assert np.allclose(average, [[2 / 5**0.5, 1 / 5**0.5]] * 2, atol=1e-6) and average.dtype == np.float32
    assert np.allclose(describe_at_scales(by_height, IMAGES, (1.0, 1.0, 2.0), "max"), 0.5**0.5, atol=1e-6)
    two = iter((np.array([[0.6, 0.8]]), np.array([[0.8, -0.6]])))
    least = describe_at_scales(lambda images: next(two), IMAGES[:1], (1.0, 2.0), "min")
    assert np.allclose(least, np.array([[0.6, -0.6]]) / (2 * 0.6**2) ** 0.5, atol=1e-6)


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_one_scale_is_the_plain_descriptor(pool: str) -> None:
    """Multi-scale switched off must be what the network says of the very image."""
    seen = []

    def describe(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return by_height(images)

    assert np.allclose(describe_at_scales(describe, IMAGES, (1.0,), pool), by_height(IMAGES), atol=1e-6)
    assert len(seen) == 1 and np.array_equal(seen[0], IMAGES)


def test_resized_images_suit_the_network() -> None:
    """A backbone of stride 16 takes multiples of 16: the sizes must be, and never nothing."""
    assert [rescale(IMAGES, scale).shape[1:3] for scale in SCALES] == [(16, 32), (16, 32), (32, 48), (48, 80), (64, 96)]
    assert rescale(IMAGES, 0.01).shape == (2, 16, 16, 3) and rescale(IMAGES, 1.5, multiple=1).shape[1:3] == (48, 72)
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    assert all((rescale(flat, scale) == 77).all() for scale in SCALES)


def test_fixed_size_zooms_in_and_coarsens() -> None:
    """MixVPR takes one size: larger shows the middle, nearer; smaller keeps the image without its fine structure."""
    assert all(rescale(IMAGES, scale, fixed_size=True).shape == IMAGES.shape for scale in SCALES)
    halves = np.zeros((1, 32, 32, 3), np.uint8)
    halves[:, :, 16:] = 200
    halves[:, :4] = halves[:, -4:] = halves[:, :, :4] = halves[:, :, -4:] = 90  # a frame that zooming leaves out
    zoomed = rescale(halves, 2.0, fixed_size=True)
    assert (zoomed[:, :, :15] == 0).all() and (zoomed[:, :, 17:] == 200).all()
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    coarse = rescale(stripes, 0.5, fixed_size=True).astype(int)
    assert np.ptp(coarse) <= 1 and abs(coarse.mean() - 127.5) < 1


def test_mistakes_are_named() -> None:
    """A pool or scale in a configuration that cannot be is the user's mistake and gets one sentence."""
    with pytest.raises(ConfigError, match="avg, sum, max, min"):
        describe_at_scales(by_height, IMAGES, SCALES, "median")
    for scales in ((), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)):
        with pytest.raises(ConfigError, match="greater than 0"):
            describe_at_scales(by_height, IMAGES, scales)


def test_a_describer_of_several_scales(describer: Describer) -> None:
    """The node's: the shipped network's descriptors at each scale, pooled; depth, and so the map, is as without."""
    size = describer.manifest.preprocessing
    images = np.random.default_rng(1).integers(0, 256, (2, size.height, size.width, 3), np.uint8)
    plain, scales = describer.describe(images), (0.6, 1.0, 1.7)
    found = MultiScaleDescriber(describer, scales, "max").describe(images)
    each = [describer.describe(rescale(images, scale, fixed_size=True)).descriptors for scale in scales]
    pooled = np.max(each, axis=0)
    assert np.allclose(found.descriptors, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=1e-5)
    assert plain.depth is not None and np.array_equal(found.depth, plain.depth)
    assert np.allclose(
        MultiScaleDescriber(describer, (1.0,)).describe(images).descriptors, plain.descriptors, atol=1e-6
    )
    with pytest.raises(ConfigError, match="greater than 0"):
        MultiScaleDescriber(describer, (0.0, 1.0))
