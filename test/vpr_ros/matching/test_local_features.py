"""Local features leave the camera behind, go through a map's file unchanged, and find each other again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError, MapError, ModelError
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.verify import match, verify

CAMERA = Intrinsics.pinhole(320, 240, 250.0)


@pytest.fixture(scope="module")
def picture():
    """Blobs of many sizes: something for every scale."""
    rng = np.random.default_rng(0)
    image = np.full((240, 320, 3), 90, np.uint8)
    for _ in range(400):
        colour = rng.integers(0, 255, 3).tolist()
        x, y, w, h = rng.integers([0, 0, 4, 4], [320, 240, 40, 40]).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def moved(picture, depth, T_place_query):
    """What a second camera sees of the picture as a wall at this depth."""
    normal = np.array([0.0, 0.0, 1.0]) / depth
    R, t = T_place_query[:3, :3].T, -T_place_query[:3, :3].T @ T_place_query[:3, 3]
    H = CAMERA.K @ (R + np.outer(t, normal)) @ np.linalg.inv(CAMERA.K)
    return cv2.warpPerspective(picture, H, (320, 240), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("kind", ["xfeat", "sift", "orb"])
def test_a_second_view_is_measured(kind, picture):
    """Whatever finds the features, the metric way between two views of a wall of known depth comes out."""
    extractor = open_extractor(kind, 800)
    depth = np.full((56, 56), 6.0, np.float32)
    T = np.eye(4)
    T[:3, 3] = [0.4, 0.1, 0.0]
    place, query = (extractor.extract(image, depth, CAMERA) for image in (picture, moved(picture, 6.0, T)))
    found = verify(place, query)
    assert found is not None and found.inliers > 50 and found.reprojection_px < 1.5
    assert np.linalg.norm(found.T_place_query[:3, 3] - T[:3, 3]) < 0.15


def test_another_picture_is_refused(picture):
    """Features of two walls that have nothing in common agree on nothing."""
    extractor = open_extractor("sift", 800)
    depth = np.full((56, 56), 6.0, np.float32)
    other = np.random.default_rng(5).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    other = cv2.resize(other, (320, 240), interpolation=cv2.INTER_CUBIC)
    assert verify(*(extractor.extract(image, depth, CAMERA) for image in (picture, other))) is None


def test_an_empty_image_has_no_features():
    """A covered lens gives nothing, and nothing breaks."""
    extractor = open_extractor("sift", 800)
    nothing = extractor.extract(np.zeros((240, 320, 3), np.uint8), None, CAMERA)
    assert len(nothing) == 0 and verify(nothing, nothing) is None
    assert len(LocalFeatures.from_bytes(nothing.to_bytes())) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32])
def test_features_go_through_a_file_unchanged(dtype):
    """Depths keep three digits, all else every bit."""
    rng = np.random.default_rng(1)
    rays, depths = rng.standard_normal((7, 2)).astype(np.float32), rng.uniform(0, 90, 7).astype(np.float32)
    features = LocalFeatures("sift", rays, depths, rng.integers(0, 120, (7, 128)).astype(dtype), 0.004)
    back = LocalFeatures.from_bytes(features.to_bytes())
    assert back.kind == "sift" and back.pixel == pytest.approx(0.004)
    assert np.array_equal(back.rays, rays) and np.array_equal(back.descriptors, features.descriptors)
    assert back.descriptors.dtype == dtype and np.allclose(back.depths, depths, rtol=1e-3)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda data: data[:9]]
)
def test_damaged_features_are_refused(damage):
    """One sentence instead of rays from nowhere."""
    data = LocalFeatures("orb", np.zeros((2, 2), np.float32), np.zeros(2), np.zeros((2, 32), np.uint8), 0.1).to_bytes()
    with pytest.raises(MapError):
        LocalFeatures.from_bytes(damage(data))


def test_features_of_two_kinds_are_not_compared(picture):
    """ORB's bits say nothing about SIFT's histograms."""
    sift, orb = (open_extractor(kind, 100).extract(picture, None, CAMERA) for kind in ("sift", "orb"))
    with pytest.raises(ValueError, match="orb"):
        match(sift, orb)


def test_large_images_are_halved_and_rays_stay(picture):
    """An image of four times the pixels has its features in the same directions."""
    large = cv2.resize(picture, (1280, 960), interpolation=cv2.INTER_CUBIC)
    extractor = open_extractor("sift", 400)
    small_rays, large_rays = (
        extractor.extract(image, None, camera).rays
        for image, camera in ((picture, CAMERA), (large, CAMERA.resized(1280, 960)))
    )
    nearest = np.linalg.norm(small_rays[:, None] - large_rays[None], axis=2).min(1)
    assert np.percentile(nearest, 25) < 1.0 / 250


def test_unknown_features_are_named(tmp_path):
    """A wrong name lists the right ones; a file that is no network says so."""
    with pytest.raises(ConfigError, match="xfeat, sift, orb"):
        open_extractor("surf", 100)
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"x\.onnx"):
        open_extractor(str(tmp_path / "x.onnx"), 100)
