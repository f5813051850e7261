#!/usr/bin/env python3
"""What one keyframe costs a map that grows, in time, RAM and disk, while it is small and when it is large.

    python benchmarks/mapping_cost.py [--sizes 1000 10000 100000] [--dimension 1024] [--index Flat] [--json FILE]

Descriptors are random. There is a map of each size, and they take turns keyframe by keyframe, so that all meet the same
machine and disk. A keyframe that is measured is stored, admitted and searched for as in mapping mode, each in its own
transaction, with 600 SIFT features and a thumbnail; the candidates' features are read. Of the keyframes that fill the
maps, stored many at once, only every --features-every-th has features, so that the files stay small. The search in
FAISS itself, which looks at every place, is told apart. RAM is what the process holds more once a map is filled. At
last the largest map is opened again.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vpr_ros.base.image import Preprocessing  # noqa: E402
from vpr_ros.loops.keyframe_store import KeyframeStore  # noqa: E402
from vpr_ros.maps.place_map import MapModel  # noqa: E402
from vpr_ros.matching.local_features import LocalFeatures  # noqa: E402

RECENT = 25  # keyframes kept out of the index
STEPS = ("add", "admit", "search", "faiss")


class Timed:
    """A FAISS index that adds up the time of its searches."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, queries: np.ndarray, count: int) -> Any:
        start = time.perf_counter()
        found = self._index.search(queries, count)
        self.seconds += time.perf_counter() - start
        return found


class Keyframes:
    """Random keyframes without end: (pose, unit descriptor, features, thumbnail)."""

    def __init__(self, dimension: int, features: int) -> None:
        self._random = np.random.default_rng(0)
        self._dimension = dimension
        self._count = features

    def descriptor(self) -> np.ndarray:
        vector = self._random.standard_normal(self._dimension, np.float32)
        return vector / np.linalg.norm(vector)

    def features(self) -> LocalFeatures:
        count = self._count
        rays = self._random.standard_normal((count, 2), np.float32)
        descriptors = self._random.integers(0, 256, (count, 128), dtype=np.uint8)
        return LocalFeatures("sift", rays, np.full(count, 5.0, np.float32), descriptors, 0.002)

    def thumbnail(self) -> bytes:
        return self._random.bytes(6000)


def resident_bytes() -> int:
    """RAM of this process, after what is free was given back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grow_to(memory: KeyframeStore, size: int, keyframes: Keyframes, features_every: int) -> None:
    """Store keyframes many at once until there are that many."""
    while len(memory) < size:
        with memory.place_map.together():
            for row in range(len(memory), min(len(memory) + 500, size)):
                features = keyframes.features() if row % features_every == 0 else None
                memory.add("random", row, np.eye(4), keyframes.descriptor(), features, keyframes.thumbnail())
        memory.admit(len(memory) - RECENT)


def measure(
    memories: dict[int, KeyframeStore], keyframes: Keyframes, frames: int, candidates: int
) -> dict[int, dict[str, dict[str, float]]]:
    """Milliseconds of each step over some keyframes of each size: median, 95th percentile and largest."""
    spent = {size: np.zeros((frames, len(STEPS))) for size in memories}
    for frame in range(frames):
        for size, memory in memories.items():
            spent[size][frame] = 1e3 * np.array(step(memory, keyframes, candidates))
    return {
        size: {
            name: {
                "median": round(float(np.median(values)), 3),
                "p95": round(float(np.percentile(values, 95)), 3),
                "max": round(float(values.max()), 3),
            }
            for name, values in zip((*STEPS, "without_faiss"), (*table.T, table[:, :3].sum(axis=1)), strict=True)
        }
        for size, table in spent.items()
    }


def step(memory: KeyframeStore, keyframes: Keyframes, candidates: int) -> list[float]:
    """One keyframe; seconds of each of STEPS."""
    row, descriptor = len(memory), keyframes.descriptor()
    features, thumbnail = keyframes.features(), keyframes.thumbnail()
    timed = memory._index._index = Timed(memory._index._index)  # type: ignore[assignment]
    stamps = [time.perf_counter()]
    memory.add("random", row, np.eye(4), descriptor, features, thumbnail)
    stamps.append(time.perf_counter())
    memory.admit(row - RECENT)
    stamps.append(time.perf_counter())
    similarities, rows = memory.search(descriptor, candidates)
    memory.scores(descriptor, similarities)
    memory.positions(rows)
    for found in rows:
        memory.features(found)
    stamps.append(time.perf_counter())
    memory._index._index = timed._index
    add, admit, search = np.diff(stamps)
    return [add, admit, search - timed.seconds, timed.seconds]


def main() -> None:
    """Print the figures and write them where asked to; exit 1 above --limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="keyframes")
    parser.add_argument("--dimension", type=int, default=1024, help="of a descriptor (default 1024)")
    parser.add_argument("--index", default="Flat", help="FAISS index factory string (default Flat)")
    parser.add_argument("--frames", type=int, default=300, help="keyframes measured at each size (default 300)")
    parser.add_argument("--candidates", type=int, default=3, help="places fetched for each keyframe (default 3)")
    parser.add_argument("--features", type=int, default=600, help="local features of a keyframe (default 600)")
    parser.add_argument("--features-every", type=int, default=10, help="of those not measured (default 10)")
    parser.add_argument("--folder", type=Path, help="where the map is written: its disk counts (default: temporary)")
    parser.add_argument("--limit", type=float, help="exit 1 where the largest size takes more than this much longer")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    model = MapModel("random", "0" * 64, given.dimension, Preprocessing(224, 224))
    keyframes = Keyframes(given.dimension, given.features)
    feature_bytes = len(keyframes.features().to_bytes())
    report: dict[str, Any] = {"index": given.index, "dimension": given.dimension, "feature_bytes": feature_bytes}
    report |= {"cores": os.cpu_count(), "sizes": {}}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        memories: dict[int, KeyframeStore] = {}
        for size in given.sizes:
            before = resident_bytes()
            memories[size] = KeyframeStore.grow(Path(folder) / str(size), model, given.index)
            grow_to(memories[size], size, keyframes, given.features_every)
            report["sizes"][size] = {
                "ram_bytes_per_keyframe": round((resident_bytes() - before) / size),
                "disk_MB": (Path(folder) / str(size)).stat().st_size / 1e6,
            }
        for size, steps in measure(memories, keyframes, given.frames, given.candidates).items():
            report["sizes"][size]["ms"] = steps
            print_size(size, report["sizes"][size])
        for memory in memories.values():
            memory.close()
        memories.clear()
        start = time.perf_counter()
        with KeyframeStore.grow(Path(folder) / str(max(given.sizes)), model, given.index) as memory:
            report["reopened_s"] = round(time.perf_counter() - start, 2)
            assert len(memory) == max(given.sizes) + given.frames
    conclude(report)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    if given.limit and report["ratio"] > given.limit:
        sys.exit(1)


def print_size(size: int, found: dict[str, Any]) -> None:
    """One size's figures."""
    print(f"{size} keyframes, {found['disk_MB']:.0f} MB, {found['ram_bytes_per_keyframe']} bytes of RAM each")
    for name, ms in found["ms"].items():
        print(f"  {name:14} {ms['median']:7.2f} ms median, {ms['p95']:7.2f} 95 %, {ms['max']:7.2f} largest")


def conclude(report: dict[str, Any]) -> None:
    """Largest size against smallest, into the report and on the screen."""
    smallest, largest = min(report["sizes"]), max(report["sizes"])
    few, many = (report["sizes"][size]["ms"]["without_faiss"]["median"] for size in (smallest, largest))
    report["ratio"] = round(many / few, 3)
    print(
        f"{largest} against {smallest} keyframes, without FAISS's search: {report['ratio']:.2f} times the time; "
        f"a descriptor has {4 * report['dimension']} bytes; opened again in {report['reopened_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
