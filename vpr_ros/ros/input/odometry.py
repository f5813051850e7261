"""The robot's odometry at the stamp of an image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.image_order import JumpBack, time_span_text
from vpr_ros.base.messages import matrix_from_pose
from vpr_ros.base.messages import stamp_ns as to_ns
from vpr_ros.base.track import PoseTrack
from vpr_ros.ros.health.condition import Log
from vpr_ros.ros.health.counters import Health

# No robot moves or turns further than this between two messages. A larger step means that odometry restarted.
_STEP_M, _SPEED_M_S = 1.0, 60.0
_STEP_RAD, _TURN_RAD_S = 0.5, 20.0
# Where its velocity is known: so many times as fast, and that much faster.
_FASTER, _FASTER_M_S, _FASTER_RAD_S = 2.0, 5.0, 4.0
# After more than a second and three messages' time: as fast as before, and turning that much faster.
_SILENCE_NS, _SILENT_MESSAGES, _SILENT_RAD_S = 1_000_000_000, 3, 0.5
_FIRST_NS = 3_000_000_000  # between the first two messages: the source may be as slow as this
_LONG = 3  # after so many times that, it stood, or went straight on
_LATELY_NS = 100_000_000  # a velocity is told over this time ahead
_STOPPED_S = 2.0  # of silence
_FAR_S = 5.0  # between odometry and images, from which on their clocks differ


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """A pose of odometry.

    T_odom_child: (4, 4).
    odom_frame, child_frame: names of its frames.
    start: number of times odometry has restarted; poses with different numbers are unrelated.
    latest_ns: stamp of the newest message.
    """

    T_odom_child: np.ndarray
    odom_frame: str
    child_frame: str
    start: int
    latest_ns: int


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
        self._interval_ns = 0  # between the two newest messages
        self._jump_back = JumpBack()
        self._break_s, self._broken = -_STOPPED_S, ""  # when it restarted last, monotonic, and why
        self._odom_frame = self._child_frame = ""
        self._arrived_s = 0.0  # monotonic, of the newest message, usable or not; 0 before the first
        self.on_restart: Callable[[int], None] = lambda start: None  # called with the number of restarts
        self.silence = f"no message has come on {topic}"  # why none has, one sentence

    @property
    def heard(self) -> bool:
        """Whether a message has come, usable or not."""
        return self._arrived_s > 0

    def missing(self, stamp_ns: int) -> str:
        """Why there is no pose at a stamp, one sentence."""
        with self._lock:
            last, interval_ns = self._last, self._interval_ns
            broken = self._broken if time.monotonic() - self._break_s < _STOPPED_S else ""
        gap_s = self._gap_ns * 1e-9
        if last is None:
            unusable = f"no odometry on {self.topic} is a finite pose with a unit quaternion"
            return unusable if self.heard else self.silence
        if time.monotonic() - self._arrived_s > max(_STOPPED_S, 3e-9 * interval_ns):
            return f"odometry on {self.topic} has stopped"
        away_s = (last[0] - stamp_ns) * 1e-9
        if abs(away_s) > max(_FAR_S, 2 * gap_s):
            far, side = time_span_text(abs(away_s)), "after" if away_s > 0 else "before"
            return f"odometry on {self.topic} is {far} {side} the images: their clocks differ"
        if broken:
            return f"odometry on {self.topic} restarts again and again ({broken}): let one node alone publish it"
        if interval_ns > self._gap_ns:
            return f"odometry on {self.topic} comes more than odom_gap ({gap_s:g} s) apart: raise its rate, or odom_gap"
        return f"no odometry on {self.topic} within odom_gap ({gap_s:g} s) of the images' stamps"

    def at(self, stamp_ns: int) -> OdometryPose | None:
        """The odometry at a stamp, or None if none is close enough in time."""
        with self._lock:
            T_odom_child = self._track.at(stamp_ns)
            if T_odom_child is None or self._last is None:
                return None
            return OdometryPose(T_odom_child, self._odom_frame, self._child_frame, self._start, self._last[0])

    def store(self, message: Any) -> bool:
        """Store a nav_msgs/Odometry message; whether it was taken."""
        self._arrived_s = time.monotonic()
        T_odom_child = matrix_from_pose(message.pose.pose)
        if T_odom_child is None:
            self._health.count("odometry rejected")
            self._log.warning(
                f"odometry on {self.topic} is not a finite pose with a unit quaternion; rejected",
                throttle_duration_sec=5.0,
            )
            return False
        stamp_ns = to_ns(message.header.stamp)
        with self._lock:
            if self._last is not None:
                jumped_back = self._jump_back.at(stamp_ns, self._last[0])
                if stamp_ns <= self._last[0] and not jumped_back:
                    again = stamp_ns == self._last[0]
                    self._health.count("odometry with a repeated stamp" if again else "odometry out of order")
                    return False
            if why := self._break(stamp_ns, T_odom_child):
                self._track.clear()
                self._start += 1
                self._break_s, self._broken = time.monotonic(), why
                self._health.count("odometry restarts")
                sentence = f"odometry on {self.topic} {why}: treated as a restart"
                self._log.warning(sentence, throttle_duration_sec=5.0)
                self.on_restart(self._start)
            self._odom_frame = message.header.frame_id.lstrip("/")
            self._child_frame = message.child_frame_id.lstrip("/")
            self._track.add(stamp_ns, T_odom_child)
            self._interval_ns = 0 if self._last is None else max(stamp_ns - self._last[0], 0)
            self._last = stamp_ns, T_odom_child
            return True

    def _break(self, stamp_ns: int, T_odom_child: np.ndarray) -> str:
        """Why a pose does not continue the track; empty if it does."""
        if self._last is None:
            return ""
        last_ns, T_odom_last = self._last
        seconds = (stamp_ns - last_ns) * 1e-9
        if seconds < 0:
            return f"went back in time by {-seconds:.3f} s"
        moved, turned = _step(T_odom_last, T_odom_child)
        velocity = self._velocity()
        speed, turn_rate = velocity or (_SPEED_M_S, _TURN_RAD_S)
        silence_ns = max(_SILENCE_NS, self._gap_ns, _SILENT_MESSAGES * self._interval_ns)
        if not self._interval_ns:
            silence_ns = max(silence_ns, _FIRST_NS)
        if stamp_ns - last_ns <= silence_ns:
            speed, turn_rate = _FASTER * speed + _FASTER_M_S, _FASTER * turn_rate + _FASTER_RAD_S
        elif velocity is not None and stamp_ns - last_ns <= _LONG * silence_ns:
            turn_rate += _SILENT_RAD_S
        else:
            T_ahead = self._track.ahead(stamp_ns)
            if T_ahead is not None:
                moved, turned = min((moved, turned), _step(T_ahead, T_odom_child))
            speed = turn_rate = 0.0
        if moved > _STEP_M + min(speed, _SPEED_M_S) * seconds:
            return f"jumped by {moved:.1f} m within {seconds:.3f} s"
        if turned > _STEP_RAD + min(turn_rate, _TURN_RAD_S) * seconds:
            return f"turned by {np.degrees(turned):.0f} deg within {seconds:.3f} s"
        return ""

    def _velocity(self) -> tuple[float, float] | None:
        """Metres and radians a second at the last pose; None if they are unknown."""
        assert self._last is not None
        last_ns, T_odom_last = self._last
        T_ahead = self._track.ahead(last_ns + _LATELY_NS)
        if T_ahead is None:
            return None
        moved, turned = _step(T_odom_last, T_ahead)
        return moved / (_LATELY_NS * 1e-9), turned / (_LATELY_NS * 1e-9)


def _step(T_from: np.ndarray, T_to: np.ndarray) -> tuple[float, float]:
    """Metres and radians between two poses (4, 4)."""
    T = geometry.inverse(T_from) @ T_to
    return float(np.linalg.norm(T[:3, 3])), geometry.angle_of(T[:3, :3])
