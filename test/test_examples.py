"""The examples run, so that what a newcomer copies works."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import needs
import numpy as np
import processes
import pytest

EXAMPLES = processes.ROOT / "examples"
FILES = sorted(EXAMPLES.rglob("*.py"))


def module(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run(name: str, *arguments: str, cwd: Path) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=processes.environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def bags(tmp_path: Path, painted_drive: Any) -> tuple[str, str]:
    """Two bags of one street, the second 1 m further on and with noise."""
    from vpr_ros.drives.bag import write_bag

    for name, start in (("first.mcap", 0.0), ("second.mcap", 1.0)):
        write_bag(tmp_path / name, painted_drive(name=name.split(".")[0], start=start, noise=5.0))
    return str(tmp_path / "first.mcap"), str(tmp_path / "second.mcap")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs the package in a folder of examples/ for this test alone, as pip does for a user."""
    pytest.importorskip("setuptools", reason="pip builds the package with setuptools")
    try:
        import setuptools.command.bdist_wheel  # noqa: F401
    except ImportError:  # before setuptools 70.1
        pytest.importorskip("wheel", reason="pip builds the package with wheel")

    def install(name: str) -> None:
        copy = tmp_path / f"{name}_source"  # pip leaves a build folder in the source
        copy.mkdir()
        for path in (EXAMPLES / name).iterdir():
            if path.is_file():
                (copy / path.name).write_bytes(path.read_bytes())
        target = tmp_path / "site"
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", str(target)]
        subprocess.run([*command, str(copy)], check=True, capture_output=True)
        monkeypatch.syspath_prepend(str(target))

    return install


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_examples_are_short_and_say_how_to_run_them(path: Path) -> None:
    """An example of two screens is not read, and one without its command is not run."""
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    command = r"python examples/" if path.parent == EXAMPLES else "pip install ./examples/"
    assert command in text.split('"""')[1]
    assert path.name in (EXAMPLES / "README.md").read_text(), "examples/README.md lists every example"


def test_a_bag_becomes_a_map_and_another_one_poses(bags: tuple[str, str], tmp_path: Path) -> None:
    lines = run("bag_to_pose", *bags, cwd=tmp_path).splitlines()
    assert "/example.vprmap: " in lines[0] and len(lines) == 1 + 24
    assert sum(" x " in line for line in lines) > 12


def test_a_network_of_ones_own_builds_a_map(bags: tuple[str, str], tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (pip install 'vpr_ros[train]')")
    first, second = bags
    (line,) = run("own_network", first, second, second, cwd=tmp_path).splitlines()
    assert int(line.split()[0]) > 12


def test_a_drive_format_from_outside_is_recognised(
    installed: Callable[[str], None], painted_drive: Any, tmp_path: Path
) -> None:
    """By open_drive, and so by every command: no file of this repository names it."""
    from vpr_ros import open_drive

    frames = list(painted_drive(length=30.0))
    arrays = {
        "images": np.stack([frame.read() for frame in frames]),
        "stamps_ns": np.array([frame.stamp_ns for frame in frames]),
        "T_map_camera": np.stack([frame.T_map_camera for frame in frames]),
    }
    np.savez(tmp_path / "trip.npz", **arrays)
    installed("drive_format")
    drive = open_drive(tmp_path / "trip.npz")
    assert (drive.name, len(drive)) == ("trip", 6)
    for mine, theirs in zip(drive, frames, strict=True):
        assert mine.stamp_ns == theirs.stamp_ns
        np.testing.assert_array_equal(mine.read(), theirs.read())
        np.testing.assert_array_equal(mine.T_map_camera, theirs.T_map_camera)


@pytest.fixture
def ros() -> Iterator[Any]:
    """rclpy's context, and a node of the test's own in it."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
    import rclpy.executors
    import rclpy.node
    import rclpy.parameter
    import rclpy.utilities

    own = not rclpy.ok()  # other tests of the session may have a context already
    if own:
        rclpy.init(domain_id=78)
    yield rclpy
    if own:
        rclpy.shutdown()


def spin_until(rclpy: Any, nodes: list[Any], true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Let nodes work until something has happened."""
    executor = rclpy.executors.SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        executor.spin_once(0.05)
    executor.shutdown()
    for node in nodes:
        node.destroy_node()


def test_a_drive_is_played_as_live_images(ros: Any, bags: tuple[str, str], tmp_path: Path) -> None:
    """All images of the drive arrive, whole, in order of time."""
    from sensor_msgs.msg import Image

    heard: list[Any] = []
    listener = ros.node.Node("listener")
    listener.create_subscription(Image, "/played", heard.append, 100)
    command = [sys.executable, str(EXAMPLES / "play_drive.py"), bags[0], "20", "/played"]
    domain = {"ROS_DOMAIN_ID": str(ros.utilities.get_default_context().get_domain_id())}
    player = subprocess.Popen(command, cwd=tmp_path, env=processes.environment() | domain)
    spin_until(ros, [listener], lambda: player.poll() is not None and len(heard) >= 24, timeout_s=30.0)
    assert player.returncode == 0 and len(heard) == 24
    stamps = [(message.header.stamp.sec, message.header.stamp.nanosec) for message in heard]
    assert stamps == sorted(stamps) and len(heard[0].data) == 3 * heard[0].width * heard[0].height


def test_the_lost_node_says_so_and_asks_to_relocalise(ros: Any) -> None:
    """Off the map for longer than the patience: lost. A pose on the map again: not lost."""
    messages = needs.module_with("vpr_msgs.msg", of="Matches")
    from std_msgs.msg import Bool
    from std_srvs.srv import Trigger

    robot = ros.node.Node("robot")
    heard: list[bool] = []
    asked: list[bool] = []

    def relocalize(request: Any, response: Any) -> Any:
        asked.append(True)
        return response

    matches = robot.create_publisher(messages.Matches, "localizer/matches", 10)
    robot.create_service(Trigger, "localizer/relocalize", relocalize)
    robot.create_subscription(Bool, "lost/lost", lambda message: heard.append(message.data), 10)
    off_map = 0.9
    robot.create_timer(0.05, lambda: matches.publish(messages.Matches(off_map_probability=off_map)))
    override = ros.parameter.Parameter("patience", value=1.0)
    lost = module("lost_node").LostNode(parameter_overrides=[override])

    def found_again() -> bool:
        nonlocal off_map
        if True in heard and asked:
            off_map = 0.1
        return True in heard and heard[-1] is False

    spin_until(ros, [robot, lost], found_again)
    assert heard[0] is False and len(asked) == 1


def test_the_pose_graph_moves_with_a_closure(ros: Any) -> None:
    """Odometry says 20 m, a measured closure 19.8 m: the pose that comes out is near the closure's."""
    messages = needs.module_with("vpr_msgs.msg", of="LoopClosure")
    pytest.importorskip("gtsam", reason="GTSAM is not installed: pip install 'vpr_ros[slam]'")
    from nav_msgs.msg import Odometry

    from vpr_ros.base.geometry import transform
    from vpr_ros.ros.outputs import convert

    node = module("pose_graph_node").PoseGraphNode()
    sent: list[Any] = []
    node._publisher.publish = sent.append
    for second in range(11):
        message = Odometry()
        message.header.stamp.sec = second
        message.pose.pose = convert.pose_message(transform(np.eye(3), np.array([2.0 * second, 0.0, 0.0])))
        node._on_odometry(message)
    closure = messages.LoopClosure(drive="today-1", match_drive="today-1", verified=True)
    closure.header.stamp.sec = 10
    T, covariance = transform(np.eye(3), np.array([19.8, 0.0, 0.0])), np.diag([0.05] * 6) ** 2
    closure.t_match_query = [convert.pose_with_covariance(T, covariance)]
    node._on_closure(closure)
    node._on_timer()
    node.destroy_node()
    assert sent[-1].pose.position.x == pytest.approx(19.8, abs=0.1)


def test_an_adapter_from_outside_is_opened_by_name(ros: Any, installed: Callable[[str], None]) -> None:
    """The node takes it as one of its own, in the mode that it serves."""
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Float32, Header

    from vpr_ros import Estimate, VprError
    from vpr_ros.ros.adapters.open import open_adapters
    from vpr_ros.ros.outputs.answer import Answer
    from vpr_ros.ros.params import NodeParams

    installed("adapter")
    node = LifecycleNode("localizer")
    params = NodeParams(map="town.vprmap", adapters=("off_map",))
    with pytest.raises(VprError, match="off_map"):
        open_adapters(params.adapters, "map", node, params)
    (adapter,) = open_adapters(params.adapters, "localize", node, params)
    node.trigger_configure()
    node.trigger_activate()
    heard: list[float] = []
    node.create_subscription(Float32, "localizer/off_map_probability", lambda message: heard.append(message.data), 10)
    estimate = Estimate(1, [], [], off_map_probability=0.75)
    node.create_timer(0.05, lambda: adapter.publish(Answer(0, estimate, Header(), Header(), None)))
    spin_until(ros, [node], lambda: bool(heard))
    assert heard[0] == pytest.approx(0.75)
