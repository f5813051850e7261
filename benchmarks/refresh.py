#!/usr/bin/env python3
"""Does a map of ten conditions stay small and lose nothing? `vpr map refresh` on simulated towns.

    python benchmarks/refresh.py [--seeds 9101 9102 9103] [--looks 3] [--cache FOLDER] [--json FILE]

Each town is driven ten times, an image every 5 m: overcast, sun, snow, night and autumn, two drives of each, which
differ in light, camera, traffic and line. All are put in one map, the towns side by side, which is then refreshed.
Queries are five more drives through each town: rain and dusk, of which the map has no drive, and others of sun, snow
and night. Recall@1 is that of single images, without filter: the most similar place, by descriptors that are
mean-centred as in the localiser, is within 25 m. For comparison, of the same size: the newest places, places drawn at
random (three draws), and whole drives drawn at random (three draws).

Limits: the refreshed map has at most 3 times the places and the bytes of a map of one drive; its recall@1 over all
queries is at least that of the map with everything, less 0.005, with mean-centring and without. Exits with 1 if one is
missed. Rendering needs the simulator; --cache keeps what the network made of the images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base.files import written_whole
from vpr_ros.base.image import preprocess, views
from vpr_ros.evaluation.recall import right_at_1
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.refresh import drop_redundant
from vpr_ros.maps.storage import Storage

if TYPE_CHECKING:
    from vpr_lab.simulation.renderer import Renderer

MAPPED = tuple((preset, seed) for seed in (1, 2) for preset in ("overcast", "sun", "snow", "night", "autumn"))
HELD_OUT = (("rain", 71), ("dusk", 72), ("sun", 73), ("snow", 74), ("night", 75))
EVERY_M, START_M, VIEWS, APART_M, DAY_NS = 5.0, 1.3, 3, 10_000.0, 86_400 * 10**9
MOST_TIMES, MOST_LOST, DRAWS = 3.0, 0.005, 3


@dataclass(frozen=True, eq=False)
class Driven:
    """A drive after the network. stamps_ns: (N,). T_map_camera: (N, 4, 4). descriptors: (N, V, D) float32."""

    stamps_ns: np.ndarray
    T_map_camera: np.ndarray
    descriptors: np.ndarray


def driven(number: int, town: int, describer: Describer, cache: Path | None) -> list[Driven]:
    """All drives of a town, the mapped ones first, in the order of their days. number: of the town, from 0."""
    found: list[Driven] = []
    renderer = None
    for day, (preset, seed) in enumerate((*MAPPED, *HELD_OUT)):
        path = cache / f"{town}-{describer.manifest.fingerprint[:12]}-{preset}-{seed}.npz" if cache else None
        if path is not None and path.is_file():
            with np.load(path) as stored:
                arrays = dict(stored)
        else:
            renderer = renderer or _renderer(town)
            arrays = _rendered(renderer, day, describer)
            if path is not None:
                with written_whole(path) as part, part.open("wb") as file:
                    np.savez(file, **arrays)
        arrays["stamps_ns"] = arrays["stamps_ns"] + day * DAY_NS
        arrays["T_map_camera"][:, 0, 3] += number * APART_M
        found.append(Driven(**arrays))
    return found


def _renderer(town: int) -> Renderer:
    from vpr_lab.simulation.renderer import Renderer
    from vpr_lab.simulation.town import Town

    return Renderer(Town(town))


def _rendered(renderer: Renderer, day: int, describer: Describer) -> dict[str, np.ndarray]:
    """The drive of a day. Each starts at another offset."""
    from vpr_lab.simulation.conditions import Condition
    from vpr_lab.simulation.drives import Motion, SimulatedDrive

    preset, seed = (*MAPPED, *HELD_OUT)[day]
    condition, motion = Condition.preset(preset, seed), Motion(every_m=EVERY_M, start_m=START_M * day)
    drive = SimulatedDrive(renderer.town, condition, seed=day + 1, motion=motion, renderer=renderer)
    count, size = VIEWS if day < len(MAPPED) else 1, describer.manifest.preprocessing
    rows = [
        np.concatenate([describer.describe(preprocess(v, size)[None]).descriptors for v in views(frame.read(), count)])
        for frame in track(drive, f"town {renderer.town.seed}, {preset} {seed}", len(drive))
    ]
    descriptors = np.stack(rows).astype(np.float32)
    return {"stamps_ns": drive.stamps_ns, "T_map_camera": drive.T_map_camera, "descriptors": descriptors}


def built(path: Path, towns: Sequence[Sequence[Driven]], days: int, describer: Describer) -> PlaceMap:
    """A map of the first days of all towns."""
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing, VIEWS)
    place_map = PlaceMap.create(path, model, "towns", storage=Storage("float16", thumbnails=False))
    with place_map.together():
        for day in range(days):
            for number, town in enumerate(towns):
                drive = town[day]
                for row, stamp_ns in enumerate(drive.stamps_ns.tolist()):
                    place_map.add(f"day {day}, {number}", stamp_ns, drive.T_map_camera[row], drive.descriptors[row])
    return place_map


class Queries:
    """The held-out drives of all towns."""

    def __init__(self, towns: Sequence[Sequence[Driven]]) -> None:
        self._drives = {preset: [town[len(MAPPED) + k] for town in towns] for k, (preset, _) in enumerate(HELD_OUT)}

    def recall(self, places: Places) -> dict[str, float]:
        """Recall@1 by condition, over all queries, and over all with descriptors as the network gives them."""
        mean = map_mean(places)
        of_map = centred(places.descriptors, mean)
        found, plain = {}, []
        for preset, drives in self._drives.items():
            right = []
            for drive in drives:
                truth, session = drive.T_map_camera[:, :3, 3], SessionMean(mean)
                queries = np.stack([session.centred(descriptor) for descriptor in drive.descriptors[:, 0]])
                right.append(right_at_1(queries, truth, of_map, places.positions))
                plain.append(right_at_1(drive.descriptors[:, 0], truth, places.descriptors, places.positions))
            found[preset] = np.concatenate(right)
        by_preset = {name: float(right.mean()) for name, right in found.items()}
        everything = (np.concatenate(rights) for rights in ([*found.values()], plain))
        return {
            **by_preset,
            **dict(zip(("all", "not centred"), (float(r.mean()) for r in everything), strict=True)),
        }

    def mean(self, draws: Sequence[Places]) -> dict[str, float]:
        """The mean recall of several maps."""
        found = [self.recall(places) for places in draws]
        return {name: float(np.mean([recall[name] for recall in found])) for name in found[0]}


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9101, 9102, 9103], help="towns")
    parser.add_argument("--looks", type=int, default=3, help="looks of each place that are kept")
    parser.add_argument("--cache", type=Path, help="folder for descriptors")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network; 0: all cores")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    describer = open_describer(threads=given.threads)
    towns = [driven(number, town, describer, given.cache) for number, town in enumerate(given.seeds)]
    queries, random = Queries(towns), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        with built(Path(folder) / "one.vprmap", towns, 1, describer) as one:
            first, first_bytes = one.places, one.path.stat().st_size
        with built(Path(folder) / "all.vprmap", towns, len(MAPPED), describer) as place_map:
            everything = place_map.places
            start = process_time()
            dropped = drop_redundant(place_map, given.looks)
            seconds = process_time() - start
            refreshed, size = place_map.places, place_map.path.stat().st_size
    count = len(refreshed)
    names = everything.drives.astype(str)
    days = [everything.subset(np.char.startswith(names, f"day {day},")) for day in range(len(MAPPED))]
    drawn = [np.sort(random.permutation(len(everything))[:count]) for _ in range(DRAWS)]
    several = round(count / len(first))
    chosen = [random.permutation(len(MAPPED))[:several] for _ in range(DRAWS)]
    whole = [
        everything.subset(np.any([np.char.startswith(names, f"day {day},") for day in some], axis=0)) for some in chosen
    ]
    newest = np.sort(np.argsort(everything.stamps_ns, kind="stable")[-count:])
    recall = {
        "everything": queries.recall(everything),
        "refreshed": queries.recall(refreshed),
        "newest places": queries.recall(everything.subset(newest)),
        "random places": queries.mean([everything.subset(rows) for rows in drawn]),
        f"{several} random drives": queries.mean(whole),
        f"{several} random drives, worst": min(map(queries.recall, whole), key=lambda figures: figures["all"]),
        "one drive, mean": queries.mean(days),
    }
    times, times_bytes = count / len(first), size / first_bytes
    lost = {name: recall["everything"][name] - recall["refreshed"][name] for name in ("all", "not centred")}
    missed = times > MOST_TIMES or times_bytes > MOST_TIMES or max(lost.values()) > MOST_LOST
    table = Table("map", *recall["refreshed"], title=f"recall@1, {len(everything)} places became {count}")
    for name, figures in recall.items():
        table.add_row(name, *(f"{value:.4f}" for value in figures.values()))
    Console(width=120).print(table)
    print(f"{times:.2f} times the places and {times_bytes:.2f} times the bytes of one drive (limit {MOST_TIMES:g})")
    for name, value in lost.items():
        print(f"recall@1 lost, {name}: {value:.4f} (limit {MOST_LOST:g})")
    counts = dropped.refreshed
    print(f"dropped: {counts.alike} alike, {counts.beyond} beyond {given.looks} looks")
    print(f"{1e3 * seconds / len(everything):.2f} ms of a CPU for each place")
    if given.json:
        report = {"seeds": given.seeds, "looks": given.looks, "places": len(everything), "kept": count}
        report |= {"times_places": times, "times_bytes": times_bytes, "cpu_seconds": seconds}
        given.json.write_text(json.dumps({**report, "recall@1": recall, "missed": missed}, indent=2) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
