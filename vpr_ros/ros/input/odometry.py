"""The robot's odometry at the stamp of an image."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.image_order import LATE_NS
from vpr_ros.base.messages import matrix_from_pose
from vpr_ros.base.messages import stamp_ns as to_ns
from vpr_ros.base.track import PoseTrack
from vpr_ros.ros.health.condition import Log
from vpr_ros.ros.health.counters import Health

# No robot moves or turns further than this from where its velocity leads. A larger step means that odometry restarted.
_STEP_M, _ACCELERATION_M_S2 = 1.0, 8.0
_STEP_RAD, _ACCELERATION_RAD_S2 = 0.5, 4.0
_SPEED_M_S, _TURN_RAD_S = 60.0, 20.0  # while its velocity is unknown
# After a longer gap, any jump counts as a restart: with a known velocity, and with an unknown one.
_LED_NS, _SILENCE_NS = 2_000_000_000, 1_000_000_000


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """A pose of odometry.

    T_odom_child: (4, 4).
    odom_frame, child_frame: names of its frames.
    start: number of times odometry has restarted; poses with different numbers are unrelated.
    """

    T_odom_child: np.ndarray
    odom_frame: str
    child_frame: str
    start: int = 0


class OdometryTrack:
    """Recent odometry. A message that is not finite, or is late, is dropped and counted."""

    def __init__(self, topic: str, gap_s: float, health: Health, log: Log) -> None:
        """topic: for the log. gap_s: maximum time between odometry and an image, seconds."""
        self.topic = topic
        self._health = health
        self._log = log
        self._gap_ns = int(gap_s * 1e9)
        self._lock = threading.Lock()  # the track and its start change together
        self._track = PoseTrack(self._gap_ns)
        self._start = 0
        self._last: tuple[int, np.ndarray] | None = None
        self._odom_frame = self._child_frame = ""

    def at(self, stamp_ns: int) -> OdometryPose | None:
        """The odometry at a stamp, or None if none is close enough in time."""
        with self._lock:
            T_odom_child = self._track.at(stamp_ns)
            if T_odom_child is None:
                return None
            return OdometryPose(T_odom_child, self._odom_frame, self._child_frame, self._start)

    def store(self, message: Any) -> None:
        """Store a nav_msgs/Odometry message."""
        T_odom_child = matrix_from_pose(message.pose.pose)
        if T_odom_child is None:
            self._health.count("odometry rejected")
            self._log.warning(
                f"odometry on {self.topic} is not a finite pose with a unit quaternion; rejected",
                throttle_duration_sec=5.0,
            )
            return
        stamp_ns = to_ns(message.header.stamp)
        with self._lock:
            if self._last is not None and 0 < self._last[0] - stamp_ns < LATE_NS:
                self._health.count("odometry out of order")
                return
            if why := self._break(stamp_ns, T_odom_child):
                self._track.clear()
                self._start += 1
                self._health.count("odometry restarts")
                sentence = f"odometry on {self.topic} {why}: treated as a restart"
                self._log.warning(sentence, throttle_duration_sec=5.0)
            self._odom_frame = message.header.frame_id.lstrip("/")
            self._child_frame = message.child_frame_id.lstrip("/")
            self._track.add(stamp_ns, T_odom_child)
            self._last = stamp_ns, T_odom_child

    def _break(self, stamp_ns: int, T_odom_child: np.ndarray) -> str:
        """Why a pose does not continue the track; empty if it does."""
        if self._last is None:
            return ""
        last_ns, T_odom_last = self._last
        seconds = (stamp_ns - last_ns) * 1e-9
        if seconds < 0:
            return f"went back in time by {-seconds:.3f} s"
        T_ahead = self._track.ahead(stamp_ns)
        longest_ns = max(_SILENCE_NS if T_ahead is None else _LED_NS, self._gap_ns)
        driven_s = seconds if stamp_ns - last_ns <= longest_ns else 0.0
        if T_ahead is None:
            step_m, step_rad = _STEP_M + _SPEED_M_S * driven_s, _STEP_RAD + _TURN_RAD_S * driven_s
        else:
            step_m = _STEP_M + 0.5 * _ACCELERATION_M_S2 * driven_s**2
            step_rad = _STEP_RAD + 0.5 * _ACCELERATION_RAD_S2 * driven_s**2
        moved, turned = _step(T_odom_last, T_odom_child)
        off_m, off_rad = (moved, turned) if T_ahead is None else _step(T_ahead, T_odom_child)
        if min(moved, off_m) > step_m:
            return f"jumped by {moved:.1f} m within {seconds:.3f} s"
        if min(turned, off_rad) > step_rad:
            return f"turned by {np.degrees(turned):.0f} deg within {seconds:.3f} s"
        return ""


def _step(T_from: np.ndarray, T_to: np.ndarray) -> tuple[float, float]:
    """Metres and radians between two poses (4, 4)."""
    T = geometry.inverse(T_from) @ T_to
    return float(np.linalg.norm(T[:3, 3])), geometry.angle_of(T[:3, :3])
