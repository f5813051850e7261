"""The answer as the transform map -> odom (REP-105)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode

from vpr_ros.base import geometry, messages
from vpr_ros.base.errors import MissingDependencyError
from vpr_ros.base.image_order import LATE_NS
from vpr_ros.localize.eye import STUCK
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer
from vpr_ros.ros.outputs.status import SURE

_PERIOD_S = 0.05  # 20 Hz, as AMCL and RTAB-Map publish it
_SAME_CLOCK_NS = 10_000_000_000  # images with stamps closer to now are of the node's clock, only delayed


@dataclass(frozen=True, eq=False)
class _Alignment:
    """T_map_odom, and the time of the latest answered image.

    T_map_odom: (4, 4).
    map_frame, odom_frame: names of its frames.
    stamp_ns: stamp of the image.
    clock_ns: the node's clock when the image was answered.
    monotonic_ns: the monotonic clock at the same moment.
    """

    T_map_odom: np.ndarray
    map_frame: str
    odom_frame: str
    stamp_ns: int
    clock_ns: int
    monotonic_ns: int
    odometry_start: int


class MapToOdom:
    """Broadcasts T_map_odom of the last sure pose on /tf, 20 times a second while images are answered.

    Sure, since a transform has no covariance: a consumer cannot weigh it. Between sure poses odometry carries on.

    It is post-dated by ``tolerance_s``, so that a lookup at the present time succeeds between two images. For images of
    another clock (a bag without sim time), "now" is the newest image's stamp plus the time since its arrival.
    """

    def __init__(self, node: LifecycleNode, tolerance_s: float, timeout_s: float) -> None:
        """tolerance_s: post-dating. timeout_s: time without an answered image after which the broadcast stops.

        Raises MissingDependencyError if tf2_msgs is not installed.
        """
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise MissingDependencyError(
                "publish_tf needs the ROS package tf2_msgs, which is not installed: install it or set publish_tf:=false"
            ) from error
        self._node = node
        self._message_type = TFMessage
        self._tolerance_ns, self._timeout_ns = int(tolerance_s * 1e9), int(timeout_s * 1e9)
        self.problem = ""  # why nothing is sent, one sentence
        self._alignment: _Alignment | None = None
        self._odometry_start = 0
        self._stuck: dict[str, tuple[bool, int]] = {}  # of each camera, whether it hangs, and when it was heard
        self._aligning = threading.Lock()  # odometry restarts in another thread
        self._sent_ns = 0  # the stamp of the last transform
        self._sending = threading.Lock()  # the worker's thread and the timer both send
        self._publisher = node.create_lifecycle_publisher(TFMessage, "/tf", 100)
        self._timer = node.create_timer(_PERIOD_S, self._broadcast)

    def publish(self, answer: Answer) -> None:
        """Broadcast an answer at once; nothing before the first sure pose with odometry."""
        map_frame = answer.map_header.frame_id
        self.problem = ""
        if answer.T_odom_base is not None and answer.odom_frame in ("", map_frame):
            self.problem = (
                f"publish_tf: odometry is in frame '{answer.odom_frame}', so there is no {map_frame} -> odom to send; "
                "set the frame_id of its messages to that of odometry"
            )
            self._node.get_logger().warning(self.problem, throttle_duration_sec=30.0)
            return
        now_ns = time.monotonic_ns()
        self._stuck[answer.camera] = answer.estimate.problem == STUCK, now_ns
        heard = [stuck for stuck, heard_ns in self._stuck.values() if now_ns - heard_ns <= self._timeout_ns]
        if all(heard):  # the last sure poses were of a place that the robot had left
            self._alignment = None
        last, best = self._alignment, answer.estimate.best
        if last is not None and (last.odometry_start != answer.odometry_start or self._is_over(last)):
            last = self._alignment = None
        T_map_odom, odom_frame = (None, "") if last is None else (last.T_map_odom, last.odom_frame)
        sure = best is not None and best.probability >= SURE
        if best is not None and sure and answer.T_camera_base is not None and answer.T_odom_base is not None:
            T_map_base = best.T_map_camera @ answer.T_camera_base
            T_map_odom, odom_frame = T_map_base @ geometry.inverse(answer.T_odom_base), answer.odom_frame
        if T_map_odom is None and answer.T_odom_base is not None:
            self.problem = f"publish_tf: {map_frame} -> {answer.odom_frame} waits for a pose of {SURE:.0%}"
        if T_map_odom is None or not odom_frame:
            return
        alignment = _Alignment(
            T_map_odom=T_map_odom,
            map_frame=map_frame,
            odom_frame=odom_frame,
            stamp_ns=messages.stamp_ns(answer.map_header.stamp),
            clock_ns=self._node.get_clock().now().nanoseconds,
            monotonic_ns=time.monotonic_ns(),
            odometry_start=answer.odometry_start,
        )
        with self._aligning:
            if answer.odometry_start < self._odometry_start:  # odometry has restarted since
                return
            self._alignment = alignment
        self._broadcast()

    def _broadcast(self) -> None:
        """Broadcast, but never twice with one stamp: tf2 ignores the second and warns in every process."""
        last, now_ns = self._alignment, self._node.get_clock().now().nanoseconds
        if last is None or self._is_over(last):
            return
        if now_ns < last.clock_ns:  # the clock went back, as where a bag starts again
            return
        if abs(last.clock_ns - last.stamp_ns) > _SAME_CLOCK_NS:
            now_ns = last.stamp_ns + time.monotonic_ns() - last.monotonic_ns
        stamp_ns = now_ns + self._tolerance_ns
        with self._sending:
            if 0 <= self._sent_ns - stamp_ns < LATE_NS:
                return
            self._sent_ns = stamp_ns
            stamp = convert.time_message(stamp_ns)
            transform = convert.transform_message(last.T_map_odom, last.map_frame, last.odom_frame, stamp)
            self._publisher.publish(self._message_type(transforms=[transform]))

    def _is_over(self, last: _Alignment) -> bool:
        """Whether images have stopped since: the robot may be anywhere when they come again."""
        return time.monotonic_ns() - last.monotonic_ns > self._timeout_ns

    def odometry_restarted(self, start: int) -> None:
        """Broadcast nothing until a sure pose with the new odometry. start: number of restarts."""
        with self._aligning:
            self._odometry_start, self._alignment = start, None

    def forget(self) -> None:
        """Broadcast nothing until the next sure pose."""
        self._alignment = None
        self._stuck.clear()

    def close(self) -> None:
        """Destroy timer and publisher."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_lifecycle_publisher(self._publisher)
