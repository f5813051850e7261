"""Poses for RTAB-Map's `global_pose`: priors that hold its graph on an earlier map."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from vpr_ros.ros.outputs import convert, covariance
from vpr_ros.ros.outputs.answer import SURE, Answer, ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC = "global_pose"


class RtabmapPose:
    """Publishes sure poses of the base on the map; frame_id is the base's frame: RTAB-Map reads it as a sensor's.

    While mapping, they come from verified closures on earlier maps.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._base_frame = params.base_frame
        self._publisher = node.create_lifecycle_publisher(PoseWithCovarianceStamped, TOPIC, 5)

    def publish(self, answer: Answer) -> None:
        """Send a sure pose."""
        best = answer.estimate.best
        if best is None or best.probability < SURE or answer.T_camera_base is None:
            return
        header = Header(stamp=answer.image_header.stamp, frame_id=self._base_frame or answer.image_header.frame_id)
        self._send(*covariance.moved(best.T_map_camera, best.covariance, answer.T_camera_base), header)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Nothing is kept."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Send the pose on an earlier map."""
        in_map = closure.base_in_map()
        if in_map is not None:
            self._send(*in_map, closure.header)

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _send(self, T_map_base: np.ndarray, given: np.ndarray, header: Header) -> None:
        mended = covariance.sane(given)  # RTAB-Map inverts it
        if mended is not None and np.isfinite(T_map_base).all():
            pose = convert.pose_with_covariance(T_map_base, mended)
            self._publisher.publish(PoseWithCovarianceStamped(header=header, pose=pose))
