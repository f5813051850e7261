"""One drive of `vpr demo slam`: its results and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.base.geometry import inverse, vector_from_rotation
from vpr_ros.base.track import NO_GAP, Track
from vpr_ros.demo.slam_trajectory import TrajectoryError, trajectory_error
from vpr_ros.drives.drive import Drive

FALSE_M = 5.0  # a closure with a larger position error is false


@dataclass(frozen=True, eq=False)
class RecordedClosure:
    """A verified closure as received.

    match_map: file name of the earlier session's map; empty for the session's own past.
    T_match_query: (4, 4), current base in the earlier base.
    covariance: (6, 6), about the earlier base's axes.
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
    """A drive and its results.

    map_path: the session's map.
    truth, odometry, optimised: tracks of the base.
    """

    name: str
    bag: Path
    map_path: Path
    truth: Track
    odometry: Track
    optimised: Track
    closures: tuple[RecordedClosure, ...]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Errors of a session.

    before, after: trajectory errors of odometry and of the pose graph.
    position_m, rotation_deg: (N,) errors of each closure.
    nees: (N,) of each closure, with 6 degrees of freedom.
    """

    before: TrajectoryError
    after: TrajectoryError
    position_m: np.ndarray
    rotation_deg: np.ndarray
    nees: np.ndarray

    @property
    def false(self) -> int:
        """Number of closures with a position error above FALSE_M."""
        return int((self.position_m > FALSE_M).sum())


def tracks(drive: Drive, T_base_camera: np.ndarray) -> tuple[Track, Track]:
    """True track and odometry of the robot's base, of a drive that has both at every image."""
    frames, T_camera_base = list(drive), inverse(T_base_camera)
    stamps = [frame.stamp_ns for frame in frames]
    truth = [frame.T_map_camera @ T_camera_base for frame in frames if frame.T_map_camera is not None]
    odometry = [frame.T_odom_camera @ T_camera_base for frame in frames if frame.T_odom_camera is not None]
    return Track.of(stamps, truth, NO_GAP), Track.of(stamps, odometry, NO_GAP)


def score(session: Session, truths: Mapping[str, Track]) -> Judgement:
    """Compare a session with the truth. truths: true tracks by file name of the map; "" is the session's own."""
    errors = [_closure_error(closure, session.truth, truths[closure.match_map]) for closure in session.closures]
    position_m, rotation_deg, nees = np.array(errors).reshape(-1, 3).T
    return Judgement(
        before=trajectory_error(session.odometry, session.truth),
        after=trajectory_error(session.optimised, session.truth),
        position_m=position_m,
        rotation_deg=rotation_deg,
        nees=nees,
    )


def _closure_error(closure: RecordedClosure, truth: Track, truth_match: Track) -> tuple[float, float, float]:
    """Position error in metres, rotation error in degrees, and NEES of one closure."""
    T_map_query, T_map_match = truth.at(closure.stamp_ns), truth_match.at(closure.match_stamp_ns)
    assert T_map_query is not None and T_map_match is not None  # the stamps are of the bags' images
    true, found = inverse(T_map_match) @ T_map_query, closure.T_match_query
    shift = found[:3, 3] - true[:3, 3]
    turn = vector_from_rotation(found[:3, :3] @ true[:3, :3].T)
    error = np.concatenate([shift, turn])
    nees = float(error @ np.linalg.solve(closure.covariance, error))
    return float(np.linalg.norm(shift)), float(np.degrees(np.linalg.norm(turn))), nees
