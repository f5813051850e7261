#!/usr/bin/env python3
"""Render the drives of `make demo` again: a town the shipped network never saw, as ROS 2 bags of a few MB each.

Needs EGL (Debian: apt install libegl1 libgl1-mesa-dri). Equal versions give equal drives; the shipped ones were made
by this.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_lab.simulation.weather import ChangeableDrive
from vpr_ros.cli.common import progress_bar
from vpr_ros.drives.bag import write_bag

SEED = 9001  # training used seeds below 8000
FOLDER = Path(__file__).resolve().parents[1] / "demo" / "bags"
COLOURS = {"pavements": "#e6e3dc", "roads": "#d2d2d4", "parks": "#cfe3c4", "buildings": "#c9bfb4"}
JPEG_QUALITY, LOOPS_JPEG_QUALITY = 80, 65


def simulated(names: Sequence[str]) -> list[SimulatedDrive]:
    """The drives of `vpr demo` and, "loops_...", of `vpr demo slam`; all, or those named."""
    town = Town(SEED)
    renderer = Renderer(town, Camera())
    dense, sparse = Motion(every_m=2.5), Motion(every_m=5.0)
    poor_odometry = Motion(every_m=2.5, odometry_turn_deg=0.3, odometry_scale=0.003, traffic_m=300.0)
    weather = ("rain", "sun", "night", "autumn", "snow", "dusk")
    changing = [Condition.preset(name, 20 + k) for k, name in enumerate(weather)]

    def drive(name: str, preset: tuple[str, int], route: str, seed: int, motion: Motion) -> SimulatedDrive:
        condition = Condition.preset(*preset)
        return SimulatedDrive(town, condition, route, name=name, seed=seed, motion=motion, renderer=renderer)

    drives = [
        drive("overcast", ("overcast", 1), "reference", 1, dense),
        ChangeableDrive(town, changing, route="detour", name="changeable", seed=2, motion=sparse, renderer=renderer),
        *(drive(name, (name, 30 + k), "detour", 10 + k, sparse) for k, name in enumerate(("sun", "snow", "night"))),
        *(
            drive(f"loops_{name}", (name, 40 + k), "loops", 21 + k, poor_odometry)
            for k, name in enumerate(("overcast", "night"))
        ),
    ]
    return [drive for drive in drives if not names or drive.name in names]


def main() -> None:
    """Write every drive, or those named on the command line, and the town's plan beside them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    drives = simulated(sys.argv[1:])
    for drive in drives:
        shutil.rmtree(FOLDER / drive.name, ignore_errors=True)
        with progress_bar(f"rendering {drive.name}") as progress:
            write_bag(
                FOLDER / drive.name,
                drive,
                jpeg_quality=LOOPS_JPEG_QUALITY if drive.name.startswith("loops") else JPEG_QUALITY,
                T_base_camera=drive.camera.T_body_camera,
                on_progress=progress,
            )
    town, camera = drives[0].town, drives[0].camera
    plan = [
        (polygon.round(1).tolist(), COLOURS[kind])
        for kind, polygons in town.plan_picture().items()
        for polygon in polygons
    ]
    described = {
        "seed": SEED,
        "camera_pose": [0.0, 0.0, camera.height_m, 0.0, 0.0, 0.0],
        "polygons": [polygon for polygon, _ in plan],
        "colours": [colour for _, colour in plan],
    }
    (FOLDER / "town.json").write_text(json.dumps(described) + "\n")


if __name__ == "__main__":
    main()
