"""Fields of ROS messages as numbers. Works on rclpy's messages and on rosbags' alike: only field names are used."""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np

from vpr_ros.base.geometry import matrix_from_quat_xyzw, transform


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def matrix_from_pose(message: Any) -> np.ndarray | None:
    """A Pose, PoseStamped, PoseWithCovariance(Stamped) or Odometry -> (4, 4).

    None if it is not finite or its quaternion is not of unit length.
    """
    pose = message
    while not hasattr(pose, "position"):
        pose = pose.pose
    return _matrix(pose.position, pose.orientation)


def matrix_from_transform(message: Any) -> np.ndarray | None:
    """A geometry_msgs/Transform -> (4, 4). None if it is not finite or its quaternion is not of unit length."""
    return _matrix(message.translation, message.rotation)


def _matrix(position: Any, orientation: Any) -> np.ndarray | None:
    translation = np.array([position.x, position.y, position.z], float)
    if not np.isfinite(translation).all():
        return None
    try:
        rotation = matrix_from_quat_xyzw(np.array([orientation.x, orientation.y, orientation.z, orientation.w]))
    except ValueError:
        return None
    return transform(rotation, translation)


def camera_info_topic(image_topic: str) -> str:
    """The CameraInfo topic of an image topic: its neighbour; for a compressed topic, that of the raw one.

    This is image_transport's rule (``getCameraInfoTopic``).
    """
    return posixpath.join(posixpath.dirname(image_topic.removesuffix("/compressed")), "camera_info")
