"""Street furniture: lamps, signs, posters, bus stops, benches, bins, poles, fences and walls."""

from __future__ import annotations

import itertools

import numpy as np

from vpr_lab.simulation.mesh import EMISSIVE, GLOSSY, Colour, Mesh, Paint, Placement
from vpr_lab.simulation.nature import add_hedge
from vpr_lab.simulation.style import hsv, jittered
from vpr_lab.simulation.textures import TextureSet


def add_lamp(
    mesh: Mesh, place: Placement, height: float, arm: float, colour: Colour, textures: TextureSet
) -> np.ndarray:
    """A street lamp whose arm reaches along -y (over the road). Returns the light's (3,) position in the map."""
    plain = textures.names["plain"][0]
    metal = Paint(plain, colour)
    mesh.cylinder(place, 0.09, 0, height, metal, sides=5)
    if arm > 0:
        mesh.box(place, (-0.04, -arm, height - 0.08), (0.04, 0, height), metal, faces=(0, 1, 3, 4, 5))
        mesh.box(
            place, (-0.12, -arm - 0.5, height - 0.1), (0.12, -arm + 0.1, height + 0.03), metal, faces=(0, 1, 2, 3, 4)
        )
        mesh.box(
            place,
            (-0.1, -arm - 0.45, height - 0.13),
            (0.1, -arm, height - 0.1),
            Paint(plain, (1.0, 0.95, 0.85), kind=EMISSIVE, seed=255),
            faces=(0, 1, 2, 3, 5),
        )
    else:
        glow = Paint(plain, (1.0, 0.95, 0.85), kind=EMISSIVE, seed=255)
        mesh.box(place, (-0.17, -0.17, height), (0.17, 0.17, height + 0.4), glow, faces=(0, 1, 2, 3))
        mesh.box(place, (-0.22, -0.22, height + 0.4), (0.22, 0.22, height + 0.5), metal, faces=(0, 1, 2, 3, 4, 5))
    return place.apply(np.array([0.0, -arm - 0.2 if arm > 0 else 0.0, height]))


def add_sign(mesh: Mesh, place: Placement, textures: TextureSet, rng: np.random.Generator) -> None:
    """A traffic sign facing -x (against the traffic), grey behind."""
    height, size = rng.uniform(2.1, 2.6), rng.uniform(0.5, 0.75)
    grey = Paint(textures.names["plain"][0], (0.5, 0.5, 0.5))
    mesh.cylinder(place, 0.035, 0, height + size, grey, sides=4)
    colour: Colour = (0.75, 0.08, 0.08) if rng.random() < 0.6 else (0.05, 0.2, 0.6)
    face = Paint(textures.pick("road_sign", rng), colour, (0.05, 0.05, 0.05), trim=0.97)
    mesh.wall(place, (-0.06, size / 2), (-0.06, -size / 2), height, height + size, (1, 1), face, cutout=True)


def add_poster(mesh: Mesh, place: Placement, textures: TextureSet, rng: np.random.Generator) -> None:
    """An advertising panel or column across the pavement; lit from inside at night."""
    wide, low = rng.uniform(1.2, 3.2), rng.uniform(0.3, 1.0)
    high = low + rng.uniform(1.6, 2.4)
    frame = Paint(textures.names["plain"][0], jittered((0.2, 0.22, 0.22), rng))
    turned = place.moved(0, 0, 0, np.pi / 2)
    mesh.box(turned, (-wide / 2 - 0.08, -0.08, low - 0.1), (wide / 2 + 0.08, 0.08, high + 0.1), frame)
    for x in (-wide / 2 + 0.1, wide / 2 - 0.2):
        mesh.box(turned, (x, -0.05, 0), (x + 0.1, 0.05, low), frame, faces=(0, 1, 2, 3))
    for y, ends in ((-0.1, (-wide / 2, wide / 2)), (0.1, (wide / 2, -wide / 2))):
        colours = [hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.95)) for _ in range(2)]
        art = Paint(textures.pick("poster", rng), colours[0], colours[1], EMISSIVE, seed=60, trim=0.95)
        mesh.wall(turned, (ends[0], y), (ends[1], y), low, high, (1, 1), art)


def add_bus_stop(mesh: Mesh, place: Placement, textures: TextureSet, rng: np.random.Generator) -> None:
    """A shelter with its back to +y: roof, glass back, a poster at one end, a bench."""
    wide, plain = rng.uniform(3, 5), textures.names["plain"][0]
    metal = Paint(plain, hsv(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.15, 0.5)))
    mesh.box(place, (0, -0.8, 2.35), (wide, 0.7, 2.5), metal, faces=(0, 1, 2, 3, 4, 5))
    for x in (0.05, wide / 2, wide - 0.1):
        mesh.box(place, (x, 0.55, 0), (x + 0.07, 0.62, 2.35), metal, faces=(0, 1, 2, 3))
    glass = Paint(plain, (0.25, 0.3, 0.32), kind=GLOSSY)
    mesh.box(place, (0, 0.58, 0.3), (wide, 0.6, 2.1), glass, faces=(0, 2))
    colours = [hsv(rng.random(), 0.6, rng.uniform(0.4, 0.9)) for _ in range(2)]
    art = Paint(textures.pick("poster", rng), colours[0], colours[1], EMISSIVE, seed=60)
    for start, end in (((wide, -0.5), (wide, 0.55)), ((wide - 0.05, 0.55), (wide - 0.05, -0.5))):
        mesh.wall(place, start, end, 0.3, 2.1, (1, 1), art)
    add_bench(mesh, place.moved(wide * 0.3, 0.25), textures, rng)


def add_bench(mesh: Mesh, place: Placement, textures: TextureSet, rng: np.random.Generator) -> None:
    """A wooden bench facing -y."""
    wood = Paint(textures.names["boards"][0], jittered((0.4, 0.27, 0.16), rng, 0.1))
    mesh.box(place, (-0.8, -0.25, 0.4), (0.8, 0.2, 0.47), wood)
    mesh.box(place, (-0.8, 0.2, 0.4), (0.8, 0.26, 0.95), wood)
    for x in (-0.7, 0.6):
        mesh.box(place, (x, -0.2, 0), (x + 0.1, 0.2, 0.4), Paint(wood.layer, (0.15, 0.15, 0.15)))


def add_small(mesh: Mesh, place: Placement, textures: TextureSet, rng: np.random.Generator) -> None:
    """A bin, a letter box, a switch cabinet, bollards or a hydrant."""
    plain, choice = textures.names["plain"][0], int(rng.integers(5))
    colour = hsv(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.15, 0.6))
    if choice == 0:
        mesh.cylinder(place, 0.25, 0, 0.95, Paint(plain, colour), sides=6)
        mesh.box(place, (-0.2, -0.2, 0.9), (0.2, 0.2, 0.97), Paint(plain, (0.1, 0.1, 0.1)))
    elif choice == 1:
        mesh.box(
            place,
            (-0.25, -0.2, 0.0),
            (0.25, 0.2, 1.4),
            Paint(textures.pick("sign", rng), (0.8, 0.1, 0.05), (0.1, 0.1, 0.1)),
            tile_m=1.4,
        )
    elif choice == 2:
        mesh.box(
            place,
            (-0.6, -0.2, 0.0),
            (0.6, 0.2, rng.uniform(0.9, 1.5)),
            Paint(textures.names["panel"][0], jittered((0.55, 0.57, 0.52), rng)),
        )
    elif choice == 3:
        for x in np.arange(0, rng.uniform(3, 8), 1.3):
            mesh.cylinder(place.moved(float(x), 0), 0.07, 0, 0.9, Paint(plain, colour), sides=5)
    else:
        for x in (0.0, 0.7):
            bin_paint = Paint(plain, colour if x else (0.15, 0.17, 0.16))
            mesh.box(place, (x, -0.3, 0.0), (x + 0.58, 0.3, 1.05), bin_paint)


def add_pole_line(mesh: Mesh, places: list[Placement], height: float, textures: TextureSet) -> None:
    """Wooden poles joined by two sagging wires."""
    wood = Paint(textures.names["bark"][0], (0.3, 0.24, 0.18))
    wire = Paint(textures.names["plain"][0], (0.06, 0.06, 0.06))
    for place in places:
        mesh.cylinder(place, 0.14, 0, height, wood, sides=5)
        mesh.box(place, (-0.05, -0.7, height - 0.7), (0.05, 0.7, height - 0.58), wood, faces=(0, 1, 2, 3, 4, 5))
    for first, second in itertools.pairwise(places):
        for y in (-0.6, 0.6):
            ends = [place.apply(np.array([0.0, y, height - 0.55])) for place in (first, second)]
            t = np.linspace(0, 1, 5)[:, None]
            points = (1 - t) * ends[0] + t * ends[1] - np.array([0, 0, 1.6]) * t * (1 - t)
            lift = np.array([0, 0, 0.035])
            strip = np.stack([points[:-1], points[1:], points[1:] + lift, points[:-1] + lift], 1)
            mesh.quads(np.concatenate([strip, strip[:, ::-1]]), np.zeros((4, 2)), wire)


def add_boundary(
    mesh: Mesh,
    place: Placement,
    length: float,
    habit: str,
    colour: Colour,
    textures: TextureSet,
    rng: np.random.Generator,
) -> None:
    """A garden's edge along x: "hedge", "wall", "railing" or "pickets"."""
    if habit == "hedge":
        add_hedge(mesh, place, length, rng.uniform(0.9, 2.0), 0.7, colour, textures, rng)
    elif habit == "wall":
        name = str(rng.choice(["brick", "rubble", "plaster", "ashlar"]))
        mortar = (0.55, 0.53, 0.5)
        high = rng.uniform(0.6, 2.0)
        mesh.box(place, (0, -0.12, 0), (length, 0.12, high), Paint(textures.names[name][0], colour, mortar))
        mesh.box(
            place,
            (0, -0.17, high),
            (length, 0.17, high + 0.08),
            Paint(textures.names["plain"][0], mortar),
            faces=(0, 1, 2, 3, 4, 5),
        )
    else:
        high = rng.uniform(0.9, 1.5)
        base = rng.uniform(0.0, 0.5) if habit == "railing" else 0.0
        if base > 0.1:
            mesh.box(place, (0, -0.12, 0), (length, 0.12, base), Paint(textures.names["ashlar"][0], (0.5, 0.48, 0.45)))
        paint = Paint(textures.pick(habit, rng), colour)
        mesh.wall(place, (0, 0), (length, 0), base, base + high, (length / 1.4, 1), paint, cutout=True)
