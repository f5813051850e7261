"""Roofs with their chimneys, dormers and eaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vpr_lab.simulation.mesh import FACADE, ROOF, Mesh, Paint, Placement
from vpr_lab.simulation.style import hsv, jittered
from vpr_lab.simulation.textures import TextureSet

if TYPE_CHECKING:
    from vpr_lab.simulation.plan import Plan


def add_roof(
    mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, wall: Paint, rng: np.random.Generator
) -> None:
    """Put the plan's roof on its walls; wall: paint of the gables."""
    cover = Paint(
        textures.pick("tiles", rng) if rng.random() < 0.85 else textures.names["seams"][0], plan.roof_colour, kind=ROOF
    )
    eaves = Paint(textures.names["plain"][0], jittered((plan.trim, plan.trim, plan.trim * 0.95), rng, 0.05))
    if plan.roof == "flat":
        _flat(mesh, place, plan, textures, wall, rng)
        return
    w, d, h = plan.width, plan.depth, plan.height
    mesh.box(place, (-0.05, -0.35, h - 0.12), (w + 0.05, d + 0.35, h + 0.06), eaves, faces=(0, 1, 2, 3, 4, 5))
    lifted = place.moved(0, 0, h + 0.05)
    if plan.roof == "hip" and w > d * 0.8:
        hip(mesh, lifted, w, d, plan.roof_rise * 0.85, cover)
    elif plan.roof == "mansard":
        _mansard(mesh, lifted, plan, cover, rng)
    elif plan.roof == "gable" and w < d and rng.random() < 0.5:
        gable(
            mesh,
            Placement(*_corner(lifted, w), lifted.yaw + np.pi / 2, lifted.z),
            d,
            w,
            plan.roof_rise * w / d,
            cover,
            wall,
        )
    else:
        gable(mesh, lifted, w, d, plan.roof_rise, cover, wall)
        if w > 6 and rng.random() < 0.4:
            _dormers(mesh, lifted, plan, cover, plan.roof_rise, d / 2)
    _chimneys(mesh, lifted, plan, textures, rng)


def _corner(place: Placement, x: float) -> tuple[float, float]:
    corner = place.apply(np.array([x, 0.0, 0.0]))
    return float(corner[0]), float(corner[1])


def _sloped(mesh: Mesh, place: Placement, corners: list, cover: Paint) -> None:
    """A roof plane; tiles run along its lower edge, 2.5 m a layer."""
    points = np.asarray(corners, float)
    along = points[1] - points[0]
    along /= np.linalg.norm(along)
    up = points[3] - points[0]
    up = up - along * (up @ along)
    up /= np.linalg.norm(up)
    uv = np.stack([(points - points[0]) @ along, (points - points[0]) @ up], 1) / 2.5
    mesh.quads(place.apply(points)[None], uv, cover)


def gable(mesh: Mesh, place: Placement, w: float, d: float, rise: float, cover: Paint, wall: Paint) -> None:
    e, low = 0.4, -0.4 * rise / (d / 2)
    _sloped(mesh, place, [(-0.2, -e, low), (w + 0.2, -e, low), (w + 0.2, d / 2, rise), (-0.2, d / 2, rise)], cover)
    _sloped(
        mesh, place, [(w + 0.2, d + e, low), (-0.2, d + e, low), (-0.2, d / 2, rise), (w + 0.2, d / 2, rise)], cover
    )
    for x, ends in ((w, (0.0, d)), (0.0, (d, 0.0))):
        corners = np.array([[x, ends[0], 0], [x, ends[1], 0], [x, d / 2, rise], [x, d / 2, rise]])
        uv = np.array([[0, 0], [d / 3, 0], [d / 6, rise / 3], [d / 6, rise / 3]])
        normal = place.moved(0, 0).apply(np.array([[1.0 if x else -1.0, 0, 0]])) - place.apply(np.zeros((1, 3)))
        mesh.quads(place.apply(corners)[None], uv, wall, normals=np.broadcast_to(normal, (1, 4, 3)))


def hip(mesh: Mesh, place: Placement, w: float, d: float, rise: float, cover: Paint) -> None:
    e = 0.4
    a, b = min(d / 2, w / 2), max(w - d / 2, w / 2)
    _sloped(mesh, place, [(-e, -e, 0), (w + e, -e, 0), (b, d / 2, rise), (a, d / 2, rise)], cover)
    _sloped(mesh, place, [(w + e, d + e, 0), (-e, d + e, 0), (a, d / 2, rise), (b, d / 2, rise)], cover)
    _sloped(mesh, place, [(w + e, -e, 0), (w + e, d + e, 0), (b + 0.001, d / 2 + 0.01, rise), (b, d / 2, rise)], cover)
    _sloped(mesh, place, [(-e, d + e, 0), (-e, -e, 0), (a - 0.001, d / 2 - 0.01, rise), (a, d / 2, rise)], cover)


def _mansard(mesh: Mesh, place: Placement, plan: Plan, cover: Paint, rng: np.random.Generator) -> None:
    w, d, rise, inset = plan.width, plan.depth, 2.5, rng.uniform(0.7, 1.2)
    low = [(-0.1, -0.1, 0), (w + 0.1, -0.1, 0), (w + 0.1, d + 0.1, 0), (-0.1, d + 0.1, 0)]
    high = [(inset, inset, rise), (w - inset, inset, rise), (w - inset, d - inset, rise), (inset, d - inset, rise)]
    for i in range(4):
        j = (i + 1) % 4
        _sloped(mesh, place, [low[i], low[j], high[j], high[i]], cover)
    hip(mesh, place.moved(inset, inset, rise), w - 2 * inset, d - 2 * inset, 1.0, cover)
    _dormers(mesh, place, plan, cover, rise, inset)


def _dormers(mesh: Mesh, place: Placement, plan: Plan, cover: Paint, rise: float, run: float) -> None:
    """Windows standing out of the front slope, one for every bay or every second."""
    count = max(1, plan.bays // (2 if plan.bays > 3 else 1))
    window = Paint(plan.window_layer, plan.colour, plan.second, FACADE, plan.seed + 3, plan.trim)
    wide, low, high = 1.4, 0.25, min(1.9, rise * 0.8)
    y0, y1 = run * low / rise + 0.05, run * min(1.0, high / rise) + 0.2
    for i in range(count):
        x = plan.width * (i + 0.5) / count
        mesh.wall(place, (x - wide / 2, y0), (x + wide / 2, y0), low, high, (1, 1), window)
        mesh.box(place, (x - wide / 2, y0, low), (x + wide / 2, y1, high), cover, faces=(1, 3))
        mesh.box(
            place,
            (x - wide / 2 - 0.1, y0 - 0.12, high),
            (x + wide / 2 + 0.1, y1, high + 0.12),
            cover,
            faces=(0, 1, 3, 4, 5),
        )


def _chimneys(mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, rng: np.random.Generator) -> None:
    top = plan.roof_rise + rng.uniform(0.6, 1.4)
    brick = Paint(textures.names["brick"][0], hsv(rng.uniform(0, 0.08), 0.4, rng.uniform(0.35, 0.6)), (0.6, 0.58, 0.54))
    pot = Paint(textures.names["plain"][0], (0.55, 0.33, 0.22))
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.choice([0.3, plan.width - 1.0, plan.width / 2]), plan.depth / 2 + rng.uniform(-1.5, 0.8)
        mesh.box(place, (x, y, 0), (x + 0.7, y + rng.uniform(0.6, 1.3), top), brick)
        mesh.box(place, (x + 0.2, y + 0.15, top), (x + 0.45, y + 0.4, top + 0.35), pot)


def _flat(
    mesh: Mesh, place: Placement, plan: Plan, textures: TextureSet, wall: Paint, rng: np.random.Generator
) -> None:
    """Gravel behind a parapet, a lift house, perhaps tanks."""
    w, d, h, edge = plan.width, plan.depth, plan.height, rng.uniform(0.3, 0.9)
    gravel = Paint(textures.names["gravel"][0], (0.42, 0.41, 0.39), kind=ROOF)
    mesh.box(place, (0, 0, h), (w, d, h + 0.02), gravel, faces=(4,))
    rim = Paint(textures.names["plain"][0], jittered(plan.colour, rng, 0.15)) if rng.random() < 0.6 else wall
    out = rng.choice([0.0, 0.15, 0.5])
    mesh.box(place, (-out, -out, h - 0.1), (w + out, 0.25, h + edge), rim, faces=(0, 1, 2, 3, 4, 5))
    mesh.box(place, (-out, d - 0.25, h), (w + out, d + out, h + edge), rim)
    mesh.box(place, (-out, 0.25, h), (0.25, d - 0.25, h + edge), rim)
    mesh.box(place, (w - 0.25, 0.25, h), (w + out, d - 0.25, h + edge), rim)
    if w > 8 and rng.random() < 0.7:
        x = rng.uniform(1, w - 5)
        mesh.box(place, (x, d * 0.35, h), (x + rng.uniform(2, 4), d * 0.7, h + rng.uniform(1.5, 3)), wall)
