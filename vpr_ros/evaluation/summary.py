"""A run in figures, computed once: the terminal's table, the report and results.json all read the same Summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation import metrics
from vpr_ros.evaluation.judge import Judged, judge, pool
from vpr_ros.evaluation.record import Run, Tolerance

RECALL_RANKS = (1, 5, 10)
RECALL_DISTANCES_M = (15, 25, 50)


@dataclass(frozen=True)
class Recall:
    """Over the frames on the map. at_n: by N; top1_at_m: by metres; the last two are of the precision-recall curve."""

    at_n: dict[int, float]
    top1_at_m: dict[int, float]
    average_precision: float
    at_full_precision: float


@dataclass(frozen=True)
class Summary:
    """One run, or all of them together (condition "all").

    frames = answered + dropped; of the answered, on_map and off_map count those whose truth is known. single: each
    frame's places without the filter over time; filtered: the answers over time, where a wrong "not on this map" is a
    miss. Shares lie in 0..1, NaN where there is nothing to count. ece, ece_adaptive, brier: of the final answers.
    position_error_m, heading_error_deg: p50 p90 p95 of the poses given. nees_mean (3 when the covariance tells the
    truth) and nees_within_95: of the right poses. latency_ms: p50 p95 p99; network_ms, search_ms: medians.
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


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run with everything the report draws from it."""

    run: Run
    judged: Judged
    summary: Summary


def assess(run: Run) -> Assessment:
    """Judge and summarise one run."""
    judged = judge(run)
    return Assessment(run, judged, summarise(judged, run.name, run.condition, run.tolerance, len(run.answers)))


def summarise_all(assessments: Sequence[Assessment]) -> Summary:
    """The frames of all runs as one, condition "all"."""
    return summarise(
        pool([a.judged for a in assessments]),
        ", ".join(a.run.name for a in assessments),
        "all",
        assessments[0].run.tolerance,
        sum(a.summary.frames for a in assessments),
    )


def summarise(judged: Judged, name: str, condition: str, tolerance: Tolerance, frames: int) -> Summary:
    """The figures of judged answers; frames counts the dropped ones too."""
    rated, given = judged.known, judged.known & ~judged.called_off_map
    bins = metrics.reliability(judged.confidence[rated], judged.correct[rated])
    adaptive = metrics.adaptive_reliability(judged.confidence[rated], judged.correct[rated])
    consistency = judged.nees[given & judged.correct]
    consistency = consistency[np.isfinite(consistency)]
    return Summary(
        name=name,
        condition=condition,
        tolerance=tolerance,
        frames=frames,
        dropped=frames - len(judged.known),
        on_map=int(judged.on_map.sum()),
        off_map=int(judged.off_map.sum()),
        single=_recall(judged, judged.match_right, judged.match_error, single_curve(judged)),
        filtered=_recall(judged, judged.answer_right, judged.answer_error, filtered_curve(judged)),
        off_map_detected=metrics.share(judged.called_off_map[judged.off_map]),
        false_off_map=metrics.share(judged.called_off_map[judged.on_map]),
        ece=bins.expected_calibration_error,
        ece_adaptive=adaptive.expected_calibration_error,
        brier=metrics.brier_score(judged.confidence[rated], judged.correct[rated]),
        position_error_m=metrics.percentiles(judged.position_error[given], (50, 90, 95)),
        heading_error_deg=metrics.percentiles(np.degrees(judged.heading_error_rad[given]), (50, 90, 95)),
        nees_mean=float(consistency.mean()) if len(consistency) else math.nan,
        nees_within_95=metrics.share(consistency <= metrics.CHI2_95_3DOF),
        latency_ms=metrics.percentiles(judged.latency_ms, (50, 95, 99)),
        network_ms=metrics.percentiles(judged.network_ms, (50,))["p50"],
        search_ms=metrics.percentiles(judged.search_ms, (50,))["p50"],
    )


def single_curve(judged: Judged) -> metrics.PrecisionRecall:
    """Precision-recall of each frame's best place, its similarity as confidence."""
    known = judged.known
    return metrics.precision_recall(
        judged.similarity[known], judged.match_right[known, 0], int(judged.on_map[known].sum())
    )


def filtered_curve(judged: Judged) -> metrics.PrecisionRecall:
    """Precision-recall of the published poses, their probability as confidence."""
    known = judged.known
    confidence = np.where(judged.called_off_map, np.nan, judged.confidence)
    return metrics.precision_recall(confidence[known], judged.answer_right[known, 0], int(judged.on_map[known].sum()))


def _recall(judged: Judged, right: np.ndarray, error_m: np.ndarray, curve: metrics.PrecisionRecall) -> Recall:
    right, error_m = right[judged.on_map], error_m[judged.on_map]
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

    right = f"best answer {summaries[-1].tolerance} of the truth, frames on the map"
    return [
        figure("Right, one image alone", right, lambda s: percent(s.single.at_n[1])),
        figure("Right, filtered over time", right, lambda s: percent(s.filtered.at_n[1])),
        figure("Off-map detection", "off-map frames detected", lambda s: percent(s.off_map_detected)),
        figure(
            "Calibration error", "gap between stated probability and share right (ECE)", lambda s: _number(s.ece, 3)
        ),
    ]


Rows = tuple[list[str], list[list[str]]]  # header, and cells as people read them


def recall_rows(summaries: Sequence[Summary]) -> Rows:
    """Recall in percent: two rows a run."""
    distances = [f"<{d} {_unit(summaries)}" for d in RECALL_DISTANCES_M]
    header = ["condition", "answers", *(f"R@{n}" for n in RECALL_RANKS), *distances, "R@P100", "on map"]
    rows = []
    for summary in summaries:
        for kind, recall in (("single", summary.single), ("filtered", summary.filtered)):
            shares = [*recall.at_n.values(), *recall.top1_at_m.values(), recall.at_full_precision]
            rows.append([summary.condition, kind, *(_percent(value) for value in shares), str(summary.on_map)])
    return header, rows


def calibration_rows(summaries: Sequence[Summary]) -> Rows:
    """Off-map detection, calibration and errors of the poses: one row a run; shares in percent."""
    unit = _unit(summaries)
    header = ["condition", "off map", "detected", "false alarms", "ECE"]
    header += [f"error p50 {unit}", f"p95 {unit}", "heading deg"]
    rows = [
        [
            s.condition,
            str(s.off_map),
            _percent(s.off_map_detected),
            _percent(s.false_off_map),
            _number(s.ece, 3),
            _number(s.position_error_m["p50"]),
            _number(s.position_error_m["p95"]),
            _number(s.heading_error_deg["p50"]),
        ]
        for s in summaries
    ]
    return header, rows


def speed_rows(summaries: Sequence[Summary]) -> Rows:
    """Milliseconds from image in to answer out, and of the network and the search: one row a run."""
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
