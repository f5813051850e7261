"""The Bayes filter over time: a discrete belief over the places of a map and "not on this map".

Thrun, Burgard, Fox, Probabilistic Robotics, chapter 8 (grid localisation), with the places as cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.localize.config import FilterConfig
from vpr_ros.localize.constants import FILTER, VIEW_CHANGE
from vpr_ros.localize.view_change import ANOTHER_VIEW, Change, SpeedCheck
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Neighbours, Places
from vpr_ros.maps.scores import largest


@dataclass(frozen=True, eq=False)
class Belief:
    """Belief about where the camera is.

    places: (N,) probability of each place. off_map: probability of none of them; all sum to one. T_place_camera: (4, 4)
    motion since the belief was last moved: at place i, the pose is T_map_place_i @ T_place_camera.
    """

    places: np.ndarray
    off_map: float
    T_place_camera: np.ndarray

    def weighed(self, log_ratios: np.ndarray) -> Belief:
        """This belief after evidence (N,) against "not on this map"."""
        largest = max(float(log_ratios.max(initial=0.0)), 0.0)  # scaled by the largest exponent to stay in range
        places = self.places * np.exp(log_ratios - largest)
        off_map = self.off_map * np.exp(-largest)
        total = places.sum() + off_map
        return Belief(places / total, float(off_map / total), self.T_place_camera)


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


class Look:
    """The evidence of one view: the mean over its images. More images of a view make it neither surer nor deaf."""

    def __init__(self, independence: float, single_image: float) -> None:
        """independence: see ``Calibration``. single_image: part of the evidence that a view's first image gives."""
        self._independence = independence
        self._single = single_image
        self._mean: np.ndarray | None = None
        self._new = self._weight = 0.0
        self._count = 0

    def added(self, log_ratios: np.ndarray, change: Change) -> np.ndarray:
        """The evidence (N,) that an image adds to what was added before it."""
        if self._mean is None or not change.same_view:
            self._new = 1.0 - change.kept**self._independence
            self._count, self._mean, self._weight = 1, log_ratios, self._single * self._new
            return self._weight * log_ratios
        before = self._weight * self._mean
        self._count += 1
        self._mean = self._mean + (log_ratios - self._mean) / self._count
        seen = 1.0 - (1.0 - self._single) / self._count
        self._weight = max(self._weight, seen * self._new)
        return self._weight * self._mean - before


class BayesFilter:
    """The belief from image to image. This object keeps state; ``reset`` clears it."""

    def __init__(self, places: Places, config: FilterConfig, calibration: Calibration) -> None:
        self._places = places
        self._config = config
        self._calibration = calibration
        self._reach = max(FILTER.reach_m, FILTER.reach_spacings * places.spacing)
        self._neighbours = Neighbours(places.positions, self._reach)
        self._prior = 0.5 * places.variety  # of being on the map
        self.reset()

    def reset(self) -> None:
        """Start again: on the map and off it are equally probable (off it more, for a map of few places)."""
        self._belief = np.full(len(self._places), self._prior / len(self._places))
        self._off_map = 1.0 - self._prior
        self._last: tuple[int, np.ndarray | None] | None = None
        self._T_pending: np.ndarray = np.eye(4)
        self._reach_pending = 0.0
        self._turn_pending = 0.0
        self._left: _Left | None = None
        self._look = Look(self._calibration.independence, VIEW_CHANGE.single_image if self._config.enabled else 1.0)
        self._speed_check = SpeedCheck(self._config.speed, self._places.spacing)
        self._seen_m = 0.0  # distance from the last counted image to the last image

    @property
    def belief(self) -> np.ndarray:
        """(N,) that the camera was at each place when the last image was taken."""
        return self._belief

    def is_past(self, stamp_ns: int) -> bool:
        """Whether a stamp is before that of the last image."""
        return self._last is not None and stamp_ns < self._last[0]

    def predict(self, stamp_ns: int, T_odom_camera: np.ndarray | None, change: Change = ANOTHER_VIEW) -> None:
        """Move the belief to the time of an image.

        stamp_ns: not ``is_past``. T_odom_camera: (4, 4) or None. change: of the view, from the last counted image.
        """
        if self._last is not None:
            motion = self._motion(*self._last, stamp_ns, T_odom_camera, change)
            self._predict(motion, change)
        self._last = (stamp_ns, T_odom_camera)

    def likely(self) -> np.ndarray:
        """Rows (K,) of places that are worth comparing with the next image because of the images before."""
        return largest(self._belief, FILTER.most_compared, above=max(FILTER.smallest_belief, 1.0 / len(self._belief)))

    def weigh(self, log_ratios: np.ndarray | None, change: Change = ANOTHER_VIEW) -> Belief:
        """Weigh the belief by an image's evidence, after ``predict``.

        log_ratios: (N,) log-likelihood ratio of each place against "not on this map"; None: the image is no evidence.
        change: as for ``predict``.
        """
        if log_ratios is not None:
            self._weigh(self._look.added(log_ratios, change))
        T_odom_camera = None if self._last is None else self._last[1]
        if T_odom_camera is not None and self._belief.max() > 0.5:
            best = int(np.argmax(self._belief))
            self._left = _Left(self._places.T_map_camera[best] @ self._T_pending, 0.0)
        return Belief(self._belief, self._off_map, self._T_pending)

    def start_at(self, log_ratios: np.ndarray) -> None:
        """Forget all images and begin with a prior's evidence (N,)."""
        self.reset()
        self._weigh(log_ratios)

    def _motion(
        self,
        last_ns: int,
        T_odom_last: np.ndarray | None,
        stamp_ns: int,
        T_odom_camera: np.ndarray | None,
        change: Change,
    ) -> _Motion:
        """Without odometry the distance comes from the change of the view, or from ``filter.speed`` if that is set."""
        seconds = (stamp_ns - last_ns) * 1e-9
        step_m = max(change.distance - self._seen_m, 0.0)
        self._seen_m = change.distance if change.same_view else 0.0
        speed = self._config.speed
        if speed:
            self._speed_check.add(seconds, step_m)
        typical = speed * seconds if speed else min(step_m, FILTER.fastest * seconds)
        if T_odom_last is None or T_odom_camera is None:
            return _Motion(None, typical)
        T = geometry.inverse(T_odom_last) @ T_odom_camera
        distance = float(np.linalg.norm(T[:3, 3]))
        restarted = distance > FILTER.fastest * seconds + self._reach
        if restarted:  # odometry says nothing about this step
            return _Motion(None, typical)
        return _Motion(T, distance)

    def _predict(self, motion: _Motion, change: Change) -> None:
        """Let some belief leave and enter the map; move the rest once the motion is large enough."""
        distance = motion.distance if change.same_view else max(motion.distance, min(change.distance, FILTER.unseen_m))
        leave = 1 - (1 - (self._config.off_map_entry or FILTER.leave / self._places.spacing)) ** distance
        entrances, hazard = self._entrances(motion)
        back = 1 - (1 - (self._config.off_map_exit or FILTER.enter / self._places.spacing)) ** (hazard * distance)
        self._doubt(FILTER.carried * self._unexplained(motion, change))
        on_map = self._belief.sum()
        self._belief = self._belief * (1 - leave) + back * self._off_map * entrances
        self._off_map = (1 - back) * self._off_map + leave * on_map
        if motion.T is None:
            self._reach_pending += FILTER.longest * motion.distance
            if not change.same_view:
                self._turn_pending = min(self._turn_pending + (1 - change.kept) * FILTER.unknown_turn, np.pi)
        else:
            self._T_pending = self._T_pending @ motion.T
        turned = geometry.angle_of(self._T_pending[:3, :3])
        moved = np.linalg.norm(self._T_pending[:3, 3]) + self._reach_pending
        if moved >= FILTER.move_spacings * self._places.spacing or turned > FILTER.sigma_heading:
            self._move()
            self._T_pending, self._reach_pending, self._turn_pending = np.eye(4), 0.0, 0.0

    def _unexplained(self, motion: _Motion, change: Change) -> float:
        """Share of a change of view, 0 to 1, without motion to explain it: the robot was carried, or an image lied."""
        if change.same_view:
            return 0.0
        turned = 0.0 if motion.T is None else geometry.angle_of(motion.T[:3, :3])
        explained = motion.distance / FILTER.unseen_m + turned / FILTER.whole_turn
        return float(np.clip(min(change.distance / FILTER.unseen_m, 1.0) - explained, 0.0, 1.0))

    def _doubt(self, share: float) -> None:
        """Forget this share of what the images before said."""
        self._belief = (1 - share) * self._belief + share * self._prior / len(self._places)
        self._off_map = (1 - share) * self._off_map + share * (1 - self._prior)

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
        sources = largest(self._belief, FILTER.most_moved, above=FILTER.smallest_belief)
        T_predicted = self._places.T_map_camera[sources] @ self._T_pending
        row, place, distance = self._neighbours.near(T_predicted[:, :3, 3])
        known = float(np.linalg.norm(self._T_pending[:3, 3]))
        sigma = max(0.5 * self._places.spacing, self._config.odometry_noise * known)
        beyond = np.maximum(distance - min(self._reach_pending, self._reach), 0.0)
        turn = geometry.wrap_angle(geometry.heading(T_predicted)[row] - self._places.headings[place])
        turn = np.maximum(np.abs(turn) - self._turn_pending, 0.0)
        weight = np.exp(-0.5 * (beyond / sigma) ** 2 - 0.5 * (turn / FILTER.sigma_heading) ** 2)
        if self._reach_pending > 0:
            weight *= self._ahead(T_predicted, row, place)
        total = np.bincount(row, weight, minlength=len(sources))
        # Belief further than the spacing and sigma_heading from every place leaves the map, the more the further.
        offset = np.maximum(beyond - self._places.spacing, 0.0) / (sigma + 0.5 * self._places.spacing)
        rotation = np.maximum(turn / FILTER.sigma_heading - 1.0, 0.0)
        uncovered = np.full(len(sources), np.inf)
        np.minimum.at(uncovered, row, offset**2 + rotation**2)
        kept = np.exp(-0.5 * uncovered)
        carried = self._belief[sources] * kept
        self._off_map += float(np.sum(self._belief[sources] - carried))
        self._belief[sources] = 0.0
        share = weight * (carried / np.maximum(total, 1e-12))[row]
        self._belief += np.bincount(place, share, minlength=len(self._belief))

    def _ahead(self, T_predicted: np.ndarray, row: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Factor (P,) for pairs of predicted pose and place without odometry: most cameras look where they go."""
        distance = self._reach_pending / FILTER.longest
        expected = T_predicted[:, :3, 3] + distance * T_predicted[:, :3, 2]
        away = np.linalg.norm(self._places.positions[place, :2] - expected[row, :2], axis=1)
        spread = FILTER.ahead_spread * distance + FILTER.ahead_spacings * self._places.spacing
        return np.asarray(FILTER.sideways + np.exp(-0.5 * (away / spread) ** 2))

    def _weigh(self, log_ratios: np.ndarray) -> None:
        """Bayes' rule."""
        weighed = Belief(self._belief, self._off_map, self._T_pending).weighed(log_ratios)
        self._belief, self._off_map = weighed.places, weighed.off_map
