"""Problems that last: said once, also where good images come between bad ones."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.ros.health import condition
from vpr_ros.ros.health.condition import Condition


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str, *, throttle_duration_sec: float = 0.0) -> None:
        self.lines.append(message)

    def error(self, message: str, *, throttle_duration_sec: float = 0.0) -> None:
        self.lines.append(message)


class Clock:
    """The monotonic clock, which stands until it is set."""

    now_s = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(condition.time, "monotonic", lambda: clock.now_s)
    return clock


@pytest.mark.parametrize(
    ("good_s", "lasts"),
    [
        ([], True),
        ([0.25 + 0.5 * k for k in range(20)], True),
        ([1.75 + 2.0 * k for k in range(5)], True),
        (None, False),
    ],
    ids=["all bad", "every other is good", "every fourth is good", "one is bad"],
)
def test_good_images_between_bad_ones_hide_nothing(clock: Clock, good_s: list[float] | None, lasts: bool) -> None:
    """With odometry at 1 Hz half of the images went unused, and diagnostics said OK."""
    log = Lines()
    problem = Condition(log, "over")
    bad_s = [5.0] if good_s is None else [0.25 * k for k in range(40) if 0.25 * k not in good_s]
    for k in range(40):
        clock.now_s = 100.0 + 0.25 * k
        problem.report("bad" if 0.25 * k in bad_s else "")
        assert bool(problem.lasting) <= (lasts and 0.25 * k > 2.0), k
        assert bool(problem.lasting) >= (lasts and 0.25 * k > 2.5), k
    assert log.lines == (["bad"] if lasts else [])
    for k in range(40, 52):
        clock.now_s = 100.0 + 0.25 * k
        problem.report("")
    assert not problem.lasting and log.lines == (["bad", "over"] if lasts else [])


def test_a_problem_of_a_slow_camera_is_said(clock: Clock) -> None:
    """One image every five seconds, each of them bad."""
    log = Lines()
    problem = Condition(log, "over")
    for k in range(3):
        clock.now_s = 100.0 + 5.0 * k
        problem.report("bad")
    clock.now_s += 2.5
    assert problem.lasting == "bad" and log.lines == ["bad"]


def test_a_number_that_changes_is_no_other_problem(clock: Clock) -> None:
    """ "3 s ago", "4 s ago": each began anew, and diagnostics said OK for as long as it lasted."""
    log = Lines()
    problem = Condition(log, "over")
    for k in range(40):
        clock.now_s = 100.0 + 0.25 * k
        problem.report(f"odometry is {k // 4} s old")
    assert problem.lasting == "odometry is 9 s old" and log.lines == ["odometry is 2 s old"]


def test_a_silence_is_no_problem_that_lasted(clock: Clock) -> None:
    """A minute without images after a good one: the first bad one is one bad image."""
    log = Lines()
    problem = Condition(log, "over")
    for then_s, sentence in ((100.0, "bad"), (101.0, ""), (160.0, "bad")):
        clock.now_s = then_s
        problem.report(sentence)
    assert not problem.lasting and not log.lines
