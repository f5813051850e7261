"""`vpr demo`: the whole thing, once, on real topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpr_ros.cli.common import progress_bar


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the map, results.json and report.html.")
    ] = Path("demo"),
    bags: Annotated[Path, typer.Option(help="Folder with the town's drives.")] = Path("demo/bags"),
) -> None:
    """Map a small town, start the ROS 2 node, replay sun, snow and night through it, and report."""
    from rich.console import Console

    from vpr_ros.demo.run import run_demo
    from vpr_ros.evaluation.summary import summarise_all
    from vpr_ros.evaluation.table import tables

    console = Console()
    assessments, report = run_demo(output, bags, lambda text: console.print(f"[bold]{text}"), progress_bar)
    summaries = [assessment.summary for assessment in assessments]
    for table in tables([*summaries, summarise_all(assessments)]):
        console.print(table)
    console.print(f"figures: {output / 'results.json'}\nreport:  {report}")
