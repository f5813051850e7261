"""The records that adapters publish, and the adapters' interfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from std_msgs.msg import Header

from vpr_ros.base import covariance, geometry
from vpr_ros.base.records import Estimate, LoopClosure
from vpr_ros.ros.outputs.status import SURE


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate with its frames.

    arrived_ns: time of the image's callback, monotonic clock.
    image_header: the image's own.
    map_header: the image's stamp, the map's frame.
    T_camera_base: (4, 4), or None if the camera's mounting is unknown. Then no pose of the base may be published.
    T_odom_base: (4, 4) in odom_frame at the image's stamp, or None.
    spacing: metres between neighbouring places of the map; 0 for a measured pose, which is more exact than they are.
    gap: one sentence if places are not here of where the robot may be; else empty.
    clock_problem: one sentence if the stamp is of another clock than the node's; else empty.
    odometry_start: number of times odometry has restarted.
    camera: the image's topic, where there are several cameras; else empty.
    """

    arrived_ns: int
    estimate: Estimate
    image_header: Header
    map_header: Header
    T_camera_base: np.ndarray | None
    T_odom_base: np.ndarray | None = None
    odom_frame: str = ""
    spacing: float = 0.0
    gap: str = ""
    clock_problem: str = ""
    odometry_start: int = 0
    camera: str = ""

    @property
    def obstacle(self) -> str:
        """Why its pose cannot be used, however probable it is, one sentence; empty if it can."""
        if self.estimate.problem:
            return self.estimate.problem
        if self.T_camera_base is None:
            return "the camera's pose on the robot is not known, so no pose is published"
        return self.clock_problem

    def sure_pose(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_map_base (4, 4), covariance (6, 6) about the map's axes) for a consumer that does not weigh answers.

        None if the best pose is not sure, or cannot be used.
        """
        best = self.estimate.best
        if best is None or best.probability < SURE or self.T_camera_base is None or self.obstacle:
            return None
        return covariance.moved(best.T_map_camera, best.covariance, self.T_camera_base)


class Adapter(Protocol):
    """Publishes answers to one consumer. Called from the worker's thread, until ``close``."""

    def publish(self, answer: Answer) -> None:
        """Publish an answer."""
        ...

    def forget(self) -> None:
        """Clear state: the clock jumped back, the map changed, or ~/relocalize was called."""
        ...

    def close(self) -> None:
        """Destroy publishers."""
        ...


@dataclass(frozen=True, eq=False)
class KeyframeRecord:
    """A new keyframe of the session's map.

    keyframe_id: its number in the map.
    descriptor: (D,) or (V, D) float32, as stored in the map.
    T_odom_base: (4, 4) in odom_frame at the stamp, or None if the camera's mounting is unknown.
    """

    stamp_ns: int
    keyframe_id: int
    descriptor: np.ndarray
    T_odom_base: np.ndarray | None = None
    odom_frame: str = ""


@dataclass(frozen=True, eq=False)
class ClosureAnswer:
    """A loop closure with its frames.

    header: stamp of the current keyframe, frame of the robot's base.
    map_frame: frame of closure.T_map_match: the earlier map's, or odometry's for the session's own past.
    T_camera_base: (4, 4) at the current keyframe, or None if the camera's mounting is unknown.
    T_match_base: (4, 4) of the earlier keyframe's camera; where it was not seen, the same is assumed.
    drive: name of the session's drive that the current keyframe belongs to.
    map_is_odometry: whether the earlier map's poses are raw odometry.
    """

    closure: LoopClosure
    header: Header
    map_frame: str
    T_camera_base: np.ndarray | None
    T_match_base: np.ndarray | None
    drive: str
    map_is_odometry: bool = False

    @property
    def own_past(self) -> bool:
        """Whether the earlier keyframe is of this drive.

        Only then do both stamps refer to the running SLAM system's trajectory: stamps of other drives or maps are
        unrelated, even if they are equal, as when a bag is played twice.
        """
        return not self.closure.match_map and self.closure.match_drive == self.drive

    @property
    def sure(self) -> bool:
        """Whether the closure is good enough for a consumer that verifies closures itself."""
        return self.closure.verified or self.closure.probability >= SURE

    def relative_base(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_matchbase_querybase (4, 4), covariance (6, 6) about the earlier base's axes).

        None if the closure is not verified, its covariance is invalid, or the mounting is unknown. Never replace None
        by an identity.
        """
        measured, T_camera_base, T_match_base = self._measured(), self.T_camera_base, self.T_match_base
        if measured is None or T_camera_base is None or T_match_base is None:
            return None
        T_match_query, given = measured
        T, moved = covariance.chained(geometry.inverse(T_match_base), T_match_query, given, T_camera_base)
        valid = covariance.sane(moved)
        return None if valid is None else (T, valid)

    def base_in_map(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(current T_map_base (4, 4), covariance (6, 6) about the map's axes) in map_frame; None as for relative_base.

        None too on the session's own map, and on an earlier map whose poses are raw odometry: no other node uses these
        frames. The covariance is that of the measurement and does not include the map's own uncertainty.
        """
        measured, T_camera_base = self._measured(), self.T_camera_base
        raw = not self.closure.match_map or self.map_is_odometry
        if measured is None or T_camera_base is None or raw:
            return None
        T_match_query, given = measured
        T, moved = covariance.chained(self.closure.T_map_match, T_match_query, given, T_camera_base)
        valid = covariance.sane(moved)
        return None if valid is None else (T, valid)

    def _measured(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_match_query, covariance) of the cameras, if both are given and finite."""
        T, given = self.closure.T_match_query, self.closure.covariance
        if T is None or given is None or not np.isfinite(T).all():
            return None
        valid = covariance.sane(given)
        return None if valid is None else (T, valid)


class ClosureAdapter(Protocol):
    """Publishes keyframes and loop closures to one consumer. Called from the worker's thread, until ``close``."""

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Publish a new keyframe. Called before its closures."""
        ...

    def closed(self, closure: ClosureAnswer) -> None:
        """Publish a loop closure."""
        ...

    def forget(self) -> None:
        """Clear state: the clock jumped back or odometry restarted."""
        ...

    def close(self) -> None:
        """Destroy publishers."""
        ...
