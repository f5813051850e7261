#!/usr/bin/env python3
"""`vpr fleet build` on a cluster of two nodes on this machine: the same map with a node killed, and the throughput.

    python benchmarks/fleet_build.py [--drives 32] [--images 32] [--views 1] [--rounds 3] [--json FILE]

The drives are parts of the demo's, as folders of images. A node is a core: its describer and its tasks are pinned to
it. The map of one process is compared with that of a build during which one of two nodes is killed; then the throughput
of one node and of two is measured in turns. With one node all else runs on its core too, so that twice its throughput
is what two cores can give. Starting the nodes and loading the network is not counted. Exits 1 if the maps differ or two
nodes give less than 0.9 of twice one. Needs `pip install 'vpr_ros[fleet]'` and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vpr_ros.base import geometry
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.open import open_drive, open_drives
from vpr_ros.fleet.ray_build import Work, build_on_ray
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.storage import Storage

BAGS = Path(__file__).parents[1] / "demo" / "bags"
NAMES = ("overcast", "sun", "snow", "night", "loops_overcast", "loops_night")
LEAST_RATIO = 0.9  # throughput of two nodes over twice that of one
MOST_DIFFERENCE = 1e-6  # of a descriptor's numbers
STORE_BYTES = 200 * 1024 * 1024  # object store of a node
KILLED_AT = 0.4  # of the images


def write_drives(folder: Path, count: int, images: int) -> list[Drive]:
    """Folders of images with poses, cut from the demo's bags."""
    paths: list[Path] = []
    for name in NAMES:
        frames = iter(open_drive(BAGS / name))
        while len(paths) < count and len(
            part := list(islice(((f.T_map_camera, f.read()) for f in frames), images))
        ) == (images):
            paths.append(folder / f"drive{len(paths):03}")
            paths[-1].mkdir()
            rows = ["file,stamp,x,y,z,qx,qy,qz,qw"]
            for k, (T, image_rgb) in enumerate(part):
                cv2.imwrite(str(paths[-1] / f"{k:04}.jpg"), image_rgb[..., ::-1])
                pose = [*T[:3, 3], *geometry.quat_xyzw_from_matrix(T[:3, :3])]
                rows.append(",".join([f"{k:04}.jpg", str(1000.0 * len(paths) + k), *map(repr, map(float, pose))]))
            (paths[-1] / "poses.csv").write_text("\n".join(rows) + "\n")
    return open_drives(paths)


class Nodes:
    """A Ray cluster of nodes of one core each. A context manager."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster()
        self.nodes = []
        for core in range(count):
            os.sched_setaffinity(0, {core})  # which the node's processes inherit
            self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))
        os.sched_setaffinity(0, set(range(count)))

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.shutdown()


class Cpu:
    """CPU time of this process and all that it started, and they; those that have ended count on."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}

    def seconds(self) -> float:
        """So far."""
        ticks, parents = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                parents[int(stat.parent.name)] = int(fields[1])
                ticks[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
        ours = {os.getpid()}
        while ours:
            self._ticks.update({process: ticks[process] for process in ours})
            ours = {process for process, parent in parents.items() if parent in ours}
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")


def fleet(path: Path, drives: list[Drive], work: Work, nodes: int, kill: bool = False) -> dict[str, float]:
    """Build on some nodes; images per second from the first that came to the last, and when a node was killed."""
    seen: list[tuple[float, float, int]] = []
    killed: list[float] = []
    cpu = Cpu()
    with Nodes(nodes) as cluster:

        def progress(done: int, total: int) -> None:
            seen.append((time.perf_counter(), cpu.seconds(), done))
            if kill and not killed and done >= KILLED_AT * total:
                killed.append(done / total)
                cluster.cluster.remove_node(cluster.nodes[-1], allow_graceful=False)

        build_on_ray(path, drives, work, cluster.cluster.address, on_progress=progress).close()
    first = next(k for k, (_, _, done) in enumerate(seen) if done > seen[0][2])
    (start, used, before), (end, used_in_all, after) = seen[first], seen[-1]
    return {
        "images_per_s": (after - before) / (end - start),
        "cpu_ms_per_image": 1e3 * (used_in_all - used) / (after - before),
        "killed_at": killed[0] if killed else 0.0,
    }


def difference(path: Path, other: Path) -> dict[str, Any]:
    """Whether places, order, ids, poses and drives are equal, and the largest difference of descriptors."""
    with PlaceMap.open(path) as a, PlaceMap.open(other) as b:
        one, two = a.places, b.places
        same = (
            np.array_equal(one.ids, two.ids)
            and np.array_equal(one.drives, two.drives)
            and np.array_equal(one.stamps_ns, two.stamps_ns)
            and np.allclose(one.T_map_camera, two.T_map_camera, atol=1e-9)
            and a.model == b.model
        )
        worst = float(np.abs(one.descriptors - two.descriptors).max()) if same else float("nan")
        return {"places": len(one), "same_places": bool(same), "largest_descriptor_difference": worst}


def main() -> None:
    """Print the figures; write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--drives", type=int, default=32)
    parser.add_argument("--images", type=int, default=32, help="images of a drive")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    work = Work(given.model, "onnx", every_m=0.0, views_each=given.views, storage=Storage())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "drives").mkdir()
        drives = write_drives(folder / "drives", given.drives, given.images)
        describer = open_describer(work.model, work.backend, threads=1)
        build_map(
            folder / "one.vprmap", drives, describer, 0.0, views_each=work.views_each, storage=work.storage
        ).close()
        killed = fleet(folder / "killed.vprmap", drives, work, 2, kill=True)
        compared = difference(folder / "one.vprmap", folder / "killed.vprmap")
        runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for round_number in range(given.rounds):
            for nodes in runs:
                path = folder / f"{nodes}_{round_number}.vprmap"
                runs[nodes].append(fleet(path, drives, work, nodes))
    rates, busy = (
        {str(nodes): [round(run[kind], 2) for run in found] for nodes, found in runs.items()}
        for kind in ("images_per_s", "cpu_ms_per_image")
    )
    by_round = [two / (2 * one) for one, two in zip(rates["1"], rates["2"], strict=True)]
    report = {
        "drives": len(drives),
        "images": sum(map(len, drives)),
        "views": work.views_each,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "killed_at": killed["killed_at"],
        **compared,
        "images_per_s": rates,
        "cpu_ms_per_image": busy,
        "ratio_by_round": np.round(by_round, 3).tolist(),
        "ratio": float(np.median(by_round)),
    }
    print(
        f"{report['places']} places of {report['drives']} drives, a node killed at {100 * killed['killed_at']:.0f} %: "
        f"same places {compared['same_places']}, descriptors differ by {compared['largest_descriptor_difference']:.1e}"
    )
    for kind in ("images_per_s", "cpu_ms_per_image"):
        print(f"{kind} of one node {report[kind]['1']}, of two {report[kind]['2']}")
    print(f"two nodes over twice one: {report['ratio']:.3f} (rounds: {report['ratio_by_round']})")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    alike = compared["same_places"] and compared["largest_descriptor_difference"] <= MOST_DIFFERENCE
    sys.exit(0 if alike and report["ratio"] >= LEAST_RATIO else 1)


if __name__ == "__main__":
    main()
