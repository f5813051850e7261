"""Trees of several species, hedges and bushes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation.mesh import BRANCH, FOLIAGE, Colour, Mesh, Paint, Placement
from vpr_lab.simulation.style import jittered
from vpr_lab.simulation.textures import TextureSet


@dataclass(frozen=True)
class Species:
    """crown: (radius, height) as shares of the tree's height; conifers keep their needles in winter."""

    crown: tuple[float, float]
    trunk: float
    leaf_layer: int
    branch_layer: int
    colour: Colour
    conifer: bool
    quads: int


def make_species(textures: TextureSet, leaf: Colour, rng: np.random.Generator) -> tuple[Species, ...]:
    """The five kinds of trees a town has."""
    species = []
    for index in range(5):
        conifer = index == 4
        colour = jittered((leaf[0] * 0.6, leaf[1] * 0.8, leaf[2] * 0.8) if conifer else leaf, rng, 0.13)
        species.append(
            Species(
                crown=(rng.uniform(0.14, 0.2), 0.9) if conifer else (rng.uniform(0.2, 0.42), rng.uniform(0.5, 0.72)),
                trunk=rng.uniform(0.018, 0.032),
                leaf_layer=textures.pick("leaves", rng),
                branch_layer=textures.pick("branches", rng),
                colour=colour,
                conifer=conifer,
                quads=int(rng.integers(20, 30)),
            )
        )
    return tuple(species)


def add_tree(
    mesh: Mesh, place: Placement, height: float, species: Species, textures: TextureSet, rng: np.random.Generator
) -> None:
    """A trunk, two crossed pictures of branches, and clusters of leaves over the crown."""
    trunk_top = height * (1 - species.crown[1] * 0.75)
    bark = Paint(textures.names["bark"][0], jittered((0.3, 0.26, 0.22), rng, 0.08))
    mesh.cylinder(place, height * species.trunk, 0, trunk_top, bark, sides=6)
    wide, low = height * species.crown[0], height * (1 - species.crown[1])
    if not species.conifer:
        twigs = Paint(species.branch_layer, jittered((0.27, 0.23, 0.19), rng, 0.1), kind=BRANCH)
        for turn in (0.0, np.pi / 2):
            mesh.wall(
                place.moved(0, 0, 0, turn),
                (-wide * 1.2, 0),
                (wide * 1.2, 0),
                low * 0.75,
                height * 0.97,
                (1, 1),
                twigs,
                cutout=True,
            )
    _crown(mesh, place, (wide, low, height), species, rng)


def _crown(
    mesh: Mesh, place: Placement, extent: tuple[float, float, float], species: Species, rng: np.random.Generator
) -> None:
    """Leaf clusters: randomly turned squares near the crown's surface, with normals that point out of it."""
    wide, low, high = extent
    count = species.quads
    height = rng.random(count) ** (1.3 if species.conifer else 0.9)
    shape = (1 - height * 0.92) if species.conifer else np.sqrt(np.clip(1 - (2 * height - 0.9) ** 2 * 0.8, 0.08, 1))
    angle = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2.399
    radius = wide * shape * rng.uniform(0.3, 0.78, count)
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle), low + (high - low) * (0.12 + 0.8 * height)], 1)
    size = wide * (0.5 + 0.4 * shape) * rng.uniform(0.75, 1.2, count)
    middle = np.array([0, 0, (low + high) / 2 - 0.2 * (high - low)])
    outward = centres - middle
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    facing = outward + rng.normal(0, 0.5, (count, 3))
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    right = np.cross(facing, rng.normal(size=(count, 3)))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(facing, right)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    offsets = size[:, None, None] * (signs[None, :, :1] * right[:, None] + signs[None, :, 1:] * up[:, None])
    corners = centres[:, None] + offsets
    normals = corners - middle
    leaf = Paint(
        species.leaf_layer,
        jittered(species.colour, rng, 0.1),
        jittered(species.colour, rng, 0.15),
        FOLIAGE,
        int(rng.integers(128)) * 2 + species.conifer,
    )
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    world = place.apply(corners)
    mesh.quads(world, uv, leaf, normals=place.apply(normals) - place.apply(np.zeros(3)), cutout=True)


def add_hedge(
    mesh: Mesh,
    place: Placement,
    length: float,
    height: float,
    thick: float,
    colour: Colour,
    textures: TextureSet,
    rng: np.random.Generator,
) -> None:
    """A clipped hedge along the frame's x axis."""
    paint = Paint(textures.pick("hedge", rng), colour, kind=FOLIAGE, seed=1)
    mesh.box(place, (0, -thick / 2, 0), (length, thick / 2, height), paint, tile_m=1.5)


def add_bush(mesh: Mesh, place: Placement, size: float, species: Species, rng: np.random.Generator) -> None:
    """A low crown on the ground."""
    _crown(mesh, place, (size, -size * 0.3, size * 1.2), species, rng)
