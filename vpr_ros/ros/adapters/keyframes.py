"""~/keyframes: the latest keyframes of the session's map, for RViz."""

from __future__ import annotations

from collections import deque

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord

_SHOWN = 500  # keyframes in the path: about 1 km, 40 kB


class KeyframeOutputs:
    """The last keyframes of this drive as a path of the base in odometry's frame."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._path = node.create_lifecycle_publisher(Path, "~/keyframes", latched)
        self._shown: deque[PoseStamped] = deque(maxlen=_SHOWN)
        self._count = 0
        self._published = (0, 0)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Add a keyframe, if the camera's mounting is known."""
        if keyframe.T_odom_base is not None:
            header = Header(stamp=convert.time_message(keyframe.stamp_ns), frame_id=keyframe.odom_frame)
            self._shown.append(PoseStamped(header=header, pose=convert.pose_message(keyframe.T_odom_base)))
            self._count += 1

    def closed(self, closure: ClosureAnswer) -> None:
        """Not used: the path shows keyframes alone."""

    def on_timer(self) -> None:
        """Once a second: publish the path if it has changed or there is a new subscriber."""
        subscribers = self._path.get_subscription_count()
        poses = list(self._shown)  # a copy first: the worker may clear them at any time
        if subscribers and poses and self._published != (self._count, subscribers):
            self._published = self._count, subscribers
            self._path.publish(Path(header=poses[-1].header, poses=poses))

    def forget(self) -> None:
        """Clear the path: odometry has a new origin."""
        self._shown.clear()

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._path)
