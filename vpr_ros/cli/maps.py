"""`vpr map`: build, add, merge, upgrade, tile, calibrate, set-poses, info."""

from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.cli.common import (
    Backend,
    Config,
    DriveOption,
    MapModel,
    Model,
    Numbered,
    Set,
    alone_if_shuffled,
    at_least,
    localizer_config,
    open_drives,
    output_folder,
    progress_bar,
    reported_tally,
)
from vpr_ros.inference.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from vpr_ros.inference.describer import Describer
    from vpr_ros.maps.place_map import PlaceMap

app = typer.Typer(no_args_is_help=True, help="Build, extend, merge, calibrate and inspect maps.")

Drives = Annotated[
    list[str],
    typer.Argument(metavar="DRIVE", help="Drives: bags, image folders, or RobotCar, KITTI or EuRoC sequences."),
]
Every = Annotated[
    float, typer.Option(callback=at_least(0.0), help="Minimum distance between places, metres; 0 takes every image.")
]


class DescriptorType(str, Enum):
    """How a map's file stores the numbers of descriptors."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    int4 = "int4"
    int2 = "int2"
    bit = "bit"


Descriptors = Annotated[
    DescriptorType,
    typer.Option(
        help="Type of a descriptor's numbers in the file: float32, float16 (half the size), int8 (a quarter, same "
        "answers), int4, int2 or bit (a thirtieth). Fewer bits give more wrong answers where places look alike."
    ),
]
NoThumbnails = Annotated[
    bool, typer.Option("--no-thumbnails", help="Keep no readable pictures: reports then show none of the map.")
]
LocalFeatures = Annotated[
    str,
    typer.Option(
        help="Local features to store, for verified loop closures: none, xfeat, sift, orb or XFeat's .onnx file."
    ),
]
Views = Annotated[int, typer.Option(help="Views stored of each image: 1, the whole image; 3, its two sides too.")]
VocabularyOf = Annotated[
    Optional[Path],
    typer.Option(
        "--vocabulary",
        metavar="MAP",
        help="Map whose vocabulary to take, so that both can be merged.",
        show_default="own",
    ),
]
EverySeconds = Annotated[float, typer.Option(callback=at_least(0.0), help="Minimum time between places, seconds.")]


@contextmanager
def interruptible(output: Path, remedy: str = "go on with --resume") -> "Iterator[None]":
    """A job that says after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if output.exists():
            typer.echo(f"interrupted: {output} holds the places so far; {remedy}", err=True)
        raise


def _check_begun(output: Path, resume: bool, every: float) -> None:
    """Raises MapError for a map that exists and is not resumed. Says if a build was begun at another distance."""
    from vpr_ros.maps.builder import other_spacing
    from vpr_ros.maps.place_map import PlaceMap

    if not resume:
        raise MapError(
            f"{output} exists already: add to it with `vpr map add`, go on with an interrupted build with --resume, or "
            "choose another name"
        )
    with PlaceMap.open(output) as begun:
        if note := other_spacing(begun, every):
            typer.echo(f"note: {note}", err=True)


@app.command()
def build(
    drives: Drives,
    output: Annotated[Path, typer.Option("--output", "-o", help="Map file to write, such as town.vprmap.")],
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
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Map the I-th of N parts of the drives; vpr map merge joins them.",
            show_default="all",
        ),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted build; places that are there are skipped.")
    ] = False,
) -> None:
    """Build a map from one or more drives."""
    from vpr_ros.maps.builder import build_map, vocabulary_of
    from vpr_ros.maps.features import choose_extractor
    from vpr_ros.maps.shard import Shard
    from vpr_ros.maps.storage import Storage

    if output.is_file():
        _check_begun(output, resume, every)
    part = Shard.parse(shard) if shard else None
    extractor = choose_extractor(local_features)
    opened = open_drives(drives, drive_option, numbered)
    describer = _describer(model, backend)
    given = None if vocabulary is None else vocabulary_of(vocabulary, describer)
    with interruptible(output), reported_tally() as tally, progress_bar("building") as progress:
        made = build_map(
            output,
            opened,
            describer,
            every_m=every,
            every_s=every_seconds,
            on_progress=progress,
            tally=tally,
            views_each=views,
            extractor=extractor,
            vocabulary=given,
            storage=Storage(descriptors.value, not no_thumbnails),
            shard=part,
            resume=resume,
        )
    with made:
        finish(made)


@app.command()
def add(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to add to.")],
    drives: Drives,
    model: MapModel = "",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    local_features: Annotated[
        str,
        typer.Option(
            help="Local features to store: none, xfeat, sift, orb or XFeat's .onnx file.",
            show_default="as in the map",
        ),
    ] = "",
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Add drives to a map. Places it already has are skipped, so this also resumes an interrupted build."""
    from vpr_ros.maps.builder import add_drive, coarser
    from vpr_ros.maps.features import choose_extractor
    from vpr_ros.maps.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    with PlaceMap.open(place_map, writable=True) as target:
        extractor = choose_extractor(local_features, target)
        describer = _describer(model or target.model.name, backend)
        if note := coarser(target, every):
            typer.echo(f"note: {note}", err=True)
        again = "give the same command again to go on"
        with interruptible(place_map, again), reported_tally() as tally:
            for drive in opened:
                with progress_bar(f"adding {drive.name}") as progress:
                    added = add_drive(
                        target,
                        drive,
                        describer,
                        every_m=every,
                        every_s=every_seconds,
                        on_progress=progress,
                        tally=tally,
                        extractor=extractor,
                    )
                there = f", {added.there} already in the map" if added.there else ""
                typer.echo(f"{added.name}: {added.new} new places{there}")
        finish(target)


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="MAP", help="Maps of one model and one world.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map file to write.")],
) -> None:
    """Merge maps into a new one, in their order, with the calibration of the first."""
    from vpr_ros.maps.editor import merge_maps

    with reported_tally() as tally, progress_bar("merging") as progress:
        merged = merge_maps(output, sources, tally, progress)
    with merged:
        finish(merged)


@app.command()
def upgrade(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to store in another way.")],
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="New map; else MAP is replaced, whole or not at all.")
    ] = None,
    descriptors: Annotated[
        Optional[DescriptorType],
        typer.Option(
            help="Numbers of descriptors in the file, as for vpr map build; never more bits than the map has.",
            show_default="as the map has, int8 instead of float32",
        ),
    ] = None,
    no_thumbnails: NoThumbnails = False,
) -> None:
    """Make a map's file smaller. Its places and its calibration stay."""
    from vpr_ros.maps.editor import store_otherwise
    from vpr_ros.maps.place_map import PlaceMap
    from vpr_ros.maps.storage import DESCRIPTOR_TYPES, Storage

    before = place_map.stat().st_size if place_map.is_file() else 0
    with PlaceMap.open(place_map) as source:
        was = source.storage.descriptors
    wanted = descriptors.value if descriptors else "int8" if was == "float32" else was
    if DESCRIPTOR_TYPES.index(wanted) < DESCRIPTOR_TYPES.index(was):
        raise ConfigError(f"{place_map} has descriptors of {was}, and what is lost does not come back as {wanted}")
    with store_otherwise(place_map, Storage(wanted, not no_thumbnails), output) as made:
        finish(made)
        typer.echo(f"{before / 1e6:.2f} MB became {made.path.stat().st_size / 1e6:.2f} MB")


@app.command()
def tile(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to cut into tiles.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a newer release may replace tiles.")],
    cell: Annotated[float, typer.Option(callback=at_least(0.0), help="Side of a tile, metres.")] = 1000.0,
    index: Annotated[
        str, typer.Option(help="FAISS index factory string of the search in all tiles; auto: by the map's size.")
    ] = "auto",
) -> None:
    """Cut a map into tiles, for robots that load the part around them. MAP stays."""
    from vpr_ros.maps.place_map import PlaceMap
    from vpr_ros.maps.tiles import write_tiles

    with PlaceMap.open(place_map) as source, output_folder(output), progress_bar("cutting") as progress:
        source.check_intact()
        links = len(source.links())
        made = write_tiles(source, output, cell, index, progress)
    if links:
        typer.echo(f"{links} loop closures of {place_map} are left out: localisation does not use them", err=True)
    largest = max(tile.bytes for tile in made.tiles)
    typer.echo(
        f"{output}: release {made.release}, {made.places} places in {len(made.tiles)} tiles of at most "
        f"{largest / 1e6:.2f} MB; of the whole map {(made.whole.bytes + made.index.bytes) / 1e6:.2f} MB"
    )


@app.command()
def calibrate(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map to calibrate.")],
    drives: Annotated[
        list[str],
        typer.Argument(metavar="DRIVE", help="Drives with true poses that are not in the map."),
    ],
    model: MapModel = "",
    backend: Backend = "auto",
    config: Config = None,
    set_: Set = [],  # noqa: B006
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Fit the probabilities to drives that are not in the map, and store them in it."""
    from vpr_ros.localize.calibrator import fit
    from vpr_ros.localize.held_out import describe_drives
    from vpr_ros.maps.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    chosen = alone_if_shuffled(localizer_config(config, set_), config, set_, opened)
    with reported_tally() as tally, PlaceMap.open(place_map, writable=True) as target:
        describer = _describer(model or target.model.name, backend)
        target.prepare(describer)
        described = []
        for drive in describe_drives(opened, target, describer, progress_bar, tally):
            described.append(drive)
            if drive.is_in(target.places):
                typer.echo(
                    f"warning: {place_map} contains images of {drive.name}, so the probabilities will be too high: "
                    "calibrate with a drive that is not in the map",
                    err=True,
                )
        default = target.default_calibration(describer.manifest)
        fitted = fit(target.places, describer, described, chosen, default)
        target.set_calibration(fitted.calibration)
    for name, value in fitted.calibration.to_dict().items():
        typer.echo(f"{name:20} {value:.4g}" if isinstance(value, float) else f"{name:20} {value}")
    typer.echo(fitted.given)
    for note in fitted.notes:
        typer.echo(f"note: {note}", err=True)


@app.command()
def set_poses(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="Map, such as a session of mapping mode.")],
    trajectory: Annotated[
        Path, typer.Argument(metavar="TRAJECTORY", help="TUM file, stamp x y z qx qy qz qw of camera or base, z up.")
    ],
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="New map, only of places that get a pose; else MAP is changed."),
    ] = None,
    camera_pose: Annotated[
        str,
        typer.Option(
            help="Pose of camera_link (x forward) on the base, 'x y z roll pitch yaw', as the node's camera_pose; "
            "empty if the trajectory is of the camera's optical frame."
        ),
    ] = "",
    world: Annotated[str, typer.Option(help="Name of the trajectory's frame.")] = "map",
    drive: Annotated[
        str, typer.Option(help="The map's drive that the trajectory is of.", show_default="all with its stamps")
    ] = "",
    max_gap: Annotated[
        float,
        typer.Option(callback=at_least(0.0), help="Maximum gap between poses to interpolate in, seconds."),
    ] = 2.0,
) -> None:
    """Set the poses of a map's places from a trajectory, such as one that SLAM optimised."""
    from vpr_ros.drives.tum import read_tum
    from vpr_ros.maps.editor import set_poses

    with reported_tally() as tally:
        track = read_tum(trajectory, int(max_gap * 1e9), tally)
        moved, missing = set_poses(place_map, track, _mount(camera_pose), world, output, drive, tally)
    typer.echo(f"{output or place_map}: {moved} places have poses in '{world}'")
    if missing:
        typer.echo(f"{missing} places of {place_map} are left out: {trajectory} has no pose at their times")


@app.command()
def info(
    place_map: Annotated[
        str, typer.Argument(metavar="MAP", help="Map: a file, or a folder or http(s) address of tiles.")
    ],
) -> None:
    """Print a map's contents: places, drives, model, calibration."""
    from vpr_ros.maps.info import map_info
    from vpr_ros.maps.tiled_map import open_map

    with open_map(place_map) as opened:
        for name, value in map_info(opened).items():
            typer.echo(f"{name:14} {value}")


def _describer(model: str, backend: str) -> "Describer":
    from vpr_ros.inference.open import open_describer

    return open_describer(model, backend)


def _mount(camera_pose: str) -> "np.ndarray":
    """T_body_camera (4, 4) from "x y z roll pitch yaw" of camera_link; the identity for an empty text."""
    import numpy as np

    from vpr_ros.base.geometry import T_BODY_OPTICAL, beyond_a_turn, transform_from_xyzrpy

    if not camera_pose.strip():
        return np.eye(4)
    try:
        numbers = [float(word) for word in camera_pose.strip("[] ").replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        raise ConfigError(f"--camera-pose is '{camera_pose}'; give x y z in metres and roll pitch yaw in radians")
    if angle := beyond_a_turn(numbers[3:]):
        raise ConfigError(f"--camera-pose has an angle of {angle:g}, and its angles are in radians: convert degrees")
    return transform_from_xyzrpy(numbers) @ T_BODY_OPTICAL


def finish(place_map: "PlaceMap") -> None:
    """Build the search index of a large map now, so that a robot starts at once, and print a summary of the map."""
    from vpr_ros.maps.centring import map_mean
    from vpr_ros.maps.index import AUTO, FLAT, Index, chosen_factory
    from vpr_ros.maps.info import map_info

    if chosen_factory(AUTO, len(place_map) * place_map.model.views) != FLAT:
        with progress_bar("indexing") as progress:
            Index.of_map(place_map, AUTO, map_mean(place_map.places), progress)
    found = map_info(place_map)
    typer.echo(f"{place_map.path}: {found['places']} places of {len(found['drives'])} drive(s), {found['size_MB']} MB")
