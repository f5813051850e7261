"""Simulated towns as a training cache: several seasons of each, another camera for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpr_ros.image import Preprocessing
from vpr_ros.simulation.camera import Camera
from vpr_ros.simulation.conditions import Condition
from vpr_ros.simulation.drives import Motion, SimulatedDrive
from vpr_ros.simulation.renderer import Renderer
from vpr_ros.simulation.town import Town
from vpr_ros.training.datasets import cache_drive

_SIZES = ((288, 216), (320, 240), (320, 180), (256, 256), (304, 190))
_ALWAYS, _IN_TURN = ("overcast", "sun", "snow", "night"), ("rain", "dusk", "autumn")


def cache_towns(cache: Path, seeds: range, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Render towns into a cache, about 630 images each; drives that are there already are kept.

    Every town has its own camera (55 to 95 degrees, 1.0 to 2.2 m high) and five conditions along 760 m of a random
    route. on_progress: (towns done, towns in all).
    """
    for done, seed in enumerate(seeds, 1):
        _cache_town(cache, seed)
        if on_progress:
            on_progress(done, len(seeds))


def _cache_town(cache: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 99])
    town = Town(seed)
    width, height = _SIZES[rng.integers(len(_SIZES))]
    camera = Camera(width, height, float(rng.uniform(55, 95)), float(rng.uniform(1.0, 2.2)), float(rng.uniform(-4, 6)))
    renderer = Renderer(town, camera)
    route = f"random-{seed % 7}"
    for number, name in enumerate((*_ALWAYS, _IN_TURN[seed % 3])):
        motion = Motion(
            every_m=6.0,
            start_m=float(rng.uniform(0, 6)),
            length_m=760.0,
            lateral_m=float(rng.uniform(0.3, 1.6)),
            heading_deg=float(rng.uniform(1, 6)),
            tilt_deg=1.0,
        )
        condition = Condition.preset(name, seed * 10 + number)
        drive = SimulatedDrive(
            town, condition, route, name=f"{route}_{name}", seed=number + 1, motion=motion, renderer=renderer
        )
        cache_drive(drive, cache, Preprocessing(), every_m=0.0)
    renderer.close()
