"""`vpr demo`: mapping and localisation with the real node; `vpr demo slam`: loop closures."""

from pathlib import Path
from typing import Annotated

import typer

from vpr_ros.cli.common import progress_bar, sole_output_folder

app = typer.Typer(invoke_without_command=True)
Bags = Annotated[Path, typer.Option(help="Folder of the demo's bags.")]


@app.callback()
def demo(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the map, results.json and report.html.")
    ] = Path("demo"),
    bags: Bags = Path("demo/bags"),
) -> None:
    """Map a small town, replay bags of sun, snow and night through the ROS 2 node, and write a report."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from vpr_ros.demo.run import run_demo
    from vpr_ros.evaluation.summary import summarise_all
    from vpr_ros.evaluation.table import tables

    console = Console()
    with sole_output_folder(output):
        assessments, report = run_demo(output, bags, lambda text: console.print(f"[bold]{text}"), progress_bar)
    summaries = [assessment.summary for assessment in assessments]
    for table in tables([*summaries, summarise_all(assessments)]):
        console.print(table)
    console.print(f"figures: {output / 'results.json'}\nreport:  {report}", markup=False)


@app.command()
def slam(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the maps, results.json and report.html.")
    ] = Path("demo/slam"),
    bags: Bags = Path("demo/bags"),
    rate: Annotated[float, typer.Option(min=0.5, max=50.0, help="Frame rate of the replay, images per second.")] = 5.0,
) -> None:
    """Replay loops with drifting odometry through the node, close them, and correct the track with a pose graph."""
    from rich.console import Console

    from vpr_ros.demo.slam_run import run_slam
    from vpr_ros.evaluation.table import text_table

    console = Console()
    with sole_output_folder(output):
        (header, *rows), report = run_slam(
            output, bags, lambda text: console.print(f"[bold]{text}"), progress_bar, rate
        )
    console.print(text_table("Loop closures and the error of the track", header, rows))
    console.print(f"figures: {output / 'results.json'}\nreport:  {report}", markup=False)
