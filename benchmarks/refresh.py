#!/usr/bin/env python3
"""Does a map of ten conditions stay small and lose nothing? `vpr map refresh` on simulated towns.

    python benchmarks/refresh.py [--seeds 9101 9102 9103] [--looks 3] [--cache FOLDER] [--json FILE]

Each town is driven ten times, an image every 5 m: overcast, sun, snow, night and autumn, two drives of each, which
differ in light, camera, traffic and line. All are put in one map, which is then refreshed. Queries are five drives that
are not in it: rain and dusk, of which the map has no drive, and further ones of sun, snow and night. Recall@1 is that
of single images: the most similar place is within 25 m. For comparison: the newest drives alone, and places drawn at
random, both of the same size.

Limits: the refreshed map has at most 3 times the places and bytes of a map of one drive; its recall@1 over all queries
is at least that of the map with everything, less 0.005. Exits with 1 if one is missed. Rendering needs the simulator;
--cache keeps what the network made of the images.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

from vpr_ros.base.image import preprocess, views
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer

MAPPED = tuple((preset, seed) for seed in (1, 2) for preset in ("overcast", "sun", "snow", "night", "autumn"))
HELD_OUT = (("rain", 71), ("dusk", 72), ("sun", 73), ("snow", 74), ("night", 75))
VIEWS = 3


def described(town_seed: int, describer: Describer, cache: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """The drives of a town by name, in the order they were driven: stamps_ns, T_map_camera, descriptors (N, V, D)."""
    names = [f"{preset}-{seed}" for preset, seed in (*MAPPED, *HELD_OUT)]
    paths = [
        cache / f"{town_seed}-{describer.manifest.fingerprint[:12]}-{name}.npz" if cache else None for name in names
    ]
    found: dict[str, dict[str, np.ndarray]] = {}
    renderer = None
    for number, (name, path) in enumerate(zip(names, paths, strict=True)):
        if path is not None and path.is_file():
            with np.load(path) as stored:
                found[name] = dict(stored)
            continue
        renderer = renderer or _renderer(town_seed)
        found[name] = _rendered(renderer, number, describer)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **found[name])
    return found


def _renderer(town_seed: int) -> Renderer:
    from vpr_lab.simulation.renderer import Renderer
    from vpr_lab.simulation.town import Town

    return Renderer(Town(town_seed))


def _rendered(renderer: Renderer, number: int, describer: Describer) -> dict[str, np.ndarray]:
    """A drive through the renderer's town, described. Each starts at another offset, on another day."""
    from vpr_lab.simulation.conditions import Condition
    from vpr_lab.simulation.drives import Motion, SimulatedDrive

    preset, seed = (*MAPPED, *HELD_OUT)[number]
    motion = Motion(every_m=5.0, start_m=1.3 * number)
    drive = SimulatedDrive(
        renderer.town, Condition.preset(preset, seed), seed=number + 1, motion=motion, renderer=renderer
    )
    count = VIEWS if number < len(MAPPED) else 1
    size = describer.manifest.preprocessing
    rows = [
        np.concatenate(
            [describer.describe(preprocess(view, size)[None]).descriptors for view in views(frame.read(), count)]
        )
        for frame in track(drive, f"town {renderer.town.seed}, {preset} {seed}")
    ]
    return {
        "stamps_ns": drive.stamps_ns,
        "T_map_camera": drive.T_map_camera,
        "descriptors": np.stack(rows).astype(np.float32),
    }
