"""Images whose stamps are zero, stand still or are of another year: answered all the same, and named."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import PoseWithCovarianceStamped

from vpr_ros.base import messages

WARN = 1


def show(robot: Any, street: Any, place: int, stamp_s: float) -> None:
    """Five images a second of one place, until the pose is there."""
    poses = robot.heard["/localizer/pose"]

    def there() -> bool:
        robot.publish("/image", robot.image(street.draw(place), stamp_s))
        robot.spin(0.2)
        return bool(poses) and abs(poses[-1].pose.pose.position.x - street.pose(place)[0, 3]) < street.spacing_m / 2

    robot.wait(there, f"a pose at place {place}", 30.0)


@pytest.mark.parametrize(
    ("stamp_s", "words"),
    [(0.0, "images come without a stamp"), (1.7e9, "images come with a stamp that does not advance")],
    ids=["zero", "stuck"],
)
def test_stamps_that_say_nothing(stamp_s: float, words: str, street: Any, robot: Any, start_node: Any) -> None:
    """A driver that never sets its stamps must not freeze the answer at its first image, 98 % sure."""
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    start_node(map=street.map, base_frame="''")
    show(robot, street, 3, stamp_s)
    show(robot, street, 4, stamp_s)
    for _ in range(10):  # a stamp has to stand for a second before the arrival time replaces it
        robot.publish("/image", robot.image(street.draw(4), stamp_s))
        robot.spin(0.2)
    last = robot.heard["/localizer/pose"][-1]
    assert abs(messages.stamp_ns(last.header.stamp) * 1e-9 - time.time()) < 10.0
    stamps = [messages.stamp_ns(pose.header.stamp) for pose in robot.heard["/localizer/pose"]]
    assert np.all(np.diff(stamps) > 0)
    for _ in range(5):
        robot.publish("/image", robot.image(street.draw(4), stamp_s))
        robot.spin(0.2)
    assert words in robot.wait_for_diagnosis("the arrival time is used", level=WARN)


@pytest.mark.parametrize("first_s", [1.5e9, time.time() + 3700.0], ids=["year", "hour"])
def test_stamps_of_another_time_are_named(street: Any, robot: Any, start_node: Any, first_s: float) -> None:
    """A bag played without sim time, or a camera of another time zone, looks alive and is useless to the robot."""
    start_node(map=street.map, base_frame="''")
    for count in range(20):
        robot.publish("/image", robot.image(street.draw(3), first_s + 0.1 * count))
    away = "years before the clock" if first_s < time.time() else "minutes after the clock"
    sentence = robot.wait_for_diagnosis(away, level=WARN)
    assert "camera at" in sentence and "use_sim_time" in sentence
    assert "image age [ms]" not in robot.diagnosis()[2]


def test_stamps_of_now_are_fine(street: Any, robot: Any, start_node: Any) -> None:
    """The ordinary robot: no warning, and how old its images are."""
    start_node(map=street.map, base_frame="''")
    for _ in range(20):
        robot.publish("/image", robot.image(street.draw(3), time.time()))
        robot.spin(0.05)
    robot.wait_for_diagnosis("camera at", level=0)
    assert 0.0 < float(robot.diagnosis()[2]["image age [ms]"]) < 5000.0


def test_a_clock_that_is_missing_is_named(street: Any, robot: Any, start_node: Any) -> None:
    """use_sim_time without /clock: the node's own time stands at zero."""
    start_node(map=street.map, base_frame="''", use_sim_time=True)
    for _ in range(10):
        robot.publish("/image", robot.image(street.draw(3), time.time()))
        robot.spin(0.05)
    robot.wait_for_diagnosis("/clock is not published", level=WARN)
