"""What a robot acts on: a few distinct poses whose probabilities and covariances mean something."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.localize.hypotheses import cluster, covariance_at
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.temporal import Belief
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Neighbours, Places


def clusters(belief, off_map, places, calibration, count):
    """Hypotheses of a belief (N,) over places, 25 m wide."""
    return cluster(Belief(SparseValues.of(belief), off_map, np.eye(4)), Rig(places), calibration, 25.0, count)


def test_two_places_far_apart_are_two_hypotheses(toy_world):
    """Belief at 50 m and 250 m of the street: two poses, likeliest first, not one in between."""
    places = toy_world.places()
    belief = np.zeros(len(places))
    belief[[9, 10, 11]] = 0.2
    belief[50] = 0.25
    found, off_map = clusters(belief, 0.15, places, Calibration(temperature=1.0, floor=0.01), 5)
    assert len(found) == 2
    assert found[0].T_map_camera[:3, 3] == pytest.approx(toy_world.pose(50)[:3, 3], abs=0.5)
    assert found[0].place_ids[0] in (10, 11, 12)
    assert [h.probability for h in found] == pytest.approx([0.594, 0.2475], abs=1e-3)
    assert off_map == pytest.approx(0.1485, abs=1e-3)


def sparse_half(toy_world):
    """A map with a place every 0.3 m on its first 60 m and every 5 m behind."""
    along = np.append(np.arange(0.0, 60.0, 0.3), np.arange(60.0, 160.0, 5.0))
    T = np.stack([toy_world.pose(a) for a in along])
    ids, names = np.arange(1, len(along) + 1), np.array(["reference"] * len(along))
    descriptors = np.stack([toy_world.descriptor(a) for a in along])[:, None]
    return Places(ids, names, ids * 10**9, T, descriptors)


@pytest.mark.parametrize(("radius", "expected"), [(0.0, 0.94), (2.0, 0.47)])
def test_neighbours_on_the_sparse_half_of_a_map_are_one_hypothesis(toy_world, radius, expected):
    """Most places are a third of a metre apart, so 5 m were far: the probability of a place was never above 0.5."""
    places = sparse_half(toy_world)
    assert places.spacing == pytest.approx(0.3, abs=0.01)
    belief = np.zeros(len(places))
    belief[[210, 211]] = 0.48
    of_map = Belief(SparseValues.of(belief), 0.04, np.eye(4))
    found, _ = cluster(of_map, Rig(places), Calibration(temperature=1.0, floor=0.02), radius, 5)
    assert found[0].probability == pytest.approx(expected, abs=0.01)
    belief[[210, 211]], belief[[20, 40]] = 0.0, 0.48  # 6 m apart on the dense half
    of_map = Belief(SparseValues.of(belief), 0.04, np.eye(4))
    found, _ = cluster(of_map, Rig(places), Calibration(temperature=1.0, floor=0.02), radius, 5)
    assert found[0].probability == pytest.approx(0.47, abs=0.01)


def test_opposite_directions_are_two_hypotheses(toy_world):
    """The same street driven both ways: a robot told the mean of both headings would face a wall."""
    places = toy_world.places()
    T = places.T_map_camera.copy()
    T[1, :3, :3] = T[0, :3, :3] @ np.diag([-1.0, 1.0, -1.0])
    T[1, :3, 3] = T[0, :3, 3]
    both = type(places)(places.ids, places.drives, places.stamps_ns, T, places.descriptors)
    belief = np.zeros(len(places))
    belief[:2] = 0.5
    found, _ = clusters(belief, 0.0, both, Calibration(), 5)
    assert len(found) == 2


def test_covariance_is_symmetric_positive_definite_and_turns_with_the_camera(toy_world):
    """Back ends abort on anything else; the long axis must lie along the street whatever its direction."""
    calibration = Calibration(sigma_forward=4.0, sigma_left=1.0)
    for along in (0.0, 100.0, 170.0):
        T = toy_world.pose(along)
        covariance = covariance_at(T, calibration)
        assert covariance == pytest.approx(covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > 0
        forward = T[:3, 2]
        assert forward @ covariance[:3, :3] @ forward == pytest.approx(16.0)


def test_spread_belief_gives_a_wide_covariance(toy_world):
    """The covariance is the posterior's: doubt along the street shows as length."""
    places = toy_world.places()
    sharp, wide = np.zeros(len(places)), np.zeros(len(places))
    sharp[10] = 1.0
    wide[8:13] = 0.2
    spread = [np.trace(clusters(b, 0.0, places, Calibration(), 1)[0][0].covariance[:3, :3]) for b in (sharp, wide)]
    assert spread[1] > spread[0] + 20


def test_softened_probabilities_sum_to_one_less_the_floor():
    """A filter that says 0.999999 is tamed by temperature and floor, and order is kept."""
    soft = Calibration(temperature=2.0, floor=0.05).soften(np.array([0.98, 0.02, 0.0]))
    assert soft.sum() == pytest.approx(0.95)
    assert np.all(np.diff(soft) < 0)


def test_neighbours_are_those_of_brute_force():
    """The grid must not lose pairs at cell borders, negative coordinates included."""
    rng = np.random.default_rng(0)
    positions, points = rng.uniform(-100, 100, (300, 3)), rng.uniform(-120, 120, (40, 3))
    row, place, distance = Neighbours(positions, 30.0).near(points)
    brute = np.linalg.norm(points[:, None, :2] - positions[None, :, :2], axis=2)
    assert set(zip(row.tolist(), place.tolist(), strict=True)) == set(
        zip(*map(list, np.nonzero(brute <= 30)), strict=True)
    )
    assert distance == pytest.approx(brute[row, place])
