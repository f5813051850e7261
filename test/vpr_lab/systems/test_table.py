"""Rows of several seeds: a mean over unlike things would look like a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from vpr_lab.systems.table import markdown, read_rows
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import write_json

ROW = {
    "recipe": "gem",
    "group": "Heads",
    "full": False,
    "steps": 60,
    "settings": {"scales": [1.0]},
    "seconds": 10.0,
    "queries_from": ["town_2"],
    "seed": 0,
    "scores": {"night": {"queries": 10, "recall": {"1": 0.2, "5": 0.5}}},
}


def read(folder: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows as if each had been run in a folder of its own."""
    folders = [folder / str(number) for number in range(len(rows))]
    for own, row in zip(folders, rows, strict=True):
        write_json(own / row["recipe"] / "row.json", row)
    return read_rows(folders)


def test_seeds_are_averaged_with_the_spread_of_a_sample(tmp_path: Path) -> None:
    """Three seeds are a sample: divided by two, not by three, or the spread is told too small."""
    others = [ROW | {"seed": n, "scores": {"night": {"queries": 10, "recall": {"1": r, "5": 0.5}}}} for n, r in
              ((1, 0.4), (2, 0.6))]  # fmt: skip
    (row,) = read(tmp_path, ROW, *others)
    assert row["scores"]["night"]["recall"] == pytest.approx({"1": 0.4, "5": 0.5}) and row["seed"] == "0, 1, 2"
    assert row["scores"]["night"]["spread"] == pytest.approx({"1": 0.2, "5": 0.0})
    (alone,) = read(tmp_path / "one", ROW)
    assert alone["scores"]["night"]["spread"] == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"full": True}, "full differ: False and True"),
        ({"steps": 200}, "steps differ: 60 and 200"),
        ({"queries_from": ["town_3"]}, "queries_from differ"),
        ({"scores": {"sun": ROW["scores"]["night"]}}, r"conditions differ: \['night'\] and \['sun'\]"),
        ({"scores": {"night": {"queries": 10, "recall": {"1": 0.2}}}}, "recall counts differ"),
        ({"settings": {"scales": [0.1]}}, "settings differ"),
    ],
)
def test_unlike_rows_are_not_averaged(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    """Short beside full, other steps, other data: the message says which recipe and what differs."""
    with pytest.raises(ConfigError, match=f"gem cannot be averaged, their {told}"):
        read(tmp_path, ROW, ROW | {"seed": 1} | change)


def test_rows_of_two_recipes_may_differ(tmp_path: Path) -> None:
    """Only what is averaged has to be alike."""
    assert len(read(tmp_path, ROW, ROW | {"recipe": "netvlad", "steps": 5, "full": True})) == 2


def test_a_bar_in_a_text_ends_no_cell(tmp_path: Path) -> None:
    """Every figure moved into its neighbour's column."""
    row = ROW | {"about": "odd | pipe\nand line", "published": []}
    (line,) = [line for line in markdown(read(tmp_path, row)).splitlines() if "`gem`" in line]
    assert "odd \\| pipe and line | 20.0 |" in line
