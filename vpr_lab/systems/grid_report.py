"""The results of a grid search, as a table in the terminal and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr_lab.training.grid import AXES, Result
from vpr_ros.evaluation import style
from vpr_ros.evaluation.table import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

MAPS = (("loss", "miner"), ("optimiser", "lr"), ("weight_decay", "decay"))


def grid_table(results: Sequence[Result], most: int = 20) -> Table:
    """The best combinations, ready for ``Console.print``; what all have in common is said in the title."""
    varied = [axis for axis in AXES if len(_values(results, axis)) > 1]
    common = [f"{axis} {_text(_values(results, axis)[0])}" for axis in AXES if axis not in varied]
    title = f"{len(results)} combinations, validation R@1 in percent" + "".join(f", {text}" for text in common)
    rows = [
        [
            str(place),
            *(_text(getattr(result.combination, axis)) for axis in varied),
            _percent(result),
            str(result.reached.epochs),
            f"after {result.reached.rung}" if result.dropped else "",
            f"{result.seconds / 60:.1f}",
        ]
        for place, result in enumerate(results[:most], 1)
    ]
    return text_table(title, ["", *varied, "R@1", "epochs", "dropped", "minutes"], rows)


def draw_grid(results: Sequence[Result], path: Path) -> Path:
    """Draw heat maps of the best score of each pair of choices, losses by miners first; returns the picture's path.

    results: as ``run_grid`` gives them, the best first. A cell shows its best combination: framed where it was trained
    to the end, else with the epoch after which it was dropped. Only pairs with more than one value get a map.
    """
    pairs = [pair for pair in MAPS if any(len(_values(results, axis)) > 1 for axis in pair)] or [MAPS[0]]
    cells = [_best_of_each(results, *pair) for pair in pairs]
    finite = [100 * best.score for found in cells for best in found.values() if math.isfinite(best.score)]
    limits = min(finite, default=0.0), max(finite, default=100.0)
    rows = [len(_values(results, down)) for down, _ in pairs]
    columns = max(len(_values(results, across)) for _, across in pairs)
    with style.styled():
        size_in = (2.4 + 1.25 * columns, 0.62 * sum(rows) + 0.9 * len(pairs))
        fig, axes = style.figure(len(pairs), 1, size_in, height_ratios=rows)
        for ax, (down, across), found in zip(axes[:, 0], pairs, cells, strict=True):
            _heat_map(ax, found, limits)
            ax.set_xticks(range(len(_values(results, across))), [_text(value) for value in _values(results, across)])
            ax.set_yticks(range(len(_values(results, down))), [_text(value) for value in _values(results, down)])
            ax.set_title(f"{_text(down)} and {_text(across)}: the best of each pair")
        label = "validation R@1 (%)"
        fig.colorbar(axes[0, 0].images[0], ax=axes[:, 0].tolist(), label=label, pad=0.01, aspect=20 * len(pairs))
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.1)
    return path


def _best_of_each(results: Sequence[Result], down: str, across: str) -> dict[tuple[int, int], Result]:
    """The first, that is the best, result of each pair of values, by the row and the column of its cell."""
    names, headings = _values(results, down), _values(results, across)
    best: dict[tuple[int, int], Result] = {}
    for result in results:
        chosen = result.combination
        best.setdefault((names.index(getattr(chosen, down)), headings.index(getattr(chosen, across))), result)
    return best


def _heat_map(ax: Axes, best: dict[tuple[int, int], Result], limits: tuple[float, float]) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    scores = np.full(np.max(list(best), axis=0) + 1, np.nan)
    for cell, result in best.items():
        scores[cell] = 100 * result.score if math.isfinite(result.score) else np.nan
    colours = LinearSegmentedColormap.from_list("score", (style.PAPER, style.UNKNOWN))
    ax.imshow(scores, cmap=colours, aspect="auto", vmin=limits[0], vmax=limits[1])
    for (row, column), result in best.items():
        ink = style.PAPER if scores[row, column] > np.dot(limits, (0.4, 0.6)) else style.INK
        rung = result.reached.rung
        note = "failed" if result.error else f"dropped after {rung}" if result.dropped else f"all {rung} epochs"
        ax.text(column, row - 0.12, _percent(result), ha="center", va="center", fontsize=9, weight="bold", color=ink)
        ax.text(column, row + 0.24, note, ha="center", va="center", fontsize=6.5, color=ink)
        if not result.dropped:
            corner = column - 0.5, row - 0.5
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=style.RIGHT, linewidth=2.2, zorder=3))
    ax.grid(False)
    ax.tick_params(length=0, labelcolor=style.INK)


def _values(results: Sequence[Result], axis: str) -> list[Any]:
    """What the combinations chose, in order: numbers by size, names by the alphabet with "none" first."""
    found = {getattr(result.combination, axis) for result in results}
    return sorted(found, key=lambda value: (value != "none", value))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _percent(result: Result) -> str:
    return f"{100 * result.score:.1f}" if math.isfinite(result.score) else "-"
