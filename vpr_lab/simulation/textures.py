"""A town's whole set of texture layers, drawn from its seed, with the names the builders ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation import facade_textures as facades
from vpr_lab.simulation import prop_textures as props
from vpr_lab.simulation import wall_textures as walls
from vpr_lab.simulation.canvas import Canvas, noise
from vpr_lab.simulation.vehicles import SHAPES

Draw = Callable[[np.random.Generator], Canvas]
_WALLS: dict[str, Draw] = {
    "brick": walls.brick,
    "plaster": walls.plaster,
    "ashlar": walls.ashlar,
    "panel": walls.panel,
    "boards": walls.boards,
    "half_timber": walls.half_timber,
    "rubble": walls.rubble,
}
_OPENINGS: dict[str, tuple[Callable[[Canvas, np.random.Generator], Canvas], tuple[str, ...]]] = {
    "ribbon": (facades.ribbon, ("panel", "brick", "plaster")),
    "curtain": (facades.curtain_wall, ("panel", "panel")),
    "door": (facades.door, ("brick", "plaster", "ashlar", "rubble", "boards")),
    "shop": (facades.shop, ("plaster", "brick", "plaster", "ashlar", "brick", "plaster")),
    "shop_door": (facades.shop_door, ("plaster", "brick")),
    "garage": (facades.garage, ("plaster", "brick")),
}
_SINGLE: dict[str, tuple[Draw, int]] = {
    "tiles": (walls.roof_tiles, 3),
    "seams": (walls.roof_seams, 1),
    "gravel": (walls.gravel, 1),
    "asphalt": (walls.asphalt, 1),
    "paving": (walls.paving, 1),
    "cobbles": (walls.cobbles, 1),
    "grass": (walls.grass, 1),
    "hedge": (walls.hedge, 2),
    "bark": (walls.bark, 1),
    "leaves": (props.leaves, 4),
    "branches": (props.branches, 3),
    "railing": (props.railing, 2),
    "pickets": (props.pickets, 2),
    "person": (props.person, 4),
    "car_end": (props.car_end, 2),
    "poster": (props.poster, 8),
    "sign": (props.sign, 6),
    "road_sign": (props.road_sign, 3),
}
WINDOWS_PER_WALL = {"brick": 4, "plaster": 6, "ashlar": 2, "panel": 3, "boards": 2, "half_timber": 2, "rubble": 2}


@dataclass(frozen=True, eq=False)
class TextureSet:
    """What a town is covered with.

    pixels: (L, 256, 256, 4) uint8 as canvas.py explains. names: name -> its layers. noise: (512, 512, 4) uint8,
    tileable.
    """

    pixels: np.ndarray
    names: dict[str, tuple[int, ...]]
    noise: np.ndarray

    def pick(self, name: str, rng: np.random.Generator) -> int:
        """One of a name's layers at random."""
        layers = self.names[name]
        return layers[int(rng.integers(len(layers)))]


def make_textures(seed: int) -> TextureSet:
    """Draw every layer; the style (sizes, shapes, roughness) differs from seed to seed."""
    rng = np.random.default_rng([seed, 11])
    drawn: list[np.ndarray] = []
    names: dict[str, tuple[int, ...]] = {}

    def add(name: str, canvas: Canvas) -> None:
        names[name] = (*names.get(name, ()), len(drawn))
        drawn.append(canvas.pixels())

    add("plain", Canvas(1.0))
    for wall, draw in _WALLS.items():
        add(wall, draw(rng))
        for _ in range(WINDOWS_PER_WALL[wall]):
            window = facades.tall_window if rng.random() < 0.2 else facades.window
            add(f"window_{wall}", window(draw(rng), rng))
    for name, (opening, on_walls) in _OPENINGS.items():
        for wall in on_walls:
            add(name, opening(_WALLS[wall](rng), rng))
    for name, (draw, count) in _SINGLE.items():
        for _ in range(count):
            add(name, draw(rng))
    for name, shape in SHAPES.items():
        add(
            f"side_{name}",
            props.car_side(shape.unit_profile, shape.unit_cabin, shape.unit_wheels, shape.unit_wheel, rng),
        )
    planes = [noise(rng, roughness, 512) for roughness in (1.8, 1.2, 0.5, 1.5)]
    mixed = np.clip(0.5 + 0.2 * np.stack(planes, -1), 0, 1)
    return TextureSet(np.stack(drawn), names, np.round(255 * mixed).astype(np.uint8))
