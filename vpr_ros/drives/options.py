"""Options of a drive, whatever its format."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vpr_ros.base.config import option
from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import beyond_a_turn, transform_from_xyzrpy
from vpr_ros.base.world import canonical_world, utm_of

POSE_SOURCES = ("auto", "rtk", "ins", "vo")


@dataclass(frozen=True)
class DriveOptions:
    """Which camera and which poses of a drive to use. The defaults find them if there is only one candidate.

    T_base_camera is the pose of the camera's optical frame (x right, y down, z forward) on the robot's base (x forward,
    y left, z up), for bags without this transform and for folders with poses of the robot. A format with options of its
    own subclasses this. Raises DriveError for a value out of range.
    """

    # Every format.
    name: str = option("", "name in maps and reports; empty: the name of the folder or file")
    world: str = option(
        "",
        "name of the poses' frame, or the UTM zone to convert them to, such as 'utm 30 north'; empty: as in the drive",
    )
    max_pose_gap_s: float = option(2.0, "maximum time between two poses to interpolate between them", "s")
    T_base_camera: tuple[float, float, float, float, float, float] | None = option(
        None,
        "x y z roll pitch yaw of the optical frame on the base (of a bag: base_frame, else the frame of the odometry); "
        "-1.5708 0 -1.5708 looks ahead; empty: /tf_static",
        "m, rad",
    )
    depth: bool = option(True, "offer depth images if the drive has lidar or stereo to compute them from")
    frame_rate_hz: float = option(1.0, "frame rate of an image folder without times", "Hz")

    # Oxford RobotCar, KITTI and EuRoC.
    camera: str = option(
        "",
        "camera, such as mono_rear, image_2 or cam1, or several with commas, which become a drive each; empty: "
        "stereo/left, image_2 or image_0, cam0, by format",
    )
    pose_source: str = option(
        "auto", "RobotCar: file of the true poses; auto: rtk.csv, else ins.csv, else vo.csv", choices=POSE_SOURCES
    )
    models_dir: str = option("", "RobotCar: folder of the SDK's camera models; empty: models/ in the run or its parent")
    extrinsics_dir: str = option("", "RobotCar: folder of the extrinsics; empty: extrinsics/ in the run or its parent")
    undistort: bool = option(True, "RobotCar: undistort raw images (three-channel images already are)")

    # Bags.
    image_topic: str = option(
        "", "bags: topic of the images, or several with commas, which become a drive each; empty: the only one"
    )
    pose_topic: str = option(
        "",
        "bags: topic of the true poses; empty: the only one; none: do without",
    )
    odom_topic: str = option("", "bags: topic of the odometry; empty: the only one; none: do without")
    navsat_topic: str = option("", "bags: topic of NavSatFix positions; empty: the only one; none: do without")
    map_frame: str = option("map", "bags: frame in /tf of the true poses, if no topic has them")
    odom_frame: str = option("odom", "bags: frame in /tf of the odometry, if no topic has it")
    base_frame: str = option(
        "",
        "bags: frame of pose and odometry topics; empty: odometry says its own, and poses are of the base that it is "
        "of, or of base_link",
    )
    camera_frame: str = option("", "bags: optical frame of the camera; empty: the images' frame_id")

    def __post_init__(self) -> None:
        object.__setattr__(self, "world", canonical_world(self.world))
        if re.fullmatch(r"utm\s*\d+\s*(north|south|[a-z])?", self.world, re.IGNORECASE) and utm_of(self.world) is None:
            raise DriveError(f"world '{self.world}' is no UTM zone: give one from 1 to 60, such as 'utm 30 north'")
        if self.pose_source not in POSE_SOURCES:
            raise DriveError(f"unknown pose_source {self.pose_source!r}: choose one of {', '.join(POSE_SOURCES)}")
        if self.T_base_camera is not None and not (
            len(self.T_base_camera) == 6 and np.all(np.isfinite(self.T_base_camera))
        ):
            raise DriveError("T_base_camera needs six finite numbers: x y z in metres and roll pitch yaw in radians")
        if self.T_base_camera is not None and (angle := beyond_a_turn(self.T_base_camera[3:])):
            raise DriveError(f"T_base_camera has an angle of {angle:g}, and its angles are in radians: convert degrees")
        if not self.max_pose_gap_s > 0 or not self.frame_rate_hz > 0:
            raise DriveError("max_pose_gap_s and frame_rate_hz must be above zero")

    @property
    def max_pose_gap_ns(self) -> int:
        """max_pose_gap_s in nanoseconds."""
        return int(self.max_pose_gap_s * 1e9)

    @property
    def mount(self) -> np.ndarray | None:
        """T_base_camera as a (4, 4) matrix, or None."""
        return None if self.T_base_camera is None else transform_from_xyzrpy(self.T_base_camera)
