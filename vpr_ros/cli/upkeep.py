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
    progress_bar,
    reported_tally,
)
from vpr_ros.cli.maps import Every, EverySeconds

if TYPE_CHECKING:
    from vpr_ros.evaluation.refresh import Refreshing


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
        float, typer.Option(callback=at_least(0.0), help="Recall@1 on held-out drives that may be lost, 0 to 1.")
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
    typer.echo(f"  {counts.alike} dropped: one that is kept looks alike")
    typer.echo(f"  {counts.beyond} dropped: there are {counts.looks} looks, the most that --looks allows")
    if done.dropped.closures:
        typer.echo(f"  {done.dropped.closures} loop closures went with their places")
    typer.echo(f"{before / 1e6:.2f} MB became {path.stat().st_size / 1e6:.2f} MB")
    for name, figures in done.figures.items():
        typer.echo(f"{name}: {figures}, {figures.images} held-out images")
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
