#!/usr/bin/env python3
"""Is a robot on tiles the same robot? Answers, memory and time of hand-overs, on tiles and on the map in one file.

    python benchmarks/tiles.py [--kilometres 200] [--step 20] [--cell 1000] [--rounds 3] [--folder FOLDER] [--json FILE]

The map is a city of parallel streets in 100 tiles, a place every 5 m. A descriptor is a random smooth function of the
position (8 m) with a part that all images share and a part that repeats every 1.3 km, so that each place has twins in
other tiles. A robot drives all streets with odometry and, in two of four, a prior of 30 m. One image in six is noise.
At the end of each street it is carried to the next one.

In the first round the robot on tiles and the one on the file get each image in turns, and answers are compared. A
hand-over begins with an image after which another tile is wanted that is not in memory. Images come as fast as they are
answered, and the slowest of this one and the next three, less the median of all images of that kind, is what it adds.
Time in which the thread waited for a processor (/proc/thread-self/schedstat) is of other processes and is left out. The
drive is repeated on tiles alone: what a hand-over adds in each round is the map's doing, so its least over the rounds
counts, and both are printed. Exits with 1 if an answer differs by a byte, if more than nine tiles are in memory, or if
a hand-over adds more than 20 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Estimate, Prior
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import map_mean
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import BUILT
from vpr_ros.maps.tiled_map import TiledMap, index_of
from vpr_ros.maps.tiles import write_tiles

LIMIT_MS = 20.0
SIDE_M, SPACING_M, DIMENSION, NOISE, TWIN_M = 10_000.0, 5.0, 1024, 0.3, 1300.0
SHARED, REPEATED = 0.7, 0.7  # sizes of those parts of a descriptor, relative to the rest
SURE = Calibration(similarity_weight=20.0, threshold=9.0)  # of these descriptors: right 0.9, others below 0.5


class City:
    """Parallel streets eastwards and back, which a robot drives one after the other."""

    def __init__(self, kilometres: float) -> None:
        rng = np.random.default_rng(0)
        self._frequencies = rng.normal(0, 1 / 8, (2, 2, DIMENSION)).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, (2, DIMENSION)).astype(np.float32)
        self._shared = SHARED * rng.normal(0, 1, DIMENSION).astype(np.float32)
        self.streets = max(1, round(kilometres * 1e3 / SIDE_M))
        self._apart = SIDE_M / self.streets

    def positions(self, street: int, step: float) -> np.ndarray:
        """(K, 2) metres along a street, in the direction of driving."""
        along = np.arange(0.0, SIDE_M, step) + 0.5
        along = along if street % 2 == 0 else along[::-1]
        return np.stack([along, np.full(len(along), (street + 0.5) * self._apart)], axis=1)

    def poses(self, street: int, positions: np.ndarray) -> np.ndarray:
        """(K, 4, 4) looking along a street."""
        R = geometry.matrix_from_rpy(0, 0, np.pi * (street % 2)) @ geometry.R_BODY_OPTICAL
        T = np.tile(geometry.transform(R, np.array([0.0, 0.0, 1.5])), (len(positions), 1, 1))
        T[:, :2, 3] = positions
        return T

    def descriptors(self, positions: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        """(K, D) float32 of what is seen at positions (K, 2); noise: its length relative to the rest."""
        at = positions.astype(np.float32)
        own = np.cos(at @ self._frequencies[0] + self._phases[0])
        repeated = np.cos((at % TWIN_M) @ self._frequencies[1] + self._phases[1])
        seen = own + REPEATED * repeated + self._shared
        seen += noise * np.random.default_rng(seed).normal(0, 1, seen.shape)
        return np.asarray(seen / np.linalg.norm(seen, axis=1, keepdims=True), np.float32)

    def build(self, path: Path) -> PlaceMap:
        """The map, in one file."""
        model = MapModel("drawn", "f" * 64, DIMENSION, Preprocessing(8, 8))
        made = PlaceMap.create(path, model, "city", calibration=SURE, storage=BUILT)
        for street in track(range(self.streets), "driving the map", console=Console(stderr=True)):
            positions = self.positions(street, SPACING_M)
            with made.together():
                for row, (T, descriptor) in enumerate(
                    zip(self.poses(street, positions), self.descriptors(positions), strict=True)
                ):
                    made.add(f"street {street}", row, T, descriptor)
        return made


def localizer_on(place_map: PlaceMap) -> Localizer:
    """As ``Localizer.open``, without a network."""
    describer: Any = None
    index = index_of(place_map, "auto", map_mean(place_map.places))
    return Localizer(place_map.places, describer, None, place_map.calibration, index, place_map=place_map)


def answer(estimate: Estimate) -> bytes:
    """All numbers of an answer."""
    found: list[Any] = [estimate.off_map_probability, estimate.view_kept]
    for match in estimate.matches:
        found += [match.place_id, match.similarity, match.probability, match.T_map_camera, match.covariance]
    for hypothesis in estimate.hypotheses:
        found += [hypothesis.T_map_camera, hypothesis.covariance, hypothesis.probability, hypothesis.place_ids]
    return b"".join(np.asarray(value).tobytes() for value in found)


def settled(tiles: TiledMap) -> None:
    """Wait until the thread of the tiles has nothing left to do."""
    while not tiles.keeper.idle:
        time.sleep(0.01)


def waited_s() -> float:
    """Seconds that this thread was ready and had no processor; 0 where the system does not count them."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return 0.0


class Drive:
    """The robot on tiles, with or without the one on the file beside it, over all streets."""

    def __init__(self, city: City, tiles: TiledMap, whole: PlaceMap | None) -> None:
        self._city, self._keeper = city, tiles.keeper
        self._tiles = localizer_on(tiles)
        self._file = None if whole is None else localizer_on(whole)
        self._rng = np.random.default_rng(1)
        self.number = self.different = self.most = self.right = self.loads = 0
        self.visited: set[int] = set()
        self.times_ms: list[float] = []
        self.file_ms: list[float] = []
        self.has_prior: list[bool] = []
        self.hand_overs: list[int] = []  # numbers of the images that began them

    def street(self, street: int, step: float) -> None:
        """Drive one street."""
        positions = self._city.positions(street, step)
        T_map_camera = self._city.poses(street, positions)
        descriptors = self._city.descriptors(positions, NOISE, street)
        for row, position in enumerate(positions):
            noise = self._rng.normal(0, 1, DIMENSION)
            descriptor = noise if self.number % 6 == 5 else descriptors[row]
            descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
            somewhere = position + self._rng.normal(0, 30, 2)
            priors = (Prior(somewhere, np.eye(2) * 900.0),) if street % 4 < 2 else ()
            self._image(descriptor, T_map_camera[row], priors)

    def _image(self, descriptor: np.ndarray, T: np.ndarray, priors: tuple[Prior, ...]) -> None:
        before, wanted_before = set(self._keeper.loaded), set(self._keeper.wanted)
        estimate, took = self._answered(self._tiles, descriptor, T, priors)
        if set(self._keeper.wanted) - wanted_before - before:
            self.hand_overs.append(self.number)
        self.times_ms.append(took)
        self.has_prior.append(bool(priors))
        after = set(self._keeper.loaded)
        self.visited |= after
        self.loads += len(after - before)
        self.most = max(self.most, len(after))
        best = estimate.best
        self.right += best is not None and bool(np.linalg.norm((best.T_map_camera - T)[:2, 3]) < 25)
        if self._file is not None:
            other, took = self._answered(self._file, descriptor, T, priors)
            self.file_ms.append(took)
            self.different += answer(other) != answer(estimate)
        self.number += 1

    def _answered(
        self, localizer: Localizer, descriptor: np.ndarray, T: np.ndarray, priors: tuple[Prior, ...]
    ) -> tuple[Estimate, float]:
        start, waited = time.perf_counter(), waited_s()
        estimate = localizer.recognise(self.number * 10**9, descriptor, T, priors=priors)
        estimate.matches[0]
        return estimate, 1e3 * (time.perf_counter() - start - (waited_s() - waited))

    def added_ms(self) -> dict[int, float]:
        """What each hand-over adds, by the number of the image that began it."""
        times, kinds = np.array(self.times_ms), np.array(self.has_prior)
        usual = {kind: float(np.median(times[kinds == kind])) for kind in set(self.has_prior)}
        over = times - np.array([usual[kind] for kind in self.has_prior])
        return {number: float(over[number : number + 4].max()) for number in self.hand_overs}


def measured(rounds: list[Drive], tiles: TiledMap) -> dict[str, Any]:
    """The figures."""
    first, all_added = rounds[0], [drive.added_ms() for drive in rounds]
    numbers = sorted(set.union(*(set(added) for added in all_added)))
    least = np.array([min(added[number] for added in all_added if number in added) for number in numbers])
    each = np.concatenate([list(added.values()) for added in all_added])
    return {
        "images": first.number,
        "tiles": len(tiles.manifest.tiles),
        "tiles loaded": len(first.visited),
        "answers that differ": first.different,
        "most tiles in memory": max(drive.most for drive in rounds),
        "places left out": tiles.keeper.left_out,
        "right": first.right / first.number,
        "an image on the file, median [ms]": float(np.median(first.file_ms)),
        "an image on tiles, median [ms]": float(np.median(first.times_ms)),
        "hand-overs": len(numbers),
        "a hand-over adds, median [ms]": float(np.median(least)),
        "a hand-over adds, most [ms]": float(least.max()),
        "the same, of single rounds, median [ms]": float(np.median(each)),
        "the same, of single rounds, most [ms]": float(each.max()),
        "any image on the file takes longer than usual by, most [ms]": float(
            max(first.file_ms) - np.median(first.file_ms)
        ),
    }


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kilometres", type=float, default=200.0)
    parser.add_argument("--step", type=float, default=20.0, help="metres between images")
    parser.add_argument("--cell", type=float, default=1000.0, help="side of a tile, metres")
    parser.add_argument("--rounds", type=int, default=3, help="times that the drive is repeated")
    parser.add_argument(
        "--folder", type=Path, default=None, help="folder for map and tiles; empty or of an earlier run"
    )
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    city = City(given.kilometres)
    with TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        path = folder / "city.vprmap"
        if not path.exists():
            city.build(path).close()
        with PlaceMap.open(path) as made:
            write_tiles(made, folder / "tiles", given.cell)
        with PlaceMap.open(path) as whole, TiledMap.open_tiles(folder / "tiles", wait=False) as tiles:
            rounds = [Drive(city, tiles, None if number else whole) for number in range(given.rounds)]
            settled(tiles)
            for number, drive in enumerate(rounds):
                for street in track(range(city.streets), f"round {number + 1}", console=Console(stderr=True)):
                    drive.street(street, given.step)
            found = measured(rounds, tiles)
    table = Table("", "value", title=f"{given.kilometres:g} km on {found['tiles']} tiles")
    for name, value in found.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    missed = found["answers that differ"] or found["most tiles in memory"] > TILES.in_memory
    return int(bool(missed or found["a hand-over adds, most [ms]"] > LIMIT_MS))


if __name__ == "__main__":
    sys.exit(main())
