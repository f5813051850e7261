"""LIO-SAM: two stamps on a topic, under rules that its source sets and its messages do not tell."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

TOPIC = "/lio_loop/loop_closure_detection"


@pytest.fixture
def lio_sam(bench: Any, robot: Any, hear: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """The adapter, and what LIO-SAM hears, with LIO-SAM's own QoS."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from std_msgs.msg import Float64MultiArray

    adapter = bench.open("lio_sam")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    heard = hear(Float64MultiArray, TOPIC, adapter._publisher, qos)
    return adapter, heard


def test_two_stamps_in_seconds_newer_first(bench: Any, robot: Any, lio_sam: Any) -> None:
    """LIO-SAM ignores any other length, and takes the first for the keyframe of now."""
    adapter, heard = lio_sam
    adapter.closed(bench.closure(now_s=1_700_000_100.25, earlier_s=1_700_000_010.5))
    robot.wait(lambda: heard, "a closure")
    assert list(heard[0].data) == pytest.approx([1_700_000_100.25, 1_700_000_010.5], abs=1e-6)


def test_one_a_second(bench: Any, robot: Any, lio_sam: Any) -> None:
    """It takes one in each second and queues five: more would be acted on long after they were true."""
    adapter, heard = lio_sam
    for k in range(20):
        adapter.closed(bench.closure(now_s=100.0 + k))
    robot.spin(1.1)
    assert [message.data[0] for message in heard] == [100.0]
    adapter.closed(bench.closure(now_s=150.0))
    robot.wait(lambda: len(heard) == 2, "the next second's")
    assert heard[1].data[0] == 150.0


@pytest.mark.parametrize(
    "changes",
    [
        {"now_s": 39.9, "earlier_s": 10.0},
        {"verified": False, "probability": 0.89},
        {"match_map": "town.vprmap"},
        {"match_drive": "today-0"},
    ],
    ids=["under 30 s apart", "neither verified nor sure", "on another map", "of an earlier drive"],
)
def test_not_sent(bench: Any, robot: Any, lio_sam: Any, changes: dict[str, Any]) -> None:
    """What it would ignore, what may be wrong, and stamps it does not know: those it takes for its first keyframe."""
    adapter, heard = lio_sam
    adapter.keyframe(bench.keyframe(1.0))  # the earlier drive was on the same clock
    adapter.closed(bench.closure(**changes))
    robot.spin(0.3)
    assert not heard


def test_sure_closures_without_geometry_are_sent(bench: Any, robot: Any, lio_sam: Any) -> None:
    """ICP on its own clouds has the last word, so no transform of ours is needed."""
    adapter, heard = lio_sam
    adapter.closed(bench.closure(verified=False, probability=0.9))
    robot.wait(lambda: heard, "a closure")
