"""A pose graph as SLAM back ends have one: odometry between neighbours, loop closures between the rest. GTSAM's iSAM2.

Source: Kaess et al., iSAM2, IJRR 2012; for robust kernels Agarwal et al., ICRA 2013, and Lee et al., IROS 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import gtsam
import numpy as np

from vpr_ros.base.geometry import inverse
from vpr_ros.base.track import NO_GAP, Track

_FIRST = 3  # closures on an earlier session's map before its place is taken for known
_CAUCHY = 2.0  # standard deviations at which a closure begins to count less
_ROUNDS = 4  # of Gauss-Newton when closures are new
_MAP = gtsam.symbol("m", 0)


@dataclass(frozen=True)
class OdometryNoise:
    """What odometry is off after one metre, standard deviations that grow with the root of the way.

    translation: metres ahead and to the side. rotation_deg: of the heading. level: how much less of both a robot on
    the ground is off in height, roll and pitch.
    """

    translation: float = 0.05
    rotation_deg: float = 0.3
    level: float = 0.2


@dataclass(frozen=True, eq=False)
class Closure:
    """The robot at stamp_ns saw what it had seen at match_stamp_ns.

    T_match_query: (4, 4) pose of its base then in its base earlier. covariance: (6, 6) of it, x y z roll pitch yaw
    about the earlier base's axes, metres and radians. earlier: it was in an earlier session.
    """

    stamp_ns: int
    match_stamp_ns: int
    T_match_query: np.ndarray
    covariance: np.ndarray
    earlier: bool = False


class PoseGraph:
    """Poses of one session, corrected by its loop closures and those on an earlier session's map.

    every_m: metres between the graph's poses; those of odometry in between move with the last one. earlier: the
    earlier session's track, T_map_base, taken as it is. Where its map lies seen from here is one more pose of the
    graph.
    """

    def __init__(self, every_m: float = 1.0, noise: OdometryNoise | None = None, earlier: Track | None = None) -> None:
        self._every_m, self._noise, self._earlier = every_m, noise or OdometryNoise(), earlier
        parameters = gtsam.ISAM2Params()
        parameters.setRelinearizeThreshold(0.01)
        parameters.relinearizeSkip = 1
        self._solver = gtsam.ISAM2(parameters)
        self._factors, self._values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        self._stamps: list[int] = []
        self._T_odom_base: list[np.ndarray] = []
        self._nodes: list[int] = []  # rows of the two above that are in the graph
        self._estimate: list[np.ndarray] = []  # of the nodes, T_session_base
        self._T_session_map: np.ndarray | None = None
        self._waiting: list[Closure] = []
        self._unplaced: list[
            tuple[int, np.ndarray, np.ndarray]
        ] = []  # node, T_map_node, covariance: map not placed yet

    @property
    def anchored(self) -> bool:
        """Whether poses are in the earlier session's map, not in a frame of their own."""
        return self._T_session_map is not None

    def add_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """The next pose (4, 4) of the robot's base in odometry's frame; one that is not newer is left out."""
        if self._stamps and stamp_ns <= self._stamps[-1]:
            return
        self._stamps.append(stamp_ns)
        self._T_odom_base.append(np.array(T_odom_base))
        row = len(self._stamps) - 1
        if not self._nodes:
            self._factors.add(gtsam.PriorFactorPose3(0, gtsam.Pose3(), _gaussian(np.full(6, 1e-6))))
            self._insert(row, np.eye(4))
            return
        T_step = inverse(self._T_odom_base[self._nodes[-1]]) @ T_odom_base
        way = float(np.linalg.norm(T_step[:3, 3]))
        if way >= self._every_m:
            number = len(self._nodes)
            noise = _gaussian(self._sigmas(way) ** 2)
            self._factors.add(gtsam.BetweenFactorPose3(number - 1, number, gtsam.Pose3(T_step), noise))
            self._insert(row, self._estimate[-1] @ T_step)

    def add_closure(self, closure: Closure) -> None:
        """A measured loop, which counts from the next ``optimise`` on for which odometry has reached it."""
        self._waiting.append(closure)

    def optimise(self) -> None:
        """Take in what is new and correct all poses."""
        waiting, self._waiting = self._waiting, []
        for closure in waiting:
            if not self._close(closure):
                self._waiting.append(closure)
        rounds = _ROUNDS if len(self._waiting) < len(waiting) else 1
        self._solver.update(self._factors, self._values)
        for _ in range(rounds - 1):
            self._solver.update()
        self._factors, self._values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        found = self._solver.calculateEstimate()
        self._estimate = [found.atPose3(number).matrix() for number in range(len(self._nodes))]
        if found.exists(_MAP):
            self._T_session_map = found.atPose3(_MAP).matrix()

    def trajectory(self) -> Track:
        """T_map_base at every stamp of odometry: in the earlier session's map where anchored, else in a frame at the
        first pose.
        """
        T_out_session = np.eye(4) if self._T_session_map is None else inverse(self._T_session_map)
        after = np.searchsorted(self._nodes, np.arange(len(self._stamps)), side="right") - 1
        T = [
            T_out_session @ self._estimate[node] @ inverse(self._T_odom_base[self._nodes[node]]) @ T_odom_base
            for node, T_odom_base in zip(after, self._T_odom_base, strict=True)
        ]
        return Track.of(self._stamps, T, NO_GAP)

    def _insert(self, row: int, T: np.ndarray) -> None:
        self._values.insert(len(self._nodes), gtsam.Pose3(T))
        self._nodes.append(row)
        self._estimate.append(T)

    def _sigmas(self, way_m: float) -> np.ndarray:
        """(6,) standard deviations in GTSAM's order: rotation, translation."""
        turn, shift, level = np.radians(self._noise.rotation_deg), self._noise.translation, self._noise.level
        return np.sqrt(max(way_m, 0.1)) * np.array([level * turn, level * turn, turn, shift, shift, level * shift])

    def _attach(self, stamp_ns: int) -> tuple[int, np.ndarray] | None:
        """The node before a stamp and T_node_base then; None where odometry does not reach there."""
        T_odom_base = Track(np.array(self._stamps), np.array(self._T_odom_base), NO_GAP).at(stamp_ns)
        if T_odom_base is None:
            return None
        row = int(np.searchsorted(self._stamps, stamp_ns, side="right")) - 1
        node = int(np.searchsorted(self._nodes, row, side="right")) - 1
        return node, inverse(self._T_odom_base[self._nodes[node]]) @ T_odom_base

    def _close(self, closure: Closure) -> bool:
        """Make a factor of a closure; False where odometry has not come that far."""
        query = self._attach(closure.stamp_ns)
        if query is None:
            return False
        node, T_node_query = query
        covariance = _local(closure.covariance, closure.T_match_query, T_node_query)
        if closure.earlier:
            T_map_match = None if self._earlier is None else self._earlier.at(closure.match_stamp_ns)
            if T_map_match is None:
                return True  # of a session that is not here
            self._close_on_map(node, T_map_match @ closure.T_match_query @ inverse(T_node_query), covariance)
            return True
        match = self._attach(closure.match_stamp_ns)
        if match is None:
            return False
        match_node, T_node_match = match
        if match_node != node:
            T = T_node_match @ closure.T_match_query @ inverse(T_node_query)
            self._factors.add(gtsam.BetweenFactorPose3(match_node, node, gtsam.Pose3(T), _robust(covariance)))
        return True

    def _close_on_map(self, node: int, T_map_node: np.ndarray, covariance: np.ndarray) -> None:
        """Join a node with the earlier map, which is placed by the one of the first few closures most like the others:
        from where a false one would put it no optimiser finds back.
        """
        self._unplaced.append((node, T_map_node, covariance))
        if not self._values.exists(_MAP) and self._T_session_map is None:
            if len(self._unplaced) < _FIRST:
                return
            places = [self._estimate[n] @ inverse(T) for n, T, _ in self._unplaced]
            at = np.array([T[:3, 3] for T in places])
            apart = np.median(np.linalg.norm(at[:, None] - at, axis=2), axis=1)
            self._values.insert(_MAP, gtsam.Pose3(places[int(apart.argmin())]))
        for n, T, spread in self._unplaced:
            self._factors.add(gtsam.BetweenFactorPose3(_MAP, n, gtsam.Pose3(T), _robust(spread)))
        self._unplaced = []


def _local(covariance: np.ndarray, T_match_query: np.ndarray, T_node_query: np.ndarray) -> np.ndarray:
    """(6, 6) about the match's axes, translation first -> GTSAM's: the node's tangent space, rotation first."""
    R = T_match_query[:3, :3].T
    turn = np.zeros((6, 6))
    turn[:3, 3:], turn[3:, :3] = R, R
    adjoint = gtsam.Pose3(T_node_query).AdjointMap() @ turn
    return adjoint @ covariance @ adjoint.T


def _gaussian(variances: np.ndarray) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Diagonal.Variances(variances)


def _robust(covariance: np.ndarray) -> gtsam.noiseModel.Base:
    """Cauchy's kernel: a loop far from where drift put it still pulls, a false one among true ones hardly does."""
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(_CAUCHY)
    return gtsam.noiseModel.Robust.Create(kernel, gtsam.noiseModel.Gaussian.Covariance(covariance))
