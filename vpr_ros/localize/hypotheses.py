"""Hypotheses: belief over places -> a few poses, each with a probability and a covariance."""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import Hypothesis, OnDemand
from vpr_ros.localize.constants import CLUSTERS
from vpr_ros.localize.temporal import Belief
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places


def hypothesis_radius(radius: float, places: Places) -> float:
    """The parameter ``hypotheses.radius``, metres; where it is 0, a value that suits the map's spacing."""
    return radius or min(CLUSTERS.spacings * places.spacing, CLUSTERS.largest_m)


def covariance_at(T_map_camera: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Covariance (..., 6, 6) of right hypotheses at poses (..., 4, 4), about the map's axes, metres and radians."""
    R_map_body = T_map_camera[..., :3, :3] @ geometry.R_BODY_OPTICAL.T
    both = np.zeros((*R_map_body.shape[:-2], 6, 6))
    both[..., :3, :3] = both[..., 3:, 3:] = R_map_body
    return both @ calibration.covariance_body() @ np.swapaxes(both, -1, -2)


def cluster(
    belief: Belief, places: Places, calibration: Calibration, radius: float, count: int
) -> tuple[OnDemand[Hypothesis], float]:
    """Up to count hypotheses, most probable first, and the calibrated probability of "not on this map".

    Greedy: the most probable place and all within radius metres of it, in the plane and with a similar heading, form
    one hypothesis; then the same with the rest. The pose is the mean of the members. The covariance is their spread
    plus that of a right hypothesis.
    """
    members_of, masses = _clusters(belief.places, places, radius)
    rest = max(1.0 - belief.off_map - sum(masses), 0.0)
    probabilities = calibration.soften(np.array([*masses, belief.off_map, rest]))
    best = np.argsort(-probabilities[: len(masses)], kind="stable")[:count]

    def hypothesis(rank: int) -> Hypothesis:
        k = best[rank]
        return _hypothesis(members_of[k], belief, places, calibration, float(probabilities[k]))

    return OnDemand(len(best), hypothesis), float(probabilities[len(masses)])


def _clusters(belief: np.ndarray, places: Places, radius: float) -> tuple[list[np.ndarray], list[float]]:
    """Rows of each cluster's members, and the sum of their belief."""
    rows = np.flatnonzero(belief > min(CLUSTERS.smallest_belief, belief.max() / 2))
    members_of: list[np.ndarray] = []
    masses: list[float] = []
    while len(rows) and len(masses) < CLUSTERS.clusters:
        seed = rows[np.argmax(belief[rows])]
        near = np.linalg.norm(places.positions[rows, :2] - places.positions[seed, :2], axis=1) < radius
        alike = np.abs(geometry.wrap_angle(places.headings[rows] - places.headings[seed])) < CLUSTERS.heading
        members = rows[near & alike]
        members_of.append(members[np.argsort(-belief[members])])
        masses.append(float(belief[members].sum()))
        rows = rows[~(near & alike)]
    return members_of, masses


def _hypothesis(
    members: np.ndarray, belief: Belief, places: Places, calibration: Calibration, probability: float
) -> Hypothesis:
    """Mean pose and covariance of the members, weighted by belief.

    The rotation is that of the most probable member, turned by the mean yaw.
    """
    weights = belief.places[members] / belief.places[members].sum()
    T_members = places.T_map_camera[members] @ belief.T_place_camera
    mean = weights @ T_members[:, :3, 3]
    offsets = T_members[:, :3, 3] - mean
    turns = geometry.wrap_angle(geometry.heading(T_members) - geometry.heading(T_members[0]))
    turn = float(weights @ turns)
    T_map_camera = geometry.transform(geometry.matrix_from_rpy(0, 0, turn) @ T_members[0, :3, :3], mean)
    covariance = covariance_at(T_map_camera, calibration)
    covariance[:3, :3] += (weights * offsets.T) @ offsets
    covariance[5, 5] += float(weights @ (turns - turn) ** 2)
    return Hypothesis(T_map_camera, covariance, probability, tuple(int(i) for i in places.ids[members]))
