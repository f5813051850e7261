"""The example node: from messages to a corrected path. A user's own back end starts from it."""

# ruff: noqa: E402
from __future__ import annotations

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("gtsam", reason="GTSAM is not installed: pip install 'vpr_ros[slam]'")
pytest.importorskip("evo", reason="evo is not installed: pip install 'vpr_ros[slam]'")
needs.module_with("vpr_msgs.msg", of="Match")

import rclpy
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter

from vpr_msgs.msg import LoopClosure
from vpr_ros.base.geometry import transform
from vpr_ros.demo.pose_graph_node import PoseGraphNode
from vpr_ros.ros.outputs import convert

SECOND = 1_000_000_000


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=77)
    node = PoseGraphNode(context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def odometry(number: int, x: float) -> Odometry:
    message = Odometry()
    message.header.stamp = convert.time_message(number * SECOND)
    message.pose.pose = convert.pose_message(transform(np.eye(3), np.array([x, 0.0, 0.0])))
    return message


def loop_closure(query: int, match: int, verified: bool = True, earlier: str = "", drive: str = "day-2") -> LoopClosure:
    """Says on drive day-2 that the robot is 19.8 m ahead of where it was; drive: that it was there on."""
    message = LoopClosure(match_stamp=convert.time_message(match * SECOND), match_map=earlier)
    message.drive, message.match_drive = "day-2", drive
    message.header.stamp = convert.time_message(query * SECOND)
    message.verified = verified
    if verified:
        covariance = np.diag([0.05] * 6) ** 2
        message.t_match_query = [
            convert.pose_with_covariance(transform(np.eye(3), np.array([19.8, 0.0, 0.0])), covariance)
        ]
    return message


def test_a_verified_closure_moves_the_path_and_others_do_not(node) -> None:
    """An unverified one has no transform to read, one on a map that is not here no place to go, and one on another
    drive of the session is of another moment with this one's stamp.
    """
    paths: list[Path] = []
    node._publisher.publish = paths.append
    node._publish()
    for number in range(11):
        node._take_odometry(odometry(number, 2.0 * number))
    node._take_closure(loop_closure(10, 0, verified=False))
    node._take_closure(loop_closure(10, 0, earlier="yesterday.vprmap"))
    node._take_closure(loop_closure(10, 0, drive="day-1"))
    node._publish()
    node._take_closure(loop_closure(10, 0))
    node._publish()
    before, after = paths[-2:]
    assert len(before.poses) == len(after.poses) == 11 and after.header.frame_id == "map"
    assert after.poses[10].header.stamp.sec == 10
    assert before.poses[-1].pose.position.x == pytest.approx(20.0, abs=1e-6)
    assert after.poses[-1].pose.position.x == pytest.approx(19.8, abs=0.1)


def test_a_bag_played_again_begins_a_path_of_its_own(node) -> None:
    """Its stamps are those of the first time: what is left of that would be joined with what comes now."""
    paths: list[Path] = []
    node._publisher.publish = paths.append
    for number in range(11):
        node._take_odometry(odometry(number, 2.0 * number))
    late = odometry(9, 18.0)
    late.header.stamp = convert.time_message(10 * SECOND - 5_000_000)
    node._take_odometry(late)
    node._publish()
    for number in range(5):
        node._take_odometry(odometry(number, 50.0 + 2.0 * number))
    node._publish()
    assert [len(path.poses) for path in paths] == [11, 4]  # the first message may have been late
    assert paths[-1].poses[-1].pose.position.x == pytest.approx(6.0, abs=1e-6)


def test_odometry_that_restarts_begins_a_path_of_its_own(node) -> None:
    """A driver that was started again began at 0, and the path had a step of a hundred metres."""
    paths: list[Path] = []
    node._publisher.publish = paths.append
    for number in range(51):
        node._take_odometry(odometry(number, 2.0 * number))
    for number in range(54, 60):
        node._take_odometry(odometry(number, 2.0 * (number - 54)))
    node._publish()
    assert len(paths[-1].poses) == 6
    assert paths[-1].poses[-1].pose.position.x == pytest.approx(10.0, abs=1e-6)


def test_an_earlier_path_is_met_on_its_own_map_alone(tmp_path) -> None:
    """Two earlier maps may share stamps, and the path given is one's."""
    earlier = tmp_path / "monday.tum"
    earlier.write_text("".join(f"{number}.0 {2.0 * number} 0 0 0 0 0 1\n" for number in range(100, 111)))
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=77)
    given = {"earlier": str(earlier), "earlier_map": "monday.vprmap"}
    node = PoseGraphNode(context=context, parameter_overrides=[Parameter(n, value=v) for n, v in given.items()])
    for number in range(11):
        node._take_odometry(odometry(number, 2.0 * number))
    for name, anchored in (("tuesday.vprmap", False), ("monday.vprmap", True)):
        for query in (8, 9, 10):
            node._take_closure(loop_closure(query, query + 100, earlier=name, drive="monday-1"))
        node._publish()
        assert node._graph.anchored is anchored
    node.destroy_node()
    rclpy.shutdown(context=context)
