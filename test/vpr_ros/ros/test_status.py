"""~/status: what others may rely on. A planner that is told LOCALIZED drives."""

from __future__ import annotations

import time
from typing import Any

import needs
import numpy as np
import pytest

from vpr_ros.base.records import Estimate, Hypothesis
from vpr_ros.ros.outputs.status import State, StatusTracker


def estimate(probability: float, off_map: float = 0.01, problem: str = "") -> Estimate:
    best = Hypothesis(np.eye(4), np.eye(6), probability, (1,))
    return Estimate(10**9, [best], [], off_map, problem=problem)


def test_states_follow_the_answers() -> None:
    """Each state with its probability, and a reason that names it."""
    tracker = StatusTracker(timeout_s=5.0)
    assert tracker.at(0.0).state == State.UNKNOWN and "no image" in tracker.at(0.0).reason
    for given, state, probability in (
        (estimate(0.97), State.LOCALIZED, 0.97),
        (estimate(0.9), State.LOCALIZED, 0.9),
        (estimate(0.89), State.UNSURE, 0.89),
        (estimate(0.1, off_map=0.8), State.OFF_MAP, 0.8),
        (Estimate(10**9, [], [], 0.4), State.OFF_MAP, 0.4),
    ):
        tracker.answered(given, now_s=1.0)
        status = tracker.at(1.1)
        assert (status.state, status.probability) == (state, probability)
        assert f"{probability:.0%}" in status.reason


@pytest.mark.parametrize(
    ("problem", "obstacle"), [("the image is black", ""), ("", "stamps are of another clock")], ids=["black", "clock"]
)
def test_a_sure_pose_that_cannot_be_used_is_unknown(problem: str, obstacle: str) -> None:
    """A covered camera keeps the old pose at 98 %; stamps of another clock make it one of another time."""
    tracker = StatusTracker(timeout_s=5.0)
    tracker.answered(estimate(0.98, problem=problem), 1.0, obstacle)
    assert tracker.at(1.0).state == State.UNKNOWN
    assert tracker.at(1.0).reason == (problem or obstacle)


def test_off_the_map_is_not_said_while_a_part_of_it_is_missing() -> None:
    """A robot inside a tile that is damaged was called off the map at 97 %."""
    tracker, gap = StatusTracker(timeout_s=5.0), "tile 3 is damaged"
    tracker.answered(estimate(0.1, off_map=0.97), 1.0, gap=gap)
    assert (tracker.at(1.0).state, tracker.at(1.0).reason) == (State.UNKNOWN, gap)
    for probability, state in ((0.5, State.UNSURE), (0.95, State.LOCALIZED)):
        tracker.answered(estimate(probability), 1.0, gap=gap)
        assert tracker.at(1.0).state == state and gap in tracker.at(1.0).reason


def test_a_covered_camera_among_others_is_named_and_costs_nothing() -> None:
    """With one of two cameras covered, the state was UNKNOWN and LOCALIZED in turns, without its name."""
    tracker = StatusTracker(timeout_s=5.0)
    covered = "the image is black"
    for now_s in (1.0, 1.2):
        tracker.answered(estimate(0.97), now_s, camera="/front")
        tracker.answered(estimate(0.97, problem=covered), now_s + 0.1, camera="/rear")
        status = tracker.at(now_s + 0.15)
        assert (status.state, status.camera) == (State.LOCALIZED, "/front")
        assert status.reason.endswith(f"; /rear: {covered}")
    tracker.answered(estimate(0.97, problem=covered), 2.0, camera="/front")
    assert tracker.at(2.0).state == State.UNKNOWN
    assert tracker.at(2.0).reason == f"/front: {covered}; /rear: {covered}"
    tracker.answered(estimate(0.4), 3.0, camera="/rear")
    assert tracker.at(3.0).state == State.UNSURE and "/rear" not in tracker.at(3.0).reason
    assert tracker.at(7.5).reason == tracker.at(3.0).reason.split(";")[0]  # the front camera fell silent
    assert "for 6 s" in tracker.at(9.0).reason


def test_a_camera_that_is_left_out_is_named() -> None:
    """One of another clock never came to the status, which said LOCALIZED and nothing else."""
    tracker = StatusTracker(timeout_s=5.0)
    tracker.left_out("/rear", "images are stamped 20 s before the clock", 1.0)
    assert tracker.at(1.0).reason == "/rear: images are stamped 20 s before the clock"
    tracker.answered(estimate(0.97), 1.1, camera="/front")
    assert tracker.at(1.2).state == State.LOCALIZED
    assert tracker.at(1.2).reason.endswith("; /rear: images are stamped 20 s before the clock")


def test_silence_and_pauses_are_unknown() -> None:
    """The last pose of a camera that died is not where the robot is; nor is the one from before a pause."""
    tracker = StatusTracker(timeout_s=5.0)
    tracker.answered(estimate(0.98), 1.0)
    assert tracker.at(5.9).state == State.LOCALIZED
    assert tracker.at(8.0).state == State.UNKNOWN and "for 7 s" in tracker.at(8.0).reason
    tracker.answered(estimate(0.98), 9.0)
    assert tracker.at(9.1, active=False).reason == "the node is not active"
    assert tracker.at(9.2).state == State.UNKNOWN
    tracker.answered(estimate(0.98), 10.0)
    tracker.forget()
    assert tracker.at(10.0).state == State.UNKNOWN


def test_the_numbers_are_those_of_the_message() -> None:
    """Two lists of the same numbers drift apart."""
    message = needs.module_with("vpr_msgs.msg", of="Status").Status
    assert {state.name: int(state) for state in State} == {state.name: getattr(message, state.name) for state in State}


@pytest.fixture
def heard(robot: Any) -> tuple[list[Any], list[Any]]:
    """(typed, standard) messages of the localizer, those from before included."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.qos import DurabilityPolicy, QoSProfile

    message = needs.module_with("vpr_msgs.msg", of="Status").Status
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.listen(message, "/localizer/status", latched)
    robot.listen(DiagnosticStatus, "/localizer/status/diagnostic", latched)
    return robot.heard["/localizer/status"], robot.heard["/localizer/status/diagnostic"]


def test_the_real_node_says_how_it_stands(street: Any, robot: Any, start_node: Any, heard: Any) -> None:
    """From the start to the pause: no image, a street, a black image, images that stop, an inactive node."""
    from lifecycle_msgs.msg import Transition

    typed, standard = heard
    start_node(map=street.map, base_frame="''", image_timeout=3.0)

    def wait_for(state: State, words: str) -> Any:
        found = robot.wait(
            lambda: [m for m in typed if m.state == state and words in m.reason], f"{state.name}: {words}"
        )
        robot.wait(lambda: [m for m in standard if m.message.startswith(f"{state.name}: ")], f"a standard {state.name}")
        typed.clear()
        standard.clear()
        return found[-1]

    wait_for(State.UNKNOWN, "no image has been answered yet")

    def show(image: np.ndarray, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            robot.publish("/image", robot.image(image, time.time()))
            robot.spin(0.2)

    for place in (2, 3, 4, 5):
        show(street.draw(place), 0.6)
    localized = wait_for(State.LOCALIZED, "probability of")
    assert localized.probability >= 0.9 and localized.header.frame_id == "map"
    assert 0.0 <= localized.age.sec + localized.age.nanosec * 1e-9 < 2.0
    show(np.zeros((240, 320, 3), np.uint8), 0.6)
    wait_for(State.UNKNOWN, "black")
    wait_for(State.UNKNOWN, "no image has been answered for")
    count = len(standard)
    robot.spin(3.2)
    assert 2 <= len(standard) - count <= 4  # once a second
    for stamp_s in (77.0, 77.5):  # a single one may be late
        robot.publish("/image", robot.image(street.draw(5), stamp_s))
        robot.spin(0.3)
    wait_for(State.UNKNOWN, "stamped")  # of another clock
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    wait_for(State.UNKNOWN, "the node is not active")


def test_without_vpr_msgs_the_standard_one_is_there(
    street: Any, robot: Any, start_node: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot whose workspace has no vpr_msgs, or one from before: the node runs, says so, and publishes the rest."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.qos import DurabilityPolicy, QoSProfile

    (tmp_path / "old" / "vpr_msgs").mkdir(parents=True)
    (tmp_path / "old" / "vpr_msgs" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "old"))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.listen(DiagnosticStatus, "/localizer/status/diagnostic", latched)
    node = start_node(map=street.map, base_frame="''")
    robot.wait_for_state("active")
    robot.wait(lambda: robot.heard["/localizer/status/diagnostic"], "a status")
    assert "package vpr_msgs is not built, or too old: ~/status, ~/localize" in node.log
    assert robot.heard["/localizer/status/diagnostic"][-1].message.startswith("UNKNOWN: ")
