"""From answers to the figures people read, on a street where each can be worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.score import score
from vpr_ros.evaluation.summary import (
    assess,
    calibration_rows,
    headline_figures,
    recall_rows,
    speed_rows,
    summarise_all,
)
from vpr_ros.evaluation.table import tables

Make = Callable[..., Any]


def test_counts(street: Run) -> None:
    """Frames off the map and dropped ones are counted, and stay out of recall."""
    summary = assess(street).summary
    assert (summary.frames, summary.dropped, summary.on_map, summary.off_map) == (6, 1, 3, 2)


def test_recall_single_and_filtered(street: Run) -> None:
    summary = assess(street).summary
    assert summary.single.at_n == pytest.approx({1: 1 / 3, 5: 2 / 3, 10: 2 / 3})
    assert summary.filtered.at_n == pytest.approx({1: 2 / 3, 5: 2 / 3, 10: 2 / 3})
    assert summary.single.top1_at_m == pytest.approx({15: 1 / 3, 25: 1 / 3, 50: 1.0})
    assert summary.filtered.top1_at_m == pytest.approx({15: 2 / 3, 25: 2 / 3, 50: 1.0})


def test_rows_without_the_filter_do_not_say_filtered(street: Run) -> None:
    """With filter.enabled=false a row called "filtered" made readers compare what was never filtered."""
    alone = assess(dataclasses.replace(street, filtered=False)).summary
    _, rows = recall_rows([alone, assess(street).summary])
    assert [row[1] for row in rows] == ["single", "answered", "single", "filtered"]
    assert "filter off" in headline_figures([alone])[1].title


def test_numbered_frames_get_only_the_rows_that_mean_something(street: Run) -> None:
    """Frame numbers are no metres: no distances, and no heading."""
    numbered = assess(dataclasses.replace(street, tolerance=Tolerance(25.0, 25, 25.0))).summary
    header, rows = recall_rows([numbered])
    assert not any("<" in name for name in header) and all(len(row) == len(header) for row in rows)
    header, rows = calibration_rows([numbered])
    assert "heading deg" not in header and "p95 frames" in header and all(len(row) == len(header) for row in rows)


def test_full_precision_counts_answers_off_the_map_as_wrong(street: Run) -> None:
    """By probability: 0.9 right, 0.7 wrong, 0.6 right and 0.6 wrong (off the map): 1/3 before the first error."""
    summary = assess(street).summary
    assert summary.filtered.at_full_precision == pytest.approx(1 / 3)
    assert summary.filtered.average_precision == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 4)


def test_off_map_detection_and_false_alarms(street: Run, make_run: Make, answer: Make, hypothesis: Make) -> None:
    summary = assess(street).summary
    assert (summary.off_map_detected, summary.false_off_map) == (0.5, 0.0)
    alarm = assess(
        make_run([answer(0, 50, [50], [hypothesis(50, 0.4)], 0.5), answer(1, 50, [50], [hypothesis(50, 0.9)])])
    )
    assert alarm.summary.false_off_map == 0.5
    assert math.isnan(alarm.summary.off_map_detected)


def test_a_wrong_not_on_this_map_is_a_miss_that_takes_its_rank(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """The published answer was wrong, though the right pose came second."""
    filtered = assess(make_run([answer(0, 50, [50], [hypothesis(50, 0.4)], 0.5)])).summary.filtered
    assert filtered.at_n == {1: 0.0, 5: 1.0, 10: 1.0}
    assert filtered.top1_at_m == {15: 0.0, 25: 0.0, 50: 0.0}


def test_calibration_uses_the_answer_that_was_given(street: Run) -> None:
    """Pose answers by their probability, "not on this map" by its own: 0.9 R, 0.6 R, 0.7 W, 0.8 R (off map), 0.6 W."""
    scores, summary = score(street), assess(street).summary
    assert scores.confidence.tolist() == [0.9, 0.6, 0.7, 0.8, 0.6]
    assert scores.correct.tolist() == [True, True, False, True, False]
    assert summary.brier == pytest.approx((0.1**2 + 0.4**2 + 0.7**2 + 0.2**2 + 0.6**2) / 5)
    # bins: 0.6-0.7 holds two, one right: gap 0.1; then single ones: 0.7 wrong, 0.8 right, 0.9 right
    assert summary.ece == pytest.approx((2 * 0.1 + 0.7 + 0.2 + 0.1) / 5)


def test_errors_of_the_poses(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """Position over all poses given, covariance over the right ones only: 3 m at sigma 2 and 4 m at sigma 2."""
    run = make_run(
        [
            answer(0, 50, [50], [hypothesis(53, 0.9, 4.0, yaw=np.radians(10))]),
            answer(1, 50, [50], [hypothesis(54, 0.9, 4.0, yaw=np.radians(-350))]),
            answer(2, 50, [50], [hypothesis(90, 0.9, 4.0)]),
        ]
    )
    summary = assess(run).summary
    assert summary.position_error_m["p50"] == pytest.approx(4.0)
    assert summary.heading_error_deg["p50"] == pytest.approx(10.0)
    assert summary.nees_mean == pytest.approx((9 / 4 + 16 / 4) / 2)
    assert summary.nees_within_95 == 1.0


def test_heights_that_do_not_agree_are_no_error(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """Satellites give heights that jump by tens of metres: NEES was 3600 for a pose that was right."""
    high = hypothesis(53, 0.9, 4.0)
    high.T_map_camera[1:3, 3] += 4, 30
    summary = assess(make_run([answer(0, 50, [50], [high])])).summary
    assert summary.nees_mean == pytest.approx((9 + 16) / 4) and summary.position_error_m["p50"] == pytest.approx(5.0)


def test_a_pose_between_two_places_is_no_second_way_to_be_right(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """With a tolerance of 1 m on places 10 m apart, images between them have no right place, but right poses.

    Recall, and the area under its curve, was above 1; and these images were off the map.
    """
    tolerance = Tolerance.in_metres(1.0, spacing=10.0)
    assert tolerance.off_map_metres == 25.0 and Tolerance.in_metres(40.0, 10.0).off_map_metres == 40.0
    answers = [answer(k, 3.0 * k, [10], [hypothesis(3.0 * k, 0.9)]) for k in range(30)]
    summary = assess(dataclasses.replace(make_run(answers), tolerance=tolerance)).summary
    assert summary.filtered.average_precision == summary.filtered.at_full_precision == pytest.approx(1.0)
    assert summary.off_map == 0 and summary.false_off_map == 0


def test_latency_and_steps(street: Run) -> None:
    summary = assess(street).summary
    assert summary.latency_ms == pytest.approx({"p50": 20.0, "p95": 29.0, "p99": 29.8})
    assert (summary.network_ms, summary.search_ms) == (8.0, 1.0)


def test_exactly_25_m_is_off_the_map_and_wrong(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """The last place lies at 100 m: 124.9 is on the map, 125 is not, and no frame falls between."""
    scores = score(
        make_run([answer(0, 124.9, [100], [hypothesis(100, 0.9)]), answer(1, 125, [100], [hypothesis(100, 0.9)])])
    )
    assert scores.on_map.tolist() == [True, False]
    assert scores.off_map.tolist() == [False, True]
    assert scores.match_right[:, 0].tolist() == [True, False]


def test_between_tolerance_and_off_map_distance_a_frame_counts_for_neither(
    make_run: Make, answer: Make, hypothesis: Make
) -> None:
    tolerance = Tolerance(metres=10, off_map_metres=50)
    scores = score(make_run([answer(0, 130, [100], [hypothesis(100, 0.9)])], tolerance))
    assert (scores.on_map[0], scores.off_map[0], scores.known[0]) == (False, False, True)


def test_tolerance_in_frames_includes_its_bound(make_run: Make, answer: Make) -> None:
    """A numbered drive: frame k at x = k, and three frames away is still right."""
    run = make_run([answer(0, 53, [50]), answer(1, 54, [50]), answer(2, 55, [50])], Tolerance(frames=4))
    scores = score(run)
    assert scores.match_right[:, 0].tolist() == [True, True, False]
    assert scores.on_map.tolist() == [True, True, False]
    assert "p95 frames" in calibration_rows([assess(run).summary])[0]


def test_without_truth_only_speed_and_counts_are_told(make_run: Make, answer: Make, hypothesis: Make) -> None:
    summary = assess(make_run([answer(0, None, [50], [hypothesis(50, 0.9)], latency_ms=5.0)])).summary
    assert (summary.frames, summary.on_map, summary.off_map) == (1, 0, 0)
    assert summary.latency_ms["p50"] == 5.0
    told = (summary.single.at_n[1], summary.filtered.at_n[1], summary.ece, summary.off_map_detected, summary.nees_mean)
    assert np.isnan(told).all()
    assert recall_rows([summary])[1][0][2] == "–"


def test_a_run_of_nothing_but_drops_still_has_a_summary(make_run: Make, answer: Make) -> None:
    summary = assess(make_run([answer(0, 50, answered=False)])).summary
    assert (summary.frames, summary.dropped) == (1, 1)
    assert math.isnan(summary.latency_ms["p50"])


def test_all_runs_together_weigh_frames_not_runs(street: Run, make_run: Make, answer: Make, hypothesis: Make) -> None:
    right = make_run([answer(i, 50, [50], [hypothesis(50, 0.9)]) for i in range(7)], condition="snow")
    everything = summarise_all([assess(street), assess(right)])
    assert (everything.condition, everything.frames, everything.dropped) == ("all", 13, 1)
    assert everything.single.at_n[1] == pytest.approx(8 / 10)


def test_the_terminal_shows_the_same_cells_as_the_report(street: Run) -> None:
    from rich.console import Console

    summaries = [assess(street).summary]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables(summaries):
        console.print(table)
    text = console.export_text()
    for rows in (recall_rows(summaries)[1], calibration_rows(summaries)[1], speed_rows(summaries)[1]):
        assert all(cell in text for row in rows for cell in row)
