"""Pictures of figures: recall, precision-recall, reliability. Each takes the assessed runs and returns a Figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.evaluation import metrics, style
from vpr_ros.evaluation.judge import RANKS, Judged, pool
from vpr_ros.evaluation.summary import Assessment, filtered_curve, single_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def recall_at_n(runs: Sequence[Assessment]) -> Figure:
    """Recall over N, single frame and filtered side by side."""
    fig, axes = style.figure(1, 2, (9.5, 3.6), sharey=True)
    colours = style.condition_colours([run.run.condition for run in runs])
    ranks = np.arange(1, RANKS + 1)
    for run in runs:
        on_map, colour = run.judged.on_map, colours[run.run.condition]
        for ax, right in zip(axes[0], (run.judged.match_right, run.judged.answer_right), strict=True):
            curve = 100 * metrics.recall_at_n_curve(right[on_map], RANKS)
            ax.plot(ranks, curve, color=colour, label=run.run.condition, marker="o", markersize=3)
    for ax, title in zip(axes[0], ("Single frame", "Filtered over time"), strict=True):
        ax.set(title=title, xlabel="N best", xticks=[1, 5, 10, 15, 20, 25])
    _finish_recall(axes[0])
    return fig


def recall_at_distance(runs: Sequence[Assessment]) -> Figure:
    """Top-1 recall over the distance that counts as right, 0 to 49 m."""
    fig, axes = style.figure(1, 2, (9.5, 3.6), sharey=True)
    colours = style.condition_colours([run.run.condition for run in runs])
    for run in runs:
        on_map, colour = run.judged.on_map, colours[run.run.condition]
        for ax, error in zip(axes[0], (run.judged.match_error, run.judged.answer_error), strict=True):
            curve = 100 * metrics.top1_recall_at(error[on_map, 0], metrics.CURVE_DISTANCES_M)
            ax.plot(metrics.CURVE_DISTANCES_M, curve, color=colour, label=run.run.condition)
    for ax, title in zip(axes[0], ("Single frame: best place", "Filtered: published pose"), strict=True):
        ax.set(title=title, xlabel=f"distance to the truth ({runs[0].run.tolerance.unit})", xlim=(0, 49))
        for distance in (15, 25):
            ax.axvline(distance, color=style.QUIET, linewidth=0.8, linestyle=":")
    _finish_recall(axes[0])
    return fig


def precision_recall(runs: Sequence[Assessment]) -> Figure:
    """Precision over recall as the confidence asked for falls."""
    fig, axes = style.figure(1, 2, (9.5, 3.6), sharey=True)
    colours = style.condition_colours([run.run.condition for run in runs])
    for run in runs:
        for ax, curve in zip(axes[0], (single_curve(run.judged), filtered_curve(run.judged)), strict=True):
            if not len(curve.recall):
                continue
            label = f"{run.run.condition} (AP {curve.average_precision:.2f})"
            recall, precision = np.insert(curve.recall, 0, 0.0), np.insert(curve.precision, 0, curve.precision[0])
            ax.plot(100 * recall, 100 * precision, color=colours[run.run.condition], label=label)
    titles = ("Single frame, by similarity", "Filtered, by probability")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set(title=title, xlabel="recall (%)", xlim=(0, 101), ylim=(0, 103))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower left")
    axes[0, 0].set_ylabel("precision (%)")
    return fig


def reliability(runs: Sequence[Assessment]) -> Figure:
    """Stated probability against the share that was right, all frames first, then each condition."""
    panels = [(run.run.condition, run.judged) for run in runs]
    if len(panels) > 1:
        panels.insert(0, ("all", pool([run.judged for run in runs])))
    heights = {"height_ratios": [3.2, 1]}
    fig, axes = style.figure(2, len(panels), (max(4.2, 2.7 * len(panels)), 4.2), sharex=True, gridspec_kw=heights)
    for column, (name, judged) in enumerate(panels):
        _reliability_panel(axes[0, column], axes[1, column], name, judged)
    axes[0, 0].set_ylabel("share right (%)")
    axes[1, 0].set_ylabel("frames")
    return fig


def _reliability_panel(ax: Axes, ax_count: Axes, name: str, judged: Judged) -> None:
    bins = metrics.reliability(judged.confidence[judged.known], judged.correct[judged.known])
    centres, filled = 50 * (bins.edges[:-1] + bins.edges[1:]), bins.count > 0
    ax.plot([0, 100], [0, 100], color=style.QUIET, linewidth=1, linestyle="--")
    ax.bar(centres[filled], 100 * bins.accuracy[filled], width=9, color="#9fc5e8", edgecolor="#0072b2", linewidth=0.8)
    ax.plot(100 * bins.confidence[filled], 100 * bins.accuracy[filled], "o", color="#0072b2", markersize=4)
    ax.set(title=f"{name}: ECE {bins.expected_calibration_error:.3f}", xlim=(0, 100), ylim=(0, 103))
    ax_count.bar(centres, bins.count, width=9, color=style.HAIRLINE, edgecolor=style.QUIET, linewidth=0.6)
    ax_count.set_xlabel("stated probability (%)")


def _finish_recall(axes: Sequence[Axes]) -> None:
    axes[0].set(ylabel="recall (%)", ylim=(0, 103))
    axes[1].legend(loc="lower right")
