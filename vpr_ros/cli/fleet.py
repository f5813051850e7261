"""`vpr fleet`: build."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vpr_ros.cli.common import Backend, DriveOption, Model, Numbered, open_drives, progress_bar, reported_tally
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
    print_summary,
)

app = typer.Typer(no_args_is_help=True, help="Build maps on many machines.")


class Device(str, Enum):
    """Where describers run."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@app.callback()
def _group() -> None:
    pass


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
    model: Model = "demixvpr_mobilenet",
    backend: Backend = "auto",
    every: Every = 5.0,
    every_seconds: EverySeconds = 0.0,
    local_features: LocalFeatures = "none",
    views: Views = 3,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
    vocabulary: VocabularyOf = None,
    descriptors: Descriptors = DescriptorType.float16,
    no_thumbnails: NoThumbnails = False,
) -> None:
    """Build a map on a Ray cluster, as vpr map build makes it. Given again, the command continues what was killed."""
    from vpr_ros.fleet.ray_build import Work, build_on_ray
    from vpr_ros.maps.storage import Storage

    opened = open_drives(drives, drive_option, numbered)
    storage = Storage(descriptors.value, not no_thumbnails)
    work = Work(model, backend, every, every_seconds, views, local_features, storage)
    with reported_tally() as tally, progress_bar("building") as progress:
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
        print_summary(made)
