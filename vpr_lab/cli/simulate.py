"""`vpr simulate`: drives through simulated towns, as bags or Oxford RobotCar runs."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.cli.common import at_least, counted, progress_bar

_SEEDS = 2**32 - 1001  # the largest: further numbers are made of it


class Format(str, Enum):
    """How a drive is written."""

    bag = "bag"
    robotcar = "robotcar"

    def __str__(self) -> str:
        return self.value  # as help pages show it; Python 3.10 would write Format.bag


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that gets one bag or run for each condition.")],
    seed: Annotated[int, typer.Option(min=0, max=_SEEDS, help="Which town; equal seeds give equal towns.")] = 0,
    condition: Annotated[
        list[str], typer.Option("--condition", "-c", help="overcast sun snow night rain dusk autumn; repeatable.")
    ] = ["overcast"],  # noqa: B006
    route: Annotated[str, typer.Option(help="reference, detour, loops or random-<number>.")] = "reference",
    drive_seed: Annotated[int, typer.Option(min=0, max=_SEEDS, help="Seed of traffic, sway, odometry and noise.")] = 0,
    every: Annotated[float, typer.Option(callback=at_least(0.1), help="Distance between images, metres.")] = 2.5,
    length: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Distance to drive, metres; 0: the whole lap.")
    ] = 0.0,
    reverse: Annotated[bool, typer.Option("--reverse", help="Drive the route in reverse.")] = False,
    width: Annotated[
        int, typer.Option(min=16, max=4096, help="Image width, pixels; the height is three quarters of it.")
    ] = 320,
    format_: Annotated[Format, typer.Option("--format", help="bag or robotcar.")] = Format.bag,
) -> None:
    """Render drives through a simulated town, with exact poses and drifting odometry."""
    from vpr_lab.simulation.camera import Camera
    from vpr_lab.simulation.conditions import Condition
    from vpr_lab.simulation.drives import Motion, SimulatedDrive
    from vpr_lab.simulation.renderer import Renderer
    from vpr_lab.simulation.robotcar import write_robotcar
    from vpr_lab.simulation.town import Town
    from vpr_ros.drives.bag import write_bag

    conditions = [Condition.preset(name, drive_seed) for name in condition]  # a mistyped one is said before any work
    names = [one.name for one in conditions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"--condition {twice[0]} is given twice: give it once")
    if format_ is Format.bag and (there := [output / name for name in names if (output / name).exists()]):
        raise DriveError(f"{there[0]} exists already: remove it or give another folder")
    typer.echo(f"building town {seed}", err=True)
    town, camera = Town(seed), Camera(width=width, height=width * 3 // 4)
    renderer = Renderer(town, camera)
    motion = Motion(every_m=every, length_m=length)
    output.mkdir(parents=True, exist_ok=True)
    for number, chosen in enumerate(conditions):
        others: dict[str, Any] = {
            "name": chosen.name,
            "seed": drive_seed + number,
            "motion": motion,
            "reverse": reverse,
        }
        drive = SimulatedDrive(town, chosen, route, renderer=renderer, **others)
        with progress_bar(f"rendering {drive.name}") as progress:
            if format_ is Format.bag:
                path = output / drive.name
                write_bag(path, drive, T_base_camera=camera.T_body_camera, on_progress=progress)
            else:
                path = write_robotcar(output, drive, progress=counted(progress, len(drive)))
        typer.echo(f"{path}: {len(drive)} images")
    renderer.close()
