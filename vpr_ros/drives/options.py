"""How a drive is to be read, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.base.world import canonical_world

POSE_SOURCES = ("auto", "rtk", "ins", "vo")


@dataclass(frozen=True)
class DriveOptions:
    """Which camera and which poses of a drive to use. The defaults find them where only one can be meant.

    For every kind:
    name: what the drive is called in maps and reports; "" takes the name of its folder or file.
    world: name of the frame the poses live in; "" takes what the drive says ("utm 30 north", "kitti 07", "local").
        UTM coordinates, such as those of latitudes and longitudes, are given in the zone it names; they need one.
    max_pose_gap_s: seconds; an image has no pose where the two poses round it are further apart than this.
    T_base_camera: metres and radians, "x y z roll pitch yaw" of the camera's optical frame (x right, y down, z
        forward) on the robot's base (x forward, y left, z up); a camera that looks ahead has -1.5708 0 -1.5708. For
        bags without a transform in /tf_static, and for folders whose poses are the robot's; None takes the transform
        of the bag.
    depth: whether frames offer read_depth where the drive has lidar or stereo to compute it from.
    frame_rate_hz: images a second where an image folder has no times.

    For Oxford RobotCar, KITTI and EuRoC:
    camera: "stereo/left", "stereo/centre", "mono_rear", "image_2", "cam1", ...; "" takes stereo/left (RobotCar),
    image_2 or image_0 (KITTI), cam0 (EuRoC).
    pose_source: "rtk", "ins" or "vo"; "auto" takes rtk.csv where present, else ins.csv, else vo.csv.
    models_dir, extrinsics_dir: RobotCar's camera models with undistortion tables, and its extrinsics; "" looks for
        models/ and extrinsics/ in the run and beside it.
    undistort: whether raw RobotCar images are undistorted; images already processed (three channels) never are.

    For bags:
    image_topic, pose_topic, odom_topic, navsat_topic: "" finds the only one; "none" does without (not for images).
        pose_topic may be PoseStamped, PoseWithCovarianceStamped or Odometry, the pose of base_frame.
    map_frame, odom_frame: frames of /tf that poses are looked up in where no topic gives them.
    base_frame: frame the pose and odometry topics speak of; "" takes the odometry's child frame, else base_link.
    camera_frame: optical frame of the camera; "" takes the frame the image messages name.
    """

    name: str = ""
    world: str = ""
    max_pose_gap_s: float = 2.0
    T_base_camera: tuple[float, float, float, float, float, float] | None = None
    depth: bool = True
    frame_rate_hz: float = 1.0
    camera: str = ""
    pose_source: str = "auto"
    models_dir: str = ""
    extrinsics_dir: str = ""
    undistort: bool = True
    image_topic: str = ""
    pose_topic: str = ""
    odom_topic: str = ""
    navsat_topic: str = ""
    map_frame: str = "map"
    odom_frame: str = "odom"
    base_frame: str = ""
    camera_frame: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "world", canonical_world(self.world))
        if self.pose_source not in POSE_SOURCES:
            raise DriveError(f"the pose source {self.pose_source!r} is not known: give {', '.join(POSE_SOURCES)}")
        if self.T_base_camera is not None and not (
            len(self.T_base_camera) == 6 and np.all(np.isfinite(self.T_base_camera))
        ):
            raise DriveError("T_base_camera needs six finite numbers: x y z in metres and roll pitch yaw in radians")
        if not self.max_pose_gap_s > 0 or not self.frame_rate_hz > 0:
            raise DriveError("max_pose_gap_s and frame_rate_hz must be above zero")

    @property
    def max_pose_gap_ns(self) -> int:
        """max_pose_gap_s in nanoseconds."""
        return int(self.max_pose_gap_s * 1e9)

    @property
    def mount(self) -> np.ndarray | None:
        """T_base_camera as a (4, 4) matrix, or None."""
        if self.T_base_camera is None:
            return None
        return transform(matrix_from_rpy(*self.T_base_camera[3:]), np.array(self.T_base_camera[:3]))
