"""~/keyframes: what a growing map remembers, for whoever looks."""

from __future__ import annotations

from collections import deque

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord

_SHOWN = 500  # keyframes of a path: about 1 km, 40 kB


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
        """One more; none where the camera's place on the robot is unknown."""
        if keyframe.T_odom_base is not None:
            header = Header(stamp=convert.time_message(keyframe.stamp_ns), frame_id=keyframe.odom_frame)
            self._shown.append(PoseStamped(header=header, pose=convert.pose_message(keyframe.T_odom_base)))
            self._count += 1

    def closed(self, closure: ClosureAnswer) -> None:
        """Nothing is shown of it."""

    def on_timer(self) -> None:
        """Publish the path where it has changed or somebody new listens: once a second, however fast it grows."""
        listeners = self._path.get_subscription_count()
        poses = list(self._shown)  # first: the worker may forget them at any time
        if listeners and poses and self._published != (self._count, listeners):
            self._published = self._count, listeners
            self._path.publish(Path(header=poses[-1].header, poses=poses))

    def forget(self) -> None:
        """Odometry has another origin from now on."""
        self._shown.clear()

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._path)
