"""`vpr map refresh` and `vpr map health`: the upkeep of maps that are driven again and again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vpr_ros.cli.common import (
    Backend,
    DriveOption,
    MapModel,
    Numbered,
    at_least,
    open_drives,
    output_folder,
    progress_bar,
    reported_tally,
)
from vpr_ros.cli.maps import Every, EverySeconds

if TYPE_CHECKING:
    from vpr_ros.evaluation.health import Stretch
    from vpr_ros.evaluation.refresh import Refreshing

_SHOWN = 10  # stretches printed of each kind


def refresh(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to refresh.")],
    drives: Annotated[
        Optional[list[str]], typer.Argument(metavar="[DRIVE]...", help="New drives to add first; none: only drop.")
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="New map; else MAP is replaced, whole or not at all.")
    ] = None,
    looks: Annotated[
        int, typer.Option(min=1, help="Most looks to keep of each place: drives that show it, in one direction.")
    ] = 3,
    held_out: Annotated[
        list[str],
        typer.Option(metavar="DRIVE", help="Drive with true poses, not in the map, to compare recall; repeatable."),
    ] = [],  # noqa: B006
    max_loss: Annotated[
        float,
        typer.Option(callback=at_least(0.0, 1.0), help="Recall@1 on held-out drives that may be lost, 0 to 1."),
    ] = 0.005,
    model: MapModel = "",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Add drives, keep some looks of each place and drop the redundant ones: the map stays small as it ages."""
    from vpr_ros.evaluation.refresh import refresh_map
    from vpr_ros.inference.open import open_describer
    from vpr_ros.maps.place_map import PlaceMap

    opened, asked = (open_drives(specs, drive_option, numbered) if specs else [] for specs in (drives, held_out))
    with PlaceMap.open(place_map) as old:
        name = model or old.model.name
    before = place_map.stat().st_size
    with reported_tally() as tally:
        done = refresh_map(
            place_map,
            opened,
            open_describer(name, backend),
            progress_bar,
            looks=looks,
            held_out=asked,
            max_loss=max_loss,
            output=output,
            every_m=every,
            every_s=every_seconds,
            tally=tally,
        )
    _print_refreshed(output or place_map, done, before)


def _print_refreshed(path: Path, done: "Refreshing", before: int) -> None:
    """What became of the map. before: bytes of its file."""
    for added in done.added:
        typer.echo(f"{added.name}: {added.new} new places")
    counts = done.dropped.refreshed
    kept = counts.places - counts.alike - counts.beyond
    typer.echo(f"{path}: {kept} of {counts.places} places are kept")
    if counts.alike:
        typer.echo(f"  {counts.alike} dropped: one that is kept looks alike")
    if counts.beyond:
        typer.echo(f"  {counts.beyond} dropped: there are {counts.looks} looks, the most that --looks allows")
    if done.dropped.closures:
        typer.echo(f"  {done.dropped.closures} loop closures went with their places")
    typer.echo(f"{before / 1e6:.2f} MB became {path.stat().st_size / 1e6:.2f} MB")
    for name, figures in done.figures.items():
        typer.echo(f"{name}: {figures}")
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)


def health(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to examine.")],
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(metavar="[RUN]...", help="Results of vpr evaluate or vpr replay on this map: folders or files."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for health.json and health.png.")] = Path(
        "runs/health"
    ),
    days: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Days after which a place was not seen lately.")
    ] = 180.0,
) -> None:
    """Say where robots got lost, what looks alike, what was not seen lately, and what to drive again."""
    from vpr_ros.evaluation.health import TWINS, examine
    from vpr_ros.evaluation.health_picture import draw_health
    from vpr_ros.evaluation.record import Run
    from vpr_ros.maps.place_map import PlaceMap

    recorded = [Run.load(path) for given in runs or [] for path in _answers(given)]
    with output_folder(output), PlaceMap.open(place_map) as opened:
        with progress_bar("comparing places") as progress:
            found = examine(opened, recorded, days, progress)
        found.write(output / "health.json")
        draw_health(found, opened.whereabouts.positions[:, :2], output / "health.png")
    for run in found.runs:
        typer.echo(
            f"{run.name}: {run.images} images, {run.sure} with a sure pose, {run.lost} lost, {run.off_map} off the map"
        )
    _print_stretches("drive again", found.drive_again)
    _print_stretches("twins", found.of(TWINS))
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"figures: {output / 'health.json'}\npicture: {output / 'health.png'}")


def _answers(run: Path) -> list[Path]:
    """The files of recorded answers of a run. Raises DriveError if there are none."""
    from vpr_ros.base.errors import DriveError
    from vpr_ros.evaluation.output import ANSWERS

    found = sorted(run.glob(f"*{ANSWERS}")) if run.is_dir() else [run]
    if not found:
        raise DriveError(f"{run} has no recorded answers (*{ANSWERS}): give the folder of vpr evaluate or replay")
    return found


def _print_stretches(title: str, stretches: "list[Stretch]") -> None:
    typer.echo(f"{title}: {len(stretches)} stretch(es)")
    for stretch in stretches[:_SHOWN]:
        (x0, y0), (x1, y1) = stretch.start, stretch.end
        where = f"{stretch.length_m:.0f} m from ({x0:.1f}, {y0:.1f}) to ({x1:.1f}, {y1:.1f})"
        if stretch.start == stretch.end:
            where = f"at ({x0:.1f}, {y0:.1f})"
        typer.echo(f"  {stretch.problem}: {stretch.count}, {where}{'; ' if stretch.note else ''}{stretch.note}")
    if len(stretches) > _SHOWN:
        typer.echo(f"  and {len(stretches) - _SHOWN} more, in health.json")
