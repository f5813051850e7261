"""map -> odom between images: never two transforms of one stamp, and an end when the images end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

import rclpy
from needs import module_with
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from vpr_ros.base import messages
from vpr_ros.base.records import Estimate, Hypothesis
from vpr_ros.localize.eye import STUCK
from vpr_ros.localize.localizer import NO_CONTENT
from vpr_ros.ros.adapters.map_to_odom import MapToOdom
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer

SECOND = 10**9
TFMessage = module_with("tf2_msgs.msg", of="TFMessage").TFMessage
Opened = Callable[[float], MapToOdom]


def answer(x: float, stamp_ns: int, probability: float = 0.98) -> Answer:
    """The robot is at x with this probability."""
    T = np.eye(4)
    T[0, 3] = x
    estimate = Estimate(stamp_ns, [Hypothesis(T, np.eye(6), probability, (1,))], [], 0.01)
    header = Header(stamp=convert.time_message(stamp_ns), frame_id="map")
    return Answer(0, estimate, header, header, np.eye(4), np.eye(4), "odom")


def test_no_stamp_twice_and_an_end(robot: Any) -> None:
    """Under sim time the clock is a staircase: tf2 would keep the older of two transforms of one stamp, and complain.
    A clock that jumps back (a looped bag) while no image comes must not keep the old pose alive.
    """
    node = LifecycleNode("localizer")
    node.set_parameters([Parameter("use_sim_time", value=True)])
    robot.listen(TFMessage, "/tf", 100)

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.01)
            robot.spin(0.01)

    def tick(now_ns: int) -> None:
        robot.publish("/clock", Clock(clock=convert.time_message(now_ns)))
        wait(0.05)

    adapter = MapToOdom(node, tolerance_s=0.1, timeout_s=0.5)
    adapter._publisher.on_activate(None)
    tick(99 * SECOND)
    wait(1.0)
    for number in range(10):
        now_ns = 100 * SECOND + number * SECOND // 10
        tick(now_ns)
        for x in (number, number + 0.5):
            adapter.publish(answer(float(x), now_ns))
        wait(0.05)
    sent = [message.transforms[0] for message in robot.heard["/tf"]]
    stamps = [messages.stamp_ns(transform.header.stamp) for transform in sent]
    assert len(sent) >= 9 and np.all(np.diff(stamps) > 0)
    assert sent[-1].transform.translation.x >= 8.5  # the newest answer got through

    tick(10 * SECOND)
    wait(0.7)
    robot.heard["/tf"].clear()
    for number in range(5):
        tick(11 * SECOND + number * SECOND // 10)
    assert not robot.heard["/tf"]
    adapter.close()
    node.destroy_node()


@pytest.fixture
def opened(robot: Any) -> Iterator[Opened]:
    """opened(timeout_s) -> an adapter of a node of its own."""
    made = []

    def open_adapter(timeout_s: float) -> MapToOdom:
        node = LifecycleNode("localizer")
        made.append((node, MapToOdom(node, tolerance_s=0.1, timeout_s=timeout_s)))
        return made[-1][1]

    yield open_adapter
    for node, adapter in made:
        adapter.close()
        node.destroy_node()


@pytest.mark.parametrize("frame", ["", "map"])
def test_odometry_without_a_frame_of_its_own_sends_nothing(opened: Opened, frame: str) -> None:
    """map -> map was sent 20 times a second, and for an empty frame nothing was said."""
    adapter = opened(0.5)
    adapter.publish(replace(answer(20.0, SECOND), odom_frame=frame))
    assert adapter._alignment is None


def test_odometry_that_restarts_ends_the_transform(opened: Opened) -> None:
    """The one from before put the robot where it had been, off the map, and every answer renewed it."""
    adapter = opened(0.5)
    adapter.publish(answer(20.0, SECOND))
    assert adapter._alignment is not None
    off_map = Estimate(2 * SECOND, [], [], 0.99)
    adapter.publish(replace(answer(0.0, 2 * SECOND), estimate=off_map))
    assert adapter._alignment.T_map_odom[0, 3] == 20.0
    adapter.publish(replace(answer(0.0, 3 * SECOND), estimate=off_map, odometry_start=1))
    assert adapter._alignment is None


def test_only_sure_poses_move_the_transform(opened: Opened) -> None:
    """A pose of 40 % at the other end of the map moved the robot there in TF, which has no probability."""
    adapter = opened(0.5)
    adapter.publish(answer(300.0, SECOND, probability=0.4))
    assert adapter._alignment is None
    adapter.publish(answer(20.0, 2 * SECOND))
    adapter.publish(answer(300.0, 3 * SECOND, probability=0.4))
    assert adapter._alignment is not None and adapter._alignment.T_map_odom[0, 3] == 20.0
    assert adapter._alignment.stamp_ns == 3 * SECOND  # and goes on
    adapter.publish(answer(25.0, 4 * SECOND, probability=0.9))
    assert adapter._alignment.T_map_odom[0, 3] == 25.0


def test_odometry_that_restarts_ends_it_at_once(opened: Opened) -> None:
    """Without waiting for an image: none may come for a while, as where both hang at one USB hub.

    An answer that was computed with the odometry before must not bring it back.
    """
    adapter = opened(5.0)
    adapter.publish(answer(1.0, 100 * SECOND))
    assert adapter._alignment is not None
    adapter.odometry_restarted(1)
    assert adapter._alignment is None
    adapter.publish(answer(2.0, 101 * SECOND))
    assert adapter._alignment is None
    adapter.publish(replace(answer(3.0, 102 * SECOND), odometry_start=1))
    assert adapter._alignment is not None


def test_a_clock_that_goes_back_ends_it(opened: Opened) -> None:
    """An older bag begins: its stamps must not carry the alignment of the one before."""
    adapter, sent = opened(5.0), []
    adapter._publisher.publish = sent.append
    adapter.publish(answer(1.0, adapter._node.get_clock().now().nanoseconds))
    assert sent
    adapter._alignment = replace(adapter._alignment, clock_ns=adapter._alignment.clock_ns + 100 * SECOND)
    adapter._sent_ns = 0
    sent.clear()
    adapter._broadcast()
    assert not sent


def test_a_camera_that_hangs_ends_it(opened: Opened) -> None:
    """It took two seconds to tell, in which sure poses of the old view turned the alignment: 80 m off later."""
    adapter = opened(5.0)
    adapter.publish(answer(1.0, 100 * SECOND))
    unsure = answer(1.0, 101 * SECOND, probability=0.2)
    adapter.publish(replace(unsure, estimate=replace(unsure.estimate, problem=NO_CONTENT)))
    assert adapter._alignment is not None  # a covered camera saw the right place before
    adapter.publish(replace(unsure, estimate=replace(unsure.estimate, problem=STUCK)))
    assert adapter._alignment is None and "waits for a pose" in adapter.problem


def test_it_stays_ended_until_a_sure_pose_after_images_stopped(opened: Opened) -> None:
    """The next image brought the old transform back, whatever it showed: the robot may have been carried meanwhile."""
    adapter = opened(0.2)
    adapter.publish(answer(1.0, 100 * SECOND))
    time.sleep(0.3)
    adapter.publish(answer(1.0, 101 * SECOND, probability=0.2))
    assert adapter._alignment is None and "waits for a pose" in adapter.problem
    adapter.publish(answer(1.0, 102 * SECOND))
    assert adapter._alignment is not None


def test_one_of_several_cameras_that_hangs_does_not_end_it(opened: Opened) -> None:
    """The others correct the belief, and odometry carries on between their sure poses."""
    adapter = opened(5.0)
    adapter.publish(replace(answer(1.0, 100 * SECOND), camera="front"))
    unsure = answer(1.0, 101 * SECOND, probability=0.2)
    stuck = replace(unsure, estimate=replace(unsure.estimate, problem=STUCK))
    adapter.publish(replace(stuck, camera="rear"))
    assert adapter._alignment is not None
    adapter.publish(replace(stuck, camera="front"))
    assert adapter._alignment is None


def test_a_camera_that_is_unplugged_speaks_for_nothing(opened: Opened) -> None:
    """It kept the transform alive for ever while all that were left hung."""
    adapter = opened(0.2)
    adapter.publish(replace(answer(1.0, 100 * SECOND), camera="front"))
    time.sleep(0.3)
    adapter.publish(replace(answer(1.0, 101 * SECOND), camera="rear"))
    unsure = answer(1.0, 102 * SECOND, probability=0.2)
    adapter.publish(replace(unsure, estimate=replace(unsure.estimate, problem=STUCK), camera="rear"))
    assert adapter._alignment is None
