"""Mapping with loop closures: ros2 launch vpr_ros map.launch.py session:=today.vprmap image:=... odom:=/odom"""

from launch import LaunchDescription

from vpr_ros.ros import launching

PARAMETERS = (
    "session",
    "earlier",
    "save_folder",
    "image",
    "image_type",
    "camera_info",
    "intrinsics",
    "odom",
    "base_frame",
    "camera_pose",
    "adapters",
    "model",
    "backend",
    "autostart",
)


def generate_launch_description():
    return LaunchDescription(
        [
            *launching.arguments(PARAMETERS),
            launching.node(mode="map"),
            launching.rviz("map.rviz"),
        ]
    )
