"""Metrics of place recognition and calibration on plain arrays. A metric over no items is NaN, never 0 or 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHI2_95_2DOF = 5.991  # 95 % quantile of chi-squared with two degrees of freedom
CURVE_DISTANCES_M = tuple(range(50))


def share(chosen: np.ndarray) -> float:
    """Mean of (F,) booleans; NaN if F is 0."""
    return float(np.mean(chosen)) if len(chosen) else float("nan")


def recall_at_n(right: np.ndarray, n: int) -> float:
    """Share of queries with a right place among their n best.

    right: (F, K) bool, best first, False beyond a query's last place.
    """
    return share(np.any(right[:, :n], axis=1))


def recall_at_n_curve(right: np.ndarray, n_max: int) -> np.ndarray:
    """(n_max,) recall at 1, 2, ..., n_max."""
    return np.array([recall_at_n(right, n) for n in range(1, n_max + 1)])


def top1_recall_at(error_m: np.ndarray, distances_m: Sequence[float]) -> np.ndarray:
    """Share of queries whose best place or pose is strictly nearer than each distance.

    error_m: (F,) metres; inf if there is no answer; NaN if the error is unknown, which leaves the query out.
    """
    known = error_m[~np.isnan(error_m)]
    return np.array([share(known < distance) for distance in distances_m])


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """precision, recall, threshold: (T,) for each distinct confidence, most confident first."""

    precision: np.ndarray
    recall: np.ndarray
    threshold: np.ndarray

    @property
    def average_precision(self) -> float:
        """Sum of precision times the step in recall; NaN for an empty curve."""
        if not len(self.recall):
            return float("nan")
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    @property
    def recall_at_full_precision(self) -> float:
        """The largest recall reached without one wrong answer; NaN for an empty curve."""
        if not len(self.recall):
            return float("nan")
        return float(np.max(self.recall[self.precision == 1.0], initial=0.0))


def precision_recall(confidence: np.ndarray, correct: np.ndarray, positives: int) -> PrecisionRecall:
    """Accept answers above a falling threshold.

    confidence: (F,), NaN for a query without an answer. correct: (F,) bool. positives: number of queries that have a
    right answer at all, the denominator of recall. Equal confidences are accepted together. Empty if positives is 0.
    """
    given = ~np.isnan(confidence)
    order = np.argsort(-confidence[given], kind="stable")
    score, hit = confidence[given][order], correct[given][order]
    if not len(score) or positives == 0:
        return PrecisionRecall(np.zeros(0), np.zeros(0), np.zeros(0))
    last_of_equals = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    hits = np.cumsum(hit)[last_of_equals]
    return PrecisionRecall(hits / (last_of_equals + 1), hits / positives, score[last_of_equals])


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of a reliability diagram.

    edges: (B + 1,). confidence, accuracy: (B,) means, NaN in an empty bin. count: (B,).
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """Mean gap between confidence and accuracy, weighted by count (Guo et al. 2017); NaN without answers."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        gap = np.abs(self.confidence - self.accuracy)[filled]
        return float(np.sum(gap * self.count[filled]) / self.count.sum())


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> Reliability:
    """Bins of equal width over [0, 1]; 1.0 falls in the last. confidence: (F,) in [0, 1]; correct: (F,) bool."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    return _binned(edges, [np.flatnonzero(bin_of == b) for b in range(bins)], confidence, correct)


def adaptive_reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> Reliability:
    """Bins of equal count, which crowded confidences near 1 cannot hide in. Equal confidences share a bin."""
    order = np.argsort(confidence, kind="stable")
    ascending = confidence[order]
    ends = np.minimum(np.arange(1, bins) * len(order) // bins, max(len(order) - 1, 0))
    if len(order):  # before and behind each run of equal ones, so that it hides no others
        first, last = (np.searchsorted(ascending, ascending[ends], side) for side in ("left", "right"))
        ends = np.unique([*first, *last[last - first > 1]])
    members = [part for part in np.split(order, ends) if len(part)] or [order]
    uppers = [confidence[m[-1]] if len(m) else np.nan for m in members]
    lowest = float(np.min(confidence)) if len(confidence) else float("nan")
    return _binned(np.array([lowest, *uppers]), members, confidence, correct)


def _binned(edges: np.ndarray, members: list[np.ndarray], confidence: np.ndarray, correct: np.ndarray) -> Reliability:
    return Reliability(
        edges,
        np.array([confidence[m].mean() if len(m) else np.nan for m in members]),
        np.array([correct[m].mean() if len(m) else np.nan for m in members]),
        np.array([len(m) for m in members]),
    )


def brier_score(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean squared gap between confidence and outcome (Brier 1950); NaN without answers."""
    return float(np.mean((confidence - correct) ** 2)) if len(confidence) else float("nan")


def nees(error: np.ndarray, covariance: np.ndarray) -> float:
    """Normalised estimation error squared e' P^-1 e; its mean is the dimension d if P is right.

    error: (d,) metres. covariance: (d, d). NaN if the covariance cannot be inverted or the error is unknown.
    """
    try:
        return float(error @ np.linalg.solve(covariance, error))
    except np.linalg.LinAlgError:
        return float("nan")


def percentiles(values: np.ndarray, wanted: Sequence[int]) -> dict[str, float]:
    """{"p50": ...} over the finite values, linear between neighbours; NaN without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {f"p{percent}": float("nan") for percent in wanted}
    found = np.percentile(finite, wanted)
    return {f"p{percent}": float(value) for percent, value in zip(wanted, found, strict=True)}
