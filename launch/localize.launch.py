"""Poses on a map, with RViz if rviz:=true: ros2 launch vpr_ros localize.launch.py map:=town.vprmap image:=/camera/image_raw"""

from launch import LaunchDescription

from vpr_ros.ros import launching

PARAMETERS = (
    "map",
    "image",
    "more_images",
    "image_type",
    "odom",
    "base_frame",
    "camera_pose",
    "publish_tf",
    "adapters",
    "watchdog.topic",
    "watchdog.send_again",
    "model",
    "backend",
    "metric.enabled",
    "outbox.path",
    "autostart",
)


def generate_launch_description():
    return LaunchDescription(
        [
            *launching.arguments(PARAMETERS),
            launching.node(mode="localize"),
            launching.rviz("localize.rviz"),
        ]
    )
