"""Loop closures correct a track: odometry and ~/loop_closures go into a GTSAM pose graph, its last pose comes out.

Needs vpr_msgs, gtsam and a localiser in mode map: python examples/pose_graph_node.py --ros-args -p odom:=/odom
`ros2 run vpr_ros pose_graph` is the complete node, with a path, earlier maps and bags that are played twice.
"""

import contextlib
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from vpr_msgs.msg import LoopClosure
from vpr_ros.base.messages import matrix_from_pose, stamp_ns
from vpr_ros.demo.pose_graph import Closure, PoseGraph
from vpr_ros.ros.outputs.convert import pose_message, time_message


class PoseGraphNode(Node):
    """Publishes ~/pose once a second: the newest pose of the robot, T_map_base, corrected by all closures."""

    def __init__(self, **options: Any) -> None:
        super().__init__("pose_graph_example", **options)
        self._graph = PoseGraph(every_m=1.0)
        self._publisher = self.create_publisher(PoseStamped, "~/pose", 1)
        odom = self.declare_parameter("odom", "/odom").value
        self.create_subscription(Odometry, odom, self._on_odometry, 100)
        self.create_subscription(LoopClosure, "localizer/loop_closures", self._on_closure, 100)
        self.create_timer(1.0, self._on_timer)

    def _on_odometry(self, message: Odometry) -> None:
        T_odom_base = matrix_from_pose(message)
        if T_odom_base is not None:  # None: not finite, or no rotation
            self._graph.add_odometry(stamp_ns(message.header.stamp), T_odom_base)

    def _on_closure(self, message: LoopClosure) -> None:
        if not message.verified or message.match_map or message.match_drive != message.drive:
            return  # no transform was measured, or the earlier keyframe is not of this drive
        (measured,) = message.t_match_query
        T_match_query, covariance = matrix_from_pose(measured.pose), np.reshape(measured.covariance, (6, 6))
        now_ns, match_ns = stamp_ns(message.header.stamp), stamp_ns(message.match_stamp)
        self._graph.add_closure(Closure(now_ns, match_ns, T_match_query, covariance))

    def _on_timer(self) -> None:
        self._graph.optimise()
        track = self._graph.path()
        if len(track.T):
            pose = PoseStamped(pose=pose_message(track.T[-1]))
            pose.header.frame_id, pose.header.stamp = "map", time_message(int(track.stamps_ns[-1]))
            self._publisher.publish(pose)


if __name__ == "__main__":
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(PoseGraphNode())
