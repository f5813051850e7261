#!/usr/bin/env python3
"""A fleet's lake: pushes of many robots at once that are killed at random, and the time to pull a square kilometre.

    python benchmarks/fleet_lake.py [--robots 20] [--drives 50] [--kills 30] [--places 1000000] [--json FILE]

Every robot is a process that sends an outbox of drives, all at once; some are killed and start again, until all is
sent. Then the lake's keyframes are counted. For the pull a release has places on a grid of streets, 4 000 a square
kilometre, with descriptors of the shipped model's size and no pictures. Descriptors are random: nothing looks at them.
It is pulled into a map, and into tiles: a new folder, and the same again. Without a limit are the square beside it,
which makes the index of that folder anew, and a square that lies across four tiles, which brings all four.

Exits 1 if a keyframe is lost or twice, or a pull takes more than 2 s in the median. Needs `pip install
'vpr_ros[fleet]'` and, for 10^6 places, 7 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.fleet.lake import Box, Head, Lake, Release, Rows
from vpr_ros.fleet.pull import pull_tiles
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.storage import Storage

STORAGE = Storage("float16")
MODEL = MapModel("random", "f" * 64, 1024, Preprocessing(), views=3)
WORLD = "utm 33 north"
CORNER = np.array([450_000.0, 5_550_000.0, 0.0])
KEYFRAMES = 20  # of a drive
PLACES_EACH_KM2 = 4000
BLOCK = 50_000  # places written together
MOST_S = 2.0  # of a pull
LIMITED = ("a map", "tiles, a new folder", "tiles, the same again")
OTHERS = ("tiles, the square beside it", "tiles, a square across four")  # the index is of two and four km^2
_SEND = """
import sys
from pathlib import Path
from vpr_ros.fleet.lake import Lake
from vpr_ros.fleet.outbox import send
send(Lake(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def fill(outbox: Path, drives: int, rng: np.random.Generator) -> None:
    """An outbox of a robot's drives."""
    outbox.mkdir(parents=True)
    for drive in range(drives):
        with (
            PlaceMap.create(outbox / f"{drive}.vprmap", MODEL, WORLD, CORNER, storage=STORAGE) as place_map,
            place_map.together(),
        ):
            for k in range(KEYFRAMES):
                T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([5.0 * k, 10.0 * drive, 1.5]))
                descriptor = rng.normal(0, 1024**-0.5, (MODEL.views, MODEL.dimension)).astype(np.float32)
                place_map.add(f"drive{drive}", k, T, descriptor, b"a thumbnail" * 400)


def push_all(lake: Path, outboxes: list[Path], kills: int) -> dict[str, Any]:
    """Send all outboxes, killing random robots; how long it took, and what arrived."""
    Lake(str(lake)).create()
    rng, killed, start = random.Random(1), 0, time.perf_counter()
    waiting, running = list(outboxes), dict[Path, subprocess.Popen[bytes]]()
    while waiting or running:
        while waiting:
            outbox = waiting.pop(0)
            running[outbox] = subprocess.Popen([sys.executable, "-c", _SEND, str(lake), str(outbox), outbox.name])
        time.sleep(rng.uniform(0.0, 1.5))
        busy = [outbox for outbox in running if len(list(outbox.glob("*.vprmap"))) < len(list(outbox.glob("*.was")))]
        if killed < kills and busy:
            running[rng.choice(busy)].kill()
            killed += 1
        for outbox, process in list(running.items()):
            if process.poll() is not None:
                del running[outbox]
                if process.returncode:
                    waiting.append(outbox)
    table = Lake(str(lake))._table("keyframes").search().select(["drive", "stamp_ns"]).to_arrow()
    rows = list(zip(table.column("drive").to_pylist(), table.column("stamp_ns").to_pylist(), strict=True))
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "kills": killed,
        "arrived": len(rows),
        "twice": len(rows) - len(set(rows)),
    }


def streets(count: int, number: int) -> np.ndarray:
    """Positions (BLOCK, 2) of places, metres: streets of 1 km with a place every 5 m, 20 streets to a kilometre."""
    side = int(np.ceil((count / PLACES_EACH_KM2) ** 0.5))
    rows = np.arange(number * BLOCK, min((number + 1) * BLOCK, count))
    cell, inside = rows // PLACES_EACH_KM2, rows % PLACES_EACH_KM2
    east = 1000.0 * (cell % side) + 5.0 * (inside % 200)
    north = 1000.0 * (cell // side) + 50.0 * (inside // 200)
    return np.stack([east, north], axis=1)


def fill_places(lake: Lake, count: int) -> Release:
    """A release of that many places."""
    lake.create()
    rng, parts = np.random.default_rng(0), []
    head = Head.from_json(Head(MODEL.to_dict(), WORLD, STORAGE.to_dict()).to_json())
    block = rng.normal(0, 1024**-0.5, (BLOCK, MODEL.views, MODEL.dimension)).astype(np.float16)
    for number in range(-(-count // BLOCK)):
        xy = streets(count, number)
        T = np.tile(geometry.transform(geometry.R_BODY_OPTICAL, CORNER), (len(xy), 1, 1))
        T[:, :2, 3] += xy
        numbers = np.arange(len(xy)) + number * BLOCK
        drives = np.char.add("drive", (numbers // 1000).astype(str))
        places = Places(numbers + 1, drives, numbers * 10**8, T, block[: len(xy)])
        parts.append(lake.add_part(Rows(places, [None] * len(xy), [None] * len(xy)), head))
    release = Release(1, tuple(parts), (), (), head, Calibration().to_dict(), b"", count, 1.0, "random", time.time())
    lake.publish(release)
    return release


class Times:
    """Of several pulls of one kind."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._seconds: list[float] = []
        self._busy: list[float] = []

    def take(self, pull: Callable[[], int]) -> None:
        """Measure a pull, which returns its number of places."""
        start, used = time.perf_counter(), time.process_time()
        self._places.append(pull())
        self._seconds.append(time.perf_counter() - start)
        self._busy.append(time.process_time() - used)

    def figures(self) -> dict[str, Any]:
        """Of each pull, and the median."""
        return {
            "places": self._places,
            "seconds": np.round(self._seconds, 2).tolist(),
            "cpu_s": np.round(self._busy, 2).tolist(),
            "median_s": float(np.median(self._seconds)),
        }


def pulls(lake: Lake, release: Release, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds to pull a square kilometre into a map and into tiles, at several corners."""
    side = int(np.ceil((release.places / PLACES_EACH_KM2) ** 0.5))
    rng = np.random.default_rng(1)
    times = {kind: Times() for kind in (*LIMITED, *OTHERS)}

    def into_map(path: Path, box: Box) -> int:
        with lake.pull(path, release, box) as made:
            return len(made)

    def into_tiles(path: Path, box: Box) -> int:
        return pull_tiles(lake, path, release, box).fetched

    for number in range(rounds):
        west, south = (CORNER[:2] + rng.integers(0, max(side - 2, 1), 2) * 1000.0).tolist()
        square = (west, south, west + 999.0, south + 999.0)
        beside = (west + 1000.0, south, west + 1999.0, south + 999.0)
        across = (west + 500.0, south + 500.0, west + 1499.0, south + 1499.0)
        calls = (
            (into_map, f"{number}.vprmap", square),
            *(
                (into_tiles, f"{number}{name}", box)
                for name, box in (("", square), ("", square), ("", beside), ("across", across))
            ),
        )
        for kind, (pull, name, box) in zip(times, calls, strict=True):
            times[kind].take(partial(pull, folder / name, box))
    return {kind: found.figures() for kind, found in times.items()}


def main() -> None:
    """Print the figures; write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=20)
    parser.add_argument("--drives", type=int, default=50, help="of a robot")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--places", type=int, default=1_000_000, help="of the release that is pulled from")
    parser.add_argument("--pulls", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the lake lies (default: temporary)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        rng = np.random.default_rng(0)
        outboxes = [folder / "outboxes" / f"robot{number}" for number in range(given.robots)]
        for outbox in outboxes:
            fill(outbox, given.drives, rng)
            for path in outbox.glob("*.vprmap"):
                path.with_suffix(".was").touch()
        wanted = given.robots * given.drives * KEYFRAMES
        sent = {"keyframes": wanted, **push_all(folder / "lake", outboxes, given.kills)}
        print(f"{wanted} keyframes of {given.robots} robots, {sent['kills']} kills, {sent['seconds']} s")
        print(f"{sent['arrived']} arrived, {sent['twice']} of them twice")
        lake = Lake(str(folder / "places"))
        release = fill_places(lake, given.places)
        pulled = pulls(lake, release, folder, given.pulls)
        print(f"a km^2 of {release.places} places, places fetched, seconds, and those of CPU time:")
        for kind, found in pulled.items():
            print(f"{kind:28} {found['places']} {found['seconds']} {found['cpu_s']}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"push": sent, "pull": pulled}, indent=2) + "\n")
    whole = sent["arrived"] == sent["keyframes"] and not sent["twice"]
    sys.exit(0 if whole and all(pulled[kind]["median_s"] <= MOST_S for kind in LIMITED) else 1)


if __name__ == "__main__":
    main()
