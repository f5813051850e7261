"""The node's first and last moments: it answers while it configures, and a signal ends it cleanly at any moment."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.srv import LoadMap
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile

from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.ros import localizer_node
from vpr_ros.ros.health.core_log import CoreLog
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode

COUNT = 12_000


@pytest.fixture(scope="module")
def large_map(describer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map that takes seconds to open: places of noise."""
    path, manifest = tmp_path_factory.mktemp("large") / "large.vprmap", describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing, views=3)
    noise = np.random.default_rng(0).normal(size=(COUNT, 3, manifest.dimension)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
    with PlaceMap.create(path, model, "street") as place_map, place_map.together():
        for number, descriptors in enumerate(noise):
            place_map.add("noise", number, np.eye(4), descriptors)
    return path


def test_it_answers_while_a_map_is_opened(large_map: Path, street: Any, robot: Any, start_node: Any) -> None:
    """A large map takes a minute to open and an engine minutes to build: a node that is deaf and mute looks broken."""
    node = start_node(map=large_map, autostart=False, base_frame="''")
    assert robot.state() == "unconfigured"
    client = robot.client(ChangeState, "/localizer/change_state")
    opening = client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    states, sentences = set(), set()
    while not opening.done():
        states.add(robot.state())
        robot.call(GetParameters, "/localizer/get_parameters", GetParameters.Request(names=["map"]))
        sentences.add(robot.diagnosis()[1])
        if "configuring" in states and len(states) < 2:
            assert not robot.change_state(Transition.TRANSITION_CONFIGURE)  # one at a time, and said at once
    assert opening.result().success
    assert "configuring" in states
    assert any("configure in progress for" in sentence and f"of {COUNT}" in sentence for sentence in sentences), (
        sentences
    )
    assert "configure is refused: configure is still in progress" in node.log

    # The same while it runs: ~/load_map opens another map beside everything else.
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    loading = robot.client(LoadMap, "/localizer/load_map").call_async(LoadMap.Request(map_url=str(street.map)))
    while not loading.done():
        assert robot.state() == "active"
    assert loading.result().result == LoadMap.Response.RESULT_SUCCESS
    assert node.stop() == 0


def test_what_the_core_logs_reaches_rosout(street: Any, robot: Any, start_node: Any) -> None:
    """Why TensorRT is not used is said by the core; a robot's log is read on /rosout, not on its stderr."""
    robot.listen(Log, "/rosout", QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    start_node(map=street.map, base_frame="''")

    def said() -> list[Log]:
        return [message for message in robot.heard["/rosout"] if "runs on onnx" in message.msg]

    (record,) = robot.wait(said, "which backend it runs on, on /rosout")
    assert (record.level, record.name) == (20, "localizer")  # INFO


def test_what_the_core_logs_at_the_end_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C /rosout is closed: each line was followed by one that says that it could not be published there."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("ending", context=context)
    core_log = CoreLog(node)
    context.shutdown()
    logging.getLogger("vpr_ros.maps").warning("the last places are in the log")
    logging.getLogger("vpr_ros.maps").debug("a detail")
    core_log.close()
    node.destroy_node()
    assert capfd.readouterr().err == "[WARNING] [ending]: the last places are in the log\n"


def test_every_parameter_has_a_value_and_refuses_what_does_not_fit(
    street: Any, robot: Any, start_node: Any, tmp_path: Path
) -> None:
    """Tools read all parameters in one request, which one without a value would empty; a typing error set at run time
    is refused then, wherever the value before came from.
    """
    given = {"hypotheses.count": 3, "filter.speed": 7, "adapters": "initial_pose"}  # an int for a double too
    start_node(map=street.map, autostart=False, **given)
    names = robot.call(ListParameters, "/localizer/list_parameters").result.names
    values = robot.call(GetParameters, "/localizer/get_parameters", GetParameters.Request(names=names)).values
    assert len(values) == len(names) > 50
    assert all(value.type for value in values)
    for wrong in (
        {"hypotheses.count": 4000},
        {"filter.speed": -1.0},
        {"backend": "foo"},
        {"camera_pose": [1.0, 2.0]},
        {"map": 3},
        {"": 3},
        {"adapters": ["nope"]},
        {"intrinsics": [0.0, 1.0, 1.0, 1.0]},
        {"image": ""},
    ):
        assert not robot.set_parameters(**wrong), wrong
    for right in ({"hypotheses.count": 4}, {"filter.speed": 2}, {"camera_pose": [0.0] * 6}, {"adapters": []}):
        assert robot.set_parameters(**right), right


def test_what_is_dumped_can_be_loaded(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """`ros2 param dump`, then --params-file: lists that are empty have no type in a file, and rclpy threw at them."""
    node = start_node(map=street.map, base_frame="''", adapters="[]", camera_pose="[]", earlier="[]")
    robot.wait_for_state("active")
    names = robot.call(ListParameters, "/localizer/list_parameters").result.names
    values = robot.call(GetParameters, "/localizer/get_parameters", GetParameters.Request(names=names)).values
    assert all(value.type for value in values)
    assert node.stop() == 0 and "Traceback" not in node.log


def test_destroying_beside_the_executor_says_nothing(street: Any, robot: Any, start_node: Any) -> None:
    """A transition takes away what the executor may be about to use: nothing is refused by that or deaf afterwards."""
    node = start_node(map=street.map, base_frame="''", odom="/odom", publish_tf=True)
    robot.wait_for_state("active")
    for _ in range(10):
        for transition in (
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
        ):
            robot.publish("/odom", robot.odometry(0.0, time.time()))
            assert robot.change_state(transition)
    assert robot.state() == "active"
    assert "Destroyable" not in node.log and "[ERROR]" not in node.log


def test_work_that_begins_at_once_still_runs_in_the_executor(ros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may run before the one that started it goes on: what it destroys was destroyed beside the executor."""
    start = threading.Thread.start

    def start_and_wait(thread: threading.Thread) -> None:
        start(thread)
        time.sleep(0.1)

    monkeypatch.setattr(threading.Thread, "start", start_and_wait)
    node, executor = ResponsiveNode("eager"), SingleThreadedExecutor()
    executor.add_node(node)
    work = executor.create_task(node.exclusively("cleanup", lambda: node.in_executor(threading.get_ident)))
    executor.spin_until_future_complete(work, timeout_sec=10.0)
    node.destroy_node()
    assert work.result() == threading.get_ident()


def test_an_error_of_the_system_is_one_sentence(ros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that another user owns: the node waits unconfigured, and no traceback hides what to do."""

    def unreadable(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/models/m.onnx")

    monkeypatch.setattr(localizer_node, "WiredPipeline", unreadable)
    monkeypatch.setattr(localizer_node.param_server, "read", lambda _: localizer_node.params.NodeParams())
    node = localizer_node.LocalizerNode()
    said: list[str] = []
    monkeypatch.setattr(node.get_logger(), "error", said.append)
    assert node.trigger_configure() == localizer_node.FAILURE
    assert node.state == "unconfigured" and node._condition().message == "/models/m.onnx: Permission denied"
    assert said == ["configure failed: /models/m.onnx: Permission denied"]
    node.destroy_node()


def test_a_signal_ends_the_wait_for_work(ros: None) -> None:
    """A node that maps, or is inactive, has work once a second: a session had that much less time to be closed."""
    interrupts: Any = SimpleNamespace(asked=False, wake=None)
    stopped: list[float] = []

    class Quiet(rclpy.node.Node):
        operation = ""

        async def start(self) -> None:
            """Nothing to configure."""

        async def stop(self) -> None:
            stopped.append(time.monotonic())

    def stop() -> None:
        interrupts.asked = True
        interrupts.wake()

    node = Quiet("quiet", start_parameter_services=False)
    node.create_timer(3.0, lambda: None)
    begun, timer = time.monotonic(), threading.Timer(0.5, stop)
    timer.start()
    localizer_node._spin(node, interrupts)
    assert stopped[0] - begun < 2.0
    timer.join()
    node.destroy_node()


def test_what_a_transition_destroys_is_destroyed_in_the_executor(ros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kind that was forgotten, the executor may be about to take an answer: rclpy refuses that with an error."""
    threads: dict[str, int] = {}
    for method in [name for name in dir(LifecycleNode) if name.startswith("destroy_") and name != "destroy_node"]:
        monkeypatch.setattr(
            LifecycleNode, method, lambda self, item, method=method: threads.setdefault(method, threading.get_ident())
        )
    node, executor = ResponsiveNode("tidy"), SingleThreadedExecutor()
    executor.add_node(node)
    kinds = ("subscription", "service", "client", "timer", "publisher", "lifecycle_publisher")

    def destroy() -> None:
        for kind in kinds:
            getattr(node, f"destroy_{kind}")(None)

    executor.spin_until_future_complete(executor.create_task(node.exclusively("cleanup", destroy)), timeout_sec=10.0)
    monkeypatch.undo()
    node.destroy_node()
    assert threads == dict.fromkeys([f"destroy_{kind}" for kind in kinds], threading.get_ident())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_ends_it_cleanly(
    number: int, large_map: Path, street: Any, ros: None, start_node: Any
) -> None:
    """Ctrl-C while it imports, configures or runs, once or twice: status 0, nothing printed that looks like a fault."""
    chance = random.Random(number)
    for round_ in range(8):
        node = start_node(map=(street.map, large_map)[round_ % 2], base_frame="''")
        time.sleep(chance.uniform(1.0, 3.5))  # Python itself has started by then, on a busy machine too
        sent = time.monotonic()
        node.process.send_signal(number)
        time.sleep(chance.uniform(0.0, 0.3))
        if round_ % 4 < 2 and node.process.poll() is None:
            node.process.send_signal(number)
        assert node.process.wait(timeout=10) == 0, node.log
        assert time.monotonic() - sent < 5.0  # two seconds, and what a busy machine adds
        assert "Traceback" not in node.log and "[ERROR]" not in node.log, node.log
