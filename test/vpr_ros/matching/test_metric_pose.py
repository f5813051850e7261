"""Several places give one metric pose: the baseline between them gives the scale, and a prior pose is weighed in."""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.metric_pose import metric_pose
from vpr_ros.matching.triangulation import triangulated

PIXEL = 1 / 250
WIDE = np.diag([4.0] * 3 + [0.01] * 3)  # 2 m and 6 degrees
PLACES = [np.eye(4), geometry.transform(np.eye(3), np.array([0.2, 0.0, 5.0]))]  # one drives forward along z


class Street:
    """Points along a street, each with a descriptor of its own."""

    def __init__(self, seed: int, count: int = 150) -> None:
        self.rng = np.random.default_rng(seed)
        side = self.rng.choice([-1.0, 1.0], count)
        self.points = np.column_stack(
            [side * self.rng.uniform(4, 9, count), self.rng.uniform(-5, 1.5, count), self.rng.uniform(9, 45, count)]
        )
        descriptors = self.rng.standard_normal((count, 64))
        self.descriptors = (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32)

    def seen(self, T_map_camera: np.ndarray, scale: float = 1.0, wrong: float = 0.0, pixels: float = 0.7):
        """Features of the points from a pose. scale: of all hallucinated depths. wrong: share of false descriptors."""
        points = (self.points - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
        rays = points[:, :2] / points[:, 2:] + PIXEL * pixels * self.rng.standard_normal((len(points), 2))
        depths = points[:, 2] * scale * np.exp(0.3 * self.rng.standard_normal(len(points)))
        descriptors = self.descriptors.copy()
        false = np.flatnonzero(self.rng.random(len(points)) < wrong)
        descriptors[false] = descriptors[np.roll(false, 1)]
        return LocalFeatures("xfeat", rays.astype(np.float32), depths.astype(np.float32), descriptors, PIXEL)


def measured_places(street, scale=1.0):
    features = [street.seen(T, scale) for T in PLACES]
    relative = geometry.inverse(PLACES[0]) @ PLACES[1]
    return [
        (triangulated(features[0], [(features[1], relative)]), PLACES[0]),
        (triangulated(features[1], [(features[0], geometry.inverse(relative))]), PLACES[1]),
    ]


def test_the_baseline_between_places_measures_depths():
    """Hallucinated depths half as large again must not come through where the map itself knows better."""
    street = Street(0)
    (features, _), _ = measured_places(street, scale=1.5)
    exact = np.isfinite(features.depth_sigmas)
    errors = np.abs(np.log(features.depths / street.points[:, 2]))
    assert exact.mean() > 0.5
    assert np.median(errors[exact]) < 0.08 and np.median(errors[~exact]) > 0.25
    assert np.mean(errors[exact] < 3 * features.depth_sigmas[exact]) > 0.9


def test_a_false_match_keeps_its_hallucinated_depth():
    """It lies off the epipolar line; a depth from it would be wrong and look certain."""
    street = Street(1)
    place, other = street.seen(PLACES[0]), street.seen(PLACES[1], wrong=0.5)
    relative = geometry.inverse(PLACES[0]) @ PLACES[1]
    found = triangulated(place, [(other, relative)])
    exact = np.isfinite(found.depth_sigmas)
    assert exact.any() and np.median(np.abs(np.log(found.depths / street.points[:, 2]))[exact]) < 0.08
    alone = triangulated(place, [])
    assert np.array_equal(alone.depths, place.depths) and not np.isfinite(alone.depth_sigmas).any()


def test_two_places_give_the_pose_though_depths_are_scaled():
    """Frames and signs of everything at once, with a third of false matches, two metres from what was known before."""
    errors = []
    for seed in range(5):
        street = Street(10 + seed)
        T_true = geometry.transform(geometry.rotation_from_vector(np.array([0.01, -0.04, 0.01])), [-0.7, -0.1, 2.0])
        T_known = geometry.transform(np.eye(3), T_true[:3, 3] + [1.0, 0.2, -1.5])
        found = metric_pose(measured_places(street, 1.4), street.seen(T_true, 1.4, wrong=0.3), T_known, WIDE)
        assert found is not None and found.inliers > 30
        error = geometry.difference(found.T_map_query, T_true)
        errors.append(np.linalg.norm(error[:3]))
        assert error @ np.linalg.solve(found.covariance, error) < 30
    assert np.median(errors) < 0.15


def test_what_was_known_before_is_weighed_in():
    """A prior of centimetres decides; one of metres does not."""
    street = Street(20)
    T_true = geometry.transform(np.eye(3), np.array([0.3, 0.0, 1.0]))
    T_known = geometry.transform(np.eye(3), np.array([0.3, 0.0, 1.6]))
    places, query = measured_places(street), street.seen(T_true)
    loose, tight = (metric_pose(places, query, T_known, scale * WIDE) for scale in (1.0, 1e-5))
    assert loose is not None and tight is not None
    assert abs(loose.T_map_query[2, 3] - 1.0) < 0.2 < 0.4 < abs(tight.T_map_query[2, 3] - 1.0)


def test_another_place_is_not_measured():
    """No features in common, no pose: it must not come out of the prior alone."""
    assert metric_pose(measured_places(Street(30)), Street(31).seen(np.eye(4)), np.eye(4), WIDE) is None
