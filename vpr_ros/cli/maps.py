"""`vpr map`: build, add, merge, calibrate, set-poses, info."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

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
    progress_bar,
    reported_tally,
)

if TYPE_CHECKING:
    import numpy as np

    from vpr_ros.inference.describer import Describer
    from vpr_ros.maps.place_map import PlaceMap

app = typer.Typer(
    no_args_is_help=True, help="Build a map from drives, add to it, merge maps, calibrate, give poses, look inside."
)

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
    local_features: Annotated[
        str,
        typer.Option(
            help="Kept too, for verified loop closures on this map: none, xfeat, sift, orb or an .onnx file of XFeat."
        ),
    ] = "none",
    views: Annotated[
        int, typer.Option(help="Views kept of each image: 1, or 3 to be found from further aside too.")
    ] = 3,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Build a map from one or more drives."""
    from vpr_ros.maps.builder import build_map
    from vpr_ros.maps.features import choose_extractor

    extractor = choose_extractor(local_features)
    opened = open_drives(drives, drive_option, numbered)
    describer = _describer(model, backend)
    with reported_tally() as tally, progress_bar("building") as progress:
        made = build_map(output, opened, describer, every, every_seconds, progress, tally, views, extractor)
    with made:
        _say(made)


@app.command()
def add(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map to add to.")],
    drives: Drives,
    model: MapModel = "",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    local_features: Annotated[
        str,
        typer.Option(help="none, xfeat, sift, orb or an .onnx file of XFeat.", show_default="as the map's places have"),
    ] = "",
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Add drives to a map; what it holds already is skipped, so a killed build goes on here."""
    from vpr_ros.maps.builder import add_drive
    from vpr_ros.maps.features import choose_extractor
    from vpr_ros.maps.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    with PlaceMap.open(place_map, writable=True) as target:
        extractor = choose_extractor(local_features, target)
        describer = _describer(model or target.model.name, backend)
        with reported_tally() as tally:
            for drive in opened:
                with progress_bar(f"adding {drive.name}") as progress:
                    added = add_drive(target, drive, describer, every, every_seconds, progress, tally, extractor)
                there = f", {added.there} were there" if added.there else ""
                typer.echo(f"{added.name}: {added.new} new places{there}")
        _say(target)


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="MAP...", help="Maps of one model and one world.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The map file to write.")],
) -> None:
    """Merge maps into a new one; the first one's calibration is kept."""
    from vpr_ros.maps.editor import merge_maps

    with reported_tally() as tally:
        merged = merge_maps(output, sources, tally)
    with merged:
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
    from vpr_ros.localize.calibrator import describe_drive, fit
    from vpr_ros.maps.place_map import PlaceMap

    opened = open_drives(drives, drive_option, numbered)
    with reported_tally() as tally, PlaceMap.open(place_map, writable=True) as target:
        describer = _describer(model or target.model.name, backend)
        target.check_model(describer.manifest.name, describer.manifest.fingerprint)
        described = []
        for drive in opened:
            with progress_bar(f"describing {drive.name}") as progress:
                described.append(describe_drive(drive, target, describer, progress, tally))
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
def set_poses(
    place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map, such as a session of mapping mode.")],
    trajectory: Annotated[Path, typer.Argument(help="TUM file: stamp x y z qx qy qz qw of camera or base, z up.")],
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="A new map, which may lack places; else MAP is changed.")
    ] = None,
    camera_pose: Annotated[
        str,
        typer.Option(
            help="The camera on the base, 'x y z roll pitch yaw' of its camera_link (x forward), as the node's "
            "camera_pose; none where the trajectory is of the camera's optical frame."
        ),
    ] = "",
    world: Annotated[str, typer.Option(help="Name of the trajectory's frame.")] = "map",
    max_gap: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Widest gap between poses that is bridged, seconds.")
    ] = 2.0,
) -> None:
    """Give a map's places the poses of a trajectory, such as those that SLAM has optimised."""
    from vpr_ros.drives.tum import read_tum
    from vpr_ros.maps.editor import set_poses

    track = read_tum(trajectory, int(max_gap * 1e9))
    moved, missing = set_poses(place_map, track, _mount(camera_pose), world, output)
    typer.echo(f"{output or place_map}: {moved} places have poses in '{world}'")
    if missing:
        typer.echo(f"{missing} places of {place_map} are left out: {trajectory} has no pose at their stamps")


@app.command()
def info(place_map: Annotated[Path, typer.Argument(metavar="MAP", help="The map to look into.")]) -> None:
    """Say what a map holds and what it was built with."""
    from vpr_ros.maps.info import map_info
    from vpr_ros.maps.place_map import PlaceMap

    with PlaceMap.open(place_map) as opened:
        for name, value in map_info(opened).items():
            typer.echo(f"{name:14} {value}")


def _describer(model: str, backend: str) -> "Describer":
    from vpr_ros.inference.open import open_describer

    return open_describer(model, backend)


def _mount(camera_pose: str) -> "np.ndarray":
    """T_body_camera (4, 4) of "x y z roll pitch yaw" of the camera_link; the identity where nothing is given."""
    import numpy as np

    from vpr_ros.base.geometry import T_BODY_OPTICAL, matrix_from_rpy, transform

    if not camera_pose.strip():
        return np.eye(4)
    try:
        numbers = [float(word) for word in camera_pose.strip("[] ").replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        raise ConfigError(f"--camera-pose is x y z in metres and roll pitch yaw in radians, not '{camera_pose}'")
    return transform(matrix_from_rpy(*numbers[3:]), np.array(numbers[:3])) @ T_BODY_OPTICAL


def _say(place_map: "PlaceMap") -> None:
    from vpr_ros.maps.info import map_info

    found = map_info(place_map)
    typer.echo(f"{place_map.path}: {found['places']} places of {len(found['drives'])} drive(s), {found['size_MB']} MB")
