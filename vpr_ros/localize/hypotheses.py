"""Hypotheses: belief over places -> a few poses, each with a probability and a covariance."""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.covariance import moved, rotated
from vpr_ros.base.records import Hypothesis, OnDemand
from vpr_ros.localize.constants import CLUSTERS
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.temporal import Belief
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.levels import distances
from vpr_ros.maps.places import Places


def hypothesis_radius(radius: float, places: Places) -> float:
    """The parameter ``hypotheses.radius``, metres; where it is 0, a value that suits the map's spacing."""
    return radius or float(_suiting(places.spacing))


def hypothesis_radii(radius: float, places: Places) -> np.ndarray:
    """The same (N,) at each place; where it is 0, values that suit the distance of the places there."""
    return np.full(len(places), radius) if radius else _suiting(places.gaps)


def _suiting(spacing: np.ndarray | float) -> np.ndarray:
    return np.asarray(np.minimum(CLUSTERS.spacings * spacing, CLUSTERS.largest_m))


def covariance_at(T_map_camera: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Covariance (..., 6, 6) of right hypotheses at poses (..., 4, 4), about the map's axes, metres and radians."""
    return rotated(calibration.covariance_body(), T_map_camera[..., :3, :3] @ geometry.R_BODY_OPTICAL.T)


def cluster(
    belief: Belief, rig: Rig, calibration: Calibration, radius: float, count: int, camera: int = 0
) -> tuple[OnDemand[Hypothesis], float]:
    """Up to count hypotheses, most probable first, and the calibrated probability of "not on this map".

    Greedy: the most probable cell and all within radius metres of it, on its level and with a similar heading, form one
    hypothesis; then the same with the rest. A radius of 0 stands for one that suits the distance of the places there.
    The pose is the mean of the members, as the pose of a camera of the rig.
    The covariance is their spread plus that of a right hypothesis, about the rig's first camera: whose image was the
    last says nothing of the robot.
    """
    members_of, masses = _clusters(belief.places, rig, radius)
    rest = max(1.0 - belief.off_map - sum(masses), 0.0)
    probabilities = calibration.soften(np.array([*masses, belief.off_map, rest]))
    best = np.argsort(-probabilities[: len(masses)], kind="stable")[:count]

    def hypothesis(rank: int) -> Hypothesis:
        k = best[rank]
        cells = members_of[k]
        T_members = rig.poses(cells) @ belief.T_place_camera
        ids = dict.fromkeys(rig.places.ids[rig.places_of(cells)].tolist())
        T_map_first, of_first = _mean(T_members, belief.places.at(cells), calibration)
        T_map_camera, covariance = moved(T_map_first, of_first, rig.T_first_camera(camera))
        return Hypothesis(T_map_camera, covariance, float(probabilities[k]), tuple(ids))

    return OnDemand(len(best), hypothesis), float(probabilities[len(masses)])


def _clusters(belief: SparseValues, rig: Rig, radius: float) -> tuple[list[np.ndarray], list[float]]:
    """Cells of each cluster's members, and the sum of their belief."""
    likely = belief.values > min(CLUSTERS.smallest_belief, belief.values.max(initial=0.0) / 2)
    cells, values = belief.rows[likely], belief.values[likely]
    T_map_first, levels = rig.poses(cells), rig.places.has_levels
    positions, headings = T_map_first[:, :3, 3], geometry.heading(T_map_first)
    members_of: list[np.ndarray] = []
    masses: list[float] = []
    left = np.arange(len(cells))
    while len(left) and len(masses) < CLUSTERS.clusters:
        seed = left[np.argmax(values[left])]
        reach = radius or _suiting(rig.places.gaps[rig.places_of(cells[seed])])
        near = distances(positions[left], positions[seed], levels) < reach
        alike = np.abs(geometry.wrap_angle(headings[left] - headings[seed])) < CLUSTERS.heading
        members = left[near & alike]
        members_of.append(cells[members[np.argsort(-values[members])]])
        masses.append(float(values[members].sum()))
        left = left[~(near & alike)]
    return members_of, masses


def _mean(T_members: np.ndarray, belief: np.ndarray, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Mean pose (4, 4) and covariance (6, 6) of members (K, 4, 4), weighted by belief (K,), most probable one first.

    The rotation is that of the most probable member, turned by the mean yaw.
    """
    weights = belief / belief.sum()
    mean = weights @ T_members[:, :3, 3]
    offsets = T_members[:, :3, 3] - mean
    turns = geometry.wrap_angle(geometry.heading(T_members) - geometry.heading(T_members[0]))
    turn = float(weights @ turns)
    T_mean = geometry.transform(geometry.matrix_from_rpy(0, 0, turn) @ T_members[0, :3, :3], mean)
    covariance = covariance_at(T_mean, calibration)
    covariance[:3, :3] += (weights * offsets.T) @ offsets
    covariance[5, 5] += float(weights @ (turns - turn) ** 2)
    return T_mean, covariance
