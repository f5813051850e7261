"""~/localize: every goal ends, with a pose or with the reason why not, whatever happens meanwhile."""

from __future__ import annotations

import signal
import time
from typing import Any

import needs
import processes
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import Transition
from nav_msgs.srv import LoadMap
from rclpy.action import ActionClient

SUCCEEDED, ABORTED, CANCELED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED, GoalStatus.STATUS_CANCELED


class Asker:
    """An action client of the test's robot."""

    def __init__(self, robot: Any) -> None:
        self.robot = robot
        self.type = needs.module_with("vpr_msgs.action", of="Localize").Localize
        self.client = ActionClient(robot.node, self.type, "/localizer/localize")
        self.feedback: list[Any] = []
        robot.wait(self.client.server_is_ready, "the action server")
        robot.spin(1.0)  # each side finds the other's five topics and services on its own

    def send(self, probability: float = 0.0, timeout_s: float = 0.0) -> Any:
        """The accepted goal, and the future of its result."""
        whole = int(timeout_s)
        timeout = Duration(sec=whole, nanosec=int((timeout_s - whole) * 1e9))
        goal = self.type.Goal(probability=probability, timeout=timeout)
        sent = self.client.send_goal_async(goal, feedback_callback=lambda m: self.feedback.append(m.feedback))
        self.robot.wait(sent.done, "the goal's acceptance")
        assert sent.result().accepted
        return sent.result(), sent.result().get_result_async()

    def result(self, future: Any) -> tuple[int, Any]:
        """(status, result) of a goal."""
        self.robot.wait(future.done, "the goal's result")
        return future.result().status, future.result().result


@pytest.fixture
def node(street: Any, start_node: Any) -> Any:
    return start_node(map=street.map, base_frame="''")


@pytest.fixture
def asker(robot: Any, node: Any) -> Any:
    robot.wait_for_state("active")
    asker = Asker(robot)
    yield asker
    asker.client.destroy()


def test_a_pose_that_is_sure(asker: Any, robot: Any, street: Any) -> None:
    """Only an image that comes after the goal counts: the robot may have been carried before it."""
    for place in (2, 3):
        robot.publish("/image", robot.image(street.draw(place), time.time()))
        robot.spin(0.5)
    _, future = asker.send(timeout_s=20.0)
    robot.spin(0.5)
    assert not future.done()
    for place in (4, 5, 6, 7):
        robot.publish("/image", robot.image(street.draw(place), time.time()))
        robot.spin(0.5)
        if future.done():
            break
    status, result = asker.result(future)
    assert (status, result.success, result.message) == (SUCCEEDED, True, "")
    assert result.probability >= 0.9
    assert result.pose.header.frame_id == "map"
    assert result.pose.pose.pose.position.x == pytest.approx(street.spacing_m * place, abs=1.0)
    feedback = asker.feedback[-1]
    assert feedback.probabilities[0] == result.probability
    assert len(feedback.hypotheses) == len(feedback.probabilities)
    assert feedback.hypotheses[0] == result.pose.pose


def test_why_not(asker: Any, robot: Any, street: Any) -> None:
    """A behaviour that failed has to say what to look at."""
    _, future = asker.send(timeout_s=0.5)
    status, result = asker.result(future)
    assert (status, result.success) == (ABORTED, False)
    assert "within 0.5 s" in result.message and "no image" in result.message

    _, future = asker.send(probability=1.0, timeout_s=2.0)
    robot.publish("/image", robot.image(street.draw(2), time.time()))
    status, result = asker.result(future)
    assert status == ABORTED and "%" in result.message and asker.feedback

    for probability, timeout_s, words in (
        (1.5, 1.0, "probability"),
        (float("nan"), 1.0, "probability"),
        (0.9, -1.0, "timeout"),
    ):
        status, result = asker.result(asker.send(probability, timeout_s)[1])
        assert status == ABORTED and words in result.message


def test_cancelled_and_replaced(asker: Any) -> None:
    """Nav2 cancels what it halts, and a second operator's goal must not wait behind the first one's for ever."""
    handle, future = asker.send()
    cancelling = handle.cancel_goal_async()
    asker.robot.wait(cancelling.done, "the cancellation")
    status, result = asker.result(future)
    assert (status, result.message) == (CANCELED, "cancelled")

    _, first = asker.send()
    _, second = asker.send(timeout_s=1.0)
    status, result = asker.result(first)
    assert status == ABORTED and "new goal" in result.message
    assert "within 1.0 s" in asker.result(second)[1].message


def test_what_ends_the_localiser_ends_the_goal(asker: Any, robot: Any, street: Any, node: Any) -> None:
    """A pause, a cleanup: the client is told, the node goes on, and serves the next goal. With another map, and after
    ~/relocalize, the goal goes on: a node that watches for "lost" ended the turn of a robot that looked around.
    """
    _, future = asker.send(timeout_s=1.5)
    response = robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=str(street.map)))
    assert response.result == LoadMap.Response.RESULT_SUCCESS
    status, result = asker.result(future)
    assert status == ABORTED and "within 1.5 s: earlier images were forgotten" in result.message

    _, future = asker.send()
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    status, result = asker.result(future)
    assert status == ABORTED and "not active" in result.message
    assert asker.result(asker.send()[1])[0] == ABORTED  # while it is inactive too

    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    _, future = asker.send()
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    assert robot.change_state(Transition.TRANSITION_CLEANUP)
    status, result = asker.result(future)
    assert status == ABORTED

    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.wait(asker.client.server_is_ready, "the action server")
    robot.spin(1.0)
    assert "within 0.3 s" in asker.result(asker.send(timeout_s=0.3)[1])[1].message
    assert "Traceback" not in node.log and "internal error" not in node.log


@pytest.mark.parametrize("way", ["SIGINT", "SIGTERM", "transition"])
def test_shut_down_while_a_goal_runs(asker: Any, robot: Any, node: Any, way: str) -> None:
    """Ctrl-C in the middle of a goal: the client is told, status 0, no traceback."""
    _, future = asker.send()
    if way == "transition":
        assert robot.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    else:
        node.process.send_signal(getattr(signal, way))
    status, result = asker.result(future)
    assert status == ABORTED and ("shut down" in result.message or "not active" in result.message)
    assert node.stop() == 0
    assert "Traceback" not in node.log and "[ERROR]" not in node.log


def test_the_example_turns_until_it_is_sure(robot: Any, street: Any, node: Any) -> None:
    """examples/spin_until_sure.py with the real node: it turns while nothing is seen, and stops at the first place."""
    import importlib.util

    import rclpy
    from geometry_msgs.msg import Twist

    needs.module_with("vpr_msgs.action", of="Localize")
    spec = importlib.util.spec_from_file_location("spin_until_sure", processes.ROOT / "examples/spin_until_sure.py")
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    robot.wait_for_state("active")
    robot.listen(Twist, "/cmd_vel")
    spinner = example.SpinUntilSure()
    spinner.start()

    def turns() -> bool:
        rclpy.spin_once(spinner, timeout_sec=0.02)
        return len(robot.heard["/cmd_vel"]) > 5

    robot.wait(turns, "the robot to turn")
    assert robot.heard["/cmd_vel"][-1].angular.z == 0.5
    for place in range(2, 10):
        robot.publish("/image", robot.image(street.draw(place), time.time()))
        end = time.monotonic() + 2.0
        while time.monotonic() < end and spinner.result is None:
            rclpy.spin_once(spinner, timeout_sec=0.02)
            rclpy.spin_once(robot.node, timeout_sec=0.02)
        if spinner.result is not None:
            break
    spinner.destroy_node()
    assert spinner.result.success
    seen = [40.0 * number for number in range(2, place + 1)]  # on a busy machine the next image may be out already
    assert min(abs(spinner.result.pose.pose.pose.position.x - x) for x in seen) < 1.0
    robot.spin(0.2)
    assert robot.heard["/cmd_vel"][-1].angular.z == 0.0
