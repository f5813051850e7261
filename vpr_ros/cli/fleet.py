"""`vpr fleet`: build, push, release, pull."""

import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from vpr_ros.base.errors import ConfigError
from vpr_ros.cli.common import (
    Backend,
    DriveOption,
    MapModel,
    Model,
    Numbered,
    at_least,
    open_drives,
    output_folder,
    progress_bar,
    reported_tally,
)
from vpr_ros.cli.maps import (
    Descriptors,
    DescriptorType,
    Drives,
    Every,
    EverySeconds,
    LocalFeatures,
    NoThumbnails,
    Views,
    VocabularyOf,
    finish,
    interruptible,
)
from vpr_ros.inference.models import DEFAULT_MODEL

app = typer.Typer(no_args_is_help=True, help="Build maps on many machines, and keep those of a fleet.")


LakeUri = Annotated[
    str, typer.Argument(metavar="LAKE", help="Folder of the lake, or its address on an object store, such as s3://...")
]


class Device(str, Enum):
    """Where describers run."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@app.command()
def build(
    drives: Drives,
    output: Annotated[Path, typer.Option("--output", "-o", help="Map file to write, such as town.vprmap.")],
    ray: Annotated[str, typer.Option(help="Address of a Ray cluster, or local for this machine.")] = "local",
    describers: Annotated[
        int, typer.Option(min=0, help="Number of networks that run at once.", show_default="one on each GPU, or core")
    ] = 0,
    device: Annotated[
        Device, typer.Option(help="Where networks run; auto takes GPUs if the cluster has some.", show_default="auto")
    ] = Device.auto,
    model: Model = DEFAULT_MODEL,
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    local_features: LocalFeatures = "none",
    views: Views = 3,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
    vocabulary: VocabularyOf = None,
    descriptors: Descriptors = DescriptorType.int8,
    no_thumbnails: NoThumbnails = False,
) -> None:
    """Build a map on a Ray cluster, as vpr map build makes it. Given again, the command continues what was killed."""
    from vpr_ros.fleet.parts import parts_folder
    from vpr_ros.fleet.ray_build import Work, build_on_ray
    from vpr_ros.maps.storage import Storage

    opened = open_drives(drives, drive_option, numbered)
    storage = Storage(descriptors.value, not no_thumbnails)
    work = Work(model, backend, every, every_seconds, views, local_features, storage)
    again = interruptible(parts_folder(output), "give the same command again to go on")
    with again, reported_tally() as tally, progress_bar("building") as progress:
        made = build_on_ray(
            output,
            opened,
            work,
            address=ray,
            describers=describers,
            device=device.value,
            vocabulary=vocabulary,
            on_progress=progress,
            tally=tally,
        )
    with made:
        finish(made)


@app.command()
def push(
    lake: LakeUri,
    drives: Annotated[
        Optional[list[str]], typer.Argument(metavar="DRIVE", help="Drives to localise; none: only send the outbox.")
    ] = None,
    robot: Annotated[str, typer.Option(help="Name of the robot; goes before the names of its drives.")] = "robot",
    place_map: Annotated[
        Optional[Path], typer.Option("--map", metavar="MAP", help="Map to localise the drives on.")
    ] = None,
    outbox: Annotated[Path, typer.Option(help="Folder that keeps what is not sent yet.")] = Path("outbox"),
    model: MapModel = "",
    backend: Backend = "auto",
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Send to the lake what the map does not know, of passes where the robot was sure. What is not sent is kept."""
    from vpr_ros.fleet.lake import Lake
    from vpr_ros.fleet.outbox import collect, send
    from vpr_ros.localize.localizer import Localizer

    opened_lake = Lake(lake)
    opened_lake.check()
    opened = open_drives(list(drives or []), drive_option)
    if not opened and place_map is not None:
        raise ConfigError("--map is to localise drives on, and none is given: name one, or leave out --map")
    if opened and place_map is None:
        raise ConfigError("--map is missing: name the map to localise the drives on")
    if opened and place_map is not None:
        with reported_tally() as tally, Localizer.open(place_map, model, backend) as localizer:
            for drive in opened:
                with progress_bar(f"localising {drive.name}") as progress:
                    count = collect(localizer, drive, outbox, tally, progress)
                typer.echo(f"{drive.name}: {count} keyframes to send")
    typer.echo(f"{lake}: {send(opened_lake, outbox, robot)} keyframes sent")


@app.command()
def release(
    lake: LakeUri,
    held_out: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="DRIVE", help="Held-out drives with true poses, over the fleet's streets."),
    ] = None,
    first: Annotated[
        Optional[Path], typer.Option(metavar="MAP", help="Map that becomes the first release of a new lake.")
    ] = None,
    roll_back_to: Annotated[int, typer.Option(min=0, help="Number of a release to make the last one again.")] = 0,
    model: MapModel = "",
    backend: Backend = "auto",
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Make a release of what was pushed: checked, aligned, thinned, calibrated, and no worse than the last."""
    from tempfile import TemporaryDirectory

    from vpr_ros.fleet.lake import Lake
    from vpr_ros.fleet.release import first_release, next_release, pushed_since, roll_back
    from vpr_ros.inference.open import open_describer
    from vpr_ros.localize.calibrator import fit
    from vpr_ros.localize.held_out import describe_drives

    opened_lake = Lake(lake)
    if first is not None and roll_back_to:
        raise ConfigError("--first and --roll-back-to exclude each other: give one")
    if held_out and (first is not None or roll_back_to):
        raise ConfigError("--first and --roll-back-to test nothing: leave out the drives")
    if first is not None or roll_back_to:
        made = first_release(opened_lake, first) if first is not None else roll_back(opened_lake, roll_back_to)
        typer.echo(f"release {made.number}: {made.places} places, {made.note}")
        return
    opened = open_drives(list(held_out or []), drive_option)
    if not opened:
        raise ConfigError("no held-out drive is given: a release is tested on drives that no robot pushed")
    last = opened_lake.release()
    pushed_since(opened_lake, last)  # fails now rather than after drives are described
    with TemporaryDirectory() as folder, reported_tally() as tally:
        empty = opened_lake.frame_of(Path(folder) / "frame.vprmap", last)
        with empty:
            describer = open_describer(model or empty.model.name, backend)
            empty.prepare(describer)
            described = list(describe_drives(opened, empty, describer, progress_bar, tally))
            default = empty.default_calibration(describer.manifest)
    result = next_release(
        opened_lake, described, lambda places: fit(places, describer, described, default=default).calibration
    )
    for batch, why in result.release.set_aside[len(last.set_aside) :]:
        typer.echo(f"set aside: {opened_lake.pushed_by(batch)}: {why}", err=True)
    for batch, why in result.left_out:
        typer.echo(f"left out of {opened_lake.pushed_by(batch)}: {why}", err=True)
    typer.echo(
        f"release {result.release.number}: {result.release.places} places, {result.added} of them new; Recall@1 on "
        f"held-out drives {100 * result.before:.1f} % before, {100 * result.after:.1f} % now"
        + (
            f"; on new streets {100 * result.new_streets:.1f} % of {result.new_images} images"
            if result.new_images
            else ""
        )
    )


@app.command()
def pull(
    lake: LakeUri,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Map to write, a name that ends in .vprmap; any other is a folder of tiles."
        ),
    ],
    near: Annotated[
        Optional[tuple[float, float, float]],
        typer.Option(metavar="LAT LON RADIUS", help="Places within a radius in metres of a position in degrees."),
    ] = None,
    bbox: Annotated[
        Optional[tuple[float, float, float, float]],
        typer.Option(metavar="WEST SOUTH EAST NORTH", help="Places in a box, metres of the map's world."),
    ] = None,
    number: Annotated[int, typer.Option("--release", min=0, help="Number of the release.", show_default="last")] = 0,
    cell: Annotated[
        float,
        typer.Option(callback=at_least(0.0), help="Side of a tile, metres.", show_default="1000, or the folder's"),
    ] = 0.0,
) -> None:
    """Write the places of a release, all or those of an area, to a map, or to a folder of tiles.

    A folder that has tiles keeps them, brings them to that release, and gets those that the area touches beside them.
    """
    from vpr_ros.fleet.lake import Lake, box_around
    from vpr_ros.fleet.pull import pull_tiles

    opened = Lake(lake)
    chosen = opened.release(number)
    if near is not None and bbox is not None:
        raise ConfigError("--near and --bbox exclude each other: give one")
    if bbox is not None and not all(map(math.isfinite, bbox)):
        raise ConfigError("--bbox is not finite: give metres of the map's world")
    if bbox is not None and (bbox[0] >= bbox[2] or bbox[1] >= bbox[3]):
        raise ConfigError("--bbox is WEST SOUTH EAST NORTH: west must be less than east, and south less than north")
    box = box_around(chosen.head.world, *near) if near is not None else bbox
    path = Path(output)
    if path.suffix == ".vprmap" and not output.endswith("/") and not path.is_dir():
        if cell:
            raise ConfigError("--cell is the side of tiles, and -o names a map: give a folder, or leave it out")
        with opened.pull(path, chosen, box) as made:
            finish(made)
        return
    with output_folder(path), progress_bar("writing tiles") as progress:
        result = pull_tiles(opened, path, chosen, box, cell, progress)
    gone = f", {result.removed} removed" if result.removed else ""
    typer.echo(
        f"{output}: release {chosen.number}, {result.manifest.places} places in {len(result.manifest.tiles)} tiles: "
        f"{result.kept} kept, {result.added} added, {result.replaced} replaced{gone}; {result.fetched} places fetched"
    )
