"""Vehicles and people: they differ from drive to drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation.lots import Side, sides
from vpr_lab.simulation.mesh import VERTEX, Mesh, Paint, Placement
from vpr_lab.simulation.streets import Streets
from vpr_lab.simulation.style import hsv, jittered
from vpr_lab.simulation.textures import TextureSet
from vpr_lab.simulation.vehicles import SHAPES, add_vehicle


@dataclass(frozen=True, eq=False)
class Traffic:
    """What moves or parks.

    opaque, cutout: (4 N,) VERTEX. ranges: (M, 4) first and last quad of each thing in opaque and in cutout.
    places: (M, 3) x, y, yaw. sizes: (M, 2) length, width in metres.
    """

    opaque: np.ndarray
    cutout: np.ndarray
    ranges: np.ndarray
    places: np.ndarray
    sizes: np.ndarray


def make_traffic(streets: Streets, textures: TextureSet, left_hand: bool, seed: int) -> Traffic:
    """The traffic of one drive, from its seed."""
    rng = np.random.default_rng([seed, 31])
    meshes: list[Mesh] = []
    places: list[Placement] = []
    sizes: list[tuple[float, float]] = []
    busy, parked = rng.uniform(0.2, 1.1), rng.uniform(0.2, 0.75)
    for side in sides(streets):
        for place, moving in _vehicle_places(side, left_hand, busy, parked, rng):
            name = str(
                rng.choice(list(SHAPES), p=[0.34, 0.27, 0.2, 0.13, 0.06] if moving else [0.38, 0.3, 0.22, 0.1, 0.0])
            )
            meshes.append(_vehicle(place, name, textures, rng))
            places.append(place)
            sizes.append((SHAPES[name].length, SHAPES[name].width))
        for place in _people_places(side, busy, rng):
            meshes.append(_person(place, textures, rng))
            places.append(place)
            sizes.append((0.0, 0.0))
    return _packed(meshes, places, sizes)


def _vehicle_places(
    side: Side, left_hand: bool, busy: float, parked: float, rng: np.random.Generator
) -> list[tuple[Placement, bool]]:
    """(place, moving) along one side of a street, noses along the traffic of that side."""
    street, found = side.street, []
    turn = 0.0 if left_hand else np.pi
    along = 13.0
    lined = rng.random() < 0.6
    while lined and along < side.length_m - 13:
        if rng.random() < parked:
            backwards = np.pi if rng.random() < 0.2 else 0.0
            place = side.place(along, street.road_m / 2 + rng.uniform(0.3, 0.6))
            found.append((place.moved(0, 0, 0, turn + backwards + rng.normal(0, 0.02)), False))
        along += rng.uniform(5.6, 7.0)
    along = rng.exponential(60 / busy)
    while along < side.length_m:
        found.append((side.place(along, street.road_m * 0.23 + rng.normal(0, 0.15)).moved(0, 0, 0, turn), True))
        along += 9 + rng.exponential(70 / busy)
    return found


def _people_places(side: Side, busy: float, rng: np.random.Generator) -> list[Placement]:
    count = int(rng.poisson(busy * side.length_m / 45))
    street = side.street
    return [
        side.place(rng.uniform(3, side.length_m - 3), street.road_m / 2 + rng.uniform(0.5, street.pavement_m)).moved(
            0, 0, 0, rng.choice([0, np.pi])
        )
        for _ in range(count)
    ]


def _vehicle(place: Placement, name: str, textures: TextureSet, rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    grey = rng.uniform(0.04, 0.9)
    colour = (
        (grey, grey, grey * rng.uniform(0.95, 1.05))
        if rng.random() < 0.65
        else hsv(rng.random(), rng.uniform(0.4, 0.85), rng.uniform(0.2, 0.6))
    )
    side, end = textures.names[f"side_{name}"][0], textures.pick("car_end", rng)
    add_vehicle(mesh, place, SHAPES[name], side, end, textures.names["plain"][0], colour, int(rng.integers(256)))
    return mesh


def _person(place: Placement, textures: TextureSet, rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    height = rng.normal(1.7, 0.12)
    coat, legs = (hsv(rng.random(), rng.uniform(0.0, 0.7), rng.uniform(0.05, 0.8)) for _ in range(2))
    skin = jittered((0.6, 0.6, 0.6), rng, 0.25)[0]
    paint = Paint(textures.pick("person", rng), coat, legs, trim=skin)
    half = height * 0.48
    for turn in (np.pi / 2, 0.15):
        mesh.wall(place.moved(0, 0, 0, turn), (-half, 0), (half, 0), 0, height, (1, 1), paint, cutout=True)
    return mesh


def _packed(meshes: list[Mesh], places: list[Placement], sizes: list[tuple[float, float]]) -> Traffic:
    opaque, cutout = [mesh.opaque() for mesh in meshes], [mesh.cutout() for mesh in meshes]
    ends = [np.cumsum([0, *(len(part) // 4 for part in parts)]) for parts in (opaque, cutout)]
    ranges = np.stack([ends[0][:-1], ends[0][1:], ends[1][:-1], ends[1][1:]], 1)
    return Traffic(
        np.concatenate([np.zeros(0, VERTEX), *opaque]),
        np.concatenate([np.zeros(0, VERTEX), *cutout]),
        ranges,
        np.array([[place.x, place.y, place.yaw] for place in places]).reshape(-1, 3),
        np.array(sizes).reshape(-1, 2),
    )
