"""Buildings: a rectangle of ground turned into storeys of bays, a roof and what hangs on the front."""

from __future__ import annotations

import numpy as np

from vpr_lab.simulation import roofs
from vpr_lab.simulation.mesh import FACADE, Colour, Mesh, Paint, Placement
from vpr_lab.simulation.plan import Plan
from vpr_lab.simulation.style import District, TownStyle, hsv, jittered
from vpr_lab.simulation.textures import TextureSet


def make_plan(
    width: float, depth: float, district: District, style: TownStyle, textures: TextureSet, rng: np.random.Generator
) -> Plan:
    """Decide how a building of a district looks."""
    wall = str(rng.choice(district.walls))
    colour = style.wall_colours[int(rng.integers(len(style.wall_colours)))]
    window = textures.pick(f"window_{wall}", rng)
    second: Colour = hsv(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.12, 0.55))
    if wall in ("brick", "ashlar", "rubble", "panel"):
        grey = rng.uniform(0.45, 0.75)
        second = (grey, grey * 0.97, grey * 0.9) if rng.random() < 0.5 else second
        if wall == "brick" and rng.random() < 0.75:
            colour = hsv(rng.uniform(0.0, 0.09), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.68))
        elif wall != "brick":
            colour = hsv(rng.uniform(0.05, 0.15), rng.uniform(0.03, 0.28), rng.uniform(0.45, 0.8))
    if wall == "half_timber":
        colour, second = (
            hsv(rng.uniform(0.05, 0.16), rng.uniform(0.02, 0.4), rng.uniform(0.7, 0.95)),
            hsv(0.06, rng.uniform(0.2, 0.6), rng.uniform(0.12, 0.3)),
        )
    if district.kind == "offices" and rng.random() < 0.7:
        window = textures.pick(str(rng.choice(["ribbon", "curtain"])), rng)
    floor_m = rng.uniform(3.0, 3.9) if district.kind in ("old", "offices") else rng.uniform(2.6, 3.2)
    return Plan(
        width=width,
        depth=depth,
        floors=int(rng.integers(district.floors[0], district.floors[1] + 1)),
        floor_m=floor_m,
        bay_m=rng.uniform(2.2, 3.8),
        wall=wall,
        window_layer=window,
        colour=jittered(colour, rng),
        second=second,
        roof=str(rng.choice(district.roofs)),
        roof_colour=jittered(style.roof_colours[int(rng.integers(len(style.roof_colours)))], rng),
        roof_rise=depth / 2 * rng.uniform(0.55, 1.05),
        seed=int(rng.integers(256)),
        shops=bool(rng.random() < district.shops),
        trim=style.trim * rng.uniform(0.7, 1.0),
    )


def add_building(mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, rng: np.random.Generator) -> None:
    """Build a plan; the place is the front's left corner on the ground, x along the front."""
    facade = Paint(plan.window_layer, plan.colour, plan.second, FACADE, plan.seed, plan.trim)
    w, d, h = plan.width, plan.depth, plan.height
    side_bays = max(1, round(d / plan.bay_m))
    blind_sides = rng.random() < 0.45
    blank = Paint(textures.names[plan.wall][0], plan.colour, plan.second, FACADE, plan.seed, plan.trim)
    ground = plan.floor_m if plan.floors > 1 or plan.shops else 0.0
    mesh.wall(place, (0, 0), (w, 0), ground, h, (plan.bays, plan.floors - (ground > 0)), facade)
    if ground:
        _ground_floor(mesh, place, plan, textures, rng)
    for start, end in (((w, 0), (w, d)), ((0, d), (0, 0))):
        mesh.wall(place, start, end, 0, h, (side_bays, plan.floors), blank if blind_sides else facade)
    mesh.wall(place, (w, d), (0, d), 0, h, (plan.bays, plan.floors), facade)
    roofs.add_roof(mesh, place, plan, textures, blank, rng)
    _decorate(mesh, place, plan, textures, blank, rng)


def _ground_floor(mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, rng: np.random.Generator) -> None:
    """Doors, shops and garages bay by bay."""
    base = jittered(plan.colour, rng, 0.1) if rng.random() < 0.4 else plan.colour
    door_bay = int(rng.integers(plan.bays))
    step = 2 if plan.shops and plan.bays > 2 and rng.random() < 0.5 else 1
    shop_colour = hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.6))
    shop_layer = textures.pick("shop", rng)
    bay = 0
    while bay < plan.bays:
        count = 1
        second, layer = plan.second, plan.window_layer
        if bay == door_bay:
            layer = textures.pick("shop_door" if plan.shops and rng.random() < 0.6 else "door", rng)
            second = hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.12, 0.5))
        elif plan.shops:
            count = min(step, plan.bays - bay) if bay + 1 != door_bay else 1
            layer, second = shop_layer, shop_colour
            if rng.random() < 0.3:
                shop_layer, shop_colour = (
                    textures.pick("shop", rng),
                    hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.6)),
                )
        elif rng.random() < 0.06:
            layer = textures.pick("garage", rng)
        x0, x1 = plan.width * bay / plan.bays, plan.width * (bay + count) / plan.bays
        mesh.wall(
            place, (x0, 0), (x1, 0), 0, plan.floor_m, (1, 1), Paint(layer, base, second, FACADE, plan.seed, plan.trim)
        )
        if plan.shops and bay != door_bay:
            _shop_front(mesh, place, plan, (x0, x1), second, textures, rng)
        bay += count


def _shop_front(
    mesh: Mesh,
    place: Placement,
    plan: Plan,
    span: tuple[float, float],
    colour: Colour,
    textures: TextureSet,
    rng: np.random.Generator,
) -> None:
    """An awning over a shop window, or a sign that juts out."""
    x0, x1 = span[0] + 0.15, span[1] - 0.15
    top, plain = plan.floor_m * 0.8, textures.names["plain"][0]
    if rng.random() < 0.35:
        out, low = rng.uniform(0.8, 1.4), top - rng.uniform(0.3, 0.6)
        cloth = Paint(
            textures.names["seams"][0], hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.8)), colour
        )
        corners = np.array([[x0, -out, low], [x1, -out, low], [x1, -0.02, top], [x0, -0.02, top]])
        uv = np.array([[0, 0], [(x1 - x0) / 2, 0], [(x1 - x0) / 2, 1], [0, 1]])
        mesh.quads(place.apply(np.stack([corners, corners[::-1]])), uv, cloth)
        mesh.wall(place, (x0, -out), (x1, -out), low - 0.2, low, (x1 - x0, 0.1), cloth)
    elif rng.random() < 0.5:
        board = Paint(textures.pick("sign", rng), colour, hsv(rng.random(), 0.5, 0.3), trim=0.95)
        x, size = rng.uniform(x0, x1), rng.uniform(0.5, 0.9)
        for start, end in (((x, -0.1 - size), (x, -0.1)), ((x, -0.1), (x, -0.1 - size))):
            mesh.wall(place, start, end, top + 0.1, top + 0.1 + size, (1, 1), board)
        mesh.box(place, (x - 0.03, -0.12, top + 0.5), (x + 0.03, 0.0, top + 0.56), Paint(plain, (0.1, 0.1, 0.1)))


def _decorate(
    mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, blank: Paint, rng: np.random.Generator
) -> None:
    """String courses, a cornice, balconies, bay windows, drainpipes."""
    plain = textures.names["plain"][0]
    pale = Paint(plain, jittered((plan.trim, plan.trim * 0.97, plan.trim * 0.92), rng, 0.04), trim=plan.trim)
    w, h, floor = plan.width, plan.height, plan.floor_m
    if rng.random() < 0.5 and plan.floors > 1:
        mesh.box(place, (-0.02, -0.12, floor - 0.1), (w + 0.02, 0, floor + 0.1), pale, faces=(0, 1, 3, 4, 5))
    if plan.floors > 1 and rng.random() < 0.3:
        _balconies(mesh, place, plan, textures, rng)
    elif plan.floors > 1 and plan.wall in ("brick", "plaster") and rng.random() < 0.25:
        _oriel(mesh, place, plan, blank, rng)
    if rng.random() < 0.6:
        pipe = Paint(plain, (0.2, 0.2, 0.2) if rng.random() < 0.5 else plan.second)
        mesh.box(place, (w - 0.22, -0.1, 0), (w - 0.12, 0, h), pipe, faces=(0, 1, 3))
    if rng.random() < 0.25:
        plinth = Paint(textures.names["ashlar"][0], jittered((0.45, 0.43, 0.4), rng))
        mesh.box(place, (0, -0.06, 0), (w, 0, rng.uniform(0.25, 0.5)), plinth, faces=(0, 1, 3, 4))


def _balconies(mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, rng: np.random.Generator) -> None:
    """Slabs with railings before some bays of every upper floor."""
    out, every, first = rng.uniform(0.6, 1.3), int(rng.integers(1, 4)), int(rng.integers(2))
    slab = Paint(textures.names["plain"][0], (plan.trim * 0.85,) * 3)
    solid = rng.random() < 0.4
    front = Paint(textures.names["panel"][0] if solid else textures.pick("railing", rng), plan.second)
    bay_m = plan.width / plan.bays
    for floor in range(1, plan.floors):
        z = floor * plan.floor_m
        for bay in range(first, plan.bays, every):
            x0, x1 = bay * bay_m + 0.1, (bay + 1) * bay_m - 0.1
            mesh.box(place, (x0, -out, z - 0.1), (x1, 0, z + 0.05), slab, faces=(0, 1, 3, 4, 5))
            for start, end in (((x0, -out), (x1, -out)), ((x1, -out), (x1, 0)), ((x0, 0), (x0, -out))):
                mesh.wall(place, start, end, z + 0.05, z + 1.05, (1, 1), front, cutout=not solid)
                if solid:
                    mesh.wall(place, end, start, z + 0.05, z + 1.05, (1, 1), front)


def _oriel(mesh: Mesh, place: Placement, plan: Plan, blank: Paint, rng: np.random.Generator) -> None:
    """A box of windows that juts out of the front over some floors."""
    bay_m = plan.width / plan.bays
    bay, out = int(rng.integers(plan.bays)), rng.uniform(0.5, 1.0)
    x0, x1 = bay * bay_m + 0.05, (bay + 1) * bay_m - 0.05
    low = 0.0 if not plan.shops and rng.random() < 0.5 else plan.floor_m
    glazed = Paint(plan.window_layer, plan.colour, plan.second, FACADE, plan.seed + 7, plan.trim)
    floors = round((plan.height - low) / plan.floor_m)
    mesh.wall(place, (x0, -out), (x1, -out), low, plan.height, (1, floors), glazed)
    mesh.box(place, (x0, -out, low), (x1, 0, plan.height), blank, faces=(1, 3, 4, 5))
