"""The answer as the transform map -> odom, so that the rest of the robot sees its odometry on the map (REP-105)."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node

from vpr_ros import geometry
from vpr_ros.errors import MissingDependencyError
from vpr_ros.ros import convert
from vpr_ros.ros.answer import Answer


class MapToOdom:
    """Broadcasts T_map_odom on /tf: what the last sure answer said, again with every image, dated a little ahead."""

    def __init__(self, node: Node, tolerance: float) -> None:
        """tolerance: seconds added to the image's stamp. Raises MissingDependencyError without tf2_msgs."""
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise MissingDependencyError(
                "publish_tf needs the ROS package tf2_msgs, which is not installed: install it or set publish_tf:=false"
            ) from error
        self._node = node
        self._message_type = TFMessage
        self._publisher = node.create_publisher(TFMessage, "/tf", 100)
        self._tolerance_ns = int(tolerance * 1e9)
        self._T_map_odom: np.ndarray | None = None

    def publish(self, answer: Answer) -> None:
        """Broadcast; nothing before the first answer with odometry."""
        best = answer.estimate.best
        if best is not None and answer.T_camera_base is not None and answer.T_odom_base is not None:
            T_map_base = best.T_map_camera @ answer.T_camera_base
            self._T_map_odom = T_map_base @ geometry.inverse(answer.T_odom_base)
        if self._T_map_odom is None or not answer.odom_frame:
            return
        stamp = convert.time_message(convert.stamp_ns(answer.map_header.stamp) + self._tolerance_ns)
        transform = convert.transform_message(self._T_map_odom, answer.map_header.frame_id, answer.odom_frame, stamp)
        self._publisher.publish(self._message_type(transforms=[transform]))

    def forget(self) -> None:
        """Broadcast nothing until the next sure answer."""
        self._T_map_odom = None

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)
