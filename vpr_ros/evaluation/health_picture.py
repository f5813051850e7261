"""A picture of a map's health from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.base.files import written_whole
from vpr_ros.evaluation import style
from vpr_ros.evaluation.health import LOST, OFF_MAP, OLD, TWINS, Health

MOST_POINTS = 20_000  # drawn of each kind; more are thinned evenly
_LOOKS = {OLD: (style.UNKNOWN, "o", 4), TWINS: (style.CONDITION_COLOURS[2], "d", 6), OFF_MAP: (style.OFF_MAP, "s", 5)}
_LOOKS |= {LOST: (style.WRONG, "X", 6)}


def draw_health(health: Health, positions: np.ndarray, path: Path) -> None:
    """Write a PNG. positions: (N, 2) metres, of the map's places."""
    with style.styled():
        shown = [points for points in (positions, *health.points.values()) if len(points)]
        low, high = (edge(np.concatenate(shown), axis=0) for edge in (np.min, np.max))
        width, height = high - low + 60.0
        fig, axes = style.figure(1, 1, (9.5, float(np.clip(7.6 * height / width, 3.0, 9.5)) + 1.0))
        ax = axes[0, 0]
        ax.plot(*_thinned(positions).T, "o", color=style.QUIET, markersize=2.2, alpha=0.7, label="places of the map")
        for problem, (colour, marker, size) in _LOOKS.items():
            points = health.points.get(problem, np.zeros((0, 2)))
            if len(points):
                label = f"{problem}: {len(points)}"
                ax.plot(*_thinned(points).T, marker, color=colour, markersize=size, linestyle="none", label=label)
        east, north = (f" of {value:.0f}" if value else "" for value in health.origin)
        ax.set(aspect="equal", xlabel=f"east{east} (m)", ylabel=f"north{north} (m)")
        ax.set(xlim=(low[0] - 25.0, high[0] + 25.0), ylim=(low[1] - 25.0, high[1] + 25.0))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        with written_whole(path) as part:
            fig.savefig(part, format="png", dpi=130, bbox_inches="tight", pad_inches=0.1)


def _thinned(points: np.ndarray) -> np.ndarray:
    return points[:: max(1, -(-len(points) // MOST_POINTS))]
