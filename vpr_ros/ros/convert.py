"""Records to messages and back. Pure functions: no node, no state."""

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
from vpr_ros.base.records import Hypothesis


def stamp_ns(stamp: Time) -> int:
    """A message's stamp as integer nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_message(stamp_ns: int) -> Time:
    """Integer nanoseconds as a message's stamp."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def matrix_from_pose(pose: Pose) -> np.ndarray | None:
    """A pose message as (4, 4); None where it is not finite or its quaternion is not one."""
    return _matrix(pose.position, pose.orientation)


def matrix_from_transform(transform: TransformMessage) -> np.ndarray | None:
    """A transform message as (4, 4); None where it is not finite or its quaternion is not one."""
    return _matrix(transform.translation, transform.rotation)


def _matrix(position: Point | Vector3, orientation: Quaternion) -> np.ndarray | None:
    translation = np.array([position.x, position.y, position.z])
    quat_xyzw = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.isfinite(translation).all():
        return None
    try:
        return geometry.transform(geometry.matrix_from_quat_xyzw(quat_xyzw), translation)
    except ValueError:
        return None


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


def move_to_base(
    T_map_camera: np.ndarray, covariance: np.ndarray, T_camera_base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The camera's pose and covariance as the base's.

    covariance: (6, 6), order x y z roll pitch yaw about the map's axes. A turn of the camera swings the base round it,
    by the lever arm from camera to base, so that doubt about the turn becomes doubt about the base's place.
    """
    x, y, z = T_map_camera[:3, :3] @ T_camera_base[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return T_map_camera @ T_camera_base, jacobian @ covariance @ jacobian.T


def pose_of(hypothesis: Hypothesis, header: Header, T_camera_base: np.ndarray) -> PoseWithCovarianceStamped:
    """A hypothesis as the base's pose with covariance. header: the image's stamp, the map's frame."""
    T_map_base, covariance = move_to_base(hypothesis.T_map_camera, hypothesis.covariance, T_camera_base)
    return PoseWithCovarianceStamped(header=header, pose=pose_with_covariance(T_map_base, covariance))


def pose_array(hypotheses: Sequence[Hypothesis], header: Header, T_camera_base: np.ndarray) -> PoseArray:
    """The base's poses of several hypotheses, in their order."""
    return PoseArray(header=header, poses=[pose_message(h.T_map_camera @ T_camera_base) for h in hypotheses])


def depth_image(depth: np.ndarray, header: Header) -> Image:
    """(h, w) float32 metres as a 32FC1 image; unknown (0) becomes NaN, as REP-118 asks. header: the image's own."""
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
