"""Simulated towns as a training cache: several seasons of each, another camera for each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_lab.training.datasets import cache_drive
from vpr_ros.base.image import Preprocessing

_SIZES = ((288, 216), (320, 240), (320, 180), (256, 256), (304, 190))
_ALWAYS, _IN_TURN = ("overcast", "sun", "snow", "night"), ("rain", "dusk", "autumn")
_SCENARIOS = ("overcast", "sun", "autumn", "snow", "night")


def cache_towns(
    cache: Path, seeds: range, on_progress: Callable[[int, int], None] | None = None, jobs: int = 1
) -> None:
    """Render towns into a cache, about 890 images each; drives that are there already are kept.

    Every town has its own camera (55 to 95 degrees, 1.0 to 2.2 m high), five conditions along 760 m of a random route,
    and two more of them away from the lane, one as far as the other side of the road.
    on_progress: (towns done, towns in all). jobs: processes that each render towns of their own.
    """
    in_turn(_cache_town, [(cache, seed) for seed in seeds], jobs, on_progress)


def in_turn(
    work: Callable[..., None],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Call ``work`` with each of the tasks in ``jobs`` processes; the first failure, or Ctrl-C, stops all."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:  # a forked process has no OpenGL
        try:
            for done, task in enumerate(as_completed([pool.submit(work, *task) for task in tasks]), 1):
                task.result()
                if on_progress:
                    on_progress(done, len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _cache_town(cache: Path, seed: int) -> None:
    rng, rng_sides = np.random.default_rng([seed, 99]), np.random.default_rng([seed, 98])
    town, route = Town(seed), f"random-{seed % 7}"
    renderer = Renderer(town, _camera(rng))
    left = -1.0 if town.style.left_hand_traffic else 1.0  # where the other side of the road is
    lanes = [(name, name, 0.0) for name in (*_ALWAYS, _IN_TURN[seed % 3])]
    lanes += [(_ALWAYS[seed % 4], "opposite", left * rng_sides.uniform(2.5, 4.5))]
    lanes += [(_ALWAYS[(seed + 1) % 4], "aside", left * rng_sides.uniform(-1.2, 3.0))]
    for number, (name, label, offset_m) in enumerate(lanes):
        motion = _motion(rng, 6.0, float(offset_m), lateral_m=1.6, heading_deg=6.0)
        condition = Condition.preset(name, seed * 10 + number)
        drive = SimulatedDrive(
            town, condition, route, name=f"{route}_{label}", seed=number + 1, motion=motion, renderer=renderer
        )
        cache_drive(drive, cache, Preprocessing(), every_m=0.0, sky=True)
    renderer.close()


def cache_test_towns(cache: Path, seeds: range, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Render towns to be measured on: overcast every 5 m, then the scenarios of RobotCar's papers along the same way.

    Sun, autumn (their long term: another season), snow and night, each with its own small way about the lane.
    """
    for done, seed in enumerate(seeds, 1):
        rng = np.random.default_rng([seed, 97])
        town, route = Town(seed), f"random-{seed % 7}"
        renderer = Renderer(town, _camera(rng))
        for number, name in enumerate(_SCENARIOS):
            motion = _motion(rng, 5.0, 0.0, lateral_m=1.0, heading_deg=4.0)
            condition = Condition.preset(name, seed * 10 + number)
            drive = SimulatedDrive(
                town, condition, route, name=f"{route}_{name}", seed=number + 1, motion=motion, renderer=renderer
            )
            cache_drive(drive, cache, Preprocessing(), every_m=0.0, sky=True)
        renderer.close()
        if on_progress:
            on_progress(done, len(seeds))


def _camera(rng: np.random.Generator) -> Camera:
    """55 to 95 degrees wide, 1.0 to 2.2 m high."""
    width, height = _SIZES[rng.integers(len(_SIZES))]
    return Camera(width, height, float(rng.uniform(55, 95)), float(rng.uniform(1.0, 2.2)), float(rng.uniform(-4, 6)))


def _motion(rng: np.random.Generator, every_m: float, offset_m: float, lateral_m: float, heading_deg: float) -> Motion:
    """760 m of a route, wandering about the lane by so much at most."""
    return Motion(
        every_m=every_m,
        start_m=float(rng.uniform(0, 6)),
        length_m=760.0,
        offset_m=offset_m,
        lateral_m=float(rng.uniform(0.3, lateral_m)),
        heading_deg=float(rng.uniform(1, heading_deg)),
        tilt_deg=1.0,
    )
