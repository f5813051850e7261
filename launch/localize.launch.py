"""The localizer node, and on request RViz: ros2 launch vpr_ros localize.launch.py map:=town.vprmap image:=/camera/image_raw"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("vpr_ros")
# Launch arguments that are parameters of the node, with what the node takes where they are left empty.
PARAMETERS = {
    "map": "map to localise on, a .vprmap file",
    "image": "the camera's topic; a name ending in 'compressed' is taken for a CompressedImage",
    "image_type": "message type of that topic: auto, Image or CompressedImage",
    "odom": "topic of nav_msgs/Odometry; without it motion is judged from time alone",
    "base_frame": "frame whose pose is published; '' for the camera's own",
    "camera_pose": "camera in base_frame as '[x, y, z, roll, pitch, yaw]' of its camera_link; without it TF is asked",
    "publish_tf": "true broadcasts map -> odom (needs odom)",
    "model": "network, by name or path of its .onnx file; without it the map's own",
    "backend": "what runs the network: auto, tensorrt, onnx or torch",
    "use_sim_time": "true takes the time from /clock",
    "autostart": "false leaves configure and activate to a lifecycle manager",
}
OTHERS = {
    "params_file": (PathJoinSubstitution([SHARE, "config", "localizer.yaml"]), "YAML file of parameters; arguments beat it"),
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("localizer", "name of the node; its topics begin with it"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "rviz": ("false", "true opens a prepared view"),
}
UNSET = "(unset)"


def localizer(context):
    """The node, with those launch arguments that were given as parameters."""
    given = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    parameters = {name: LaunchConfiguration(name) for name, text in given.items() if text != UNSET}
    if given["camera_pose"] != UNSET:  # whole numbers among the six would make it a list of mixed types
        parameters["camera_pose"] = [float(number) for number in given["camera_pose"].strip("[] ").split(",")]
    if given["base_frame"] in ("", "''", '""'):
        parameters["base_frame"] = "''"  # YAML for the empty string, which launch would read as nothing
    node = LifecycleNode(
        package="vpr_ros",
        executable="localize",
        name=LaunchConfiguration("name"),
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), parameters],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
    )
    return [node]


def generate_launch_description():
    arguments = [DeclareLaunchArgument(name, default_value=UNSET, description=text) for name, text in PARAMETERS.items()]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in OTHERS.items()
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "localize.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
        output="log",
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=localizer), rviz])
