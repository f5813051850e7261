"""Odometry that begins anew: a pose of another origin taken for this one's bends the whole map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.ros.health import Health
from vpr_ros.ros.odometry import OdometryTrack


@pytest.fixture
def track(robot: Any) -> Iterator[OdometryTrack]:
    track = OdometryTrack(robot.node, "/odom", 0.5, Health())
    yield track
    track.close()


@pytest.mark.parametrize(
    ("first", "then", "stamp_s", "starts"),
    [
        (20.0, 30.0, 10.6, 0),
        (20.0, 80.0, 10.6, 1),
        (20.0, 20.5, 15.0, 0),
        (20.0, 0.0, 15.0, 1),
        (20.0, 20.0, 9.0, 1),
    ],
    ids=["fast", "jump", "pause", "restart after a silence", "clock back"],
)
def test_restarts_are_noticed(
    track: OdometryTrack, robot: Any, first: float, then: float, stamp_s: float, starts: int
) -> None:
    """A driver that is restarted is silent for seconds: what it could have driven meanwhile must not excuse a jump."""
    track._store(robot.odometry(first, 10.0))
    track._store(robot.odometry(then, stamp_s))
    pose = track.at(round(stamp_s * 1e9))
    assert pose is not None and pose.start == starts
    assert pose.T_odom_child[0, 3] == pytest.approx(then)
