"""Odometry that restarts: mixing poses of two origins bends the whole map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base import geometry
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.odometry import OdometryTrack


@pytest.fixture
def track(robot: Any) -> OdometryTrack:
    return OdometryTrack("/odom", 0.5, Health(), robot.node.get_logger())


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
    track.store(robot.odometry(first, 10.0))
    track.store(robot.odometry(then, stamp_s))
    if stamp_s < 10.0:  # one such message may be late
        track.store(robot.odometry(then, stamp_s := stamp_s + 0.1))
    pose = track.at(round(stamp_s * 1e9))
    assert pose is not None and pose.start == starts
    assert pose.T_odom_child[0, 3] == pytest.approx(then)


@pytest.mark.parametrize(
    ("then", "silence_s", "starts"),
    [
        (35.0, 0.5, 0),
        (44.5, 1.5, 0),
        (30.5, 1.5, 0),
        (0.0, 0.3, 1),
        (15.0, 0.5, 1),
        (53.0, 1.5, 1),
        (0.0, 1.5, 1),
        (80.0, 4.0, 1),
    ],
    ids=[
        "gap",
        "long gap",
        "braking in one",
        "fast restart",
        "dock nearby",
        "moved on by 8 m",
        "restart",
        "out of reach",
    ],
)
def test_a_gap_is_no_restart_and_a_restart_in_a_gap_is_one(
    track: OdometryTrack, robot: Any, then: float, silence_s: float, starts: int
) -> None:
    """A robot at 10 m/s over a bad link: what counts is its velocity, not how fast anything could move.

    Half a second without messages excused a jump of 30 m, and a second and a half in which the robot went straight on
    began another drive.
    """
    for k in range(21):
        track.store(robot.odometry(10.0 + k, 8.0 + 0.1 * k))
    track.store(robot.odometry(then, 10.0 + silence_s))
    pose = track.at(round((10.0 + silence_s) * 1e9))
    assert pose is not None and pose.start == starts
    assert pose.T_odom_child[0, 3] == pytest.approx(then)


def drive(seconds: np.ndarray, speed: float, radius: float) -> list[tuple[float, np.ndarray]]:
    """(stamp, T_odom_base) of a robot on a circle."""
    return [
        (
            10.0 + float(s),
            geometry.transform(
                geometry.matrix_from_rpy(0, 0, speed * s / radius),
                radius * np.array([np.sin(speed * s / radius), 1 - np.cos(speed * s / radius), 0.0]),
            ),
        )
        for s in seconds
    ]


@pytest.mark.parametrize(
    ("hertz", "jitter_s", "lost_s", "speed", "radius"),
    [
        (1.0, 0.01, 0.0, 10.0, 1e6),
        (0.5, 0.0, 0.0, 1.5, 1e6),
        (0.9, 0.05, 0.0, 10.0, 30.0),
        (20.0, 0.0, 1.2, 10.0, 20.0),
        (20.0, 0.0, 1.6, 3.0, 10.0),
        (20.0, 0.0, 2.0, 1.0, 2.0),
    ],
    ids=["1 Hz", "0.5 Hz", "0.9 Hz in a curve", "gaps in a curve", "gaps in a slow curve", "gaps in a tight curve"],
)
def test_slow_and_lossy_odometry_is_no_restart(
    robot: Any, hertz: float, jitter_s: float, lost_s: float, speed: float, radius: float
) -> None:
    """Nearly every message of a slow source began another drive, and so did every second that was lost in a curve."""
    health = Health()
    track = OdometryTrack("/odom", 0.5, health, robot.node.get_logger())
    seconds = np.arange(0, 60, 1 / hertz) + np.random.default_rng(0).uniform(-jitter_s, jitter_s, int(60 * hertz))
    for stamp_s, T in drive(seconds[(seconds % 10 > lost_s) | (lost_s == 0)], speed, radius):
        track.store(robot.odometry_at(T, stamp_s))
    assert not health.counts["odometry restarts"]


def test_two_sources_on_one_topic_are_named(robot: Any) -> None:
    """Two robots, or wheels and a filter: each message restarts it, and images found no odometry within odom_gap."""
    track = OdometryTrack("/odom", 0.5, Health(), robot.node.get_logger())
    for number in range(20):
        for x in (0.1 * number, 50.0 + 0.1 * number):
            track.store(robot.odometry(x, 10.0 + 0.1 * number + 0.001 * x))
    assert track.at(int(11.8e9)) is None
    said = track.missing(int(11.8e9))
    assert said.startswith("odometry on /odom restarts again and again (jumped by 5") and said.endswith("publish it")


@pytest.mark.parametrize(
    ("seconds", "image_s", "words"),
    [
        ([], 10.0, "no message has come on /odom"),
        ([np.nan], 10.0, "no odometry on /odom is a finite pose with a unit quaternion"),
        ([9.0, 9.1], 3610.0, "odometry on /odom is 60 minutes before the images: their clocks differ"),
        ([8.0, 9.5], 10.5, "odometry on /odom comes more than odom_gap (0.5 s) apart"),
        ([8.9, 9.0], 10.5, "no odometry on /odom within odom_gap (0.5 s) of the images' stamps"),
    ],
    ids=["silent", "rejected", "another clock", "slow", "late"],
)
def test_missing_odometry_has_its_reason(robot: Any, seconds: list[float], image_s: float, words: str) -> None:
    """One sentence stood for all of these, and sent everybody to odom_gap."""
    track = OdometryTrack("/odom", 0.5, Health(), robot.node.get_logger())
    for stamp_s in seconds:
        T = np.eye(4) if np.isfinite(stamp_s) else np.full((4, 4), np.nan)
        track.store(robot.odometry_at(T, np.nan_to_num(stamp_s)))
    assert track.at(int(image_s * 1e9)) is None
    assert words in track.missing(int(image_s * 1e9))


@pytest.mark.parametrize(("turned", "starts"), [(0.7, 0), (2.5, 1)], ids=["a fast turn", "another origin"])
def test_a_turn_that_no_robot_makes_is_a_restart(robot: Any, turned: float, starts: int) -> None:
    """A driver that is started again on the spot looks the same way as it did at first, and another way than now."""
    track = OdometryTrack("/odom", 0.5, Health(), robot.node.get_logger())
    for stamp_s, T in drive(np.arange(0, 2, 0.1), 1.0, 1e6):
        track.store(robot.odometry_at(T, stamp_s))
    T = T @ geometry.transform(geometry.matrix_from_rpy(0, 0, turned), np.array([0.1, 0, 0]))
    track.store(robot.odometry_at(T, stamp_s + 0.1))
    pose = track.at(round((stamp_s + 0.1) * 1e9))
    assert pose is not None and pose.start == starts


@pytest.mark.parametrize("hertz", [3.2, 20.0, 100.0])
def test_a_corner_is_no_restart(robot: Any, hertz: float) -> None:
    """A robot that turns by 110 degrees a second at 8 m/s is 1.7 m beside where it was heading 0.3 s before."""
    health = Health()
    track = OdometryTrack("/odom", 0.5, health, robot.node.get_logger())
    for k in range(int(4 * hertz)):
        s = k / hertz
        yaw = np.clip(1.92 * (s - 2.0), 0.0, np.pi / 2)
        straight = 8.0 * min(s, 2.0)
        x, y = straight + 8 / 1.92 * np.sin(yaw), 8 / 1.92 * (1 - np.cos(yaw))
        message = robot.odometry(float(x), 10.0 + s)
        message.pose.pose.position.y = float(y)
        message.pose.pose.orientation.z, message.pose.pose.orientation.w = map(
            float, (np.sin(yaw / 2), np.cos(yaw / 2))
        )
        track.store(message)
    assert health.counts["odometry restarts"] == 0


def test_a_message_of_long_ago_is_no_restart(robot: Any) -> None:
    """One that a network kept for 1.2 s began two drives: it was believed, and then the next one jumped."""
    health = Health()
    track = OdometryTrack("/odom", 0.5, health, robot.node.get_logger())
    for k in range(40):
        track.store(robot.odometry(0.1 * k, 10.0 + 0.1 * k))
        if k == 30:
            track.store(robot.odometry(1.8, 11.8))
    assert (health.counts["odometry out of order"], health.counts["odometry restarts"]) == (1, 0)


def test_a_late_message_is_no_restart(robot: Any) -> None:
    """Two messages of a network that swap places must not cost the drive, its keyframes and all that waits for them."""
    health = Health()
    track = OdometryTrack("/odom", 0.5, health, robot.node.get_logger())
    for x, stamp_s in ((20.0, 10.0), (20.1, 10.02), (20.05, 10.015), (20.2, 10.04)):
        track.store(robot.odometry(x, stamp_s))
    pose = track.at(round(10.01e9))
    assert pose is not None and pose.start == 0
    assert pose.T_odom_child[0, 3] == pytest.approx(20.05)
    assert (health.counts["odometry out of order"], health.counts["odometry restarts"]) == (1, 0)
