"""`vpr evaluate` and `vpr replay`: how good is this map?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vpr_ros.cli.common import (
    Backend,
    Config,
    DriveOption,
    MapModel,
    Numbered,
    Set,
    alone_if_shuffled,
    at_least,
    localizer_config,
    open_drives,
    output_folder,
    pairs,
    progress_bar,
    reported_tally,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vpr_ros.base.tally import Tally
    from vpr_ros.drives.drive import Drive
    from vpr_ros.evaluation.record import Tolerance
    from vpr_ros.evaluation.replay import Replayed
    from vpr_ros.localize.config import LocalizerConfig
    from vpr_ros.localize.localizer import Localizer

    Judged = tuple[Drive, Iterable[Replayed] | None]

MapArgument = Annotated[
    str,
    typer.Argument(metavar="MAP", help="Map: a .vprmap file, or a folder or http(s) address of tiles."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for results.json, CSV, TUM, pictures and report.")]
ToleranceOption = Annotated[
    float, typer.Option(callback=at_least(0.0), help="Largest error of a right pose, metres; frames with --numbered.")
]


def evaluate(
    place_map: MapArgument,
    drives: Annotated[list[str], typer.Argument(metavar="DRIVE...", help="Drives over the map, with true poses.")],
    output: Output = Path("runs/evaluate"),
    tolerance: ToleranceOption = 25.0,
    every: Annotated[
        float,
        typer.Option(callback=at_least(0.0), help="Minimum distance between queries, metres; 0 takes every image."),
    ] = 0.0,
    model: MapModel = "",
    backend: Backend = "auto",
    config: Config = None,
    set_: Set = [],  # noqa: B006
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Measure recall, calibration, off-map detection and latency of drives against a map."""
    from vpr_ros.base.config import save_yaml
    from vpr_ros.base.world import FRAMES
    from vpr_ros.drives.views import SampledDrive
    from vpr_ros.evaluation.report import check_report

    check_report()
    opened = open_drives(drives, drive_option, numbered)
    sampled = [SampledDrive(drive, every) for drive in opened] if every > 0 else opened
    chosen = alone_if_shuffled(localizer_config(config, set_), config, set_, opened)
    with output_folder(output), reported_tally() as tally, _open(place_map, model, backend, chosen) as localizer:
        if seen := {drive.name for drive in opened} & set(localizer.calibration.source.split(", ")):
            typer.echo(f"note: the map was calibrated on {', '.join(sorted(seen))}: evaluate another drive", err=True)
        if localizer.place_map.world == FRAMES and not numbered:
            typer.echo("note: the places of this map are frame numbers: give --numbered to judge by them", err=True)
        _write(
            localizer, [(drive, None) for drive in sampled], output, _tolerance(tolerance, localizer, numbered), tally
        )
        save_yaml(chosen, output / "localizer.yaml")


def replay(
    place_map: MapArgument,
    bag: Annotated[
        str, typer.Argument(metavar="BAG", help="Bag with images; odometry and true poses are used if it has them.")
    ],
    output: Output = Path("runs/replay"),
    tolerance: ToleranceOption = 25.0,
    model: MapModel = "",
    backend: Backend = "auto",
    params_file: Annotated[
        Optional[Path], typer.Option(help="The node's parameter file, as for `params_file:=`.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", "-s", help="Node parameter, KEY=VALUE, overrides --params-file; repeatable.")
    ] = [],  # noqa: B006
    pace: Annotated[
        float,
        typer.Option(
            callback=at_least(0.0), help="Playback speed, 1 is real time; late images are dropped; 0: none are."
        ),
    ] = 0.0,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Run a bag through the node's own pipeline, without ROS: decoding, transforms, odometry, late images, drops."""
    from vpr_ros.base.config import merged, nested, save_yaml
    from vpr_ros.base.errors import ConfigError, DriveError
    from vpr_ros.drives.bag import BagDrive
    from vpr_ros.evaluation.report import check_report
    from vpr_ros.ros.params import node_params, read_params_file
    from vpr_ros.ros.replay import BagReplay

    check_report()
    if taken := [name for name in nested(pairs(set_)) if name in ("map", "model", "backend")]:
        raise ConfigError(f"vpr replay has an argument or option for {taken[0]}: give that, and leave it out of --set")
    given = merged(read_params_file(params_file) if params_file else {}, nested(pairs(set_)))
    if given.get("mode", "localize") != "localize":
        raise ConfigError("vpr replay localises: leave mode out, or play the bag into a node in mode map")
    given = {**given, "mode": "localize", "map": place_map, "model": model, "backend": backend}
    topics = [f"{key}_topic={given[key]}" for key in ("image", "odom") if given.get(key)]
    (drive,) = open_drives([bag], [*topics, *drive_option])
    if not isinstance(drive, BagDrive):
        raise DriveError(f"{bag} is not a bag: vpr replay plays bags, vpr evaluate takes every kind of drive")
    params = node_params({**given, "image": drive.image_topic, "odom": drive.odom_topic})
    with output_folder(output), reported_tally() as tally, _open(place_map, model, backend, params.localizer) as loc:
        replayed = BagReplay(loc, drive, params, pace)
        _write(loc, [(drive, replayed)], output, _tolerance(tolerance, loc), tally)
        tally.update(replayed.tally)
        save_yaml(params, output / "node.yaml")


def _tolerance(reach: float, localizer: "Localizer", numbered: bool = False) -> "Tolerance":
    from vpr_ros.evaluation.record import Tolerance

    return Tolerance(reach, int(reach), reach) if numbered else Tolerance.in_metres(reach, localizer.places.spacing)


def _open(map_path: str, model: str, backend: str, config: "LocalizerConfig") -> "Localizer":
    from vpr_ros.localize.localizer import Localizer

    localizer = Localizer.open(map_path, model, backend, config)
    if localizer.unmeasurable:
        typer.echo(localizer.unmeasurable, err=True)
    return localizer


def _write(
    localizer: "Localizer", runs: "Sequence[Judged]", output: Path, tolerance: "Tolerance", tally: "Tally"
) -> None:
    """Localise every drive, write the results, print the tables. runs: each drive, and how else it is replayed."""
    from itertools import islice

    from rich.console import Console

    from vpr_ros.evaluation.replay import left_out
    from vpr_ros.evaluation.run_report import remove_runs, run_drive, write_run_report
    from vpr_ros.evaluation.summary import assess, summarise_all
    from vpr_ros.evaluation.table import tables

    assessments, galleries = [], {}
    for drive, replayed in runs:
        if localizer.metric is not None and any(frame.intrinsics is None for frame in islice(drive, 1)):
            typer.echo(f"drive {drive.name} has no camera intrinsics, so its poses are not measured", err=True)
        with progress_bar(f"localising {drive.name}") as progress:
            run, gallery = run_drive(localizer, localizer.place_map, drive, "", tolerance, progress, replayed)
        assessments.append(assess(run))
        galleries[run.name] = gallery
        tally.update(left_out(run, drive))
    if earlier := remove_runs(output):
        typer.echo(f"note: {output} had results of {', '.join(earlier)}, which these replace", err=True)
    facts = {"backend": localizer.describer.backend} | ({"left out": "; ".join(tally.lines())} if tally else {})
    report = write_run_report(output, assessments, galleries, localizer.place_map, facts=facts)
    summaries = [assessment.summary for assessment in assessments]
    if len(summaries) > 1:
        summaries.append(summarise_all(assessments))
    for table in tables(summaries):
        Console().print(table)
    typer.echo(f"figures: {output / 'results.json'}\nreport:  {report}")
