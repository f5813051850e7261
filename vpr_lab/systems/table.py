"""The table of all systems, as Markdown and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_lab.systems.published import PUBLISHED
from vpr_lab.systems.tasks.trained_system import in_todays_words
from vpr_ros.base.config import difference
from vpr_ros.base.errors import ConfigError
from vpr_ros.evaluation import style

BEGIN, END = "<!-- vpr lab table -->", "<!-- end of the table -->"
# Of rows of one recipe, if they have them.
_ALIKE = ("full", "steps", "queries_from", "measured_on", "settings", "reference_brightness")
_SCENARIOS = ("sun", "autumn", "snow", "night")  # first, in this order; others follow by name


def read_rows(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """One row for each recipe that was run in some folders: those of several seeds together, their figures in the mean.

    Raises ConfigError if a folder has none, or a recipe twice with one seed, or trained or measured in two ways.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for folder in folders:
        paths = sorted(folder.glob("*/row.json"))
        if not paths:
            raise ConfigError(f"no rows in {folder}: run a recipe first with vpr lab run")
        for row in (json.loads(path.read_text()) for path in paths):
            found.setdefault((row["group"], row["recipe"]), []).append(row)
    return [_together(rows) for _, rows in sorted(found.items())]


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of one recipe: means over its seeds, and how far recall spreads (the sample's standard deviation)."""
    seeds = [row["seed"] for row in rows]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{rows[0]['recipe']} was run twice with one seed: give folders that were run with others")
    _check_alike(rows)
    scores: dict[str, Any] = {}
    for condition, own in rows[0]["scores"].items():
        of = [[row["scores"][condition]["recall"][n] for row in rows] for n in own["recall"]]
        recall = {n: float(np.mean(x)) for n, x in zip(own["recall"], of, strict=True)}
        spread = {n: float(np.std(x, ddof=1)) for n, x in zip(recall, of, strict=True) if len(rows) > 1}
        scores[condition] = {**own, "recall": recall, "spread": spread}
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    mean = {"seconds": round(float(np.mean(seconds)), 1)} if seconds else {}
    return {**rows[0], **mean, "scores": scores, "seed": ", ".join(map(str, sorted(seeds)))}


def _check_alike(rows: Sequence[dict[str, Any]]) -> None:
    """Raises ConfigError if rows of one recipe differ in more than the seed: their mean would mean nothing."""
    compared = {name: [row[name] for row in rows if name in row] for name in _ALIKE}
    compared["trainings"] = [_without_seeds(in_todays_words(row["trained_by"])) for row in rows if "trained_by" in row]
    compared["conditions"] = [sorted(row["scores"]) for row in rows]
    compared["recall counts"] = [sorted(own["recall"]) for row in rows for own in row["scores"].values()]
    for name, values in compared.items():
        other = next((value for value in values if value != values[0]), None)
        if other is not None:
            what = difference(values[0], other) if isinstance(other, dict) else f"{values[0]} and {other}"
            raise ConfigError(
                f"rows of {rows[0]['recipe']} cannot be averaged, their {name} differ: {what}; give folders that were "
                "run alike"
            )


def _without_seeds(trained_by: Any) -> Any:
    """What decided on weights, nested, but for the seeds."""
    if not isinstance(trained_by, dict):
        return trained_by
    return {name: _without_seeds(value) for name, value in trained_by.items() if name != "seed"}


def conditions(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those that any row was measured under."""
    known = {condition for row in rows for condition in row["scores"]}
    return [name for name in _SCENARIOS if name in known] + sorted(known - set(_SCENARIOS))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One table a group; R@1 in percent, or R@1 / R@10 / R@100 if R@100 was measured; ± over several seeds."""
    parts = []
    for group in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == group]
        shown = conditions(own)
        published = any(row["published"] for row in own)
        header = ["recipe", "system", *shown, "dimensions", "steps", "training s", "seed", "starts from"]
        header += ["the paper, on OTHER data"] if published else []
        lines = [header, ["---"] * len(header), *(_cells(row, shown, published) for row in own)]
        parts.append(f"### {group}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cells(row: dict[str, Any], shown: Sequence[str], published: bool) -> list[str]:
    cells = [f"`{row['recipe']}`", row["about"], *(_figures(row["scores"].get(condition)) for condition in shown)]
    cells += [str(row.get(name, "-")) for name in ("dimension", "steps", "seconds", "seed", "starts_from")]
    if published:
        cells.append("; ".join(f"{PUBLISHED[key].paper}: {PUBLISHED[key].figures}" for key in row["published"]))
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def _figures(found: dict[str, Any] | None) -> str:
    """Recall in percent, with its spread over seeds."""
    if found is None:
        return "-"
    counts = [n for n in ("1", "10", "100") if n in found["recall"] and ("100" in found["recall"] or n == "1")]
    spread = {n: f" ±{100 * own:.1f}" for n, own in found["spread"].items()}
    return " / ".join(f"{100 * found['recall'][n]:.1f}{spread.get(n, '')}" for n in counts)


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
