#!/usr/bin/env python3
"""Does an image take longer on a larger map? Time of all steps after the network but the search itself.

    python benchmarks/map_size.py [--places 1000,10000,100000,1000000] [--images 300] [--json FILE]

The maps are cities of parallel streets, a place every 5 m, whose descriptors are a random smooth function of the
position (8 m). A robot drives 2 m an image, one image in six is noise, and at the end it is off the map. Maps take
turns image by image, so that other load affects all. Exits with 1 if the largest map takes more than 1.2 times as long
in the mean as the smallest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vpr_ros.base import geometry
from vpr_ros.base.records import Prior
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

LIMIT = 1.2
SPACING_M, STREET_M, APART_M, STEP_M, DIMENSION, NOISE = 5.0, 5000.0, 60.0, 2.0, 128, 0.3
SURE = Calibration(similarity_weight=20.0, threshold=9.0)  # of these descriptors: right 0.9, others below 0.5
KINDS = ("odometry", "no odometry", "prior of 30 m")


class City:
    """Parallel streets, all driven in one direction."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self._frequencies = rng.normal(0, 1 / 8, (2, DIMENSION)).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, DIMENSION).astype(np.float32)
        per_street = min(count, int(STREET_M / SPACING_M))
        street, along = np.divmod(np.arange(count), per_street)
        positions = np.stack([along * SPACING_M, street * APART_M], axis=1)
        self.places = Places(
            ids=np.arange(1, count + 1),
            drives=np.char.add("street ", street.astype(str)),
            stamps_ns=np.arange(count),
            T_map_camera=self.poses(positions),
            descriptors=self.descriptors(positions)[:, None],
        )

    def poses(self, positions: np.ndarray) -> np.ndarray:
        """(K, 4, 4) looking eastwards at positions (K, 2)."""
        T = np.tile(geometry.T_BODY_OPTICAL, (len(positions), 1, 1))
        T[:, :2, 3] = positions
        return T

    def descriptors(self, positions: np.ndarray) -> np.ndarray:
        """(K, D) float32 of what is seen at positions (K, 2)."""
        seen = np.cos(positions.astype(np.float32) @ self._frequencies + self._phases)
        return np.asarray(seen / np.linalg.norm(seen, axis=1, keepdims=True), np.float32)


class TimedIndex:
    """An index that adds up the time of its searches.

    A search of a large map leaves the processor's caches cold. Here each does, so that this does not count.
    """

    _other_data = np.zeros(16_000_000, np.float32)

    def __init__(self, index: Any) -> None:
        self._index, self.seconds = index, 0.0

    def search(self, descriptor: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``maps.index.Index``."""
        start = perf_counter()
        found = self._index.search(descriptor, count)
        self._other_data.sum()
        self.seconds += perf_counter() - start
        return found


class Robot:
    """A drive through the middle of the first street of a city."""

    def __init__(self, city: City, kind: str) -> None:
        self._city, self._kind = city, kind
        self.localizer = Localizer(city.places, None, None, SURE)  # type: ignore[arg-type]
        self.localizer.index = self.index = TimedIndex(self.localizer.index)  # type: ignore[assignment]
        self.times_ms: list[float] = []
        self.right: list[bool] = []

    def image(self, number: int, images: int) -> None:
        """Localise one image."""
        rng = np.random.default_rng(number)
        position = np.array([[100.0 + STEP_M * number, 0.0]])
        T = self._city.poses(position)[0]
        descriptor = self._city.descriptors(position)[0] + rng.normal(0, NOISE * DIMENSION**-0.5, DIMENSION)
        lost = number > 0.8 * images
        if lost or number % 6 == 5:
            descriptor = rng.normal(0, 1, DIMENSION)
        descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
        priors = (Prior(position[0] + rng.normal(0, 30, 2), np.eye(2) * 900.0),) if "prior" in self._kind else ()
        T_odom = None if self._kind == "no odometry" else T
        before, start = self.index.seconds, perf_counter()
        estimate = self.localizer.recognise(number * 400_000_000, descriptor, T_odom, priors=priors)
        best = estimate.best
        estimate.matches[0]
        took = perf_counter() - start - (self.index.seconds - before)
        self.times_ms.append(1e3 * took)
        near = best is not None and np.linalg.norm(best.T_map_camera[:2, 3] - position[0]) < 25
        self.right.append(best is None if lost else bool(near))


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", default="1000,10000,100000,1000000", help="sizes of the maps")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    sizes = [int(size) for size in given.places.split(",")]
    console, report, missed = Console(), [], False
    cities = [City(size) for size in sizes]
    for kind in KINDS:
        robots = [Robot(city, kind) for city in cities]
        for number in range(given.images):
            for robot in robots:
                robot.image(number, given.images)
        table = Table("places", "mean", "median", "90 %", "mean, of the smallest", "right", title=kind)
        first = float(np.mean(robots[0].times_ms[5:]))
        for size, robot in zip(sizes, robots, strict=True):
            mean, (median, late) = float(np.mean(robot.times_ms[5:])), np.percentile(robot.times_ms[5:], [50, 90])
            ratio, right = mean / first, float(np.mean(robot.right))
            times = [f"{ms:.2f} ms" for ms in (mean, median, late)]
            table.add_row(f"{size}", *times, f"{ratio:.2f}", f"{right:.3f}")
            row = {"ms": mean, "ms_median": median, "ms_90": late, "ratio": ratio, "right": right}
            report.append({"kind": kind, "places": size, **row})
        missed |= ratio > LIMIT
        console.print(table)
    if given.json:
        given.json.write_text(json.dumps(report, indent=2))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
