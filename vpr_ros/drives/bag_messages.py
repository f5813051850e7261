"""Topics of a bag, and messages made of a table of classes, without ROS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import quat_xyzw_from_matrix

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
POSE_TYPES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
ODOMETRY_TYPES = ("nav_msgs/msg/Odometry",)
NAVSAT_TYPES = ("sensor_msgs/msg/NavSatFix",)
INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
# Parts of topics' names: poses people give by hand, and pictures of depth. They are never what is meant.
_NEVER_MEANT = re.compile(
    r"initialpose|goal_pose|goal|move_base_simple|compressedDepth|disparity(_image)?|"
    r"(aligned_)?depth(_(registered|to_\w+|image|raw|rect|map))*"
)


def choose_topic(
    wanted: str, topics: Mapping[str, str], types: tuple[str, ...], option: str, purpose: str, path: object
) -> str | None:
    """The topic of one of the types that is wanted, or the only one that could be meant, or None.

    topics: name -> message type, of topics that have messages. Raises DriveError where a wanted topic is missing or of
    another type, and, listing the candidates, where several could be meant.
    """
    if wanted == "none":
        return None
    candidates = sorted(name for name, msgtype in topics.items() if msgtype in types)
    listing = ", ".join(candidates) or "none"
    if wanted:
        if wanted not in candidates:
            raise DriveError(f"the bag {path} has no topic {wanted} with {purpose}; topics that could be: {listing}")
        return wanted
    likely = [name for name in candidates if not any(map(_NEVER_MEANT.fullmatch, name.split("/")))]
    if len(likely) > 1:
        listing = ", ".join(likely)
        raise DriveError(f"the bag {path} has several topics with {purpose}: give {option} as one of {listing}")
    return likely[0] if likely else None


def choose_tf_topics(topics: Mapping[str, str], image_topic: str) -> tuple[list[str], list[str]]:
    """The topics of transforms to use, and the others.

    Two robots have frames of the same names. So if transforms are of several namespaces beside the root, only those of
    the images' own and of the namespaces around it are used.
    """
    namespaces = {
        name: f"/{name.lstrip('/')}".rpartition("/")[0] for name, msgtype in topics.items() if msgtype in TF_TYPES
    }
    if len(set(namespaces.values()) - {""}) < 2:
        return list(namespaces), []
    image = f"/{image_topic.lstrip('/')}"
    own = [name for name, namespace in namespaces.items() if image.startswith(f"{namespace}/")]
    return own, sorted(set(namespaces) - set(own))


class MessageFactory:
    """Messages made of a table of classes, name -> class, such as a rosbags typestore's."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types

    def _make(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._types[name](*args, **kwargs)

    def header(self, stamp: int, frame_id: str) -> Any:
        """std_msgs/Header at a stamp in nanoseconds."""
        time = self._make("builtin_interfaces/msg/Time", stamp // 1_000_000_000, stamp % 1_000_000_000)
        return self._make("std_msgs/msg/Header", time, frame_id)

    def pose(self, T: np.ndarray) -> Any:
        """geometry_msgs/Pose of a (4, 4)."""
        position = self._make("geometry_msgs/msg/Point", *map(float, T[:3, 3]))
        return self._make("geometry_msgs/msg/Pose", position, self._quaternion(T))

    def pose_stamped(self, stamp: int, frame_id: str, T: np.ndarray) -> Any:
        """geometry_msgs/PoseStamped."""
        return self._make("geometry_msgs/msg/PoseStamped", self.header(stamp, frame_id), self.pose(T))

    def odometry(self, stamp: int, T_odom_base: np.ndarray, velocity: np.ndarray, frames: tuple[str, str]) -> Any:
        """nav_msgs/Odometry. velocity: (6,) linear and angular in the base frame. Covariances zero: unknown."""
        vectors = (self._make("geometry_msgs/msg/Vector3", *map(float, v)) for v in (velocity[:3], velocity[3:]))
        twist = self._make("geometry_msgs/msg/Twist", *vectors)
        return self._make(
            "nav_msgs/msg/Odometry",
            self.header(stamp, frames[0]),
            frames[1],
            self._make("geometry_msgs/msg/PoseWithCovariance", self.pose(T_odom_base), np.zeros(36)),
            self._make("geometry_msgs/msg/TwistWithCovariance", twist, np.zeros(36)),
        )

    def static_transform(self, stamp: int, parent: str, child: str, T_parent_child: np.ndarray) -> Any:
        """tf2_msgs/TFMessage with one transform."""
        translation = self._make("geometry_msgs/msg/Vector3", *map(float, T_parent_child[:3, 3]))
        stamped = self._make(
            "geometry_msgs/msg/TransformStamped",
            self.header(stamp, parent),
            child,
            self._make("geometry_msgs/msg/Transform", translation, self._quaternion(T_parent_child)),
        )
        return self._make("tf2_msgs/msg/TFMessage", [stamped])

    def compressed_image(self, stamp: int, frame_id: str, jpeg: np.ndarray) -> Any:
        """sensor_msgs/CompressedImage of (N,) uint8 JPEG bytes."""
        return self._make("sensor_msgs/msg/CompressedImage", self.header(stamp, frame_id), "jpeg", jpeg)

    def camera_info(self, stamp: int, frame_id: str, camera: Intrinsics) -> Any:
        """sensor_msgs/CameraInfo; P is K, as of a camera that stands alone."""
        model = "rational_polynomial" if len(camera.distortion) > 5 else "plumb_bob"
        distortion = np.array(camera.distortion or np.zeros(5), dtype=float)
        region = self._make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        K = np.array(camera.K, dtype=float)
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model="equidistant" if camera.fisheye else model,
            d=distortion,
            k=K.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([K, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def _quaternion(self, T: np.ndarray) -> Any:
        return self._make("geometry_msgs/msg/Quaternion", *map(float, quat_xyzw_from_matrix(T[:3, :3])))
