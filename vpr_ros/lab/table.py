"""Every system's row, set side by side: Markdown, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpr_ros.errors import ConfigError
from vpr_ros.evaluation import style
from vpr_ros.lab.published import PUBLISHED

BEGIN, END = "<!-- vpr lab table -->", "<!-- end of the table -->"
_SCENARIOS = ("sun", "autumn", "snow", "night")  # first, in this order; others follow by name


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Every row.json of a folder that recipes were run in. Raises ConfigError where there is none."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*/row.json"))]
    if not rows:
        raise ConfigError(f"no rows in {folder}: run a recipe first with vpr lab run")
    return sorted(rows, key=lambda row: (row["group"], row["recipe"]))


def conditions(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those that any row was measured under."""
    known = {condition for row in rows for condition in row["scores"]}
    return [name for name in _SCENARIOS if name in known] + sorted(known - set(_SCENARIOS))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One table a group; R@1 in percent, and where R@100 was measured, R@1 / R@10 / R@100."""
    parts = []
    for group in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == group]
        shown = conditions(own)
        published = any(row["published"] for row in own)
        header = ["recipe", "system", *shown, "numbers", "steps", "training s", "seed", "starts from"]
        header += ["the paper, on OTHER data"] if published else []
        lines = [header, ["---"] * len(header), *(_cells(row, shown, published) for row in own)]
        parts.append(f"### {group}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cells(row: dict[str, Any], shown: Sequence[str], published: bool) -> list[str]:
    recall = [row["scores"].get(condition, {}).get("recall", {}) for condition in shown]
    counts = [[n for n in ("1", "10", "100") if n in own and ("100" in own or n == "1")] for own in recall]
    figures = [" / ".join(f"{100 * own[n]:.1f}" for n in ns) or "-" for own, ns in zip(recall, counts, strict=True)]
    cells = [f"`{row['recipe']}`", row["about"], *figures]
    cells += [str(row.get(name, "-")) for name in ("dimension", "steps", "seconds", "seed", "starts_from")]
    if published:
        cells.append("; ".join(f"{PUBLISHED[key].paper}: {PUBLISHED[key].figures}" for key in row["published"]))
    return cells


def put_into(path: Path, text: str) -> None:
    """Write the table between a page's markers, or make a page of it."""
    page = path.read_text() if path.is_file() else f"{BEGIN}\n{END}\n"
    if BEGIN not in page or END not in page:
        raise ConfigError(f"{path} has no lines '{BEGIN}' and '{END}' for the table to go between")
    before, _, rest = page.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")


def draw(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """R@1 of every system that searched drives, under every condition, as dots on one line each."""
    rows = [row for row in rows if "queries_from" in row]
    colours = style.condition_colours(conditions(rows))
    with style.styled():
        fig, axes = style.figure(1, 1, (8.0, 0.22 * len(rows) + 1.0))
        ax = axes[0, 0]
        for condition, colour in colours.items():
            own = [(line, row["scores"][condition]) for line, row in enumerate(rows) if condition in row["scores"]]
            recall = [100 * found["recall"]["1"] for _, found in own]
            ax.plot(recall, [line for line, _ in own], "o", markersize=5, color=colour, label=condition)
        ax.set_yticks(range(len(rows)), [row["recipe"] for row in rows])
        ax.invert_yaxis()
        ax.set_xlabel("R@1 within 25 m, percent")
        ax.legend(loc="lower left", ncols=len(colours), bbox_to_anchor=(0, 1.0))
        fig.savefig(path, dpi=130)
    return path
