"""Mapping, with a pose graph corrected by its loop closures: ros2 launch vpr_ros slam_demo.launch.py bag:=drive.mcap

The pose graph is an example back end (pip install gtsam); it publishes the corrected path on pose_graph/path. By
default the topics are those of the demo's bags.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vpr_ros.ros import launching

PARAMETERS = ("session", "earlier", "image", "image_type", "camera_info", "intrinsics", "odom", "base_frame", "camera_pose")
DEFAULTS = {"session": "slam_demo.vprmap", "image": "/camera/image_raw/compressed", "odom": "/odom"}


def player(context):
    """ros2 bag play, if a recording is given. Humble's launch has no condition for this."""
    bag = LaunchConfiguration("bag").perform(context)
    command = ExecuteProcess(cmd=["ros2", "bag", "play", bag], output="log")
    return [launching.if_installed("ros2bag", command)] if bag else []


def generate_launch_description():
    closures = [LaunchConfiguration("name"), "/loop_closures"]
    pose_graph = Node(
        package="vpr_ros",
        executable="pose_graph",
        exec_name="pose_graph",
        name="pose_graph",
        namespace=LaunchConfiguration("namespace"),
        parameters=[{"odom": LaunchConfiguration("odom"), "closures": closures}],
        prefix=launching.signals_wait(),
        output="screen",
        emulate_tty=True,
    )
    return LaunchDescription(
        [
            *launching.arguments(PARAMETERS, **DEFAULTS),
            DeclareLaunchArgument("bag", default_value="", description="recording to play; empty: none"),
            launching.node(mode="map"),
            pose_graph,
            OpaqueFunction(function=player),
            launching.rviz("map.rviz"),
        ]
    )
