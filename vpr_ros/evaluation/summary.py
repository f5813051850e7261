"""The figures of a run, computed once: terminal, report and results.json all use the same Summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vpr_ros.evaluation import metrics
from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.score import Scores, pool, score

RECALL_RANKS = (1, 5, 10)
RECALL_DISTANCES_M = (15, 25, 50)


@dataclass(frozen=True)
class Recall:
    """Recall over the frames on the map, 0 to 1.

    at_n: recall@N by N.
    top1_at_m: share of best answers nearer than a distance, by metres.
    average_precision, at_full_precision: of the precision-recall curve.
    """

    at_n: dict[int, float]
    top1_at_m: dict[int, float]
    average_precision: float
    at_full_precision: float


@dataclass(frozen=True)
class Summary:
    """One run, or all of them together (condition "all").

    Shares are 0 to 1; NaN for figures over no frames.

    frames: answered and dropped ones.
    on_map, off_map: number of answered frames on and off the map, as far as their truth is known.
    single: from each frame's own places, without the filter.
    filtered: from the published answers; a wrong "not on this map" is a miss. Without the filter (over_time is false)
    these are the answers to each image alone.
    off_map_detected: share of the off-map frames answered "not on this map".
    false_off_map: the same share of the frames on the map.
    ece, ece_adaptive, brier: calibration of the answers, with bins of equal width and of equal count.
    position_error_m, heading_error_deg: p50 p90 p95 of the poses given.
    nees_mean, nees_within_95: of the right poses, in the map's plane; the mean is 2 if the covariance is right.
    latency_ms: p50 p95 p99.
    network_ms, search_ms: medians.
    """

    name: str
    condition: str
    tolerance: Tolerance
    frames: int
    dropped: int
    on_map: int
    off_map: int
    single: Recall
    filtered: Recall
    off_map_detected: float
    false_off_map: float
    ece: float
    ece_adaptive: float
    brier: float
    position_error_m: dict[str, float]
    heading_error_deg: dict[str, float]
    nees_mean: float
    nees_within_95: float
    latency_ms: dict[str, float]
    network_ms: float
    search_ms: float
    over_time: bool = True


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run with its scores and its figures."""

    run: Run
    scores: Scores
    summary: Summary


def assess(run: Run) -> Assessment:
    """Score and summarise one run."""
    scores = score(run)
    summary = summarise(scores, run.name, run.condition, run.tolerance, len(run.answers))
    return Assessment(run, scores, replace(summary, over_time=run.filtered))


def summarise_all(assessments: Sequence[Assessment]) -> Summary:
    """The figures over the frames of all runs, condition "all"."""
    summary = summarise(
        pool([a.scores for a in assessments]),
        ", ".join(a.run.name for a in assessments),
        "all",
        assessments[0].run.tolerance,
        sum(a.summary.frames for a in assessments),
    )
    return replace(summary, over_time=all(a.summary.over_time for a in assessments))


def summarise(scores: Scores, name: str, condition: str, tolerance: Tolerance, frames: int) -> Summary:
    """The figures of scored answers. frames: number of frames, dropped ones too."""
    rated, given = scores.known, scores.known & ~scores.called_off_map
    bins = metrics.reliability(scores.confidence[rated], scores.correct[rated])
    adaptive = metrics.adaptive_reliability(scores.confidence[rated], scores.correct[rated])
    consistency = scores.nees[given & scores.correct]
    consistency = consistency[np.isfinite(consistency)]
    return Summary(
        name=name,
        condition=condition,
        tolerance=tolerance,
        frames=frames,
        dropped=frames - len(scores.known),
        on_map=int(scores.on_map.sum()),
        off_map=int(scores.off_map.sum()),
        single=_recall(scores, scores.match_right, scores.match_error, single_curve(scores)),
        filtered=_recall(scores, scores.answer_right, scores.answer_error, filtered_curve(scores)),
        off_map_detected=metrics.share(scores.called_off_map[scores.off_map]),
        false_off_map=metrics.share(scores.called_off_map[scores.on_map]),
        ece=bins.expected_calibration_error,
        ece_adaptive=adaptive.expected_calibration_error,
        brier=metrics.brier_score(scores.confidence[rated], scores.correct[rated]),
        position_error_m=metrics.percentiles(scores.position_error[given], (50, 90, 95)),
        heading_error_deg=metrics.percentiles(np.degrees(scores.heading_error_rad[given]), (50, 90, 95)),
        nees_mean=float(consistency.mean()) if len(consistency) else math.nan,
        nees_within_95=metrics.share(consistency <= metrics.CHI2_95_2DOF),
        latency_ms=metrics.percentiles(scores.latency_ms, (50, 95, 99)),
        network_ms=metrics.percentiles(scores.network_ms, (50,))["p50"],
        search_ms=metrics.percentiles(scores.search_ms, (50,))["p50"],
    )


def single_curve(scores: Scores) -> metrics.PrecisionRecall:
    """Precision-recall of each frame's best place, its similarity as confidence."""
    known = scores.known
    return metrics.precision_recall(
        scores.similarity[known], scores.match_right[known, 0], int(scores.on_map[known].sum())
    )


def filtered_curve(scores: Scores) -> metrics.PrecisionRecall:
    """Precision-recall of the published poses, their probability as confidence."""
    known = scores.known
    confidence = np.where(scores.called_off_map, np.nan, scores.confidence)
    right = scores.answer_right[known, 0]
    # A pose between two places can be right where no place is near enough to be.
    return metrics.precision_recall(confidence[known], right, int((scores.on_map[known] | right).sum()))


def _recall(scores: Scores, right: np.ndarray, error_m: np.ndarray, curve: metrics.PrecisionRecall) -> Recall:
    right, error_m = right[scores.on_map], error_m[scores.on_map]
    top1 = metrics.top1_recall_at(error_m[:, 0], RECALL_DISTANCES_M)
    return Recall(
        at_n={n: metrics.recall_at_n(right, n) for n in RECALL_RANKS},
        top1_at_m={d: float(value) for d, value in zip(RECALL_DISTANCES_M, top1, strict=True)},
        average_precision=curve.average_precision,
        at_full_precision=curve.recall_at_full_precision,
    )


@dataclass(frozen=True)
class HeadlineFigure:
    """One of the figures at the top of the report: its value for all runs together, and (condition, value) of each."""

    title: str
    caption: str
    value: str
    parts: tuple[tuple[str, str], ...]


def headline_figures(summaries: Sequence[Summary]) -> list[HeadlineFigure]:
    """The four figures at the top of the report. The last summary is of all runs together, or of the only run."""

    def figure(title: str, caption: str, value: Callable[[Summary], str]) -> HeadlineFigure:
        parts = tuple((s.condition, value(s)) for s in summaries[:-1])
        return HeadlineFigure(title, caption, value(summaries[-1]), parts)

    def percent(value: float) -> str:
        return "–" if math.isnan(value) else f"{_percent(value)} %"

    over_time = summaries[-1].over_time
    answered = "Right, filtered over time" if over_time else "Right and not called off the map (filter off)"
    right = f"best answer {summaries[-1].tolerance} of the truth, frames on the map"
    return [
        figure("Right, one image alone", right, lambda s: percent(s.single.at_n[1])),
        figure(answered, right, lambda s: percent(s.filtered.at_n[1])),
        figure("Off-map detection", "off-map frames detected", lambda s: percent(s.off_map_detected)),
        figure(
            "Calibration error", "gap between stated probability and share right (ECE)", lambda s: _number(s.ece, 3)
        ),
    ]


Rows = tuple[list[str], list[list[str]]]  # header, and rows of formatted cells


def recall_rows(summaries: Sequence[Summary]) -> Rows:
    """Recall in percent: two rows per run. Distances only in metres: numbered frames have none."""
    metric = _unit(summaries) == "m"
    distances = [f"<{d} m" for d in RECALL_DISTANCES_M if metric]
    header = ["condition", "answers", *(f"R@{n}" for n in RECALL_RANKS), *distances, "R@P100", "on map"]
    rows = []
    for summary in summaries:
        answered = "filtered" if summary.over_time else "answered"
        for kind, recall in (("single", summary.single), (answered, summary.filtered)):
            at_metres = recall.top1_at_m.values() if metric else ()
            shares = [*recall.at_n.values(), *at_metres, recall.at_full_precision]
            rows.append([summary.condition, kind, *(_percent(value) for value in shares), str(summary.on_map)])
    return header, rows


def calibration_rows(summaries: Sequence[Summary]) -> Rows:
    """Off-map detection, calibration and errors of the poses: one row per run; shares in percent.

    Numbered frames have no heading.
    """
    unit = _unit(summaries)
    header = ["condition", "off map", "detected", "false alarms", "ECE"]
    header += [f"error p50 {unit}", f"p95 {unit}", *(["heading deg"] if unit == "m" else [])]
    rows = [
        [
            s.condition,
            str(s.off_map),
            _percent(s.off_map_detected),
            _percent(s.false_off_map),
            _number(s.ece, 3),
            _number(s.position_error_m["p50"]),
            _number(s.position_error_m["p95"]),
            *([_number(s.heading_error_deg["p50"])] if unit == "m" else []),
        ]
        for s in summaries
    ]
    return header, rows


def speed_rows(summaries: Sequence[Summary]) -> Rows:
    """Milliseconds from image in to answer out, and of network and search: one row per run."""
    header = ["condition", "frames", "dropped", "p50 ms", "p95 ms", "p99 ms", "network ms", "search ms"]
    rows = [
        [
            s.condition,
            str(s.frames),
            str(s.dropped),
            *(_number(value) for value in s.latency_ms.values()),
            _number(s.network_ms),
            _number(s.search_ms, 2),
        ]
        for s in summaries
    ]
    return header, rows


def _unit(summaries: Sequence[Summary]) -> str:
    return summaries[0].tolerance.unit if summaries else "m"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
