"""The Bayes filter over time: a discrete belief over the places of a map and "not on this map".

Thrun, Burgard, Fox, Probabilistic Robotics, chapter 8 (grid localisation), with the places as cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.localize.config import FilterConfig
from vpr_ros.localize.constants import FILTER
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Neighbours, Places


@dataclass(frozen=True, eq=False)
class Belief:
    """Belief about where the camera is.

    places: (N,) probability of each place. off_map: probability of none of them; all sum to one. T_place_camera: (4, 4)
    motion since the belief was last moved: at place i, the pose is T_map_place_i @ T_place_camera.
    """

    places: np.ndarray
    off_map: float
    T_place_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class _Motion:
    """Motion between two images: T (4, 4) from odometry, or None; distance in metres, measured or typical."""

    T: np.ndarray | None
    distance: float


@dataclass(frozen=True, eq=False)
class _Left:
    """Pose (4, 4) where the map was last left, moved on by odometry, and metres travelled since."""

    T_map_camera: np.ndarray
    distance: float


class BayesFilter:
    """The belief from image to image. This object keeps state; ``reset`` clears it."""

    def __init__(self, places: Places, config: FilterConfig, calibration: Calibration) -> None:
        self._places = places
        self._config = config
        self._calibration = calibration
        self._reach = max(FILTER.reach_m, FILTER.reach_spacings * places.spacing)
        self._neighbours = Neighbours(places.positions, self._reach)
        self.reset()

    def reset(self) -> None:
        """Start again: on the map and off it are equally probable, all places alike."""
        self._belief = np.full(len(self._places), 0.5 / len(self._places))
        self._off_map = 0.5
        self._last: tuple[int, np.ndarray | None] | None = None
        self._T_pending: np.ndarray = np.eye(4)
        self._reach_pending = 0.0
        self._left: _Left | None = None

    def is_past(self, stamp_ns: int) -> bool:
        """Whether a stamp is before that of the last image."""
        return self._last is not None and stamp_ns < self._last[0]

    def update(self, log_ratios: np.ndarray, stamp_ns: int, T_odom_camera: np.ndarray | None) -> Belief:
        """Add one image: move the belief, then weigh it by the evidence.

        log_ratios: (N,) log-likelihood ratio of each place against "not on this map". stamp_ns: not ``is_past``.
        T_odom_camera: (4, 4) or None.
        """
        weight = 1.0
        if self._last is not None:
            motion = self._motion(*self._last, stamp_ns, T_odom_camera)
            self._predict(motion)
            # Images taken close together repeat each other, so their evidence counts less.
            weight = 1 - np.exp(-motion.distance / self._calibration.correlation_length)
        self._last = (stamp_ns, T_odom_camera)
        self._weigh(weight * log_ratios)
        if T_odom_camera is not None and self._belief.max() > 0.5:
            best = int(np.argmax(self._belief))
            self._left = _Left(self._places.T_map_camera[best] @ self._T_pending, 0.0)
        return Belief(self._belief, self._off_map, self._T_pending)

    def _motion(
        self, last_ns: int, T_odom_last: np.ndarray | None, stamp_ns: int, T_odom_camera: np.ndarray | None
    ) -> _Motion:
        typical = self._config.speed * (stamp_ns - last_ns) * 1e-9
        if T_odom_last is None or T_odom_camera is None:
            return _Motion(None, typical)
        T = geometry.inverse(T_odom_last) @ T_odom_camera
        distance = float(np.linalg.norm(T[:3, 3]))
        restarted = distance > FILTER.restart_factor * typical + self._reach
        if restarted:  # odometry says nothing about this step
            return _Motion(None, typical)
        return _Motion(T, distance)

    def _predict(self, motion: _Motion) -> None:
        """Let some belief leave and enter the map; move the rest once the motion is large enough."""
        leave = 1 - (1 - self._config.off_map_entry) ** motion.distance
        entrances, hazard = self._entrances(motion)
        back = 1 - (1 - self._config.off_map_exit) ** (hazard * motion.distance)
        on_map = self._belief.sum()
        self._belief = self._belief * (1 - leave) + back * self._off_map * entrances
        self._off_map = (1 - back) * self._off_map + leave * on_map
        if motion.T is None:
            self._reach_pending += FILTER.fastest * motion.distance
        else:
            self._T_pending = self._T_pending @ motion.T
        turned = np.linalg.norm(geometry.vector_from_rotation(self._T_pending[:3, :3]))
        moved = np.linalg.norm(self._T_pending[:3, 3]) + self._reach_pending
        if moved >= FILTER.move_spacings * self._places.spacing or turned > FILTER.sigma_heading:
            self._move()
            self._T_pending, self._reach_pending = np.eye(4), 0.0

    def _entrances(self, motion: _Motion) -> tuple[np.ndarray, float]:
        """Where the map would be entered again: (N,) summing to one, and a factor for the rate of returning.

        Half of the probability lies around the pose that odometry predicts from where the map was left, half is spread
        over all places.
        """
        everywhere = np.full(len(self._places), 1 / len(self._places))
        if motion.T is None or self._left is None:
            self._left = None
            return everywhere, 1.0
        T = self._left.T_map_camera @ motion.T
        self._left = _Left(T, self._left.distance + motion.distance)
        sigma = FILTER.entrance_spacings * self._places.spacing + self._config.odometry_noise * self._left.distance
        _, place, distance = self._neighbours.near(T[None, :3, 3])
        turn = geometry.wrap_angle(geometry.heading(T) - self._places.headings[place])
        weight = np.exp(-0.5 * (distance / sigma) ** 2 - 0.5 * (turn / FILTER.sigma_heading) ** 2)
        if weight.sum() < 1e-6:
            return everywhere, 1.0
        near = np.bincount(place, weight / weight.sum(), minlength=len(everywhere))
        return 0.5 * (everywhere + near), 1 + FILTER.entrance * float(weight.max())

    def _move(self) -> None:
        """Move belief from each place to those around its predicted pose; if there are none, it leaves the map."""
        sources = np.flatnonzero(self._belief > FILTER.smallest_belief)
        if len(sources) > FILTER.most_moved:
            sources = sources[np.argpartition(self._belief[sources], -FILTER.most_moved)[-FILTER.most_moved :]]
        T_predicted = self._places.T_map_camera[sources] @ self._T_pending
        row, place, distance = self._neighbours.near(T_predicted[:, :3, 3])
        known = float(np.linalg.norm(self._T_pending[:3, 3]))
        sigma = max(0.5 * self._places.spacing, self._config.odometry_noise * known)
        beyond = np.maximum(distance - min(self._reach_pending, self._reach), 0.0)
        turn = geometry.wrap_angle(geometry.heading(T_predicted)[row] - self._places.headings[place])
        weight = np.exp(-0.5 * (beyond / sigma) ** 2 - 0.5 * (turn / FILTER.sigma_heading) ** 2)
        total = np.bincount(row, weight, minlength=len(sources))
        # Belief further than the spacing and sigma_heading from every place leaves the map, the more the further.
        offset = np.maximum(beyond - self._places.spacing, 0.0) / (sigma + 0.5 * self._places.spacing)
        rotation = np.maximum(np.abs(turn) / FILTER.sigma_heading - 1.0, 0.0)
        uncovered = np.full(len(sources), np.inf)
        np.minimum.at(uncovered, row, offset**2 + rotation**2)
        kept = np.exp(-0.5 * uncovered)
        carried = self._belief[sources] * kept
        self._off_map += float(np.sum(self._belief[sources] - carried))
        self._belief[sources] = 0.0
        share = weight * (carried / np.maximum(total, 1e-12))[row]
        self._belief += np.bincount(place, share, minlength=len(self._belief))

    def _weigh(self, log_ratios: np.ndarray) -> None:
        """Bayes' rule, scaled by the largest exponent to stay in range."""
        largest = max(float(log_ratios.max(initial=0.0)), 0.0)
        belief = self._belief * np.exp(log_ratios - largest)
        off_map = self._off_map * np.exp(-largest)
        total = belief.sum() + off_map
        self._belief, self._off_map = belief / total, float(off_map / total)
