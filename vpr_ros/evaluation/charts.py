"""Charts of all runs together, as Plotly figures: plain dicts with ``data`` and ``layout``.

To add one: write a function, list it in ``CHARTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.evaluation import metrics, style
from vpr_ros.evaluation.score import RANKS, Scores, pool
from vpr_ros.evaluation.summary import RECALL_DISTANCES_M, Assessment, filtered_curve, single_curve

Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart, its words and the function that draws it."""

    name: str
    title: str
    caption: str
    draw: Callable[[Sequence[Assessment]], Figure]


def recall_by_count(runs: Sequence[Assessment]) -> Figure:
    """Recall over the number of places or poses considered."""
    ranks = np.arange(1, RANKS + 1)

    def curve(scores: Scores, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ranks, metrics.recall_at_n_curve(right[scores.on_map], RANKS)

    curves = [(curve(r.scores, r.scores.match_right), curve(r.scores, r.scores.answer_right)) for r in runs]
    return _two_lines_a_run(runs, curves, "N best", "recall (%)")


def recall_by_distance(runs: Sequence[Assessment]) -> Figure:
    """Share of best answers nearer to the truth than each distance."""
    distances = np.array(metrics.CURVE_DISTANCES_M)

    def curve(scores: Scores, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return distances, metrics.top1_recall_at(error[scores.on_map, 0], metrics.CURVE_DISTANCES_M)

    curves = [(curve(r.scores, r.scores.match_error), curve(r.scores, r.scores.answer_error)) for r in runs]
    figure = _two_lines_a_run(runs, curves, f"distance to the truth ({runs[0].run.tolerance.unit})", "recall (%)")
    marks = [d for d in RECALL_DISTANCES_M if d <= distances[-1]]
    figure["layout"]["xaxis"] |= {"tickvals": sorted({0, *marks, int(distances[-1])})}
    return figure


def precision_recall(runs: Sequence[Assessment]) -> Figure:
    """Precision over recall for a falling confidence threshold."""

    def curve(found: metrics.PrecisionRecall) -> tuple[np.ndarray, np.ndarray]:
        if not len(found.recall):
            return np.zeros(0), np.zeros(0)
        return 100 * np.insert(found.recall, 0, 0.0), np.insert(found.precision, 0, found.precision[0])

    curves = [(curve(single_curve(run.scores)), curve(filtered_curve(run.scores))) for run in runs]
    figure = _two_lines_a_run(runs, curves, "recall (%)", "precision (%)")
    figure["layout"]["xaxis"]["range"] = [0, 101]
    return figure


def calibration(runs: Sequence[Assessment]) -> Figure:
    """Share of right answers over the stated probability, above the number of answers in each bin."""
    groups = [(run.run.condition, run.scores, colour) for run, colour in zip(runs, _colours(runs), strict=True)]
    everything = pool([run.scores for run in runs])
    if len(runs) > 1:
        groups.append(("all", everything, style.QUIET))
    traces: list[Figure] = [line([0, 100], [0, 100], style.QUIET, "as stated", dash="dot", hoverinfo="skip")]
    for name, scores, colour in groups:
        bins = metrics.reliability(scores.confidence[scores.known], scores.correct[scores.known])
        filled = bins.count > 0
        x, y = 100 * bins.confidence[filled], 100 * bins.accuracy[filled]
        label = f"{name}: error {bins.expected_calibration_error:.3f}" if filled.any() else name
        trace = line(x, y, colour, label, mode="lines+markers", text=[f"{n} answers" for n in bins.count[filled]])
        trace["line"]["width"] = 1
        trace["marker"] = {"size": np.sqrt(bins.count[filled]).clip(4, 14).round(1).tolist()}
        traces.append(trace)
    bins = metrics.reliability(everything.confidence[everything.known], everything.correct[everything.known])
    centres = 50 * (bins.edges[:-1] + bins.edges[1:])
    traces.append(
        {
            "type": "bar",
            "x": centres.tolist(),
            "y": bins.count.tolist(),
            "marker": {"color": style.QUIET, "opacity": 0.5},
            "name": "answers",
            "showlegend": False,
            "yaxis": "y2",
        }
    )
    axes = layout("stated probability (%)", "share right (%)")
    axes["xaxis"] |= {"range": [0, 101], "anchor": "y2"}
    axes["yaxis"] |= {"domain": [0.3, 1]}
    axes["yaxis2"] = {"domain": [0, 0.22], "title": {"text": "answers"}, "nticks": 3}
    return {"data": traces, "layout": axes}


CHARTS = (
    Chart(
        "recall_by_count",
        "Recall among the N best",
        "Share of the frames on the map with a right place among the N best. Filtered: a wrong “not on this map” is "
        "a miss.",
        recall_by_count,
    ),
    Chart(
        "recall_by_distance",
        "Recall by distance",
        "Share of the frames on the map whose best answer is nearer to the truth than this distance.",
        recall_by_distance,
    ),
    Chart(
        "precision_recall",
        "Precision and recall",
        "The confidence threshold falls from left to right. Frames off the map count against precision.",
        precision_recall,
    ),
    Chart(
        "calibration",
        "Calibration",
        "Of the answers given with this probability, the share that was right. On the dotted line, the probability is "
        "exact.",
        calibration,
    ),
)


def _two_lines_a_run(
    runs: Sequence[Assessment],
    curves: Sequence[tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]],
    x_title: str,
    y_title: str,
) -> Figure:
    """curves: for each run (x, y) of single images, dashed, and of the filtered answers; y in 0..1."""
    traces = []
    for run, colour, (single, filtered) in zip(runs, _colours(runs), curves, strict=True):
        name = run.run.condition
        traces.append(line(filtered[0], 100 * filtered[1], colour, f"{name}, filtered"))
        traces.append(line(single[0], 100 * single[1], colour, f"{name}, single image", dash="dash"))
    return {"data": traces, "layout": layout(x_title, y_title)}


def line(x: Any, y: Any, colour: str, name: str, dash: str = "solid", mode: str = "lines", **more: Any) -> Figure:
    """A line through (N,) x and y; NaN becomes a gap. more: other properties of a Plotly scatter trace."""
    return {
        "type": "scatter",
        "mode": mode,
        "x": np.asarray(x, float).round(3).tolist(),
        "y": [None if np.isnan(value) else round(float(value), 2) for value in y],
        "line": {"color": colour, "dash": dash, "width": 2},
        "name": name,
        **more,
    }


def layout(x_title: str, y_title: str, y_range: tuple[float, float] | None = (0, 103)) -> Figure:
    """A layout with two axes; y_range: percent by default, None to fit the data."""
    yaxis: Figure = {"title": {"text": y_title}, "rangemode": "tozero"}
    if y_range:
        yaxis["range"] = list(y_range)
    return {"xaxis": {"title": {"text": x_title}}, "yaxis": yaxis}


def _colours(runs: Sequence[Assessment]) -> list[str]:
    by_name = style.condition_colours([run.run.condition for run in runs])
    return [by_name[run.run.condition] for run in runs]
