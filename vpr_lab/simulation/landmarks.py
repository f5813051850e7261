"""Landmarks, one in each town: a church, a monument, a pavilion, a water tower, a tall slab."""

from __future__ import annotations

import numpy as np

from vpr_lab.simulation import roofs
from vpr_lab.simulation.lots import footprint
from vpr_lab.simulation.mesh import FACADE, ROOF, Mesh, Paint, Placement
from vpr_lab.simulation.style import TownStyle, hsv
from vpr_lab.simulation.textures import TextureSet


def add_landmark(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """One of them round the frame's origin. Returns its (4, 2) footprint and height in metres."""
    return (_church, _monument, _pavilion, _water_tower, _slab)[int(rng.integers(5))](mesh, place, textures, style, rng)


def _church(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    name = str(rng.choice(["ashlar", "rubble", "plaster", "brick"]))
    colour, mortar = hsv(rng.uniform(0.03, 0.13), rng.uniform(0.05, 0.4), rng.uniform(0.5, 0.85)), (0.5, 0.48, 0.44)
    wall = Paint(textures.names[name][0], colour, mortar)
    windows = Paint(textures.pick(f"window_{name}", rng), colour, mortar, FACADE)
    cover = Paint(textures.pick("tiles", rng), style.roof_colours[0], kind=ROOF)
    length, wide, high, tower = rng.uniform(14, 18), rng.uniform(7, 9), rng.uniform(6, 9), rng.uniform(15, 24)
    nave = place.moved(-length / 2, -wide / 2)
    for start, end, paint in (
        ((0, 0), (length, 0), windows),
        ((length, 0), (length, wide), wall),
        ((length, wide), (0, wide), windows),
        ((0, wide), (0, 0), wall),
    ):
        mesh.wall(
            nave, start, end, 0, high, (max(1, round(np.hypot(end[0] - start[0], end[1] - start[1]) / 3.5)), 1), paint
        )
    roofs.gable(mesh, nave.moved(0, 0, high), length, wide, wide * 0.7, cover, wall)
    side = rng.uniform(4, 5.5)
    base = nave.moved(-side + 0.5, (wide - side) / 2)
    mesh.box(base, (0, 0, 0), (side, side, tower), wall, faces=(0, 1, 2, 3))
    for start, end in (((0, 0), (side, 0)), ((side, 0), (side, side)), ((side, side), (0, side)), ((0, side), (0, 0))):
        mesh.wall(base, start, end, tower - 4.5, tower - 0.5, (1, 1), windows)
    roofs.hip(mesh, base.moved(0, 0, tower), side, side, rng.uniform(4, 13), cover)
    return footprint(nave.moved(-side, 0), length + side, wide), high


def _monument(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    stone = Paint(
        textures.names["ashlar"][0], hsv(0.1, rng.uniform(0, 0.2), rng.uniform(0.45, 0.8)), (0.35, 0.34, 0.32)
    )
    for step, half in enumerate((3.5, 2.7, 1.9)):
        mesh.box(place, (-half, -half, step * 0.35), (half, half, step * 0.35 + 0.35), stone)
    high = rng.uniform(6, 14)
    mesh.box(place, (-1, -1, 1), (1, 1, 3), stone)
    mesh.cylinder(place, rng.uniform(0.5, 0.9), 3, high, stone, sides=8)
    bronze = Paint(textures.names["plain"][0], hsv(rng.uniform(0.08, 0.5), 0.35, 0.35))
    mesh.cylinder(place, 0.55, high, high + 1.6, bronze, sides=6)
    return footprint(place.moved(-3.5, -3.5), 7, 7), 3.0


def _pavilion(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    pale = Paint(textures.names["plain"][0], hsv(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.6, 0.95)))
    cover = Paint(textures.pick("tiles", rng), style.roof_colours[1], kind=ROOF)
    half = rng.uniform(3, 4.5)
    mesh.box(
        place,
        (-half, -half, 0),
        (half, half, 0.6),
        Paint(textures.names["brick"][0], style.wall_colours[0], (0.6, 0.6, 0.55)),
    )
    for x in (-half + 0.2, 0.0, half - 0.2):
        for y in (-half + 0.2, half - 0.2):
            mesh.cylinder(place.moved(x, y), 0.16, 0.6, 3.6, pale, sides=6)
    mesh.box(place, (-half, -half, 3.6), (half, half, 3.9), pale, faces=(0, 1, 2, 3, 4, 5))
    roofs.hip(mesh, place.moved(-half, -half, 3.9), 2 * half, 2 * half, rng.uniform(1.5, 3.5), cover)
    return footprint(place.moved(-half, -half), 2 * half, 2 * half), 1.0


def _water_tower(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    brick = Paint(textures.names["brick"][0], hsv(rng.uniform(0, 0.08), 0.45, rng.uniform(0.4, 0.6)), (0.6, 0.58, 0.55))
    metal = Paint(textures.names["seams"][0], hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.35, 0.8)))
    high, wide = rng.uniform(12, 20), rng.uniform(2, 3)
    mesh.cylinder(place, wide * 1.3, 0, high, brick, sides=10)
    mesh.cylinder(place, wide * 1.9, high, high + 4.5, metal, sides=10)
    mesh.box(place, (-wide, -wide, high + 4.4), (wide, wide, high + 5), metal)
    return footprint(place.moved(-wide, -wide), 2 * wide, 2 * wide), high


def _slab(
    mesh: Mesh, place: Placement, textures: TextureSet, style: TownStyle, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    colour, band = (hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.4, 0.85)) for _ in range(2))
    floors, wide, deep = int(rng.integers(8, 15)), rng.uniform(14, 19), rng.uniform(9, 12)
    paint = Paint(textures.pick(str(rng.choice(["window_panel", "ribbon", "curtain"])), rng), colour, band, FACADE)
    base, high = place.moved(-wide / 2, -deep / 2), floors * 2.9
    for start, end in (((0, 0), (wide, 0)), ((wide, 0), (wide, deep)), ((wide, deep), (0, deep)), ((0, deep), (0, 0))):
        bays = max(1, round(np.hypot(end[0] - start[0], end[1] - start[1]) / 3))
        mesh.wall(base, start, end, 0, high, (bays, floors), paint)
    mesh.box(
        base,
        (-0.2, -0.2, high),
        (wide + 0.2, deep + 0.2, high + 0.8),
        Paint(textures.names["panel"][0], band),
        faces=(0, 1, 2, 3, 4, 5),
    )
    mesh.box(base, (1, -1.5, 3.0), (5, 0, 3.2), Paint(textures.names["plain"][0], band), faces=(0, 1, 2, 3, 4, 5))
    return footprint(base, wide, deep), high
