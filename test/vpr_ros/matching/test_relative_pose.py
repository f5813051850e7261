"""The metric pose between two views: right where it can be known, and honest about how well."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.matching.relative_pose import Correspondences, relative_pose
from vpr_ros.matching.two_view import starts

PIXEL = 1 / 250


def street(
    rng, count, T_place_query, wrong=0.0, depth_error=0.3, scale_error=0.1, pixels=1.0, flat=False, contrast=1.0
):
    """Points along a street seen from two poses: rays in both, and depths as badly guessed as a network guesses."""
    depth = np.full(count, 8.0) if flat else rng.uniform(4, 40, count)
    rays_place = rng.uniform([-0.6, -0.3], [0.6, 0.3], (count, 2))
    points = np.column_stack([rays_place, np.ones(count)]) * depth[:, None]
    seen = points @ T_place_query[:3, :3] - T_place_query[:3, 3] @ T_place_query[:3, :3]
    rays_query = seen[:, :2] / seen[:, 2:]
    outliers = rng.random(count) < wrong
    rays_query[outliers] = rng.uniform([-0.6, -0.3], [0.6, 0.3], (int(outliers.sum()), 2))
    scale = np.exp(scale_error * rng.standard_normal())
    rays = [rays + PIXEL * pixels / np.sqrt(2) * rng.standard_normal((count, 2)) for rays in (rays_place, rays_query)]
    guesses = [15.0 * (z / 15.0) ** contrast for z in (depth, seen[:, 2])]
    depths = [z * scale * np.exp(depth_error * rng.standard_normal(count)) for z in guesses]
    return *rays, *depths


def some_motion(rng):
    """A car on the same street: a metre or so along and aside, a few degrees of turn."""
    turn = geometry.rotation_from_vector(np.radians([1.0, 4.0, 1.0]) * rng.standard_normal(3))
    return geometry.transform(turn, np.array([0.7, 0.05, 1.0]) * rng.standard_normal(3))


def solved(rays_place, rays_query, depths_place, depths_query):
    begin = starts(rays_place, rays_query, depths_place, PIXEL)
    directions, unknown = np.column_stack([rays_place, np.ones(len(rays_place))]), np.full(len(rays_place), np.inf)
    at = np.zeros_like(directions)
    seen = Correspondences(directions, at, depths_place, unknown, rays_query, depths_query, unknown, PIXEL)
    return relative_pose(seen, begin)


def errors(found, T_place_query):
    """(6,) translation and rotation vector about the place's axes."""
    turn = geometry.vector_from_rotation(found.T_place_query[:3, :3] @ T_place_query[:3, :3].T)
    return np.concatenate([found.T_place_query[:3, 3] - T_place_query[:3, 3], turn])


def test_exact_rays_and_depths_give_the_exact_pose():
    """Frames and signs: the translation is that of the query in the place's axes, the rotation with it."""
    rng = np.random.default_rng(0)
    T = geometry.transform(geometry.rotation_from_vector(np.array([0.02, -0.08, 0.01])), np.array([0.8, -0.1, 1.5]))
    found = solved(*street(rng, 60, T, depth_error=0.0, scale_error=0.0, pixels=0.0))
    assert np.abs(errors(found, T)).max() < 1e-3


@pytest.mark.parametrize("flat", [False, True], ids=["street", "one facade"])
def test_a_third_of_false_matches_and_depths_a_third_wrong_are_survived(flat):
    """The rays decide, the depths only scale; a flat facade, where turn and way look alike, is no exception."""
    rng = np.random.default_rng(1)
    translation, rotation = [], []
    for _ in range(20):
        T = some_motion(rng)
        error = errors(solved(*street(rng, 80, T, wrong=0.33, flat=flat)), T)
        translation.append(np.linalg.norm(error[:3]))
        rotation.append(np.degrees(np.linalg.norm(error[3:])))
    assert np.median(translation) < 0.4 and np.median(rotation) < (2.0 if flat else 0.6)


@pytest.mark.parametrize("flat", [False, True], ids=["street", "one facade"])
@pytest.mark.parametrize("pixels", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("turn_deg", [0.0, 2.0, 20.0])
def test_a_camera_that_has_not_moved_is_found_where_it_was(flat, pixels, turn_deg):
    """A robot at its dock, or turning on the spot: without parallax there is no essential matrix, and what OpenCV makes
    of such points, None before 4.10 and now and then after it, must not decide whether a loop is closed.
    """
    T = geometry.transform(geometry.rotation_from_vector(np.radians([0.0, turn_deg, 0.0])), np.zeros(3))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = solved(*street(rng, 200, T, depth_error=0.2, scale_error=0.0, pixels=pixels, flat=flat))
        assert found is not None
        apart = errors(found, T)
        assert np.linalg.norm(apart[:3]) < 0.1
        assert np.degrees(np.linalg.norm(apart[3:])) < 0.5


def test_the_covariance_is_honest():
    """With the noise it is told to expect, normalised squared errors average the number of dimensions."""
    rng = np.random.default_rng(2)
    squared = []
    for _ in range(60):
        T = some_motion(rng)
        found = solved(*street(rng, 60, T, wrong=0.2, depth_error=0.5, scale_error=0.25, pixels=1.3))
        error = errors(found, T)
        squared.append(error @ np.linalg.solve(found.covariance, error))
        assert np.allclose(found.covariance, found.covariance.T) and np.linalg.eigvalsh(found.covariance)[0] > 0
    assert 0.5 * 6 < np.mean(squared) < 2 * 6, np.mean(squared)


def test_the_covariance_knows_that_depths_may_lack_contrast():
    """A network that is unsure guesses near things too far and far ones too near, in both images alike: at night it
    turned a step aside into a larger one with a turn, which a covariance of independent depths did not expect."""
    rng = np.random.default_rng(5)
    squared = []
    for _ in range(60):
        T = geometry.transform(np.eye(3), np.array([rng.choice([-0.8, 0.8]), 0.0, 0.0]))
        found = solved(*street(rng, 300, T, depth_error=0.2, contrast=0.7))
        error = errors(found, T)
        squared.append(error @ np.linalg.solve(found.covariance, error))
    assert np.mean(squared) < 2 * 6, np.mean(squared)


def test_no_motion_explains_random_matches():
    """Rays that have nothing to do with each other start nothing where many have to fit."""
    rng = np.random.default_rng(3)
    rays = rng.uniform([-0.6, -0.3], [0.6, 0.3], (2, 40, 2))
    assert starts(*rays, np.full(40, 10.0), PIXEL, least=25) == []


def test_points_without_depth_do_no_harm():
    """0 means unknown: they give rays only. Without any depth there is no scale and no pose."""
    rng = np.random.default_rng(4)
    T = some_motion(rng)
    rays_place, rays_query, depths_place, depths_query = street(rng, 60, T)
    depths_place[::2] = depths_query[1::2] = 0.0
    assert np.abs(errors(solved(rays_place, rays_query, depths_place, depths_query), T)[:3]).max() < 0.7
    assert solved(rays_place, rays_query, np.zeros(60), np.zeros(60)) is None
