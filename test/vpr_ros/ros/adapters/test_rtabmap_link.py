"""RTAB-Map's add_link over a real service: links between its own nodes, which are not of our keyframes' images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
messages = needs.module_with("rtabmap_msgs.msg", of="MapData")
services = needs.module_with("rtabmap_msgs.srv", of="AddLink")

from vpr_ros.base import covariance, geometry  # noqa: E402
from vpr_ros.base.messages import matrix_from_transform, stamp_ns  # noqa: E402
from vpr_ros.ros.outputs import convert  # noqa: E402

T_IMU_BASE = geometry.transform(geometry.matrix_from_rpy(0, 0, 0.5), np.array([-0.3, 0.1, -0.4]))


def T_odom_imu(stamp_s: float) -> np.ndarray:
    """A robot that drives round a circle of 20 m at 8 m/s."""
    angle = 0.4 * stamp_s
    centre = np.array([20 * np.sin(angle), 20 * (1 - np.cos(angle)), 0.4])
    return geometry.transform(geometry.matrix_from_rpy(0, 0, angle), centre)


def T_odom_base(stamp_s: float) -> np.ndarray:
    return T_odom_imu(stamp_s) @ T_IMU_BASE


class RtabMap:
    """The part of RTAB-Map that speaks: it tells of its nodes and takes links."""

    def __init__(self, robot: Any) -> None:
        self.robot = robot
        self.links: list[Any] = []
        self.service = robot.node.create_service(services.AddLink, "rtabmap/add_link", self._add)

    def tell(self, nodes: dict[int, float]) -> None:
        """Publish mapData with nodes of these stamps, seconds."""
        made = [messages.Node(id=number, stamp=stamp_s) for number, stamp_s in nodes.items()]
        self.robot.publish("/mapData", messages.MapData(nodes=made))

    def _add(self, request: Any, response: Any) -> Any:
        self.links.append(request.link)
        return response


@pytest.fixture
def rtabmap(robot: Any) -> RtabMap:
    return RtabMap(robot)


@pytest.fixture
def link(bench: Any, robot: Any, rtabmap: RtabMap) -> Callable[..., Any]:
    """link(**params) -> the adapter, once it sees RTAB-Map's service."""

    def start(**params: Any) -> Any:
        adapter = bench.open("rtabmap_link", **params)
        robot.wait(adapter._client.service_is_ready, "the adapter to see add_link")
        return adapter

    return start


def test_link_between_nodes_of_the_same_images(bench: Any, robot: Any, rtabmap: RtabMap, link: Any) -> None:
    """Earlier to later node, type 1, the pose of the later in the earlier, and the inverse of its covariance.

    A diagonal that is not positive aborts RTAB-Map's process; an identity would weigh radians like metres.
    """
    adapter = link()
    rtabmap.tell({1: float("nan"), 2: float("inf"), 9: 1e300, 10: -1.0})  # damaged ones ended the node
    rtabmap.tell({3: 10.0, 4: 11.0, 60: 100.0, 61: 101.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    adapter.closed(bench.closure(now_s=100.0, earlier_s=10.0))
    made = robot.wait(lambda: rtabmap.links, "a link")[0]
    assert (made.from_id, made.to_id, made.type) == (3, 60, 1)
    np.testing.assert_allclose(matrix_from_transform(made.transform), bench.T_match_base, atol=1e-6)
    information = np.array(made.information).reshape(6, 6)
    np.testing.assert_array_equal(information, information.T)
    assert np.isfinite(information).all() and (np.diag(information) > 0).all()
    assert np.linalg.eigvalsh(information)[0] > 0
    about_end = covariance.about_end(*bench.closure().relative_base())
    np.testing.assert_allclose(information @ about_end, np.eye(6), atol=1e-6)


def test_odometry_carries_the_transform_to_the_nodes(bench: Any, robot: Any, rtabmap: RtabMap, link: Any) -> None:
    """At 8 m/s a node 0.4 s away is another place, 3 m on: a link that ignored that would bend the whole map."""
    from nav_msgs.msg import Odometry
    from std_msgs.msg import Header

    adapter = link(odom="odom", odom_gap=10.0)  # longer than the silences below, which are no restarts then
    stamps = [*np.arange(9.0, 12.0, 0.1), *np.arange(12.0, 99.0, 4.0), *np.arange(99.0, 102.0, 0.1)]
    for stamp_s in stamps:
        header = Header(stamp=convert.time_message(round(stamp_s * 1e9)), frame_id="odom")
        message = Odometry(header=header, child_frame_id="imu")
        message.pose.pose = convert.pose_message(T_odom_imu(stamp_s))
        send_until_taken(robot, adapter._odometry, message)
    for stamp_s in (10.4, 100.7):
        adapter.keyframe(bench.keyframe(stamp_s, T_odom_base(stamp_s)))
    rtabmap.tell({3: 10.0, 4: 11.0, 60: 100.0, 61: 101.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    adapter.closed(bench.closure(now_s=100.7, earlier_s=10.4))
    made = robot.wait(lambda: rtabmap.links, "a link")[0]
    assert (made.from_id, made.to_id) == (3, 61)
    T_from_match = geometry.inverse(T_odom_base(10.0)) @ T_odom_base(10.4)
    T_query_to = geometry.inverse(T_odom_base(100.7)) @ T_odom_base(101.0)
    expected = T_from_match @ bench.T_match_base @ T_query_to
    np.testing.assert_allclose(matrix_from_transform(made.transform), expected, atol=1e-3)


def send_until_taken(robot: Any, odometry: Any, message: Any) -> None:
    """Best effort may lose one of many: each is sent until it has come."""
    sent_ns = stamp_ns(message.header.stamp)
    for _ in range(50):
        robot.publish("/odom", message)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            if odometry._last is not None and odometry._last[0] == sent_ns:
                return
            time.sleep(0.001)
    raise AssertionError(f"odometry at {sent_ns / 1e9} s did not arrive")


def test_asks_only_when_both_numbers_are_known(bench: Any, robot: Any, rtabmap: RtabMap, link: Any) -> None:
    """RTAB-Map numbers a keyframe only after it has worked on it; until then the closure waits, it is not lost."""
    adapter = link()
    rtabmap.tell({3: 10.0, 59: 99.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    adapter.closed(bench.closure(now_s=100.0, earlier_s=10.0))
    robot.spin(0.3)
    assert not rtabmap.links
    rtabmap.tell({60: 100.0})
    robot.wait(lambda: rtabmap.links, "a link")
    assert (rtabmap.links[0].from_id, rtabmap.links[0].to_id) == (3, 60)


@pytest.mark.parametrize(
    "changes",
    [
        {"verified": False, "probability": 0.99},
        {"match_map": "town.vprmap"},
        {"match_drive": "today-0"},
        {"now_s": 100.3},
        {"earlier_s": 8.0},
        {"now_s": 100.0, "earlier_s": 99.99},
    ],
    ids=[
        "unverified",
        "on another map",
        "of an earlier drive",
        "no node at that time and no odometry",
        "no node at the earlier time",
        "one and the same node",
    ],
)
def test_not_asked(bench: Any, robot: Any, rtabmap: RtabMap, link: Any, changes: dict[str, Any]) -> None:
    """RTAB-Map believes a link: no transform without geometry, and none between nodes that are elsewhere."""
    adapter = link()
    rtabmap.tell({3: 10.0, 60: 100.0, 61: 101.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    adapter.closed(bench.closure(**changes))
    robot.spin(0.3)
    assert not rtabmap.links
    assert not adapter._waiting


def test_one_link_a_node(bench: Any, robot: Any, rtabmap: RtabMap, link: Any) -> None:
    """Each link makes RTAB-Map optimise its whole graph."""
    adapter = link()
    rtabmap.tell({3: 10.0, 60: 100.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    for later in (0.0, 0.005, 0.01):
        adapter.closed(bench.closure(now_s=99.99 + later, earlier_s=10.0))
    robot.wait(lambda: rtabmap.links, "a link")
    robot.spin(0.2)
    assert len(rtabmap.links) == 1


def test_numbers_of_a_graph_that_was_reset_are_forgotten(bench: Any, robot: Any, rtabmap: RtabMap, link: Any) -> None:
    """After a reset RTAB-Map's node 3 is another place."""
    adapter = link()
    rtabmap.tell({3: 10.0, 4: 11.0})
    robot.wait(lambda: adapter._table.nearest(0), "the adapter to know the nodes")
    rtabmap.tell({3: 100.0})
    robot.wait(lambda: adapter._table.is_settled(100 * 10**9), "the new numbering")
    adapter.closed(bench.closure(now_s=100.0, earlier_s=11.0))
    robot.spin(0.3)
    assert not rtabmap.links


def test_what_waits_is_bounded(bench: Any) -> None:
    """RTAB-Map may never start; the robot drives on for hours."""
    adapter = bench.open("rtabmap_link")
    for k in range(500):
        adapter.closed(bench.closure(now_s=100.0 + k))
    assert len(adapter._waiting) == 100
    assert adapter._waiting[-1].closure.stamp_ns == 599 * 10**9
    adapter.forget()
    assert not adapter._waiting
