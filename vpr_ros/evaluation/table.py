"""The figures as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpr_ros.evaluation.summary import Summary, calibration_rows, recall_rows, speed_rows

if TYPE_CHECKING:
    from rich.table import Table


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """Three rich tables (recall, calibration, speed), ready for ``Console.print``."""
    if not summaries:
        return []
    title = f"Recall (%), frames on the map, {summaries[0].tolerance}"
    return [
        text_table(title, *recall_rows(summaries)),
        text_table("Calibration and off-map detection (%)", *calibration_rows(summaries)),
        text_table("Speed, image in to answer out", *speed_rows(summaries)),
    ]


def text_table(title: str, header: list[str], rows: list[list[str]]) -> Table:
    """A rich table, first column aligned left. A first cell equal to the one above is left blank."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for position, name in enumerate(header):
        table.add_column(name, justify="left" if position == 0 else "right")
    previous = ""
    for row in rows:
        table.add_row(*map(escape, ("" if row[0] == previous else row[0], *row[1:])))
        previous = row[0]
    return table
