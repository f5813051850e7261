"""The launch file: every argument described and known to the node. Needs ROS 2's launch, which no wheel has."""

from __future__ import annotations

from pathlib import Path

import pytest

launch = pytest.importorskip("launch", reason="the ROS 2 package launch is not installed (it is not on PyPI)")
pytest.importorskip("launch_ros", reason="the ROS 2 package launch_ros is not installed (it is not on PyPI)")

FILE = Path(__file__).resolve().parents[2] / "launch" / "localize.launch.py"


def description():
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    return PythonLaunchDescriptionSource(str(FILE)).try_get_launch_description_without_context()


def test_every_argument_is_described() -> None:
    """`ros2 launch ... --show-args` is the manual most people read."""
    arguments = description().get_launch_arguments()
    assert {"map", "image", "odom", "camera_pose", "rviz"} <= {argument.name for argument in arguments}
    for argument in arguments:
        assert argument.description not in ("", "no description given"), argument.name


def test_arguments_are_parameters_of_the_node() -> None:
    """An argument that the node does not know would fail every launch that uses it."""
    params = pytest.importorskip("vpr_ros.ros.params", reason="ROS 2 is not installed (pip install '.[ros]')")
    others = {"params_file", "namespace", "name", "log_level", "rviz", "use_sim_time"}
    names = {argument.name for argument in description().get_launch_arguments()} - others
    assert names <= {name for name, _, _ in params.leaves()}
