"""Poses for RTAB-Map's `global_pose`: priors that align its graph with an earlier map."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from vpr_ros.base import covariance
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer, ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC = "global_pose"


class RtabmapPose:
    """Publishes sure poses of the base on the map. frame_id is the base's frame, as RTAB-Map expects a sensor's frame.

    In mode map, they come from verified closures on earlier maps.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._base_frame = params.base_frame
        self._publisher = node.create_lifecycle_publisher(PoseWithCovarianceStamped, TOPIC, 5)

    def publish(self, answer: Answer) -> None:
        """Publish a sure pose."""
        sure = answer.sure_pose()
        if sure is not None:
            frame_id = self._base_frame or answer.image_header.frame_id
            self._send(*sure, Header(stamp=answer.image_header.stamp, frame_id=frame_id))

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Not used: RTAB-Map takes poses alone."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Publish the pose on an earlier map."""
        in_map = closure.base_in_map()
        if in_map is not None:
            T_map_base, given = in_map
            self._send(T_map_base, given, closure.header)

    def forget(self) -> None:
        """No state to clear."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _send(self, T_map_base: np.ndarray, given: np.ndarray, header: Header) -> None:
        valid = covariance.sane(given)  # RTAB-Map inverts it
        if valid is not None and np.isfinite(T_map_base).all():
            pose = convert.pose_with_covariance(T_map_base, valid)
            self._publisher.publish(PoseWithCovarianceStamped(header=header, pose=pose))
