"""Offline replay feeds the robot's own localiser: same answers every time, and a broken image costs one frame only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.evaluation.record import Tolerance, answer_to_json
from vpr_ros.evaluation.replay import evaluate, replay
from vpr_ros.evaluation.summary import assess
from vpr_ros.localize.localizer import Localizer

Make = Callable[..., Any]


def test_the_same_drive_gives_the_same_answers(localizer: Localizer, drive: Make) -> None:
    """The second run must not remember the first."""

    def answers() -> list[str]:
        run = evaluate(localizer, drive(30))
        return [answer_to_json(a).split('"timings_ms"')[0] for a in run.answers]

    assert answers() == answers()


def test_the_street_is_found_where_it_was_mapped(localizer: Localizer, drive: Make) -> None:
    """End to end: every image on the map finds its own place, and progress ends at the total."""
    done: list[tuple[int, int]] = []
    run = evaluate(localizer, drive(30), "sun", Tolerance(10), lambda n, total: done.append((n, total)))
    summary = assess(run).summary
    assert summary.single.at_n[1] == 1.0
    assert summary.condition == "sun"
    assert done == [(n, 30) for n in range(1, 31)]
    assert summary.latency_ms["p50"] > 0
    assert summary.network_ms > 0


def test_a_broken_image_is_one_counted_drop_with_its_reason(localizer: Localizer, drive: Make) -> None:
    run = evaluate(localizer, drive(10, broken=(3,)))
    assert [a.answered for a in run.answers] == [i != 3 for i in range(10)]
    assert "truncated" in run.answers[3].problem
    assert assess(run).summary.dropped == 1


def test_replay_hands_out_frame_answer_and_estimate_together(localizer: Localizer, drive: Make) -> None:
    for index, (frame, answer, estimate) in enumerate(replay(localizer, drive(4, broken=(2,)))):
        assert answer.frame_index == index
        assert frame.stamp_ns == answer.stamp_ns
        assert (estimate is None) == (index == 2)


def test_nothing_to_evaluate_is_an_error_that_says_so(localizer: Localizer, drive: Make) -> None:
    with pytest.raises(DriveError, match="no usable images"):
        evaluate(localizer, drive(0))
    with pytest.raises(DriveError, match=r"can be read; the first one: image 0"):
        evaluate(localizer, drive(2, broken=(0, 1)))
