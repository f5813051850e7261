"""One drive of `vpr demo slam`: its recorded closures and tracks, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.base.geometry import inverse, vector_from_rotation
from vpr_ros.base.track import NO_GAP, Track
from vpr_ros.demo.slam_trajectory import TrajectoryError, trajectory_error
from vpr_ros.drives.drive import Drive

FALSE_M = 5.0  # a closure with a larger error is of another place


@dataclass(frozen=True, eq=False)
class RecordedClosure:
    """A verified closure as received on the topic.

    match_map: file name of the earlier session's map, empty for the session's own past. T_match_query: (4, 4), base in
    base. covariance: (6, 6) of it about the earlier base's axes.
    """

    stamp_ns: int
    keyframe_id: int
    match_stamp_ns: int
    match_id: int
    match_map: str
    inliers: int
    T_match_query: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False)
class Session:
    """A drive with its results. truth, odometry, optimised: tracks of T_..._base. map_path: map of its keyframes.

    answered: images that the node answered; the others it dropped.
    """

    name: str
    bag: Path
    map_path: Path
    truth: Track
    odometry: Track
    optimised: Track
    closures: tuple[RecordedClosure, ...]
    answered: int


@dataclass(frozen=True, eq=False)
class SessionScores:
    """A session against the truth.

    before, after: trajectories of odometry and of the pose graph. position_m, rotation_deg, nees: (N,) of each closure
    (nees with 6 degrees of freedom). false: number of closures with an error above FALSE_M.
    """

    before: TrajectoryError
    after: TrajectoryError
    position_m: np.ndarray
    rotation_deg: np.ndarray
    nees: np.ndarray

    @property
    def false(self) -> int:
        """Number of closures between different places."""
        return int((self.position_m > FALSE_M).sum())


def tracks(drive: Drive, T_base_camera: np.ndarray) -> tuple[Track, Track]:
    """Truth and odometry of the robot's base on a drive that has both at every image."""
    frames, T_camera_base = list(drive), inverse(T_base_camera)
    stamps = [frame.stamp_ns for frame in frames]
    truth = [frame.T_map_camera @ T_camera_base for frame in frames if frame.T_map_camera is not None]
    odometry = [frame.T_odom_camera @ T_camera_base for frame in frames if frame.T_odom_camera is not None]
    return Track.of(stamps, truth, NO_GAP), Track.of(stamps, odometry, NO_GAP)


def score_session(session: Session, truths: Mapping[str, Track]) -> SessionScores:
    """truths: true tracks by the file names of the maps their sessions made; "" is this session's own."""
    errors = [_closure_error(closure, session.truth, truths[closure.match_map]) for closure in session.closures]
    table = np.array(errors).reshape(-1, 3)
    before = trajectory_error(session.odometry, session.truth)
    return SessionScores(before, trajectory_error(session.optimised, session.truth), *table.T)


def _closure_error(closure: RecordedClosure, truth: Track, truth_match: Track) -> tuple[float, float, float]:
    """Metres, degrees and NEES of one closure."""
    T_map_query, T_map_match = truth.at(closure.stamp_ns), truth_match.at(closure.match_stamp_ns)
    assert T_map_query is not None and T_map_match is not None  # stamps are those of the bags' images
    true, found = inverse(T_map_match) @ T_map_query, closure.T_match_query
    shift = found[:3, 3] - true[:3, 3]
    turn = vector_from_rotation(found[:3, :3] @ true[:3, :3].T)
    error = np.concatenate([shift, turn])
    nees = float(error @ np.linalg.solve(closure.covariance, error))
    return float(np.linalg.norm(shift)), float(np.degrees(np.linalg.norm(turn))), nees
