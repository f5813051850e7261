"""~/pose: the answer most users want, before everything else is made of it."""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer


class PoseOutput:
    """Publishes the best pose of the robot's base. None where "not on this map" is likelier or the mount is unknown."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/pose", 10)

    def publish(self, answer: Answer) -> None:
        """The pose at the image's stamp."""
        best = answer.estimate.best
        if best is not None and answer.T_camera_base is not None:
            self._pose.publish(convert.pose_of(best, answer.map_header, answer.T_camera_base))

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._pose)
