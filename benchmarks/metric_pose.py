#!/usr/bin/env python3
"""Metric poses when localising: error, covariance and time in towns that were not trained on.

    python benchmarks/metric_pose.py [--seeds 9304 9305] [--every 5] [--no-odometry] [--cache FOLDER] [--json FILE]

Each town has an overcast map with local features, and drives in sun, snow and at night: images of 320 x 240, every 4 m
of drifting odometry, with a detour off the map. Published poses are those of the best hypothesis; NEES is the
normalised squared error of measured poses over its dimension, 6; it is 1 if covariances are right. Limits: median
error of published poses 0.25 m by day and 0.4 m at night; NEES 0.5 to 2; at most 2 % of measured poses off by more
than 1 m. Exits with 1 if one is missed. Rendering needs the simulator; --cache keeps drives and maps.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.progress import track

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base import geometry
from vpr_ros.base.image import preprocess
from vpr_ros.base.records import Estimate
from vpr_ros.drives.bag import write_bag
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import LocalizerConfig, MetricConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.features import choose_extractor

DRIVES = {
    "overcast": ("reference", Motion(every_m=1.0)),
    "sun": ("detour", Motion(every_m=4.0, start_m=0.7)),
    "night": ("detour", Motion(every_m=4.0, start_m=1.4)),
    "snow": ("detour", Motion(every_m=4.0, start_m=2.1)),
}
QUERIES = ("sun", "snow", "night")
ERROR_M = {"sun": 0.25, "snow": 0.25, "night": 0.4}
NEES, WRONG_M, WRONG_SHARE = (0.5, 2.0), 1.0, 0.02


def render(seed: int, folder: Path) -> None:
    """Write the drives of a town as bags, unless they are there."""
    missing = [name for name in DRIVES if not (folder / name).exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    town = Town(seed)
    renderer = Renderer(town)
    for number, (name, (route, motion)) in enumerate(DRIVES.items()):
        if name in missing:
            condition = Condition.preset(name, 90 + number)
            drive = SimulatedDrive(
                town, condition, route, name=name, seed=90 + number, motion=motion, renderer=renderer
            )
            print(f"rendering {drive.name} of {town.world}, {len(drive)} images", file=sys.stderr)
            write_bag(folder / name, drive, jpeg_quality=90, T_base_camera=drive.camera.T_body_camera)
    renderer.close()


def town_map(folder: Path, every_m: float) -> Path:
    """The overcast map of a town, with local features; built unless it is there."""
    path = folder / f"every_{every_m:g}.vprmap"
    if not path.exists():
        overcast = open_drive(folder / "overcast")
        build_map(path, [overcast], open_describer(), every_m, extractor=choose_extractor("xfeat")).close()
    return path


def errors(estimate: Estimate, T_true: np.ndarray) -> tuple[float, float, bool, float] | None:
    """(metres, NEES over 6, whether it was measured, milliseconds) of the published pose; None without one."""
    best = estimate.best
    if best is None:
        return None
    error = geometry.difference(best.T_map_camera, T_true)
    squared = float(error @ np.linalg.solve(best.covariance, error)) / 6
    return float(np.linalg.norm(error[:3])), squared, best.measured, estimate.timings_ms.get("metric", 0.0)


def drive_errors(folder: Path, name: str, map_path: Path, odometry: bool) -> tuple[np.ndarray, np.ndarray]:
    """Errors (F, 4) of a drive's published poses without measuring, and with it; see ``errors``."""
    measuring = LocalizerConfig(metric=MetricConfig(enabled=True))
    found: tuple[list[object], list[object]] = [], []
    with Localizer.open(map_path) as plain, Localizer.open(map_path, config=measuring) as metric:
        for drive_frame in track(open_drive(folder / name), f"{folder.name}: {name}"):
            frame, T_true = drive_frame.load(), drive_frame.T_map_camera
            assert T_true is not None
            image = preprocess(frame.image_rgb, plain.describer.manifest.preprocessing)
            described = plain.describer.describe(image[None])
            assert described.depth is not None
            for localizer, answers in zip((plain, metric), found, strict=True):
                estimate = localizer.recognise(
                    frame.stamp_ns,
                    described.descriptors[0],
                    T_odom_camera=frame.T_odom_camera if odometry else None,
                    depth=plain.describer.manifest.metres(described.depth[0], frame.intrinsics),
                    image_rgb=frame.image_rgb,
                    intrinsics=frame.intrinsics,
                )
                answers.append(errors(estimate, T_true))
    before, after = (np.array([one for one in answers if one is not None], float) for answers in found)
    return before, after


def figures(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Figures of a drive, or of several together, from ``drive_errors``."""
    measured = after[after[:, 2] == 1]
    values = {
        "poses": len(after),
        "error_m_p50_without": np.median(before[:, 0]),
        "error_m_p50": np.median(after[:, 0]),
        "error_m_p90": np.percentile(after[:, 0], 90),
        "measured": len(measured) / len(after),
        "measured_error_m_p50": np.median(measured[:, 0]),
        "measured_wrong": np.mean(measured[:, 0] > WRONG_M),
        "nees_over_6": np.mean(measured[:, 1]),
        "nees_over_6_median": np.median(measured[:, 1]) / (5.348 / 6),
        "metric_ms_p50": np.median(after[:, 3]),
    }
    return {name: round(float(value), 3) for name, value in values.items()}


def missed(name: str, of_drive: dict[str, float]) -> list[str]:
    """The limits that a drive misses."""
    limits = {
        "error": of_drive["error_m_p50"] <= ERROR_M[name],
        "NEES": NEES[0] <= of_drive["nees_over_6"] <= NEES[1],
        "wrong": of_drive["measured_wrong"] <= WRONG_SHARE,
    }
    return [limit for limit, kept in limits.items() if not kept]


def main() -> int:
    """Print the figures as JSON; returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9304, 9305], help="towns")
    parser.add_argument("--every", type=float, default=5.0, help="metres between places")
    parser.add_argument("--no-odometry", action="store_true", help="queries without odometry")
    parser.add_argument("--cache", type=Path, help="folder that keeps drives and maps; default: a temporary one")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in QUERIES}
    report: dict[str, object] = {"seeds": given.seeds, "every_m": given.every, "odometry": not given.no_odometry}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in given.seeds:
            folder = (given.cache or Path(temporary)) / f"town_{seed}"
            render(seed, folder)
            path = town_map(folder, given.every)
            for name in QUERIES:
                found[name].append(drive_errors(folder, name, path, not given.no_odometry))
                print(json.dumps({f"{seed} {name}": figures(*found[name][-1])}), flush=True)
    faults = []
    for name, pairs in found.items():
        together = figures(*(np.concatenate(of_towns) for of_towns in zip(*pairs, strict=True)))
        report[name] = {**together, "missed": missed(name, together)}
        faults += missed(name, together)
    print(json.dumps(report, indent=2))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
