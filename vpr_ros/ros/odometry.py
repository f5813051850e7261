"""The robot's odometry at the moment an image was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from vpr_ros.ros import convert
from vpr_ros.ros.health import Health
from vpr_ros.ros.track import PoseTrack


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """T_odom_child (4, 4) at some stamp, with the names of both frames."""

    T_odom_child: np.ndarray
    odom_frame: str
    child_frame: str


class OdometryTrack:
    """Listens to an odometry topic; what is not finite is rejected and counted."""

    def __init__(self, node: Node, topic: str, gap_s: float, health: Health) -> None:
        """gap_s: how far in time odometry may be from an image and still be used, seconds."""
        self._node = node
        self._health = health
        self._gap_ns = int(gap_s * 1e9)
        self._track = PoseTrack(keep=1000)
        self._frames = ("", "")
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(Odometry, topic, self._store, qos)

    def at(self, stamp_ns: int) -> OdometryPose | None:
        """The odometry at a stamp, or None where there is none near enough."""
        T_odom_child = self._track.at(stamp_ns, self._gap_ns)
        return None if T_odom_child is None else OdometryPose(T_odom_child, *self._frames)

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def _store(self, message: Odometry) -> None:
        T_odom_child = convert.matrix_from_pose(message.pose.pose)
        if T_odom_child is None:
            self._health.count("odometry rejected")
            self._node.get_logger().warning(
                f"odometry on {self._subscription.topic_name} is not a finite pose with a unit quaternion; rejected",
                throttle_duration_sec=5.0,
            )
            return
        self._frames = (message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/"))
        self._track.add(convert.stamp_ns(message.header.stamp), T_odom_child)
