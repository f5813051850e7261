"""The watchdog on real topics: what AMCL, NDT and slam_toolbox publish, late as they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from needs import module_with
from rclpy.qos import DurabilityPolicy, QoSProfile

from vpr_ros.base import geometry
from vpr_ros.base.geometry import inverse
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.params import WatchdogConfig

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SPEED = 5.0  # m/s


def pose(stamp_s: float, off: float = 0.0) -> np.ndarray:
    """T_map_base of a robot that drives a bend; off: metres aside."""
    return geometry.transform(geometry.matrix_from_rpy(0, 0, 0.1 * stamp_s), np.array([SPEED * stamp_s, off, 0.0]))


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


@pytest.fixture
def watch(bench: Any, robot: Any) -> Callable[..., tuple[Any, list[Any]]]:
    """watch(topic) -> (adapter, its messages)."""

    def start(topic: str = "") -> tuple[Any, list[Any]]:
        adapter = bench.open("watchdog", mode="localize", adapters=("watchdog",), watchdog=WatchdogConfig(topic))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        robot.listen(DiagnosticStatus, "/localizer/watchdog", latched)
        heard = robot.heard["/localizer/watchdog"]
        robot.wait(lambda: heard, "the watchdog's first message")
        return adapter, heard

    return start


def run(
    bench: Any,
    robot: Any,
    adapter: Any,
    send: Callable[[float], None],
    start_s: float,
    images: int,
    late_s: float = 0.0,
) -> None:
    """Images 4 times a second, the other's pose 20 times, published late_s after its stamp."""
    for k in range(5 * images):
        stamp_s = start_s + 0.05 * k
        send(stamp_s - late_s)
        if k % 5 == 0:
            answer = bench.answer(stamp_s, pose(stamp_s), covariance=np.diag([1, 1, 0.1, 0.01, 0.01, 0.01]))
            adapter.publish(now(answer))
        robot.spin(0.05)


def now(answer: Any) -> Any:
    """An answer that arrives now."""
    from dataclasses import replace

    return replace(answer, arrived_ns=time.monotonic_ns())


def transforms(robot: Any, off: list[float]) -> Callable[[float], None]:
    """Publishes map -> odom and odom -> base_link; odometry drifts."""
    messages = module_with("tf2_msgs.msg", of="TFMessage")

    def send(stamp_s: float) -> None:
        T_odom_base = geometry.transform(np.eye(3), np.array([0.0, 0.01 * stamp_s, 0.0])) @ pose(stamp_s)
        stamp = convert.time_message(round(stamp_s * 1e9))
        pairs = (("town", "odom", pose(stamp_s, off[0]) @ inverse(T_odom_base)), ("odom", "base_link", T_odom_base))
        edges = [convert.transform_message(T, parent, child, stamp) for parent, child, T in pairs]
        robot.publish("/tf", messages.TFMessage(transforms=edges), 100)

    return send


def test_a_localiser_in_tf(bench: Any, robot: Any, watch: Any) -> None:
    """It agrees, is thrown 10 m aside, and is set right; each is said, late transforms or not."""
    adapter, heard = watch()
    assert heard[-1].level == WARN and values(heard[-1])["verdict"] == "cannot tell"
    off = [0.0]
    send = transforms(robot, off)
    run(bench, robot, adapter, send, start_s=100.0, images=12, late_s=0.2)
    robot.wait(lambda: heard[-1].level == OK, "agreement")
    assert float(values(heard[-1])["distance [m]"]) < 0.1  # interpolated: the robot drives a metre in 0.2 s
    off[0] = 10.0
    run(bench, robot, adapter, send, start_s=103.0, images=16, late_s=0.2)
    robot.wait(lambda: heard[-1].level == ERROR, "disagreement")
    said = values(heard[-1])
    assert said["verdict"] == "disagree" and "10.0 m apart" in heard[-1].message
    assert float(said["distance [m]"]) == pytest.approx(10.0, abs=0.2)
    assert float(said["probability of disagreement"]) > 0.999
    assert 103.0 <= int(said["since [ns]"]) * 1e-9 <= 105.0
    off[0] = 0.0
    run(bench, robot, adapter, send, start_s=107.0, images=16, late_s=0.2)
    robot.wait(lambda: heard[-1].level == OK, "agreement again")
    adapter.forget()
    robot.wait(lambda: heard[-1].level == WARN, "nothing after another map")


@pytest.mark.parametrize("kind", [PoseWithCovarianceStamped, Odometry])
def test_a_localiser_on_a_topic(bench: Any, robot: Any, watch: Any, kind: Any) -> None:
    """Of the type its publisher has; poses in another frame are named, never compared."""
    adapter, heard = watch("other_pose")
    frame, child, off = ["town"], "base_link", 10.0

    def send(stamp_s: float) -> None:
        message = kind(header=convert.header(round(stamp_s * 1e9), frame[0]))
        message.pose.pose = convert.pose_message(pose(stamp_s, off))
        if kind is Odometry:
            message.child_frame_id = child
        robot.publish("/other_pose", message)

    run(bench, robot, adapter, send, start_s=100.0, images=12)
    robot.wait(lambda: heard[-1].level == ERROR, "disagreement")
    frame[0] = "utm"
    run(bench, robot, adapter, send, start_s=103.0, images=16)
    robot.wait(lambda: "in frame 'utm', ours in 'town'" in heard[-1].message, "the frame's name")
    if kind is Odometry:
        frame[0], child = "town", "rear_axle"
        run(bench, robot, adapter, send, start_s=107.0, images=4)
        robot.wait(lambda: "of frame 'rear_axle', ours of 'base_link'" in heard[-1].message, "the child's name")


def test_it_says_what_is_missing(bench: Any, robot: Any, watch: Any) -> None:
    """A topic with a typing error would look like a localiser that is never wrong."""
    adapter, heard = watch("amcl_pose")
    adapter.publish(bench.answer(5.0, pose(5.0)))
    robot.wait(lambda: "/amcl_pose has no publisher" in heard[-1].message, "the missing topic")
    robot.spin(1.1)
    assert heard[-1].level == WARN


def test_the_real_node_sets_a_thrown_one_right(street: Any, robot: Any, start_node: Any) -> None:
    """Image to verdict to initialpose, through the node: the other is 150 m off all the time."""
    robot.listen(DiagnosticStatus, "/localizer/watchdog")
    robot.listen(PoseWithCovarianceStamped, "/initialpose")
    parameters = {"watchdog.topic": "/other_pose", "watchdog.send_again": True}
    start_node(map=street.map, base_frame="''", adapters="[watchdog, initial_pose]", **parameters)
    heard = robot.heard["/localizer/watchdog"]
    for _ in range(3):
        for place in range(1, 9):
            now_s = time.time()
            T_map_other = street.pose(place)
            T_map_other[1, 3] += 150.0
            message = PoseWithCovarianceStamped(header=convert.header(round(now_s * 1e9), "map"))
            message.pose.pose = convert.pose_message(T_map_other)
            robot.publish("/other_pose", message)
            robot.publish("/image", robot.image(street.draw(place), now_s))
            robot.spin(0.4)
        if heard and heard[-1].level == ERROR:
            break
    assert values(heard[-1])["verdict"] == "disagree", heard[-1].message
    assert float(values(heard[-1])["distance [m]"]) == pytest.approx(150.0, abs=2.0)
    assert len(robot.heard["/initialpose"]) == 1  # the first sure pose; the next one is due after the pause
