"""Swarm-SLAM: everything under the numbers of its own keyframes."""

from __future__ import annotations

from typing import Any

import needs
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
messages = needs.module_with("cslam_common_interfaces.msg", of="KeyframeOdom")

from vpr_ros.base.errors import ConfigError  # noqa: E402
from vpr_ros.ros.outputs.convert import time_message  # noqa: E402


@pytest.fixture
def swarm(bench: Any, hear: Any) -> tuple[Any, list[Any], list[Any]]:
    """(adapter of robot 2, the pairs heard, the descriptors heard)."""
    adapter = bench.open("swarm_slam", namespace="/r2")
    matches = hear(messages.LocalKeyframeMatch, "/r2/cslam/local_keyframe_match", adapter._matches)
    return adapter, matches, hear(messages.GlobalDescriptors, "/r2/cslam/global_descriptors", adapter._descriptors)


def number(robot: Any, keyframe_id: int, stamp_s: float) -> None:
    """Swarm-SLAM's front end tells of a keyframe."""
    message = messages.KeyframeOdom(id=keyframe_id)
    message.odom.header.stamp = time_message(round(stamp_s * 1e9))
    robot.publish("/r2/cslam/keyframe_odom", message)


def test_pairs_and_descriptors_under_its_numbers(bench: Any, robot: Any, swarm: Any) -> None:
    """Our own numbers name other images; each keyframe is described once, by its whole image."""
    adapter, matches, descriptors = swarm
    for keyframe_id, stamp_s in ((7, 10.0), (8, 12.0)):
        number(robot, keyframe_id, stamp_s)
    adapter.keyframe(bench.keyframe(10.2))
    adapter.keyframe(bench.keyframe(10.3))
    adapter.keyframe(bench.keyframe(100.0))
    adapter.closed(bench.closure(now_s=100.0, earlier_s=10.2, verified=False, probability=0.95))
    robot.wait(lambda: descriptors, "a descriptor")
    robot.spin(0.2)
    assert not matches, "its number is not known yet"
    number(robot, 55, 100.1)
    robot.wait(lambda: matches and len(descriptors) == 2, "the pair and the other descriptor")
    assert (matches[0].keyframe0_id, matches[0].keyframe1_id) == (55, 7)
    items = [item for message in descriptors for item in message.descriptors]
    assert [(item.keyframe_id, item.robot_id) for item in items] == [(7, 2), (55, 2)]
    assert list(items[0].descriptor) == [0.0, 1.0, 2.0, 3.0]


def test_descriptors_of_a_front_end_that_began_again(bench: Any, robot: Any, swarm: Any) -> None:
    """Swarm-SLAM's front end restarted, with its numbers from 0: none of its keyframes was described again."""
    adapter, _, descriptors = swarm
    for stamp_s in (10.0, 60.0):
        for keyframe_id in (0, 1):
            number(robot, keyframe_id, stamp_s + keyframe_id)
            adapter.keyframe(bench.keyframe(stamp_s + keyframe_id))
            robot.spin(0.2)
    robot.wait(lambda: len(descriptors) == 4, "both numbers described twice")
    assert [message.descriptors[0].keyframe_id for message in descriptors] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"verified": False, "probability": 0.5},
        {"match_map": "town.vprmap"},
        {"match_drive": "today-0"},
        {"earlier_s": 15.0},
    ],
    ids=["neither verified nor sure", "on another map", "of an earlier drive", "no keyframe near"],
)
def test_not_sent(bench: Any, robot: Any, swarm: Any, changes: dict[str, Any]) -> None:
    """It registers a pair itself, which costs it much: only pairs that are likely, and only of its own keyframes."""
    adapter, matches, _ = swarm
    for keyframe_id, stamp_s in ((7, 10.0), (55, 100.0)):
        number(robot, keyframe_id, stamp_s)
    robot.wait(lambda: adapter._table.is_settled(100 * 10**9), "its keyframes")
    adapter.closed(bench.closure(**changes))
    robot.spin(0.3)
    assert not matches


def test_the_namespace_tells_the_robot(bench: Any) -> None:
    """A descriptor under another robot's number would tie two robots' maps together."""
    with pytest.raises(ConfigError, match="/r0"):
        bench.open("swarm_slam", namespace="/car")
