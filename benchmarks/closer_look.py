#!/usr/bin/env python3
"""What a closer look (``rerank.methods:=[local_features]``) gives: recall@1 of single images with it and without.

    python benchmarks/closer_look.py [--data FOLDER] [--bags demo/bags] [--only NAME ...] [--json FILE]

Each set is evaluated with the session's mean and strictly alone (``search.mean_centring``). The folder holds real
recordings (gardens_point, stromovka, corridor); what is not there is left out. Images without a right place in the map
are skipped. better, worse: images that the look makes right, and wrong. ms: what the look takes, of one image.
Limit: nowhere more than 0.005 below the search. Exits with 1 if it is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base.image import preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import LocalizerConfig, RerankConfig, SearchConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.rerank import RerankContext, open_rerankers
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap

LARGEST_LOSS = 0.005


@dataclass(frozen=True)
class Recordings:
    """A drive on the map of another. right_m: largest distance of a right place. numbered: frame k is at k metres."""

    name: str
    reference: Path
    query: Path
    right_m: float
    numbered: bool


@dataclass(frozen=True, eq=False)
class Query:
    """An image, described."""

    frame: DriveFrame
    image_rgb: np.ndarray
    descriptor: np.ndarray


class Before:
    """A re-ranker that changes nothing and remembers what the search put first."""

    name, first = "before", 0

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker."""
        self.first = int(rows[0])
        return rows

    def reset(self) -> None:
        """See Reranker."""


def all_recordings(data: Path | None, bags: Path) -> list[Recordings]:
    """Those that are here."""
    found = [Recordings(f"town, {name}", bags / "overcast", bags / name, 25.0, False) for name in ("sun", "night")]
    if data is not None:
        campus, park, corridor = data / "gardens_point", data / "stromovka", data / "corridor"
        found += [
            Recordings("Gardens Point", campus / "day_right", campus / "day_left", 3.0, True),
            Recordings("Stromovka", park / "season_00", park / "season_01", 1.0, True),
            Recordings("corridor", corridor / "ref", corridor / "query", 2.0, True),
        ]
    return [one for one in found if one.reference.exists() and one.query.exists()]


def compare(recordings: Recordings, describer: Describer, folder: Path) -> Iterator[dict[str, object]]:
    """The search and the closer look, with the session's mean and without."""
    reference, query = open_drive(recordings.reference), open_drive(recordings.query)
    if recordings.numbered:
        reference, query = NumberedDrive(reference), NumberedDrive(query)
    every_m = 0.0 if recordings.numbered else 5.0
    with build_map(folder / f"{recordings.name}.vprmap", [reference], describer, every_m) as place_map:
        positions = place_map.places.positions[:, :2]
        queries = []
        for frame in track(query, recordings.name):
            if _errors(positions, place_map, frame).min() <= recordings.right_m:
                image = frame.read()
                inputs = preprocess(image, describer.manifest.preprocessing)
                queries.append(Query(frame, image, describer.describe(inputs[None]).descriptors[0]))
        for mean in (True, False):
            config = LocalizerConfig(SearchConfig(mean_centring=mean), rerank=RerankConfig(("local_features",)))
            before, looks = Before(), open_rerankers(RerankContext(place_map, config))
            localizer = Localizer(place_map.places, describer, config, rerankers=[before, *looks])
            right, times_ms = [], []
            for number, one in enumerate(queries):
                estimate = localizer.recognise(10**9 * (number + 1), one.descriptor, image_rgb=one.image_rgb)
                errors = _errors(positions, place_map, one.frame)
                after = int(np.flatnonzero(place_map.places.ids == estimate.matches[0].place_id)[0])
                right.append([errors[row] <= recordings.right_m for row in (before.first, after)])
                times_ms.append(estimate.timings_ms["local_features"])
            searched, looked = np.array(right).T
            yield {
                "set": recordings.name,
                "descriptors": "session's mean" if mean else "alone",
                "images": len(queries),
                "search": float(searched.mean()),
                "closer look": float(looked.mean()),
                "better": int((looked & ~searched).sum()),
                "worse": int((searched & ~looked).sum()),
                "ms mean": float(np.mean(times_ms)),
                "ms p95": float(np.quantile(times_ms, 0.95)),
            }


def _errors(positions: np.ndarray, place_map: PlaceMap, frame: DriveFrame) -> np.ndarray:
    """Distances (N,) in metres of all places from where an image was taken."""
    assert frame.T_map_camera is not None
    return np.linalg.norm(positions - place_map.map_pose(frame.T_map_camera)[:2, 3], axis=1)


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of real recordings")
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"), help="folder of the demo's drives")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="sets, by the beginning of their name")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    given = parser.parse_args()
    describer, rows = open_describer(), []
    with tempfile.TemporaryDirectory() as folder:
        for recordings in all_recordings(given.data, given.bags):
            if not given.only or recordings.name.startswith(tuple(given.only)):
                for row in compare(recordings, describer, Path(folder)):
                    print(json.dumps(row), flush=True)
                    rows.append(row)
    table = Table(*rows[0]) if rows else Table()
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    faults = [row for row in rows if row["closer look"] < row["search"] - LARGEST_LOSS]
    print(f"{len(rows)} sets, {len(faults)} lose more than {LARGEST_LOSS}")
    return int(bool(faults) or not rows)


if __name__ == "__main__":
    sys.exit(main())
