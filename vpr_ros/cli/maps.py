"""`vpr map`: build, add, merge, calibrate, info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpr_ros.cli.common import Backend, DriveOption, MapModel, Model, Numbered, at_least, open_drives, progress_bar

if TYPE_CHECKING:
    from vpr_ros.inference.describer import Describer
    from vpr_ros.retrieval.place_map import PlaceMap

app = typer.Typer(no_args_is_help=True, help="Build a map from drives, add to it, merge maps, calibrate, look inside.")

Drives = Annotated[list[str], typer.Argument(help="Drives: RobotCar runs, KITTI sequences, bags, image folders.")]
Every = Annotated[
    float, typer.Option(callback=at_least(0.0), help="Least distance between places, metres; 0 takes every image.")
]
EverySeconds = Annotated[float, typer.Option(callback=at_least(0.0), help="Least time between places, seconds.")]


@app.command()
def build(
    drives: Drives,
    output: Annotated[Path, typer.Option("--output", "-o", help="The map file to write, such as town.vprmap.")],
    model: Model = "demixvpr_mobilenet",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    views: Annotated[
        int, typer.Option(help="Views kept of each image: 1, or 3 to be found from further aside too.")
    ] = 3,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Build a map from one or more drives."""
    from vpr_ros.map_builder import build_map

    opened = open_drives(drives, drive_option, numbered)
    describer = _describer(model, backend)
    with (
        progress_bar("building") as progress,
        build_map(output, opened, describer, every, every_seconds, progress, _bad, views) as made,
    ):
        _say(made)


@app.command()
def add(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map to add to.")],
    drives: Drives,
    model: MapModel = "",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Add drives to a map; what it holds already is skipped, so a killed build goes on here."""
    from vpr_ros.map_builder import add_drive
    from vpr_ros.retrieval.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    with PlaceMap.open(place_map, writable=True) as target:
        describer = _describer(model or target.model.name, backend)
        for drive in opened:
            with progress_bar(f"adding {drive.name}") as progress:
                new = add_drive(target, drive, describer, every, every_seconds, progress, _bad)
            typer.echo(f"{drive.name}: {new} new places")
        _say(target)


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="MAP...", help="Maps of one model and one world.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The map file to write.")],
) -> None:
    """Merge maps into a new one; the first one's calibration is kept."""
    from vpr_ros.map_builder import merge_maps

    with merge_maps(output, sources) as merged:
        _say(merged)


@app.command()
def calibrate(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map to calibrate.")],
    drives: Annotated[list[str], typer.Argument(help="Drives over the map that are not in it, with true poses.")],
    model: MapModel = "",
    backend: Backend = "auto",
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Fit the probabilities to held-out drives and keep them with the map."""
    from vpr_ros.calibrator import describe_drive, fit
    from vpr_ros.retrieval.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    with PlaceMap.open(place_map, writable=True) as target:
        describer = _describer(model or target.model.name, backend)
        target.check_model(describer.manifest.name, describer.manifest.fingerprint)
        described = []
        for drive in opened:
            with progress_bar(f"describing {drive.name}") as progress:
                described.append(describe_drive(drive, target, describer, progress))
            if described[-1].is_in(target.places):
                typer.echo(
                    f"warning: images of {drive.name} are in {place_map} themselves, so the probabilities will be too "
                    "sure: calibrate with a drive that is not in the map",
                    err=True,
                )
        calibration = fit(target.places, describer, described)
        target.set_calibration(calibration)
    for name, value in calibration.to_dict().items():
        typer.echo(f"{name:20} {value:.4g}" if isinstance(value, float) else f"{name:20} {value}")


@app.command()
def info(place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map to look into.")]) -> None:
    """Say what a map holds and what it was built with."""
    from vpr_ros.retrieval.place_map import PlaceMap

    with PlaceMap.open(place_map) as opened:
        for name, value in opened.info().items():
            typer.echo(f"{name:14} {value}")


def _describer(model: str, backend: str) -> Describer:
    from vpr_ros.inference.describer import open_describer

    return open_describer(model, backend)


def _bad(problem: str) -> None:
    typer.echo(f"image left out: {problem}", err=True)


def _say(place_map: PlaceMap) -> None:
    found = place_map.info()
    typer.echo(f"{place_map.path}: {found['places']} places of {len(found['drives'])} drive(s), {found['size_MB']} MB")
