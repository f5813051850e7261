"""Records to ROS messages, as pure functions. ``base.messages`` converts back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseArray,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Quaternion,
    TransformStamped,
    Vector3,
)
from geometry_msgs.msg import Transform as TransformMessage
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.covariance import moved
from vpr_ros.base.records import Hypothesis


def time_message(stamp_ns: int) -> Time:
    """Integer nanoseconds as a message's stamp."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def pose_message(T: np.ndarray) -> Pose:
    """(4, 4) as a pose message."""
    x, y, z = T[:3, 3].tolist()
    qx, qy, qz, qw = geometry.quat_xyzw_from_matrix(T[:3, :3]).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def pose_with_covariance(T: np.ndarray, covariance: np.ndarray) -> PoseWithCovariance:
    """(4, 4) pose and (6, 6) covariance, order x y z roll pitch yaw about the fixed axes, as one message."""
    return PoseWithCovariance(pose=pose_message(T), covariance=covariance.reshape(-1))


def transform_message(T: np.ndarray, parent: str, child: str, stamp: Time) -> TransformStamped:
    """T_parent_child (4, 4) as a stamped transform."""
    pose = pose_message(T)
    p = pose.position
    transform = TransformMessage(translation=Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)
    return TransformStamped(header=Header(stamp=stamp, frame_id=parent), child_frame_id=child, transform=transform)


def header(stamp_ns: int, frame_id: str) -> Header:
    """std_msgs/Header of integer nanoseconds."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def pose_of(hypothesis: Hypothesis, header: Header, T_camera_base: np.ndarray) -> PoseWithCovarianceStamped:
    """A hypothesis as the base's pose with covariance. header: the image's stamp, the map's frame."""
    T_map_base, covariance = moved(hypothesis.T_map_camera, hypothesis.covariance, T_camera_base)
    return PoseWithCovarianceStamped(header=header, pose=pose_with_covariance(T_map_base, covariance))


def pose_array(hypotheses: Sequence[Hypothesis], header: Header, T_camera_base: np.ndarray) -> PoseArray:
    """The base's poses for several hypotheses, in the same order."""
    return PoseArray(header=header, poses=[pose_message(h.T_map_camera @ T_camera_base) for h in hypotheses])


def depth_image(depth: np.ndarray, header: Header) -> Image:
    """(h, w) float32 metres as a 32FC1 image; unknown (0) becomes NaN (REP-118). header: the image's own."""
    data = np.where(depth > 0, depth, np.nan).astype("<f4")
    height, width = data.shape
    message = Image(header=header, height=height, width=width, encoding="32FC1", is_bigendian=0, step=4 * width)
    message.data = array("B", data.tobytes())
    return message


def camera_info(camera: Intrinsics, header: Header) -> CameraInfo:
    """The CameraInfo of rectified images of a camera: no distortion, P is K (REP-104)."""
    K = np.asarray(camera.K, dtype=float)
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([K, np.zeros(3)]).ravel(),
    )
