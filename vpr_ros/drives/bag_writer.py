"""Messages into a ROS 2 bag, by topic."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from vpr_ros.base.geometry import inverse, vector_from_rotation
from vpr_ros.base.messages import stamp_ns
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives import bag_messages as msgs


class BagWriter:
    """Writes messages of any type by topic."""

    def __init__(self, writer: Writer, T_base_camera: np.ndarray) -> None:
        self._writer = writer
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Any] = {}
        self._T_camera_base = inverse(T_base_camera)
        self._last: tuple[int, np.ndarray] | None = None
        self._stamp = 0
        self.make = msgs.MessageFactory(self._types.types)

    def write(self, topic: str, message: Any) -> None:
        """Log a message at its own stamp."""
        if topic not in self._connections:
            qos = _qos(1 if topic == "/tf_static" else 10, topic == "/tf_static")
            self._connections[topic] = self._writer.add_connection(
                topic, message.__msgtype__, typestore=self._types, offered_qos_profiles=[qos]
            )
        if hasattr(message, "header"):
            self._stamp = stamp_ns(message.header.stamp)
        else:
            self._stamp = stamp_ns(message.transforms[0].header.stamp)
        data = self._types.serialize_cdr(message, message.__msgtype__)
        self._writer.write(self._connections[topic], self._stamp, data)

    def write_poses(self, frame: DriveFrame, odom_topic: str, truth_topic: str) -> None:
        """Log the odometry and truth a frame has. The velocity is that since the last frame."""
        if frame.T_odom_camera is not None:
            T = frame.T_odom_camera @ self._T_camera_base
            velocity = np.zeros(6)
            if self._last is not None and frame.stamp_ns > self._last[0]:
                step = inverse(self._last[1]) @ T
                elapsed_s = (frame.stamp_ns - self._last[0]) / 1e9
                velocity = np.concatenate([step[:3, 3], vector_from_rotation(step[:3, :3])]) / elapsed_s
            self._last = (frame.stamp_ns, T)
            self.write(odom_topic, self.make.odometry(frame.stamp_ns, T, velocity, ("odom", "base_link")))
        if frame.T_map_camera is not None:
            T_map_base = frame.T_map_camera @ self._T_camera_base
            self.write(truth_topic, self.make.pose_stamped(frame.stamp_ns, "map", T_map_base))


def _qos(depth: int, latched: bool) -> Qos:
    forever = QosTime(2147483647, 4294967295)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    delivery = (QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability)
    return Qos(*delivery, forever, forever, QosLiveliness.AUTOMATIC, forever, False)
