#!/usr/bin/env python3
"""False loop closures where places look alike: streets, aisles, levels, a corridor both ways, a robot that stands.

    python benchmarks/look_alike.py [--worlds NAME ...] [--drifts 0.01 0.03 0.05] [--seed 1] [--data FOLDER]
        [--json FILE]

A world is made of rooms of landmarks. Rooms of one kind have the same landmarks, but for a share that each has to
itself ("own"). A camera sees those of its room, with noise in pixels, depths and descriptors; what follows is the real
loop closer. A world is driven twice: in one drive that closes loops on its past, with odometry that is off by a share
of the distance, and on a map of the first time. --data adds the real corridor, its query on its reference, with
odometry of half a metre a frame and a guessed camera: a closure more than 6 frames off is false.

A revisit is a keyframe with a keyframe of the map in its room, within 5 m and 45 degrees. A closure is false if its
pose is more than 3 m or 10 degrees off. Limits: no closure is false; the share of revisits found is at least that of
the world, unless odometry is off by more than loops.drift. Exits with 1 if one is missed. False
closures in brackets have no limit: the places look the same, and lie within the error that the loop closer allows for
odometry, or the two drives share no odometry.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from verdict import verdict

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Frame, LoopClosure
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.describer import Description, Manifest
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.place_map import MapModel
from vpr_ros.matching.local_features import LocalFeatures

MODEL = MapModel("landmarks", "f" * 64, 192, Preprocessing(32, 32))
CAMERA, PIXEL, CORNER = Intrinsics.pinhole(320, 240, 250.0), 1 / 250, (0.64, 0.48)
REACH_M, SAME_WAY, FALSE_M, FALSE_RAD = 5.0, np.radians(45.0), 3.0, np.radians(10.0)
SEEN_M, DETECTED = (2.0, 30.0), 0.7
NOISE_PX, NOISE_DEPTH, NOISE_LOOK = 0.5, 0.2, 25.0


@dataclass(frozen=True)
class Room:
    """A straight street, aisle or corridor. kind: rooms of one kind look alike, but for a share of ``distinct``.

    period: metres after which it looks the same again; 0: never. both_ways: it looks the same from its other end.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    kind: int
    distinct: float = 0.0
    period: float = 0.0
    both_ways: bool = False
    width: float = 8.0

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.subtract(self.end, self.start)))

    def at(self, along: float, back: bool) -> np.ndarray:
        """(4, 4): pose of a camera that drives along it, or back."""
        ahead = np.subtract(self.end, self.start) / self.length
        yaw = np.arctan2(ahead[1], ahead[0]) + np.pi * back
        return geometry.transform(
            geometry.matrix_from_rpy(0, 0, yaw) @ geometry.R_BODY_OPTICAL, self.start + along * ahead
        )

    def landmarks(self, own: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) and looks (N, 128) uint8. own, seed: of what this room has to itself, and of the world."""
        rng, count = np.random.default_rng([self.kind, seed]), round(9 * (self.length + 20))
        along, side, up = (
            rng.uniform(-10, self.length + 10, count),
            rng.choice([-1, 1], count),
            rng.uniform(-1.5, 3, count),
        )
        aside, looks = (
            side * self.width * rng.uniform(0.4, 0.6, count),
            rng.integers(0, 256, (count, 128), dtype=np.uint8),
        )
        if self.period:
            once = along < self.period - 10
            copies = int(np.ceil((self.length + 20) / self.period))
            along = (along[once] + self.period * np.arange(copies)[:, None]).ravel()
            aside, up, looks = (
                np.tile(aside[once], copies),
                np.tile(up[once], copies),
                np.tile(looks[once], (copies, 1)),
            )
        if self.both_ways:
            along, aside = np.append(along, self.length - along), np.append(aside, -aside)
            up, looks = np.tile(up, 2), np.tile(looks, (2, 1))
        mine = np.random.default_rng([own, seed + 1])
        other = mine.random(len(along)) < self.distinct
        looks[other] = mine.integers(0, 256, (other.sum(), 128), dtype=np.uint8)
        along[other] = mine.uniform(-10, self.length + 10, other.sum())
        T = self.at(0.0, False) @ geometry.inverse(geometry.transform(geometry.R_BODY_OPTICAL, np.zeros(3)))
        return np.column_stack([along, aside, up]) @ T[:3, :3].T + T[:3, 3], looks


@dataclass(frozen=True)
class Leg:
    """A room driven from its start to its end, or back; ``stands`` seconds in its middle."""

    room: int
    back: bool = False
    stands: int = 0


@dataclass(frozen=True)
class World:
    """first, again: legs driven the first time and afterwards.

    own, earlier: least share of revisits found on the own past and on a map of the first time; None: no limit.
    """

    rooms: Sequence[Room]
    first: Sequence[Leg]
    again: Sequence[Leg]
    own: float | None = 0.0
    earlier: float | None = 0.0


@dataclass
class Views:
    """What a drive's camera sees, by number of the image: describer and extractor."""

    poses: list[np.ndarray] = field(default_factory=list)
    rooms: list[int] = field(default_factory=list)
    points: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    seed: int = 0
    kind: str = "sift"
    manifest: Manifest = field(
        default_factory=lambda: Manifest(MODEL.name, MODEL.fingerprint, MODEL.dimension, True, MODEL.preprocessing)
    )

    def image(self, number: int) -> np.ndarray:
        """(240, 320, 3) uint8: the number in two colours."""
        image = np.full((240, 320, 3), (*divmod(number, 256), 0), np.uint8)
        image[:, 160:] = 255
        return image

    def _seen(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
        number = 256 * int(image[0, 0, 0]) + int(image[0, 0, 1])
        rng = np.random.default_rng([self.seed, number])
        points, looks = self.points[self.rooms[number]]
        T = self.poses[number]
        inside = (points - T[:3, 3]) @ T[:3, :3]
        front = (inside[:, 2] > SEEN_M[0]) & (inside[:, 2] < SEEN_M[1])
        rays = inside[:, :2] / np.where(front, inside[:, 2], 1)[:, None]
        rows = np.flatnonzero(front & (np.abs(rays) < CORNER).all(axis=1) & (rng.random(len(rays)) < DETECTED))
        return rays[rows], inside[rows, 2], looks[rows], rng

    def describe(self, images: np.ndarray) -> Description:
        """The mean look in each of 12 parts of the image, nearer landmarks counting more."""
        rays, depths, looks, rng = self._seen(images[0])
        cells = np.floor((rays / CORNER + 1) * (2, 1.5)).astype(int).clip(0, (3, 2)) @ (3, 1)
        projected = (looks / 127.5 - 1) @ np.random.default_rng(0).normal(size=(128, 16))
        found = np.zeros((12, 16))
        np.add.at(found, cells, projected / depths[:, None])
        flat = found.ravel() / max(float(np.linalg.norm(found)), 1e-9) + 0.3 * rng.normal(0, 192**-0.5, 192)
        return Description((flat / np.linalg.norm(flat)).astype(np.float32)[None], None)

    def extract(self, image: np.ndarray, depth: None, intrinsics: Intrinsics) -> LocalFeatures:
        """Features of the landmarks; depths are guesses."""
        rays, depths, looks, rng = self._seen(image)
        rays = rays + NOISE_PX * PIXEL * rng.standard_normal(rays.shape)
        depths = depths * np.exp(NOISE_DEPTH * rng.standard_normal(len(depths)))
        looks = np.clip(looks + NOISE_LOOK * rng.standard_normal(looks.shape), 0, 255).astype(np.uint8)
        return LocalFeatures("sift", rays.astype(np.float32), depths.astype(np.float32), looks, PIXEL)


EVERY_M = 2.0
CONFIG = LoopCloserConfig(features="sift", recent_distance=50.0, recent_time=20.0, keyframe_time=1.0)


@dataclass
class Session:
    """Keyframes of a drive by stamp: pose, room, distance driven; its closures."""

    truth: dict[int, tuple[np.ndarray, int, float]] = field(default_factory=dict)
    closures: list[LoopClosure] = field(default_factory=list)


def drive(
    world: World,
    legs: Sequence[Leg],
    drift: float,
    seed: int,
    path: Path,
    earlier: Sequence[Path],
    own_past: bool = True,
    of_world: int = 1,
) -> Session:
    """Drive through a world and close loops: on the own past, or on earlier maps."""
    views = Views(points=[room.landmarks(100 + n, of_world) for n, room in enumerate(world.rooms)], seed=seed)
    rng = np.random.default_rng([seed, 7])
    astray, session = rng.normal(size=3) * (1, 1, 0.2), Session()
    astray *= drift / np.linalg.norm(astray)
    start = geometry.transform(geometry.matrix_from_rpy(0, 0, seed), np.array([30.0 * seed, 0.0, 0.0]))
    config = replace(CONFIG, own_past=own_past)
    with LoopCloser(
        KeyframeStore.grow(path, MODEL),
        views,
        config,
        [KeyframeStore.open(map_path) for map_path in earlier],  # type: ignore[arg-type]
    ) as closer:
        closer.extractor = views
        stamp_ns, driven, last = 10**9 * (1 + 10**6 * seed), 0.0, None
        for leg in legs:
            room = world.rooms[leg.room]
            along = np.arange(0.0, room.length, EVERY_M) + 0.3 * rng.random()
            if leg.stands:
                along = np.insert(along, len(along) // 2, np.full(leg.stands, along[len(along) // 2]))
            for metres in along:
                T = room.at(room.length - metres if leg.back else metres, leg.back)
                T[:3, 3] += 0.2 * np.sin(metres / 7) * T[:3, 0]
                driven += 0.0 if last is None else float(np.linalg.norm(T[:3, 3] - last))
                last, stamp_ns = T[:3, 3].copy(), stamp_ns + 10**9
                T_odom = geometry.transform(np.eye(3), astray * driven) @ start @ T
                views.poses.append(T)
                views.rooms.append(leg.room)
                frame = Frame(stamp_ns, views.image(len(views.poses) - 1), T_odom, CAMERA)
                observation = closer.observe(frame)
                if observation.keyframe_id is not None:
                    session.truth[stamp_ns] = T, leg.room, driven
                session.closures += [c for c in observation.closures if c.verified]
    return session


def figures(query: Session, places: Session) -> dict[str, float]:
    """Revisits, share found, closures, false ones and the largest error."""
    T_places = np.stack([T for T, _, _ in places.truth.values()])
    rooms, driven = (np.array([row[n] for row in places.truth.values()]) for n in (1, 2))
    stamps, revisits = np.array(list(places.truth)), set()
    for stamp_ns, (T, room, metres) in query.truth.items():
        near = (rooms == room) & (np.linalg.norm(T_places[:, :3, 3] - T[:3, 3], axis=1) < REACH_M)
        near &= np.einsum("ki,i->k", T_places[:, :3, 2], T[:3, 2]) > np.cos(SAME_WAY)
        if query is places:
            near &= (stamps < stamp_ns - CONFIG.recent_time * 1e9) & (driven < metres - CONFIG.recent_distance)
        revisits |= {stamp_ns} if near.any() else set()
    false, right, worst = 0, set(), 0.0
    for closure in query.closures:
        assert closure.T_match_query is not None
        T_true = geometry.inverse(places.truth[closure.match_stamp_ns][0]) @ query.truth[closure.stamp_ns][0]
        error = float(np.linalg.norm(T_true[:3, 3] - closure.T_match_query[:3, 3]))
        wrong = error > FALSE_M or geometry.angle_of(T_true[:3, :3].T @ closure.T_match_query[:3, :3]) > FALSE_RAD
        false, worst = false + wrong, max(worst, error)
        right |= set() if wrong else {closure.stamp_ns}
    found = len(right & revisits) / len(revisits) if revisits else 1.0
    return {
        "revisits": len(revisits),
        "found": found,
        "closures": len(query.closures),
        "false": int(false),
        "worst": worst,
    }


def aisles(count: int, pitch: float, distinct: float, climb: float = 0.0) -> list[Room]:
    """Rooms of one kind, 60 m long, ``pitch`` metres apart, each ``climb`` metres above the last."""
    starts = [(0.0, pitch * n, climb * n) for n in range(count)]
    width = min(8.0, pitch or 8.0)
    return [Room(start, (60.0, *start[1:]), 1, distinct, width=width) for start in starts]


def there_and_back(count: int) -> list[Leg]:
    """Parallel rooms one after the other, as a mower does."""
    return [Leg(n, bool(n % 2)) for n in range(count)]


def one_way(count: int) -> list[Leg]:
    """The same, all in one direction."""
    return [Leg(n) for n in range(count)]


def worlds() -> dict[str, World]:
    """Name -> world."""
    corners = [(0.0, 0.0, 0.0), (80.0, 0.0, 0.0), (80.0, 80.0, 0.0), (0.0, 80.0, 0.0), (0.0, 0.0, 0.0)]
    block = list(pairwise(corners))
    far = [Room((1000.0, 90.0 * n, 0.0), (1090.0, 90.0 * n, 0.0), 50 + n) for n in range(4)]

    def twice(rooms: Sequence[Room], legs: Sequence[Leg], own: float | None, earlier: float | None) -> World:
        return World(rooms, legs, legs, own, earlier)

    def corridor(alike: bool, own: float, earlier: float | None) -> World:
        rooms = [Room((0.0, 0.0, 0.0), (90.0, 0.0, 0.0), 1, both_ways=alike, width=3.0)]
        return World(rooms, [Leg(0)], [Leg(0, True), Leg(0), Leg(0, True)], own, earlier)

    spiral, at, ahead = [], np.zeros(3), [np.array(way) for way in ((1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0))]
    for n in range(10):
        end = at + (70.0 - 6.0 * (n // 2)) * ahead[n % 4]
        spiral.append(Room(tuple(at), tuple(end), 1, 0.1, width=6.0))
        at = end
    standing = [Leg(leg.room, leg.back, 30) for leg in there_and_back(4)]
    return {
        "different streets": twice([Room(a, b, n) for n, (a, b) in enumerate(block)], one_way(4), 0.95, 0.95),
        "streets 40 m apart": twice(aisles(4, 40.0, 0.0), one_way(4), 0.9, 0.0),
        "streets 40 m apart, 0.5 own": twice(aisles(4, 40.0, 0.5), one_way(4), 0.9, 0.6),
        "facades every 15 m": twice([Room(a, b, n, 0.1, 15.0) for n, (a, b) in enumerate(block)], one_way(4), 0.6, 0.0),
        "aisles of 15 m": twice(aisles(4, 15.0, 0.1), one_way(4), 0.6, 0.0),
        "aisles of 7 m": twice(aisles(4, 7.0, 0.1), one_way(4), 0.0, 0.0),
        "aisles of 4 m, there and back": twice(aisles(4, 4.0, 0.1), there_and_back(4), 0.0, 0.0),
        "aisles of 4 m": twice(aisles(4, 4.0, 0.1), one_way(4), None, 0.0),
        "aisles of 4 m, nothing own": twice(aisles(4, 4.0, 0.0), one_way(4), None, 0.0),
        "levels of 3.5 m, nothing own": twice(aisles(4, 0.0, 0.0, 3.5), one_way(4), None, 0.0),
        "spiral of rows, 6 m apart": World(spiral, one_way(10), []),
        "corridor, both ways": corridor(False, 0.95, 0.95),
        "corridor, the same from its end": corridor(True, 0.95, None),
        "long absence": World(
            [*aisles(3, 30.0, 0.1), *far], [*one_way(3), *map(Leg, range(3, 7))], one_way(3), 0.5, 0.0
        ),
        "standing 30 s in each aisle": World(aisles(4, 6.0, 0.1), there_and_back(4), standing, 0.9, 0.0),
        "new street like an old one": World(
            [*aisles(2, 12.0, 0.3), *far[:2]], [Leg(0), Leg(2), Leg(3)], [Leg(1)], None, None
        ),
    }


def corridor_figures(data: Path, folder: Path) -> dict[str, float]:
    """The real corridor: its query on its reference."""
    camera, numbers, closures = Intrinsics.pinhole(160, 120, 80.0), [], []
    for name, earlier in (("ref", []), ("query", [folder / "ref.vprmap"])):
        config = replace(LoopCloserConfig(keyframe_distance=0.4), own_past=False)
        with LoopCloser.open(folder / f"{name}.vprmap", earlier, config=config) as closer:
            for number, recorded in enumerate(open_drive(data / "corridor" / name)):
                T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([0.5 * number, 0.0, 0.0]))
                found = closer.observe(Frame(10**9 * (1 + number), recorded.read(), T, camera)).closures
                closures += [(closure.stamp_ns, closure.match_stamp_ns) for closure in found]
        numbers.append(number + 1)
    off = np.array([abs(a - b) // 10**9 for a, b in closures], int)
    found_share = len({a for (a, _), frames in zip(closures, off, strict=True) if frames <= 6}) / numbers[1]
    return {
        "revisits": numbers[1], "found": found_share, "closures": len(off), "false": int((off > 6).sum()),
        "worst": 0.5 * float(off.max(initial=0)),
    }  # fmt: skip


def row_of(world: str, on: str, least: float | None, figures_of: dict[str, float]) -> dict[str, Any]:
    """A row of the table, with the limits that it misses."""
    faults = ["false"] * (figures_of["false"] > 0) + ["found"] * (figures_of["found"] < (least or 0.0))
    return {
        "world": world,
        "map": on,
        **figures_of,
        "limits": least is not None,
        "missed": faults if least is not None else [],
    }


def rows_of(name: str, world: World, drifts: Sequence[float], seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of a world: on its own past with each drift, and on a map of the first time."""
    for drift in drifts:
        session = drive(world, [*world.first, *world.again], drift, seed, folder / f"{drift}.vprmap", [], of_world=seed)
        least = 0.0 if world.own is not None and drift > CONFIG.drift else world.own
        yield row_of(name, f"own past, {100 * drift:g} %", least, figures(session, session))
    if world.again:
        first = folder / "first.vprmap"
        places = drive(world, world.first, 0.0, seed, first, [], False, seed)
        again = drive(world, world.again, 0.01, seed + 1, folder / "again.vprmap", [first], False, seed)
        yield row_of(name, "earlier", world.earlier, figures(again, places))


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="*", default=[""], help="names, or parts of them; all by default")
    parser.add_argument("--drifts", type=float, nargs="*", default=[0.01, 0.03, 0.05], help="of odometry")
    parser.add_argument("--seed", type=int, default=1, help="of landmarks, noise and odometry")
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    table, rows = Table("world", "map", "revisits", "found", "closures", "false", "worst m", "missed"), []
    if unknown := [part for part in given.worlds if not any(part in name for name in worlds())]:
        parser.error(f"no world has {', '.join(unknown)} in its name; there are: {', '.join(worlds())}")
    for name, world in worlds().items():
        if any(part in name for part in given.worlds):
            with tempfile.TemporaryDirectory() as folder:
                for row in rows_of(name, world, given.drifts, given.seed, Path(folder)):
                    print(
                        f"{name}, {row['map']}: {row['false']} of {row['closures']} false", file=sys.stderr, flush=True
                    )
                    rows.append(row)
    if given.data:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of("the real corridor", "earlier", 0.0, corridor_figures(given.data, Path(folder))))
    for row in rows:
        false = f"{row['false']}" if row["limits"] else f"({row['false']})"
        counts = str(row["revisits"]), f"{row['found']:.2f}", str(row["closures"]), false, f"{row['worst']:.1f}"
        table.add_row(row["world"], row["map"], *counts, ", ".join(row["missed"]))
    return verdict(table, rows, sum(bool(row["missed"]) for row in rows), given.json)


if __name__ == "__main__":
    sys.exit(main())
