"""The launch files: every argument described and known to the node. Needs ROS 2's launch, which no wheel has."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import needs
import pytest

NOT_ON_PYPI = "the ROS 2 packages launch, launch_ros and launch_testing are not installed (they are not on PyPI)"
needs.module_with("launch", of="LaunchDescription", reason=NOT_ON_PYPI)
logging.setLoggerClass(logging.Logger)  # launch has loggers made of a class of its own, which no caplog hears
needs.module_with("launch_ros.actions", of="LifecycleNode", reason=NOT_ON_PYPI)
pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

FOLDER = Path(__file__).resolve().parents[3] / "launch"
NAMES = sorted(path.name.removesuffix(".launch.py") for path in FOLDER.glob("*.launch.py"))


def arguments(name: str) -> list[Any]:
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(FOLDER / f"{name}.launch.py"))
    return source.try_get_launch_description_without_context().get_launch_arguments()


def test_the_launch_files_are_all_there() -> None:
    assert {"localize", "map", "slam_demo"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name: str) -> None:
    """`ros2 launch ... --show-args` is the manual most people read."""
    given = arguments(name)
    assert {"image", "odom", "camera_pose", "rviz", "namespace"} <= {argument.name for argument in given}
    for argument in given:
        assert argument.description not in ("", "no description given"), argument.name


def test_every_parameter_is_a_launch_argument() -> None:
    """Guides say `prior.pose:=/amcl_pose`. Launch files that did not declare it dropped it without a word."""
    from vpr_ros.ros.launching import given_parameters

    texts = {"prior.pose": "/amcl_pose", "filter.speed": "3", "rerank.methods": "[local_features]", "image": "(unset)"}
    others = {"params_file": "a.yaml", "map_yaml": "b.yaml", "other.pose": "c", "use_sim_time": "true"}
    given = given_parameters(texts | others, "localize")
    assert given.pop("prior.pose").evaluate(None) == "/amcl_pose"
    assert given == {"filter.speed": 3, "rerank.methods": ["local_features"], "use_sim_time": True}
    assert set(given_parameters({"filter.sped": "3"}, "localize")) == {"filter.sped"}  # the node refuses it
    assert set(given_parameters({"session": "3", "map": "a"}, "localize")) == {"map"}


def test_a_robot_without_rviz_is_told_so(monkeypatch: Any) -> None:
    """A headless robot has no RViz: one sentence, and the node runs on."""
    from ament_index_python.packages import PackageNotFoundError
    from launch.actions import LogInfo, Shutdown
    from launch.launch_context import LaunchContext

    from vpr_ros.ros import launching

    def not_there(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(launching, "get_package_prefix", not_there)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    context = LaunchContext()
    (said,) = launching.if_installed("rviz2", Shutdown()).execute(context)
    assert isinstance(said, LogInfo)
    assert said.msg[0].perform(context).endswith("apt install ros-jazzy-rviz2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rviz": "yes"}, "rviz2 is not installed"),
        ({"rviz": "maybe"}, "rviz is 'maybe', expected true or false: RViz is not started"),
        ({"rviz": ""}, ""),
        ({"rviz": "Off"}, ""),
    ],
)
def test_a_wrong_argument_does_not_end_the_robots_launch(given: dict[str, str], said: str, monkeypatch: Any) -> None:
    """An exception ends all of a launch, and leaves running what was started before."""
    from ament_index_python.packages import PackageNotFoundError
    from launch.actions import LogInfo
    from launch.launch_context import LaunchContext

    from vpr_ros.ros import launching

    def not_there(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(launching, "get_package_prefix", not_there)
    monkeypatch.setattr(launching, "_SHARE", str(FOLDER.parent))
    context = LaunchContext()
    context.launch_configurations.update({"use_sim_time": "on", "namespace": "", "name": "localizer", **given})
    said_by: list[Any] = []
    for action in launching.rviz("localize.rviz").execute(context) or []:
        said_by += [action] if isinstance(action, LogInfo) else action.execute(context)
    assert "".join(action.msg[0].perform(context) for action in said_by).partition(", and")[0].endswith(said)


def test_a_missing_file_of_parameters_is_a_sentence() -> None:
    """The other nodes of the launch run on."""
    from launch.launch_context import LaunchContext

    from vpr_ros.ros import launching

    context = LaunchContext()
    context.launch_configurations["params_file"] = "nope.yaml"
    (said,) = launching.node(mode="localize").execute(context)
    assert "there is no file nope.yaml" in said.msg[0].perform(context)
    unclosed = launching.given_parameters({"camera_pose": "[0,0,1"}, "localize")["camera_pose"]
    assert unclosed.evaluate(context) == "[0,0,1"


@pytest.mark.parametrize("name", NAMES)
def test_the_node_comes_up_and_goes_down(name: str, street: Any, ros: None, tmp_path: Path, monkeypatch: Any) -> None:
    """Each file as a user starts it, in a namespace: the node becomes active on the right topics, and stops cleanly."""
    needs.module_with("launch_testing.loader", of="LoadTestsFromPythonModule", reason=NOT_ON_PYPI)
    packages = pytest.importorskip("ament_index_python.packages")
    try:
        packages.get_package_prefix("vpr_ros")
    except packages.PackageNotFoundError:
        pytest.skip("vpr_ros is not built in a ROS workspace (colcon build)")
    if name == "slam_demo":
        pytest.importorskip("gtsam", reason="gtsam is not installed (pip install '.[slam]')")
        needs.module_with("vpr_msgs.msg", of="Match")
    from launch_testing.loader import LoadTestsFromPythonModule
    from launch_testing.test_runner import LaunchTestRunner

    file, path = ("map", street.map) if name == "localize" else ("session", tmp_path / "day.vprmap")
    for key, value in {"LAUNCHED": name, "LAUNCHED_FILE": file, "LAUNCHED_PATH": str(path)}.items():
        monkeypatch.setenv(key, value)
    specification = importlib.util.spec_from_file_location("launched", Path(__file__).with_name("launched.py"))
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    runner = LaunchTestRunner(LoadTestsFromPythonModule(module, name="launched"))
    runner.validate()
    for result in runner.run().values():
        assert result.wasSuccessful(), [*result.errors, *result.failures]


@pytest.mark.parametrize("view", ["localize.rviz", "map.rviz"])
def test_rviz_looks_at_the_node_that_was_started(view: str) -> None:
    """In a namespace or under another name a prepared view would show nothing, and say nothing."""
    from vpr_ros.ros.launching import _remappings

    text = (FOLDER.parent / "config" / view).read_text()
    moved = dict(_remappings(text, "left", "where"))
    assert moved["/localizer/depth/image_rect"] == "/left/where/depth/image_rect"
    assert len(moved) >= 3 and all(topic.startswith("/left/") for topic in moved.values())
    assert all(before == after for before, after in _remappings(text, "", "localizer"))
