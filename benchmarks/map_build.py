#!/usr/bin/env python3
"""How busy `vpr map build` keeps the network: images a second of building a map, and of the network alone.

    python benchmarks/map_build.py [DRIVE] [--frames 200] [--views 3] [--rounds 5] [--json FILE]

Both take the same images in the same run, turn by turn, so that what else the machine does weighs on both, and both
describe as many views of each image. The network alone is fed inputs that are ready in memory, at several batch sizes;
the best of them counts. Building reads, decodes, resizes, describes and writes every image (--every 0), thumbnails and
fsync included. Then each step alone, in milliseconds of one core.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.image import VIEWS, Preprocessing, preprocess, thumbnail, views
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import backend_names, open_describer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap

VIEWS_EACH: int = inspect.signature(build_map).parameters["views_each"].default


class FirstFrames:
    """The first frames of a drive."""

    def __init__(self, drive: Drive, count: int) -> None:
        self.name, self.world = drive.name, drive.world
        self._drive, self._count = drive, count

    def __len__(self) -> int:
        return min(self._count, len(self._drive))

    def __iter__(self) -> Iterator[DriveFrame]:
        return islice(iter(self._drive), self._count)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of all threads."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - busy


def build(drive: Drive, describer: Describer, folder: Path, views_each: int) -> None:
    """A map of every image, written and thrown away."""
    path = folder / "benchmark.vprmap"
    build_map(path, [drive], describer, every_m=0.0, views_each=views_each).close()
    path.unlink()


def resize(image_rgb: np.ndarray, size: Preprocessing, views_each: int) -> list[np.ndarray]:
    """What the network is given of an image."""
    return [preprocess(view, size) for view in views(image_rgb, views_each)]


def describe_all(describer: Describer, inputs: np.ndarray, batch: int) -> None:
    """The network alone."""
    for start in range(0, len(inputs), batch):
        describer.describe(inputs[start : start + batch])


def throughput(drive: Drive, describer: Describer, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Images a second (median over the rounds) of the network alone by batch size and of building, and their ratio
    (median of that of each round); an image is as many passes of the network as it has views. cpu_share_of_network:
    what the ratio would be where the network alone keeps every core busy all the time; unlike the ratio it does not
    depend on what else the machine does.
    """
    count, size = len(drive), describer.manifest.preprocessing
    inputs = np.stack([view for frame in drive for view in resize(frame.read(), size, given.views)])
    works: dict[str, Callable[[], None]] = {
        f"network, batch {batch}": lambda batch=batch: describe_all(describer, inputs, batch)  # type: ignore[misc]
        for batch in given.batches
    }
    works["build"] = lambda: build(drive, describer, folder, given.views)
    for work in works.values():
        work()  # warms up
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(given.rounds):
        for name, work in works.items():
            seconds[name].append(timed(work))
    walls = {name: np.array([wall for wall, _ in pairs]) for name, pairs in seconds.items()}
    rates = {name: round(count / float(np.median(wall)), 2) for name, wall in walls.items()}
    busy = {name: round(1e3 * float(np.median([b for _, b in pairs])) / count, 2) for name, pairs in seconds.items()}
    best = max((name for name in rates if name != "build"), key=rates.__getitem__)
    return {
        "images_per_s": rates,
        "cpu_ms_per_image": busy,
        "best_network": best,
        "ratio": round(float(np.median(walls[best] / walls["build"])), 3),
        "ratio_by_round": np.round(walls[best] / walls["build"], 3).tolist(),
        "cpu_share_of_network": round(busy[best] / busy["build"], 3),
    }


def steps(drive: Drive, describer: Describer, folder: Path, views_each: int) -> dict[str, dict[str, float]]:
    """Wall and CPU milliseconds an image of every step, alone and one after the other."""
    count, size = len(drive), describer.manifest.preprocessing
    images = [frame.read() for frame in drive]
    jpegs = [thumbnail(image) for image in images]

    def store(together: int) -> None:
        build_map(folder / "steps.vprmap", [FirstFrames(drive, 1)], describer, 0.0, views_each=views_each).close()
        with PlaceMap.open(folder / "steps.vprmap", writable=True) as target:
            descriptor = np.zeros((views_each, describer.manifest.dimension), np.float32)
            for first in range(0, len(jpegs), together):
                with target.together():
                    for k, jpeg in enumerate(jpegs[first : first + together], first + 1):
                        target.add("steps", k, np.eye(4), descriptor, jpeg)
        (folder / "steps.vprmap").unlink()

    works: dict[str, Callable[[], object]] = {
        "iterate": lambda: sum(1 for _ in drive),
        "iterate and decode": lambda: [frame.read() for frame in drive] and None,
        "resize": lambda: [resize(image, size, views_each) for image in images] and None,
        "thumbnail": lambda: [thumbnail(image) for image in images] and None,
        "write": lambda: store(8),
    }
    found = {}
    for name, work in works.items():
        wall, busy = np.min([timed(work) for _ in range(3)], axis=0) * 1e3 / count
        found[name] = {"wall_ms": round(float(wall), 3), "cpu_ms": round(float(busy), 3)}
    return found


def main() -> None:
    """Print the figures and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drive", nargs="?", default=str(Path(__file__).parents[1] / "demo/bags/overcast"))
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--backend", default="auto", choices=backend_names())
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network, 0 for all")
    parser.add_argument("--frames", type=int, default=200, help="of the drive")
    parser.add_argument("--views", type=int, default=VIEWS_EACH, choices=VIEWS, help="of each image (as the map's)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="tried by the network alone")
    parser.add_argument("--folder", type=Path, help="where the map is written: its disk counts (default: temporary)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    opened = open_drive(given.drive)
    posed = next(iter(opened)).T_map_camera is not None
    drive = FirstFrames(opened if posed else NumberedDrive(opened), given.frames)
    describer = open_describer(given.model, given.backend, given.threads)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        report: dict[str, Any] = {
            "drive": opened.name,
            "images": len(drive),
            "views": given.views,
            "image_size": list(next(iter(drive)).read().shape),
            "model": describer.manifest.name,
            "backend": describer.backend,
            "cores": os.cpu_count(),
            **throughput(drive, describer, given, Path(folder)),
            "steps": steps(drive, describer, Path(folder), given.views),
        }
    for name, rate in report["images_per_s"].items():
        print(f"{name:18} {rate:8.1f} images/s, {report['cpu_ms_per_image'][name]:6.2f} ms of CPU an image")
    print(
        f"build / {report['best_network']}: {report['ratio']:.3f} (rounds: {report['ratio_by_round']}); "
        f"CPU time of the network alone / of building: {report['cpu_share_of_network']:.3f}"
    )
    for name, step in report["steps"].items():
        print(f"  {name:18} {step['wall_ms']:7.3f} ms, {step['cpu_ms']:6.3f} ms of CPU")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
