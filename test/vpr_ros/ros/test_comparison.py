"""The watchdog's decision: evidence by the view, bounded by what our pose is sure of, gone where nothing is sure."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.records import Estimate, Hypothesis
from vpr_ros.ros.outputs.comparison import PoseComparison, Verdict

SECOND = 10**9
COVARIANCE = np.diag([1.0, 1.0, 0.1, 0.01, 0.01, 0.01])


def pose(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    return geometry.transform(geometry.matrix_from_rpy(0.0, 0.0, yaw), np.array([x, y, 0.0]))


def drive(
    comparison: PoseComparison,
    images: int,
    off: tuple[float, float, float] = (0.0, 0.0, 0.0),
    start: int = 0,
    kept: float = 0.4,
    probability: float = 0.98,
    covariance: np.ndarray = COVARIANCE,
    spacing: float = 5.0,
) -> None:
    """Images once a second, 5 m apart; the other is off by x, y and yaw. kept: of the view before."""
    for k in range(start, start + images):
        hypothesis = Hypothesis(pose(5.0 * k), covariance, probability, (k,))
        estimate = Estimate((k + 1) * SECOND, [hypothesis], [], 1 - probability, view_kept=kept)
        comparison.take(estimate, np.eye(4), spacing, pose(5.0 * k + off[0], *off[1:]), "")


@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (0.3, -0.3, 0.02), (1.5, 0.0, 0.1)])
def test_a_true_localiser_agrees(off: tuple[float, float, float]) -> None:
    """Our own error of a metre or two is no disagreement."""
    comparison = PoseComparison()
    assert comparison.result.verdict == Verdict.CANNOT_TELL
    drive(comparison, 10, off)
    result = comparison.result
    assert (result.verdict, result.reason) == (Verdict.AGREE, "")
    assert result.distance == pytest.approx(np.hypot(*off[:2]))


@pytest.mark.parametrize("off", [(10.0, 0.0, 0.0), (0.0, -10.0, 0.0), (0.0, 0.0, np.pi)], ids=["on", "aside", "turned"])
def test_a_thrown_one_is_found_with_its_time_and_distance(off: tuple[float, float, float]) -> None:
    """Since when, how far, how sure: an operator wants to see where it happened. A flipped AMCL is as wrong."""
    comparison = PoseComparison()
    drive(comparison, 20)
    drive(comparison, 10, off, start=20)
    result = comparison.result
    assert result.verdict == Verdict.DISAGREE and result.probability > 0.999
    assert result.distance == pytest.approx(np.hypot(*off[:2])) and abs(result.turn) == pytest.approx(abs(off[2]))
    assert 21 * SECOND <= result.since_ns <= 25 * SECOND
    drive(comparison, 15, start=30)
    assert comparison.result.verdict == Verdict.AGREE  # it was set right


def test_one_view_is_one_piece_of_evidence() -> None:
    """A thousand images of one wall that looks like another one say no more than the first."""
    comparison = PoseComparison()
    drive(comparison, 1, (10.0, 0.0, 0.0), kept=0.0)
    once = comparison.result.probability
    drive(comparison, 1000, (10.0, 0.0, 0.0), start=1, kept=1.0)
    assert comparison.result.probability == pytest.approx(once)
    assert comparison.result.verdict == Verdict.CANNOT_TELL
    drive(comparison, 1, start=1001, kept=1.0)  # what this view says now replaces what it said
    assert comparison.result.probability < 0.5


def test_nor_does_flicker_of_our_probability_make_it_more() -> None:
    """Sure and unsure by turns, in front of one view."""
    comparison = PoseComparison()
    drive(comparison, 1, (10.0, 0.0, 0.0), kept=0.0)
    once = comparison.result.probability
    for k in range(1, 100):
        drive(comparison, 1, (10.0, 0.0, 0.0), start=k, kept=1.0, probability=0.98 if k % 2 else 0.5)
        assert comparison.result.probability <= once + 1e-9


def test_a_wrong_answer_or_two_raises_no_alarm() -> None:
    """Our own pose is wrong at times, at full probability, and for a few views in a row."""
    comparison = PoseComparison()
    for k in range(0, 200, 10):
        drive(comparison, 7, start=k)
        drive(comparison, 3, (30.0, 0.0, 0.0), start=k + 7)
        assert comparison.result.verdict != Verdict.DISAGREE


def test_what_our_covariance_covers_is_no_disagreement() -> None:
    """A map with a place every 20 m cannot see 10 m."""
    comparison = PoseComparison()
    drive(comparison, 50, (10.0, 0.0, 0.0), covariance=100 * COVARIANCE)
    assert comparison.result.verdict != Verdict.DISAGREE
    comparison = PoseComparison()
    drive(comparison, 50, (10.0, 0.0, 0.0), spacing=20.0)  # nor if it claims more than places allow
    assert comparison.result.verdict != Verdict.DISAGREE


def test_it_forgets_where_we_are_not_sure() -> None:
    """On a detour off the map there is nothing to compare, whatever was true before."""
    for off, verdict in (((0.0, 0.0, 0.0), Verdict.AGREE), ((10.0, 0.0, 0.0), Verdict.DISAGREE)):
        comparison = PoseComparison()
        drive(comparison, 20, off)
        assert comparison.result.verdict == verdict
        drive(comparison, 4, off, start=20, probability=0.6)
        result = comparison.result
        assert (result.verdict, result.since_ns) == (Verdict.CANNOT_TELL, 0)
        assert "not sure (60%)" in result.reason


def test_why_it_cannot_tell() -> None:
    """Each cause by name: a silent watchdog looks like one that is content."""
    good = Hypothesis(np.eye(4), COVARIANCE, 0.98, (1,))
    cases = (
        (Estimate(0, [good], [], 0.01, problem="the image is black"), np.eye(4), np.eye(4), "black"),
        (Estimate(0, [], [], 0.93), np.eye(4), np.eye(4), "not on this map (93%)"),
        (Estimate(0, [good], [], 0.01), None, np.eye(4), "camera's pose"),
        (Estimate(0, [good], [], 0.01), np.eye(4), None, "no pose on /amcl_pose"),
    )
    for estimate, mounting, other, words in cases:
        comparison = PoseComparison()
        comparison.take(estimate, mounting, 5.0, other, "no pose on /amcl_pose")
        assert comparison.result.verdict == Verdict.CANNOT_TELL and words in comparison.result.reason
