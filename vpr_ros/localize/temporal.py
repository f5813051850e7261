"""The Bayes filter over time: a discrete belief over the places of a map and "not on this map".

Thrun, Burgard, Fox, Probabilistic Robotics, chapter 8 (grid localisation), with the places as cells; with several
cameras, the cells of ``rig``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.localize.config import FilterConfig
from vpr_ros.localize.constants import FILTER, VIEW_CHANGE
from vpr_ros.localize.look import Look, Motion
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.view_change import ANOTHER_VIEW, Change, SeenScale, SpeedCheck
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import largest


@dataclass(frozen=True, eq=False)
class Belief:
    """Belief about where the camera is.

    places: probability of each of N places (cells of a ``Rig``). off_map: probability of none of them; all sum to one.
    T_place_camera: (4, 4) motion of the first camera since the belief was last moved: in cell i, its pose is
    T_map_first_i @ T_place_camera.
    """

    places: SparseValues
    off_map: float
    T_place_camera: np.ndarray

    def weighed(self, log_ratios: SparseValues) -> Belief:
        """This belief after evidence against "not on this map"."""
        largest = max(float(log_ratios.values.max(initial=log_ratios.rest)), 0.0)  # scaled by it to stay in range
        places = self.places.combined(log_ratios, lambda before, ratios: before * np.exp(ratios - largest))
        off_map = self.off_map * np.exp(-largest)
        total = places.sum() + off_map
        places = places.scaled(1 / total).reduced(above=FILTER.ignored_belief)
        return Belief(places, float(off_map / total), self.T_place_camera)


@dataclass(frozen=True, eq=False)
class _Left:
    """Pose (4, 4) where the map was last left, moved on by odometry, and metres travelled since by it."""

    T_map_first: np.ndarray
    distance: float


class BayesFilter:
    """The belief from image to image. This object keeps state; ``reset`` clears it."""

    def __init__(self, places: Places, config: FilterConfig, calibration: Calibration, rig: Rig | None = None) -> None:
        """rig: the robot's cameras; None: one."""
        self._places = places
        self._rig = rig or Rig(places)
        self._config = config
        self._calibration = calibration
        self._reach = places.neighbours.radius
        self._coverage = np.zeros(0, np.float32)
        self._prior = FILTER.start * places.variety  # of being on the map
        self.reset()

    def reset(self) -> None:
        """Start again: the robot is more likely off the map than on it, the more so with a map of few places."""
        self._begin(self._prior)

    def _begin(self, on_map: float) -> None:
        """on_map: the probability of being there."""
        self._belief = SparseValues.constant(on_map / self._rig.cells, self._rig.cells)
        self._off_map = 1.0 - on_map
        self._last: tuple[int, np.ndarray | None] | None = None
        self._intervals_s: dict[int, float] = {}  # usual ones between a camera's images
        self._T_pending: np.ndarray = np.eye(4)
        self._reach_pending = 0.0
        self._turn_pending = 0.0
        self._left: _Left | None = None
        self._looks = [self._look() for _ in range(self._rig.cameras)]
        self._stamps_ns: dict[int, int] = {}  # of each camera's last image
        self._measuring = 0  # the camera that measures motion without odometry
        self._clarity: dict[int, float] = {}  # how well each camera's images were recognised lately
        self._speed_check = SpeedCheck(self._config.speed, self._places.spacing)
        self._scale = SeenScale(self._places.spacing)
        self._seen_m = 0.0  # distance from its last counted image to its last image
        self._speed = 0.0  # metres a second that its images said lately

    def restart_odometry(self) -> None:
        """The next pose of odometry is unrelated to those before."""
        if self._last is not None:
            self._last = self._last[0], None
        self._left = None

    def add_camera(self) -> None:
        """A camera has joined the rig: its cells take their share of the probability of being on the map."""
        for look in self._looks:
            self._end(look)
        count = self._rig.cells - self._belief.count
        share = count / self._rig.cells
        value = share * self._belief.sum() / count
        self._belief = self._belief.scaled(1 - share).extended(count, value)
        self._looks.append(self._look())

    def _look(self) -> Look:
        return Look(self._calibration.independence, VIEW_CHANGE.single_image if self._config.enabled else 1.0)

    @property
    def belief(self) -> SparseValues:
        """Probability of each cell by the views before the present ones."""
        return self._belief

    @property
    def position(self) -> np.ndarray | None:
        """(2,) metres in the map, by odometry from where the robot was last known to be; None without."""
        by_odometry = self._last is not None and self._last[1] is not None
        return self._left.T_map_first[:2, 3] if by_odometry and self._left is not None else None

    def is_past(self, stamp_ns: int, camera: int = 0) -> bool:
        """Whether a stamp is before that of a camera's last image."""
        return camera in self._stamps_ns and stamp_ns < self._stamps_ns[camera]

    def predict(
        self, stamp_ns: int, T_odom_first: np.ndarray | None, change: Change | None = ANOTHER_VIEW, camera: int = 0
    ) -> None:
        """Move the belief to the time of a camera's image.

        stamp_ns: not ``is_past``. T_odom_first: (4, 4) of the rig's first camera, or None. change: of this camera's
        view, from its last counted image; None: the image shows nothing, and the robot may have moved on.
        """
        if change is not None and not change.same_view:
            self._end(self._looks[camera], change)
        if self._last is not None:
            motion = self._motion(*self._last, stamp_ns, T_odom_first, change, camera)
            self._lapse(stamp_ns, motion, change, camera)
            self._predict(motion, change, camera)
        self._last = (stamp_ns, T_odom_first)
        self._stamps_ns[camera] = stamp_ns

    def likely(self) -> np.ndarray:
        """Cells (K,) that are worth comparing with the next image because of the images before."""
        belief = self._belief
        enough = max(FILTER.smallest_belief, 1.0 / belief.count)
        return belief.rows[largest(belief.values, FILTER.most_compared, above=enough)]

    def weigh(self, log_ratios: SparseValues | None, camera: int = 0) -> Belief:
        """The belief weighed by the present views, after ``predict``: that of this camera and of others nearby.

        log_ratios: log-likelihood ratio of each cell against "not on this map", of this camera's image; None: the image
        is no evidence.
        """
        if log_ratios is not None:
            self._looks[camera].add(log_ratios)
            clarity = float(log_ratios.values.max(initial=log_ratios.rest))
            before = self._clarity.get(camera, clarity)
            self._clarity[camera] = before + FILTER.clarity * (clarity - before)
        belief = Belief(self._belief, self._off_map, self._T_pending)
        for look in self._looks:
            if (evidence := look.evidence) is not None:
                belief = belief.weighed(evidence)
        T_odom_first = None if self._last is None else self._last[1]
        if T_odom_first is None and self._scale.is_due:
            self._scale.at(self._located(belief.places))
        if len(belief.places.rows):
            best = int(np.argmax(belief.places.values))
            if belief.places.values[best] > 0.5:
                self._left = _Left(self._rig.poses(belief.places.rows[best : best + 1])[0] @ self._T_pending, 0.0)
        return belief

    def _located(self, belief: SparseValues) -> np.ndarray | None:
        """(2,) metres in the map, where most of the belief is; None if it is in no one place."""
        if not len(belief.rows):
            return None
        positions = self._rig.positions(belief.rows)[:, :2]
        away = np.linalg.norm(positions - positions[np.argmax(belief.values)], axis=1)
        weights = belief.values * (away <= FILTER.located_spacings * self._places.spacing)
        total = weights.sum()
        return None if total < FILTER.located_belief else np.asarray(weights @ positions / total)

    def start_at(self, log_ratios: SparseValues) -> None:
        """Forget all images and begin with a prior's evidence, on the map as likely as off it."""
        self._begin(0.5 * self._places.variety)
        self._weigh(log_ratios)

    def _lapse(self, stamp_ns: int, motion: Motion, change: Change | None, camera: int) -> None:
        """After a time without images, another view says nothing of the motion: forget, the more the longer it was.

        A time is long by what is usual of this camera. Odometry and a view that partly lasts say where the robot is.
        """
        assert self._last is not None
        own_s = (stamp_ns - self._stamps_ns.get(camera, stamp_ns)) * 1e-9
        usual_s = self._intervals_s.get(camera, own_s)
        if own_s > FILTER.shortest_s:
            self._intervals_s[camera] = usual_s + FILTER.lately * (min(own_s, FILTER.lapse * usual_s) - usual_s)
        missed_s = (stamp_ns - self._last[0]) * 1e-9 - FILTER.lapse * usual_s
        unknown = motion.T is None and change is not None and change.kept < FILTER.lapse_kept
        if unknown and missed_s > 0 and camera in self._intervals_s:
            self._doubt(1 - float(np.exp(-missed_s / FILTER.lapse_s)))
            self._scale.at(None)

    def _motion(
        self,
        last_ns: int,
        T_odom_last: np.ndarray | None,
        stamp_ns: int,
        T_odom_first: np.ndarray | None,
        change: Change | None,
        camera: int = 0,
    ) -> Motion:
        """Without odometry the distance comes from the change of the view, or from ``filter.speed`` if that is set."""
        seconds = max(stamp_ns - last_ns, 0) * 1e-9
        typical = self._seen(seconds, stamp_ns, change, camera)
        if T_odom_last is None and T_odom_first is None:
            return Motion(None, typical)
        if T_odom_last is not None and T_odom_first is not None:
            T = geometry.inverse(T_odom_last) @ T_odom_first
            distance = float(np.linalg.norm(T[:3, 3]))
            if distance <= FILTER.fastest * seconds + self._reach:
                return Motion(T, distance)
        self._left = None  # odometry begins, ends or restarts, and says nothing about this step
        return Motion(None, typical)

    def _seen(self, seconds: float, stamp_ns: int, change: Change | None, camera: int) -> float:
        """Metres since the last image without odometry.

        One camera measures them, since two would count them twice: the one that is recognised best, as the map's scale
        holds for what the map shows. While it sees nothing, the robot goes on as before.
        """
        speed = self._config.speed
        if change is None:
            if camera == self._measuring and not speed:
                metres = self._speed * seconds
                self._seen_m += metres / self._scale.factor  # the next view has changed by that, too
                return metres
            return speed * seconds
        if camera != self._measuring:
            silent = stamp_ns - self._stamps_ns.get(self._measuring, stamp_ns) > FILTER.silent_ns
            clearer = self._clarity.get(camera, 0.0) - self._clarity.get(self._measuring, 0.0)
            if not silent and clearer < FILTER.clearer:
                return speed * seconds
            self._measuring = camera
            self._seen_m = change.distance if change.same_view else 0.0
            return speed * seconds
        step_m = max(change.distance - self._seen_m, 0.0)
        self._seen_m = change.distance if change.same_view else 0.0
        if speed:
            self._speed_check.add(seconds, step_m)
            return speed * seconds
        since_s = (stamp_ns - self._stamps_ns.get(camera, stamp_ns)) * 1e-9
        self._scale.moved(min(step_m, FILTER.fastest * since_s))
        metres = min(self._scale.factor * step_m, FILTER.fastest * since_s)
        if since_s > 0:
            self._speed += FILTER.lately * (metres / since_s - self._speed)
        return metres

    def _predict(self, motion: Motion, change: Change | None, camera: int) -> None:
        """Let some belief leave and enter the map; move the rest once the motion is large enough."""
        for look in self._looks:
            look.moved(motion)
        unexplained_m, unexplained = self._looks[camera].unexplained(change)
        if camera != self._measuring:  # its views have no scale that the map knows
            unexplained_m = unexplained = 0.0
        distance = motion.distance + unexplained_m
        leave = 1 - (1 - (self._config.off_map_entry or FILTER.leave / self._places.spacing)) ** distance
        entrances, hazard = self._entrances(motion)
        back = 1 - (1 - (self._config.off_map_exit or FILTER.enter / self._places.spacing)) ** (hazard * distance)
        self._doubt(FILTER.carried * unexplained)
        on_map = self._belief.sum()
        self._belief = self._belief.scaled(1 - leave).plus(entrances.scaled(back * self._off_map))
        self._off_map = (1 - back) * self._off_map + leave * on_map
        if motion.T is None:
            self._reach_pending += FILTER.longest * motion.distance
            if (change is None or not change.same_view) and camera == self._measuring:
                share = min(motion.distance / self._places.spacing, 1.0) if change is None else 1 - change.kept
                self._turn_pending = min(self._turn_pending + share * FILTER.unknown_turn, np.pi)
        else:
            self._T_pending = self._T_pending @ motion.T
        turned = geometry.angle_of(self._T_pending[:3, :3])
        moved = np.linalg.norm(self._T_pending[:3, 3]) + self._reach_pending
        if moved >= FILTER.move_spacings * self._places.spacing or turned > FILTER.sigma_heading:
            for other, look in enumerate(self._looks):
                if other != camera or change is None:
                    self._end(look)
            self._move()
            self._T_pending, self._reach_pending, self._turn_pending = np.eye(4), 0.0, 0.0

    def _doubt(self, share: float) -> None:
        """Forget this share of what the images before said."""
        if not share:
            return
        forgotten = SparseValues.constant(share * self._prior / self._belief.count, self._belief.count)
        self._belief = self._belief.scaled(1 - share).plus(forgotten)
        self._off_map = (1 - share) * self._off_map + share * (1 - self._prior)

    def _entrances(self, motion: Motion) -> tuple[SparseValues, float]:
        """Where the map would be entered again: N values that sum to one, and a factor for the rate of returning.

        Half of the probability lies around the pose that odometry predicts from where the map was left, half is spread
        over all places. Without odometry, that pose is where the map was left: robots turn on the spot, and back. At
        the end of a map they drive on, and the more likely that is, the smaller the half.
        """
        everywhere = SparseValues.constant(1 / self._belief.count, self._belief.count)
        if self._left is None:
            return everywhere, 1.0
        if motion.T is not None:
            self._left = _Left(self._left.T_map_first @ motion.T, self._left.distance + motion.distance)
        if self._off_map < FILTER.entering:
            return everywhere, 1.0
        sigma = FILTER.entrance_spacings * self._places.spacing + self._config.odometry_noise * self._left.distance
        T = self._left.T_map_first[None]
        row, cell, distance, turn = self._rig.near(T)
        weight = np.exp(-0.5 * (distance / sigma) ** 2 - 0.5 * (turn / FILTER.sigma_heading) ** 2)
        if weight.sum() < 1e-6:
            return everywhere, 1.0
        half, hazard = 0.5, 1 + FILTER.entrance * float(weight.max())
        if motion.T is None:
            goes_on = self._covered_ahead(T, self._places.spacing) / self._covered(1, row, cell, distance, turn)
            half, hazard = 0.5 * min(float(goes_on[0]), 1.0), 1.0
        return everywhere.scaled(1 - half).added(cell, half * weight / weight.sum()), hazard

    def _move(self) -> None:
        """Move belief from each cell to those around its predicted pose; if there are none, it leaves the map."""
        moved = largest(self._belief.values, FILTER.individual, above=FILTER.smallest_belief)
        sources, of_sources = self._belief.rows[moved], self._belief.values[moved]
        T_predicted = self._rig.poses(sources) @ self._T_pending
        row, cell, distance, turn = self._rig.near(T_predicted)
        known = float(np.linalg.norm(self._T_pending[:3, 3]))
        gaps = self._places.gaps[self._rig.places_of(cell)]
        sigma = np.maximum(0.5 * gaps, self._config.odometry_noise * known)
        beyond = np.maximum(distance - min(self._reach_pending, self._reach), 0.0)
        turned = np.abs(turn)
        turn = np.maximum(turned - self._turn_pending, 0.0)
        weight = np.exp(-0.5 * (beyond / sigma) ** 2 - 0.5 * (turn / FILTER.sigma_heading) ** 2)
        if self._reach_pending > 0:
            weight *= self._ahead(T_predicted, row, cell)
            weight[turned > FILTER.whole_turn] *= FILTER.turned
        total = np.bincount(row, weight, minlength=len(sources))
        kept = self._kept(sources, T_predicted, (row, cell, distance, turn))
        carried = of_sources * kept
        carried[total <= FILTER.least_weight] = 0.0  # no place lies where it would go
        self._off_map += float(np.sum(of_sources - carried))
        left = self._belief.replaced(moved, 0.0)
        share = weight * (carried / np.maximum(total, FILTER.least_weight))[row]
        self._belief = left.added(cell, share).reduced(above=FILTER.ignored_belief)

    def _driven(self, T_predicted: np.ndarray, metres: float) -> np.ndarray:
        """Positions (M, 3) of M robots (M, 4, 4) that drive on without odometry."""
        return np.asarray(T_predicted[:, :3, 3] + metres * (T_predicted[:, :3, :3] @ self._rig.forward))

    def _ahead(self, T_predicted: np.ndarray, row: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Factor (P,) for pairs of predicted pose and cell without odometry: robots drive forward."""
        distance = self._reach_pending / FILTER.longest
        expected = self._driven(T_predicted, distance)
        away = np.linalg.norm(self._rig.positions(cell)[:, :2] - expected[row, :2], axis=1)
        spread = FILTER.ahead_spread * distance + FILTER.ahead_spacings * self._places.spacing
        return np.asarray(FILTER.sideways + np.exp(-0.5 * (away / spread) ** 2))

    def _kept(
        self, sources: np.ndarray, T_predicted: np.ndarray, near: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Share (M,) of the belief in M cells that is still on the map: how well places cover where the robot is now.

        It is relative to how well they covered where it was. At the end of a map all places lie behind. Without
        odometry the robot is a place further at most: beyond, the road may bend. near: rows of T_predicted (M, 4, 4),
        the cells around, their distances and turns.
        """
        if self._reach_pending > 0:
            covered = self._covered_ahead(T_predicted, min(self._reach_pending / FILTER.longest, self._places.spacing))
        else:
            covered = self._covered(len(sources), *near)
        return np.asarray(np.minimum(covered / self._coverage_of(sources), 1.0))

    def _covered_ahead(self, T_map_first: np.ndarray, metres: float) -> np.ndarray:
        """How well places cover poses (M, 4, 4) after driving on without odometry, turned as views allow."""
        T = T_map_first.copy()
        T[:, :3, 3] = self._driven(T, metres)
        row, cell, distance, turn = self._rig.near(T)
        return self._covered(len(T), row, cell, distance, np.maximum(np.abs(turn) - self._turn_pending, 0.0))

    def _covered(
        self, count: int, row: np.ndarray, cell: np.ndarray, distance: np.ndarray, turn: np.ndarray
    ) -> np.ndarray:
        """How well places cover poses (count,), by all pairs (P,) of the row of a pose and a cell near.

        distance, turn: (P,) from the pose to the cell's place.
        """
        turn = np.maximum(np.abs(turn) / FILTER.sigma_heading - 1.0, 0.0)
        gaps = self._places.gaps[self._rig.places_of(cell)]
        weight = np.exp(-0.5 * (distance / gaps) ** 2 - 0.5 * turn**2)
        return np.bincount(row, weight, minlength=count)

    def _coverage_of(self, cells: np.ndarray) -> np.ndarray:
        """How well places cover the poses of cells (M,). It is kept: belief stays in a few of them for a while."""
        if len(self._coverage) != self._rig.cells:
            self._coverage = np.zeros(self._rig.cells, np.float32)
        unknown = cells[self._coverage[cells] == 0]
        if len(unknown):
            row, cell, distance, turn = self._rig.near(self._rig.poses(unknown))
            self._coverage[unknown] = self._covered(len(unknown), row, cell, distance, turn)
        return self._coverage[cells]

    def _end(self, look: Look, change: Change | None = None) -> None:
        """End a camera's view: what the next one does not repeat of its evidence stays in the belief."""
        remaining = look.end(change)
        if remaining is not None:
            self._weigh(remaining)

    def _weigh(self, log_ratios: SparseValues) -> None:
        """Bayes' rule."""
        weighed = Belief(self._belief, self._off_map, self._T_pending).weighed(log_ratios)
        self._belief, self._off_map = weighed.places, weighed.off_map
