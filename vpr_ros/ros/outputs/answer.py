"""What the node hands to every way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from std_msgs.msg import Header

from vpr_ros.base import geometry
from vpr_ros.base.records import Estimate, LoopClosure
from vpr_ros.ros.outputs import covariance

SURE = 0.9  # an answer this probable is handed to those who cannot weigh it themselves


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate with what is needed to speak of it to the rest of the robot.

    arrived_ns: when the image's callback ran, monotonic clock. image_header: the image's own. map_header: the same
    stamp, the map's frame. T_camera_base: (4, 4), or None where nothing tells how the camera sits on the robot: no pose
    of the base may be published then. T_odom_base: (4, 4) in odom_frame at the image's stamp, or None.
    """

    arrived_ns: int
    estimate: Estimate
    image_header: Header
    map_header: Header
    T_camera_base: np.ndarray | None
    T_odom_base: np.ndarray | None = None
    odom_frame: str = ""


class Adapter(Protocol):
    """One way out. Called from the worker's thread, after construction and before ``close`` only."""

    def publish(self, answer: Answer) -> None:
        """Send what this consumer needs of an answer."""
        ...

    def forget(self) -> None:
        """The past is void: the clock jumped back, the map changed or somebody asked for it."""
        ...

    def close(self) -> None:
        """Destroy publishers."""
        ...


@dataclass(frozen=True, eq=False)
class KeyframeRecord:
    """A new keyframe of the growing map.

    keyframe_id: the map's number of it. descriptor: (D,) or (V, D) float32, as the map keeps it. T_odom_base: (4, 4) in
    odom_frame at the stamp, or None where nothing tells how the camera sits on the robot.
    """

    stamp_ns: int
    keyframe_id: int
    descriptor: np.ndarray
    T_odom_base: np.ndarray | None = None
    odom_frame: str = ""


@dataclass(frozen=True, eq=False)
class ClosureAnswer:
    """A loop closure with what is needed to speak of it to the rest of the robot.

    header: stamp of the keyframe now, frame of the robot's base. map_frame: what closure.T_map_match is given in: the
    earlier map's frame, or odometry's for the session's own past. T_camera_base: (4, 4), or None where nothing tells
    how the camera sits on the robot; taken to have been the same on the drive of the earlier keyframe. drive: of the
    session, that the keyframe now is of. map_is_odometry: whether the earlier map's poses are raw odometry.
    """

    closure: LoopClosure
    header: Header
    map_frame: str
    T_camera_base: np.ndarray | None
    drive: str
    map_is_odometry: bool = False

    @property
    def own_past(self) -> bool:
        """Whether the earlier keyframe is of this drive; the session's other drives, and other maps, have stamps that
        mean nothing to a SLAM stack, or another moment: a bag played twice has the same ones again.
        """
        return not self.closure.match_map and self.closure.match_drive == self.drive

    @property
    def sure(self) -> bool:
        """Whether a consumer that verifies closures itself should look at this one."""
        return self.closure.verified or self.closure.probability >= SURE

    def relative_base(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_matchbase_querybase (4, 4), covariance (6, 6) about the earlier base's axes).

        None where the closure is not verified, its covariance is none, or the mount is unknown: there is no transform
        to hand over then, least of all an identity.
        """
        measured, T_camera_base = self._measured(), self.T_camera_base
        if measured is None or T_camera_base is None:
            return None
        T, moved = covariance.chained(geometry.inverse(T_camera_base), *measured, T_camera_base)
        mended = covariance.sane(moved)
        return None if mended is None else (T, mended)

    def base_in_map(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_map_base (4, 4) now, covariance (6, 6) about the map's axes) in map_frame; None as for relative_base.

        None too on the session's own map, and on an earlier one whose poses are raw odometry: nobody shares their
        frames. The covariance is that of the measurement: how well the map itself is known is not in it.
        """
        measured, T_camera_base = self._measured(), self.T_camera_base
        raw = not self.closure.match_map or self.map_is_odometry
        if measured is None or T_camera_base is None or raw:
            return None
        T, moved = covariance.chained(self.closure.T_map_match, *measured, T_camera_base)
        mended = covariance.sane(moved)
        return None if mended is None else (T, mended)

    def _measured(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(T_match_query, covariance) of the cameras, where both are there and finite."""
        T, given = self.closure.T_match_query, self.closure.covariance
        if T is None or given is None or not np.isfinite(T).all():
            return None
        mended = covariance.sane(given)
        return None if mended is None else (T, mended)


class ClosureAdapter(Protocol):
    """One way out for what a growing map finds. Called from the worker's thread, as ``Adapter``."""

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """A keyframe was added to the map; before the closures that it takes part in."""
        ...

    def closed(self, closure: ClosureAnswer) -> None:
        """Send what this consumer needs of a closure."""
        ...

    def forget(self) -> None:
        """The past is void: the clock jumped back or odometry began anew."""
        ...

    def close(self) -> None:
        """Destroy publishers."""
        ...
