"""`vpr evaluate` and `vpr replay`: how good is this map?"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpr_ros.cli.common import (
    Backend,
    Config,
    DriveOption,
    MapModel,
    Numbered,
    Set,
    at_least,
    localizer_config,
    open_drives,
    output_folder,
    progress_bar,
    reported_tally,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpr_ros.drives.drive import Drive
    from vpr_ros.localize.config import LocalizerConfig

MapArgument = Annotated[Path, typer.Argument(metavar="MAP", help="The map to localise on.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for results.json, CSV, TUM, pictures and report.")]
ToleranceOption = Annotated[
    float, typer.Option(callback=at_least(0.0), help="Right is nearer than this, metres (frames when numbered).")
]


def evaluate(
    place_map: MapArgument,
    drives: Annotated[list[str], typer.Argument(help="Drives over the map, with true poses.")],
    output: Output = Path("runs/evaluate"),
    tolerance: ToleranceOption = 25.0,
    every: Annotated[
        float,
        typer.Option(callback=at_least(0.0), help="Least distance between queries, metres; 0 takes every image."),
    ] = 0.0,
    model: MapModel = "",
    backend: Backend = "auto",
    config: Config = None,
    set_: Set = [],  # noqa: B006
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Measure recall, calibration, off-map detection and latency of drives against a map."""
    from vpr_ros.drives.views import SampledDrive

    opened = open_drives(drives, drive_option, numbered)
    sampled = [SampledDrive(drive, every) for drive in opened] if every > 0 else opened
    _study(place_map, sampled, output, (tolerance, numbered), (model, backend), localizer_config(config, set_))


def replay(
    place_map: MapArgument,
    bag: Annotated[str, typer.Argument(help="Bag with images; odometry and true poses where it has them.")],
    output: Output = Path("runs/replay"),
    tolerance: ToleranceOption = 25.0,
    model: MapModel = "",
    backend: Backend = "auto",
    config: Config = None,
    set_: Set = [],  # noqa: B006
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Run a bag through the node's pipeline, offline: every image, same answers every time."""
    _study(
        place_map,
        open_drives([bag], drive_option),
        output,
        (tolerance, False),
        (model, backend),
        localizer_config(config, set_),
    )


def _study(
    map_path: Path,
    drives: "Sequence[Drive]",
    output: Path,
    tolerance: tuple[float, bool],
    network: tuple[str, str],
    config: "LocalizerConfig",
) -> None:
    """Replay every drive, write the results, print the tables. tolerance: how much, and whether in frames.

    network: model and backend.
    """
    from rich.console import Console

    from vpr_ros.base.config import save_yaml
    from vpr_ros.evaluation.record import Tolerance
    from vpr_ros.evaluation.replay import left_out
    from vpr_ros.evaluation.study import run_drive, write_study
    from vpr_ros.evaluation.summary import assess, summarise_all
    from vpr_ros.evaluation.table import tables
    from vpr_ros.localize.localizer import Localizer

    reach, numbered = tolerance
    told = Tolerance(reach, int(reach) if numbered else None, reach)
    with output_folder(output), reported_tally() as tally, ExitStack() as stack:  # before the work, not after it
        localizer = stack.enter_context(Localizer.open(map_path, *network, config=config))
        opened = localizer.place_map
        assessments, galleries = [], {}
        for drive in drives:
            with progress_bar(f"localising {drive.name}") as progress:
                run, gallery = run_drive(localizer, opened, drive, tolerance=told, on_progress=progress)
            assessments.append(assess(run))
            galleries[run.name] = gallery
            tally.update(left_out(run, drive))
        facts = {"backend": localizer.describer.backend} | ({"left out": "; ".join(tally.lines())} if tally else {})
        report = write_study(output, assessments, galleries, opened, facts=facts)
        save_yaml(config, output / "localizer.yaml")
        summaries = [assessment.summary for assessment in assessments]
        if len(summaries) > 1:
            summaries.append(summarise_all(assessments))
        for table in tables(summaries):
            Console().print(table)
    typer.echo(f"figures: {output / 'results.json'}\nreport:  {report}")
