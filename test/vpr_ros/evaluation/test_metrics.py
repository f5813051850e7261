"""Every figure against one worked out by hand: a wrong metric makes every later decision wrong."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.evaluation import metrics


def test_recall_counts_a_query_once_when_any_of_its_n_best_is_right() -> None:
    right = np.array([[True, True, False], [False, False, True], [False, False, False], [False, True, False]])
    assert metrics.recall_at_n(right, 1) == 0.25
    assert metrics.recall_at_n(right, 2) == 0.5
    assert metrics.recall_at_n_curve(right, 5).tolist() == [0.25, 0.5, 0.75, 0.75, 0.75]


def test_top1_recall_is_strict_and_leaves_unknown_errors_out() -> None:
    """25.0 m is not within 25 m (the field's convention), inf is a miss, NaN is no query."""
    error = np.array([3.0, 25.0, np.inf, np.nan])
    assert metrics.top1_recall_at(error, (3, 25, 50)) == pytest.approx([0.0, 1 / 3, 2 / 3])


def test_precision_recall_by_hand() -> None:
    """Confident first: right, right, wrong, right, of 4 answerable queries: AP = 1/4 + 1/4 + 1/4 * 3/4."""
    curve = metrics.precision_recall(np.array([0.7, 0.9, 0.6, 0.8]), np.array([False, True, True, True]), 4)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.precision == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert curve.recall == pytest.approx([1 / 4, 1 / 2, 1 / 2, 3 / 4])
    assert curve.average_precision == pytest.approx(0.25 + 0.25 + 0.25 * 0.75)
    assert curve.recall_at_full_precision == 0.5


def test_equal_confidences_are_accepted_together() -> None:
    """No order among equals may flatter the curve: one right and one wrong at 0.5 give precision one half."""
    for correct in ([True, False], [False, True]):
        curve = metrics.precision_recall(np.array([0.5, 0.5]), np.array(correct), 1)
        assert curve.precision.tolist() == [0.5]
        assert curve.recall_at_full_precision == 0.0


def test_unanswered_queries_only_cost_recall() -> None:
    curve = metrics.precision_recall(np.array([0.5, np.nan]), np.array([True, True]), 2)
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([1.0], [0.5])


def test_calibration_error_by_hand() -> None:
    """Two answers of 0.95 and two of 0.25, half of each right: ECE = (0.45 + 0.25) / 2."""
    confidence, correct = np.array([0.95, 0.95, 0.25, 0.25]), np.array([True, False, True, False])
    bins = metrics.reliability(confidence, correct)
    assert bins.count.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert bins.accuracy[9] == 0.5
    assert np.isnan(bins.accuracy[0])
    assert bins.expected_calibration_error == pytest.approx(0.35)
    assert metrics.brier_score(confidence, correct) == pytest.approx((0.05**2 + 0.95**2 + 0.75**2 + 0.25**2) / 4)


def test_probability_one_falls_into_the_last_bin() -> None:
    assert metrics.reliability(np.array([1.0, 0.9, 0.0]), np.ones(3, bool)).count.tolist() == [1, *[0] * 8, 2]


def test_adaptive_bins_see_what_equal_width_hides() -> None:
    """In 0.9-1, over- and under-confidence cancel in one bin and show in bins of equal count."""
    confidence = np.repeat([0.91, 0.99], 50)
    correct = np.concatenate([np.ones(50, bool), np.arange(50) < 45])  # right: all at 0.91, 90 % at 0.99
    assert metrics.reliability(confidence, correct).expected_calibration_error == pytest.approx(0.0, abs=1e-12)
    adaptive = metrics.adaptive_reliability(confidence, correct)
    assert adaptive.expected_calibration_error == pytest.approx(0.09)
    spread = metrics.adaptive_reliability(confidence + np.linspace(0, 1e-6, 100), correct)
    assert spread.count.tolist() == [10] * 10


def test_equal_confidences_are_judged_together_in_any_order() -> None:
    """Of 1000 answers at 0.9, 900 were right: no error at all, and not 0.18 because the wrong ones came last."""
    confidence, correct = np.full(1000, 0.9), np.arange(1000) < 900
    for order in (np.arange(1000), np.random.default_rng(0).permutation(1000)):
        found = metrics.adaptive_reliability(confidence, correct[order])
        assert found.expected_calibration_error == pytest.approx(0.0, abs=1e-12)
    few = np.concatenate([np.full(95, 0.5), np.linspace(0.97, 0.99, 9)])
    found = metrics.adaptive_reliability(few, np.arange(104) < 52)  # the few sure ones are all wrong
    assert found.expected_calibration_error > 0.1


def test_nees_is_the_squared_error_in_sigmas() -> None:
    assert metrics.nees(np.array([2.0, 0.0, 3.0]), np.diag([4.0, 1.0, 9.0])) == pytest.approx(2.0)
    assert np.isnan(metrics.nees(np.ones(3), np.zeros((3, 3))))


def test_percentiles_ignore_what_was_not_measured() -> None:
    assert metrics.percentiles(np.array([1.0, 2.0, 3.0, np.nan]), (50,)) == {"p50": 2.0}


def test_nothing_counted_is_nan_not_a_perfect_or_a_zero_score() -> None:
    nothing, none_right = np.zeros(0), np.zeros(0, bool)
    curve = metrics.precision_recall(nothing, none_right, 0)
    assert np.isnan(
        [
            metrics.share(none_right),
            metrics.recall_at_n(np.zeros((0, 5), bool), 1),
            *metrics.top1_recall_at(nothing, (15, 25)),
            curve.average_precision,
            curve.recall_at_full_precision,
            metrics.reliability(nothing, none_right).expected_calibration_error,
            metrics.adaptive_reliability(nothing, none_right).expected_calibration_error,
            metrics.brier_score(nothing, none_right),
            metrics.percentiles(nothing, (50,))["p50"],
        ]
    ).all()
