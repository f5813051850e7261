"""Verified loop closures for Hydra, Kimera and others that take pose_graph_tools_msgs/PoseGraph keyed by stamps."""

from __future__ import annotations

from pose_graph_tools_msgs.msg import PoseGraph, PoseGraphEdge
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from vpr_ros.base import covariance
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC = "external_loop_closures"


class Hydra:
    """Publishes each verified closure on this drive's own past as a pose graph of one edge.

    key_from is the current stamp, key_to the earlier one, in nanoseconds. The pose is to_T_from: the current base in
    the earlier base. The covariance is about the axes of the current base, as GTSAM's BetweenFactor takes it.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(PoseGraph, TOPIC, 100)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Not used: Hydra takes closures alone."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Publish one edge. Closures on other drives are skipped: Hydra does not have their stamps."""
        record, relative = closure.closure, closure.relative_base()
        if relative is None or not closure.own_past:
            return
        T, about_match = relative
        header = Header(stamp=closure.header.stamp, frame_id=closure.header.frame_id)
        edge = PoseGraphEdge(
            header=header,
            key_from=record.stamp_ns,
            key_to=record.match_stamp_ns,
            robot_from=0,
            robot_to=0,
            type=PoseGraphEdge.LOOPCLOSE,
            pose=convert.pose_message(T),
            covariance=covariance.about_end(T, about_match).reshape(-1),
        )
        self._publisher.publish(PoseGraph(header=header, edges=[edge]))

    def forget(self) -> None:
        """No state to clear."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)
