"""One dataclass is the node's declarations, its checks and the table of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base.config import from_dict
from vpr_ros.base.errors import ConfigError
from vpr_ros.ros import params

ROOT = Path(__file__).resolve().parents[3]


def test_every_parameter_says_what_it_is() -> None:
    """A number without a range or a parameter without a description is a guess for whoever tunes it."""
    for name, field, hint in params.leaves():
        assert field.metadata["description"], name
        if hint in (int, float):
            assert field.metadata["low"] is not None, name


def test_table_lists_every_parameter() -> None:
    names = [name for name, _, _ in params.leaves()]
    table = params.table()
    assert all(f"| `{name}` |" in table for name in names)
    assert len(table.splitlines()) == len(names) + 2
    page = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    assert table in page, "run tools/make_reference.py"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_configuration_files_fit(path: Path) -> None:
    """A YAML file under config/ with a parameter that no longer exists would fail only on the robot."""
    for name, node in yaml.safe_load(path.read_text()).items():
        if name in ("/**", "localizer"):  # others are of other packages' nodes
            from_dict(params.NodeParams, node["ros__parameters"], str(path))


def test_the_default_file_changes_nothing() -> None:
    """Every launch reads config/localizer.yaml: its values are shown, and must be those of the node itself."""
    (node,) = yaml.safe_load((ROOT / "config" / "localizer.yaml").read_text()).values()
    assert from_dict(params.NodeParams, node["ros__parameters"], "localizer.yaml") == params.NodeParams()


@pytest.mark.parametrize(
    ("image", "image_type", "compressed"),
    [("/a/image_raw", "auto", False), ("/a/compressed", "auto", True), ("/a/jpeg", "CompressedImage", True)],
)
def test_image_type(image: str, image_type: str, compressed: bool) -> None:
    assert params.NodeParams(image_type=image_type).image_is_compressed(f"/robot{image}") is compressed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"watchdog": {"topic": "amcl_pose"}}, "add watchdog to adapters"),
        ({"watchdog": {"send_again": True}, "adapters": ["watchdog"]}, "needs the adapter initial_pose"),
        (
            {"watchdog": {"topic": "/amcl_pose"}, "prior": {"pose": "amcl_pose"}, "adapters": ["watchdog"]},
            "watchdog.topic is prior.pose",
        ),
        ({"prior": {"initial_pose": "/initialpose"}, "adapters": ["initial_pose"]}, "would hear it"),
        ({"adapters": ["watchdog"], "publish_tf": True, "odom": "odom"}, "compare it with itself"),
    ],
    ids=["no watchdog", "no initial_pose", "our own prior", "our own start pose", "our own TF"],
)
def test_a_watchdog_that_watches_nothing_is_refused(given: dict[str, object], words: str) -> None:
    """It would be silent, or content with itself, for ever."""
    with pytest.raises(ConfigError, match=words):
        params.node_params({"map": "town.vprmap", **given})


def test_the_outbox_is_of_mode_localize() -> None:
    """A mapping node chooses no keyframes for a lake; the home of the user is understood."""
    found = params.node_params({"map": "town.vprmap", "outbox": {"path": "~/outbox"}})
    assert found.outbox.path == str(Path.home() / "outbox")
    with pytest.raises(ConfigError, match=r"outbox\.path needs mode:=localize"):
        params.node_params({"mode": "map", "session": "s.vprmap", "odom": "odom", "outbox": {"path": "outbox"}})


def test_tools_see_what_a_parameter_is() -> None:
    """`ros2 param describe` and rqt showed nothing: descriptions and ranges were lost on the way into rclpy. A deleted
    parameter could not be set again.
    """
    import rclpy
    from rclpy.parameter import Parameter

    from vpr_ros.ros.localizer_node import LocalizerNode

    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "-p", "map:=town.vprmap", "-p", "filter.speed:=2.0"], context=context)
    try:
        node = LocalizerNode(context=context)
        for name, field, hint in params.leaves():
            descriptor = node.describe_parameter(name)
            assert descriptor.description.startswith(field.metadata["description"]), name
            assert hint is not float or field.metadata["low"] is None or descriptor.floating_point_range, name
        (result,) = node.set_parameters([Parameter("map", Parameter.Type.NOT_SET, None)])
        assert not result.successful and "map cannot be deleted" in result.reason
        assert node.get_parameter("map").value == "town.vprmap"
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
