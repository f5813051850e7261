#!/usr/bin/env python3
"""Render the drives of `make demo` again: a town the shipped network never saw, as ROS 2 bags of a few MB each.

Needs EGL (Debian: apt install libegl1 libgl1-mesa-dri). Equal versions give equal drives; the shipped ones were made
by this.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vpr_ros.cli.common import progress_bar
from vpr_ros.drives.bag import write_bag
from vpr_ros.simulation.camera import Camera
from vpr_ros.simulation.conditions import Condition
from vpr_ros.simulation.drives import Motion, SimulatedDrive
from vpr_ros.simulation.renderer import Renderer
from vpr_ros.simulation.town import Town
from vpr_ros.simulation.weather import ChangeableDrive

SEED = 9001  # training used seeds below 8000
FOLDER = Path(__file__).resolve().parents[1] / "demo" / "bags"
COLOURS = {"pavements": "#e6e3dc", "roads": "#d2d2d4", "parks": "#cfe3c4", "buildings": "#c9bfb4"}
JPEG_QUALITY = 80


def main() -> None:
    """Write every drive, and the town's plan beside them."""
    town, camera = Town(SEED), Camera()
    renderer = Renderer(town, camera)
    dense, sparse = Motion(every_m=2.5), Motion(every_m=5.0)
    drives = [
        SimulatedDrive(
            town, Condition.preset("overcast", 1), "reference", name="overcast", seed=1, motion=dense, renderer=renderer
        ),
        ChangeableDrive(
            town,
            [
                Condition.preset(name, 20 + k)
                for k, name in enumerate(("rain", "sun", "night", "autumn", "snow", "dusk"))
            ],
            route="detour",
            name="changeable",
            seed=2,
            motion=sparse,
            renderer=renderer,
        ),
    ]
    drives += [
        SimulatedDrive(
            town, Condition.preset(name, 30 + k), "detour", name=name, seed=10 + k, motion=sparse, renderer=renderer
        )
        for k, name in enumerate(("sun", "snow", "night"))
    ]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for drive in drives:
        shutil.rmtree(FOLDER / drive.name, ignore_errors=True)
        with progress_bar(f"rendering {drive.name}") as progress:
            write_bag(
                FOLDER / drive.name,
                drive,
                jpeg_quality=JPEG_QUALITY,
                camera_info=camera.K,
                T_base_camera=camera.T_body_camera,
                on_progress=progress,
            )
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
