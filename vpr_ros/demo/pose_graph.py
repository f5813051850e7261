"""A pose graph of odometry and loop closures, optimised by GTSAM's iSAM2.

iSAM2: Kaess et al., IJRR 2012. Robust kernels: Agarwal et al., ICRA 2013, and Lee et al., IROS 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import gtsam
import numpy as np

from vpr_ros.base.geometry import inverse
from vpr_ros.base.track import NO_GAP, Track

_FIRST = 3  # closures on an earlier session's map before the map is placed in the graph
_CAUCHY = 2.0  # scale of the robust kernel, standard deviations
_ROUNDS = 4  # Gauss-Newton iterations after new closures
_MAP = gtsam.symbol("m", 0)


@dataclass(frozen=True)
class OdometryNoise:
    """Standard deviations of odometry after one metre. They grow with the square root of the distance.

    translation: metres, forward and sideways.
    rotation_deg: degrees, of the heading.
    level: factor on both for height, roll and pitch of a ground robot.
    """

    translation: float = 0.05
    rotation_deg: float = 0.3
    level: float = 0.2


@dataclass(frozen=True, eq=False)
class Closure:
    """A loop closure: the places at stamp_ns and match_stamp_ns are the same.

    T_match_query: (4, 4) pose of the base at stamp_ns in the base at match_stamp_ns.
    covariance: (6, 6), x y z roll pitch yaw about the axes of the base at match_stamp_ns, metres and radians.
    earlier: whether match_stamp_ns is of an earlier session.
    """

    stamp_ns: int
    match_stamp_ns: int
    T_match_query: np.ndarray
    covariance: np.ndarray
    earlier: bool = False


class PoseGraph:
    """Poses of one session, corrected by its loop closures and those on an earlier session's map.

    every_m: metres between the graph's nodes; odometry in between moves with the last node.
    noise: of odometry.
    earlier: the earlier session's track, T_map_base, kept fixed. The pose of its map in this session is a variable of
    the graph.
    """

    def __init__(self, every_m: float = 1.0, noise: OdometryNoise | None = None, earlier: Track | None = None) -> None:
        self._every_m, self._noise, self._earlier = every_m, noise or OdometryNoise(), earlier
        parameters = gtsam.ISAM2Params()
        parameters.setRelinearizeThreshold(0.01)
        parameters.relinearizeSkip = 1
        parameters.setFactorization("QR")  # Cholesky's is indefinite after two kilometres without a loop
        self._solver = gtsam.ISAM2(parameters)
        self._factors, self._values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        self._stamps: list[int] = []
        self._T_odom_base: list[np.ndarray] = []
        self._nodes: list[int] = []  # rows of the two above that are in the graph
        self._estimate: list[np.ndarray] = []  # of the nodes, T_session_base
        self._T_session_map: np.ndarray | None = None
        self._waiting: list[Closure] = []
        self.too_early = 0  # closures of times before the first pose of odometry, which are left out
        self._unplaced: list[
            tuple[int, np.ndarray, np.ndarray]
        ] = []  # node, T_map_node, covariance: map not placed yet

    @property
    def anchored(self) -> bool:
        """Whether poses are in the earlier session's map instead of this session's own frame."""
        return self._T_session_map is not None

    def add_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Add a pose (4, 4) of the robot's base in odometry's frame. It is ignored if it is not newer than the last."""
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
        distance_m = float(np.linalg.norm(T_step[:3, 3]))
        if distance_m >= self._every_m:
            number = len(self._nodes)
            noise = _gaussian(self._sigmas(distance_m) ** 2)
            self._factors.add(gtsam.BetweenFactorPose3(number - 1, number, gtsam.Pose3(T_step), noise))
            self._insert(row, self._estimate[-1] @ T_step)

    def add_closure(self, closure: Closure) -> None:
        """Add a measured closure. ``optimise`` uses it once odometry has reached its stamps."""
        self._waiting.append(closure)

    def optimise(self) -> None:
        """Add new measurements to the solver and correct all poses."""
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
        """T_map_base at every stamp of odometry, in the earlier session's map if anchored, else from the first pose."""
        return self._corrected(np.arange(len(self._stamps)))

    def path(self) -> Track:
        """The trajectory at the graph's nodes, and at the newest pose."""
        newest = [len(self._stamps) - 1] if self._stamps else []
        return self._corrected(np.unique(np.array([*self._nodes, *newest], np.int64)))

    def _corrected(self, rows: np.ndarray) -> Track:
        """The trajectory at rows of odometry's poses."""
        T_out_session = np.eye(4) if self._T_session_map is None else inverse(self._T_session_map)
        nodes = np.searchsorted(self._nodes, rows, side="right") - 1
        T = [
            T_out_session
            @ self._estimate[node]
            @ inverse(self._T_odom_base[self._nodes[node]])
            @ self._T_odom_base[row]
            for row, node in zip(rows, nodes, strict=True)
        ]
        return Track.of([self._stamps[row] for row in rows], T, NO_GAP)

    def _insert(self, row: int, T: np.ndarray) -> None:
        self._values.insert(len(self._nodes), gtsam.Pose3(T))
        self._nodes.append(row)
        self._estimate.append(T)

    def _sigmas(self, distance_m: float) -> np.ndarray:
        """(6,) standard deviations in GTSAM's order: rotation, translation."""
        turn, shift, level = np.radians(self._noise.rotation_deg), self._noise.translation, self._noise.level
        return np.sqrt(max(distance_m, 0.1)) * np.array([level * turn, level * turn, turn, shift, shift, level * shift])

    def _attach(self, stamp_ns: int) -> tuple[int, np.ndarray] | None:
        """The node before a stamp, and T_node_base at the stamp; None if odometry does not cover it."""
        T_odom_base = Track(np.array(self._stamps), np.array(self._T_odom_base), NO_GAP).at(stamp_ns)
        if T_odom_base is None:
            return None
        row = int(np.searchsorted(self._stamps, stamp_ns, side="right")) - 1
        node = int(np.searchsorted(self._nodes, row, side="right")) - 1
        return node, inverse(self._T_odom_base[self._nodes[node]]) @ T_odom_base

    def _close(self, closure: Closure) -> bool:
        """Add a closure as a factor; False if odometry has not reached it yet."""
        first_ns = closure.stamp_ns if closure.earlier else min(closure.stamp_ns, closure.match_stamp_ns)
        if self._stamps and first_ns < self._stamps[0]:
            self.too_early += 1
            return True
        query = self._attach(closure.stamp_ns)
        if query is None:
            return False
        node, T_node_query = query
        covariance = _local(closure.covariance, closure.T_match_query, T_node_query)
        if closure.earlier:
            T_map_match = None if self._earlier is None else self._earlier.at(closure.match_stamp_ns)
            if T_map_match is None:
                return True  # of a session that was not given
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
        """Connect a node with the earlier map.

        The first closures each give a pose of the map; the most central one becomes its initial value. From the value
        of a false closure, the optimiser would not converge.
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
    """Cauchy's kernel: a closure after large drift still counts, a false one among true ones has little weight."""
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(_CAUCHY)
    return gtsam.noiseModel.Robust.Create(kernel, gtsam.noiseModel.Gaussian.Covariance(covariance))
